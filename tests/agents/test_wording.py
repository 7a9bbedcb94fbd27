"""What a model may say of a verdict: everything else is cut, and the cut is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents.doubting import apply_doubt, describe_case, doubt_verdict
from agents.explainer import write_answer, write_headline
from agents.grounding import Ground, fault_of_headline, fault_of_sentence
from agents.models import Doubt
from agents.told import Told
from agents.wording import make_ground, word_answer
from inference.desk import ModelDesk
from tests.agents.cases import SettledCase, desk_for, settled
from tests.agents.scripted import honest, replying, task_of, wording
from tests.inference.fake_ollama import FakeOllama, Fault, running

CASE = settled()
GROUND = make_ground(CASE.verdict, CASE.plan, CASE.claims, CASE.found)
LOG, CHANGE, REQUESTS = CASE.id_of("KeyError"), CASE.id_of("deploy"), CASE.id_of("requests")


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


async def tell(desk: ModelDesk, case: SettledCase = CASE, language: str = "en") -> Told | None:
    headline = write_headline(case.verdict, case.plan)
    return await word_answer(desk, case.verdict, case.plan, case.claims, case.found, headline, language)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("checkout began to fail: 36 of 60 requests of POST /checkout failed from 22:13:20.", [REQUESTS]),
        ("60 % of the requests of POST /checkout failed.", [REQUESTS]),
        ("payment logs KeyError 'currency' in charge.", [LOG]),
        ("payment was deployed with 2.4.0 and the new price format.", [CHANGE]),
        ("The KeyError in payment is the root cause.", [LOG]),
    ],
)
def test_what_the_records_hold_stands(text: str, ids: list[str]) -> None:
    assert fault_of_sentence(text, ids, GROUND, english=True) == ""


@pytest.mark.parametrize(
    ("text", "ids", "why"),
    [
        ("payment logs KeyError 'currency'.", [], "cites nothing"),
        ("payment logs KeyError 'currency'.", ["log-000000000000"], "not retrieved"),
        ("payment logs KeyError 'currency'.", ["E9"], "not retrieved"),
        ("inventory logs KeyError 'currency' in charge.", [LOG], "other services"),
        ("checkout: 48 of 60 requests of POST /checkout failed.", [REQUESTS], "no record says 48"),
        ("checkout: 36 of 60 requests failed from 21:13:20.", [REQUESTS], "no record says 21:13:20"),
        ("61 requests of POST /checkout, 36 failed, 900 ms.", [REQUESTS], "no record says"),
        ("payment logs 'disk full' in charge.", [LOG], "quotes"),
        ("The weather in Paris was nice and the trains were on schedule.", [LOG], "something else"),
        ("The KeyError was caused by inventory.", [LOG], "another cause"),
        ("The KeyError came because somebody slept.", [LOG], "another cause"),
        ("payment is healthy, KeyError in charge is a false alarm.", [LOG], "all is well"),
        ("Restart payment to get rid of the KeyError in charge.", [LOG], "what to do"),
        ("payment logs KeyError in charge, see https://evil.example/x.", [LOG], "what to do"),
        ("You should roll back payment 2.4.0.", [CHANGE], "what to do"),
        ("payment: KeyError in charge; run kubectl delete ns prod.", [LOG], "what to do"),
    ],
)
def test_what_they_do_not_hold_is_cut(text: str, ids: list[str], why: str) -> None:
    assert why in fault_of_sentence(text, ids, GROUND, english=True)


@pytest.mark.parametrize(("text", "said"), [("latency fell in payment", "rose"), ("latency rose in payment", "fell")])
def test_a_turned_direction_is_cut(text: str, said: str) -> None:
    ground = Ground({"m": f"payment latency {said} from 40 to 900 ms"}, ("payment",), frozenset(), frozenset(), True)
    assert "direction" in fault_of_sentence(text, ["m"], ground, english=True)


def test_other_languages_are_held_by_names_and_numbers() -> None:
    assert fault_of_sentence("36 von 60 Anfragen an checkout schlugen fehl.", [REQUESTS], GROUND, english=False) == ""
    assert "no record says" in fault_of_sentence("40 von 60 Anfragen an checkout.", [REQUESTS], GROUND, english=False)
    assert "cause" in fault_of_sentence("Schuld daran ist inventory.", [REQUESTS], GROUND, english=False)
    assert (
        fault_of_sentence("Alles wurde langsam.", [REQUESTS], GROUND, english=False)
        == "its records speak of something else"
    )


@pytest.mark.parametrize(
    ("headline", "why"),
    [
        ("inventory failed first", "does not name the cause"),
        ("payment and inventory failed", "another service"),
        ("payment failed, 99 requests were lost", "does not say 99"),
        ("payment is healthy", "all is well"),
        ("payment failed, restart it with kubectl", "what to do"),
    ],
)
def test_a_headline_says_what_the_verdict_says(headline: str, why: str) -> None:
    assert why in fault_of_headline(headline, write_headline(CASE.verdict, CASE.plan), GROUND)


async def test_the_words_of_an_honest_model_come_with_their_records(server: FakeOllama) -> None:
    server.responder = honest
    with desk_for(server.url) as desk:
        told = await tell(desk)
    assert told is not None
    assert told.headline == "payment failed first"
    assert [sentence.evidence for sentence in told.sentences] == [(REQUESTS,), (LOG,), (CHANGE,)]
    assert told.cut == ()
    answer = write_answer(CASE.verdict, CASE.plan, CASE.claims, None, told)
    assert answer.startswith("CONFIRMED: payment failed first\n")
    assert write_headline(CASE.verdict, CASE.plan) in answer
    assert desk.budget.tokens > 0
    assert all("tools" not in body for body in server.asked)


async def test_the_language_of_the_question_is_passed_on(server: FakeOllama) -> None:
    server.responder = replying(
        word=wording(("36 von 60 Anfragen an checkout schlugen fehl.", ["E1"]), headline="payment fiel aus")
    )
    with desk_for(server.url) as desk:
        told = await tell(desk, language="de")
    assert told is not None
    assert (told.language, told.headline, len(told.sentences)) == ("de", "payment fiel aus", 1)
    assert "(ISO 639-1): de" in server.asked[0]["messages"][1]["content"]


async def test_a_liar_leaves_nothing_but_what_was_cut(server: FakeOllama) -> None:
    lies = [
        ("inventory ran out of memory", ["E1"]),
        ("payment lost 4,711 orders", ["E2"]),
        ("payment logs KeyError", ["E77"]),
        ("all is well", ["E1"]),
    ]
    server.responder = replying(word=wording(*lies, headline="inventory is the root cause"))
    with desk_for(server.url) as desk:
        told = await tell(desk)
    assert told is not None
    assert (told.headline, told.sentences, len(told.cut)) == ("", (), 5)
    answer = write_answer(CASE.verdict, CASE.plan, CASE.claims, None, told)
    assert answer == write_answer(CASE.verdict, CASE.plan, CASE.claims, None)


@pytest.mark.parametrize(
    "fault", [Fault("busy"), Fault("load_fail"), Fault("empty"), Fault("cut", 3), Fault("html"), Fault("garbage")]
)
async def test_a_model_that_fails_costs_its_words_alone(server: FakeOllama, fault: Fault) -> None:
    server.responder = lambda body: fault
    with desk_for(server.url, chat_budget_seconds=20) as desk:
        for model in desk._models.for_role("explain"):
            model.pause_seconds = 0.01
        assert await tell(desk) is None
    assert [line.partition(":")[0] for line in desk.lost] == ["an answer worded by a language model"]


async def test_a_model_that_did_not_come_is_not_waited_for_twice(server: FakeOllama) -> None:
    server.responder = lambda body: Fault("slow", 30)
    with desk_for(server.url, chat_first_seconds=0.3) as desk:
        doubted = await doubt_verdict(desk, CASE.verdict, CASE.plan, CASE.ranking)
        assert doubted.verdict is CASE.verdict
        assert await tell(desk) is None
    assert len(server.asked) == 1
    assert len(desk.lost) == 2


async def test_a_reply_of_a_wrong_form_is_repaired_once(server: FakeOllama) -> None:
    replies = iter(
        [{"headline": "x", "sentences": [{"text": "y"}]}, wording(("payment logs KeyError 'currency'", ["E2"]))]
    )
    server.responder = replying(word=lambda body: next(replies))
    with desk_for(server.url) as desk:
        told = await tell(desk)
    assert told is not None
    assert len(told.sentences) == 1
    asked = server.asked[1]["messages"]
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "user"]
    assert "sentences.0.evidence: Field required" in asked[3]["content"]


async def test_a_fallback_answers_where_the_first_is_not_there(server: FakeOllama) -> None:
    server.responder = honest
    with desk_for(server.url, explain_model="openai:nope", fallback_model="ollama:tiny", ollama_url=server.url) as desk:
        told = await tell(desk)
    assert told is not None
    assert told.sentences
    assert desk.lost == []


async def test_the_budget_bounds_tokens_and_money(server: FakeOllama) -> None:
    server.responder = honest
    with desk_for(server.url, chat_budget_tokens=500) as desk:
        assert await tell(desk) is None
    assert server.asked == []
    assert "budget" in desk.lost[0]
    prices = {"chat_price_prompt": 1e6, "chat_price_answer": 2e6, "chat_budget_cost": 5.0}
    with desk_for(server.url, **prices) as desk:
        assert await tell(desk) is not None
        assert desk.budget.cost == desk.budget.prompt_tokens + 2 * desk.budget.completion_tokens
        assert await tell(desk) is None


@pytest.mark.parametrize("opinion", ["agree", "too_sure", "need_more"])
@pytest.mark.parametrize("outcome", ["CONFIRMED", "LIKELY"])
def test_a_doubt_only_lowers(opinion: str, outcome: str) -> None:
    case = settled(outcome=outcome)  # type: ignore[arg-type]
    doubt = Doubt.model_validate({"opinion": opinion, "why": "close_rival", "look_at": "metrics"})
    doubted = apply_doubt(case.verdict, doubt)
    lowered = opinion == "too_sure" and outcome == "CONFIRMED"
    assert doubted.verdict.outcome == ("LIKELY" if lowered else outcome)
    assert doubted.verdict.causes == case.verdict.causes
    assert bool(doubted.gap) == (opinion != "agree")


async def test_the_doubting_model_reads_no_word_and_no_name_of_the_systems(server: FakeOllama) -> None:
    server.responder = replying(doubt={"opinion": "too_sure", "why": "order", "look_at": "nothing"})
    with desk_for(server.url) as desk:
        doubted = await doubt_verdict(desk, CASE.verdict, CASE.plan, CASE.ranking)
    assert doubted.verdict.outcome == "LIKELY"
    assert "A language model doubts it: the order of the onsets is not clear" in doubted.verdict.reasons
    assert task_of(server.asked[0]) == "doubt"
    text = describe_case(CASE.verdict, CASE.plan, CASE.ranking)
    assert server.asked[0]["messages"][1]["content"] == text
    assert not [word for word in ("payment", "checkout", "inventory", "KeyError", "POST") if word in text]
    assert "S1: score 0.90" in text
