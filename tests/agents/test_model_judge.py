"""The model judge: agreeing, denying, quoting what is not there, broken, slow, dead; cached; two answers in both orders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agents.explainer import write_headline
from agents.model_judge import Brief, ask_model_judge, brief_of_answer
from agents.models import Judging
from agents.pair_judge import prefer_answer
from inference.desk import ModelDesk
from review.opinion import Opinion
from review.policy import Policy, decide, strictness
from review.policy_document import built_in_policy
from tests.agents.cases import SettledCase, desk_for, record, settled
from tests.agents.injections import INJECTIONS, SECRETS
from tests.agents.scripted import agreeing, records_of
from tests.inference.fake_ollama import FakeOllama, Fault, running
from tests.review.signals import PROVEN
from tracing.events import Event
from tracing.scorecard import walk_stages
from tracing.trace import start_trace

POLICY = built_in_policy()


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


class KeptOpinions:
    """Opinions in memory."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    async def recall(self, input_hash: str) -> str | None:
        return self.held.get(input_hash)

    async def remember(self, input_hash: str, model: str, reply: str) -> None:
        self.held.setdefault(input_hash, reply)


class Nowhere:
    """A sink that keeps nothing."""

    async def write(self, events: Sequence[Event]) -> None:
        pass


NOWHERE = Nowhere()


def brief_of(case: SettledCase) -> Brief:
    headline = write_headline(case.verdict, case.plan)
    brief = brief_of_answer("why does checkout fail?", case.verdict.outcome, headline, case.claims, case.found)
    assert brief is not None
    return brief


def ask_with(url: str, **settings: Any) -> Any:
    return desk_for(url, chat_model="none", judge_model=f"openai:tiny@{url}/v1", **settings)


async def judge(desk: ModelDesk, case: SettledCase | None = None) -> Opinion:
    opinion = await ask_model_judge(desk, brief_of(case or settled()), POLICY, None)
    assert opinion is not None
    return opinion


def action_with(opinion: Opinion | None) -> str:
    model: Mapping[str, Any] = {"asked": False} if opinion is None else {"asked": True, **opinion.as_signals()}
    return decide(POLICY, {**PROVEN, "model": model}).action


async def test_one_that_agrees_changes_nothing_and_is_a_span_of_the_run(server: FakeOllama) -> None:
    server.responder = agreeing
    async with start_trace("why?", "x", NOWHERE) as trace:
        with ask_with(server.url) as desk:
            opinion = await judge(desk)
        view = trace.view()
    assert opinion.passed is True
    assert set(opinion.criteria) == set(Judging.model_fields)
    assert action_with(opinion) == action_with(None) == "ALLOW_ANSWER"
    names = [(depth, stage.name, stage.kind, stage.status) for depth, stage in walk_stages(view)]
    assert names == [(0, "model judge", "judge", "complete"), (1, "model", "model", "complete")]
    assert view.judges[0].by == "model:openai:tiny"
    assert view.judges[0].scores == dict.fromkeys(Judging.model_fields, 1.0)


async def test_one_that_denies_brings_a_person_in_with_its_quotation(server: FakeOllama) -> None:
    server.responder = lambda body: agreeing(body, cause_shown="36 failed, from 22:13:20")
    with ask_with(server.url) as desk:
        opinion = await judge(desk)
    assert opinion.passed is False
    assert action_with(opinion) == "ESCALATE"
    assert opinion.gaps == (
        'a model judge denies that the records show the trouble of the cause: "36 failed, from 22:13:20"',
    )


@pytest.mark.parametrize(
    "quote", ["the disk of payment was full", "headline:", "claim that cites R1", "KeyError   'money'"]
)
async def test_a_quotation_that_is_not_there_voids_what_it_says(server: FakeOllama, quote: str) -> None:
    def reply(body: dict[str, Any]) -> Any:
        return agreeing(body) | {"sure_enough": {"quote": quote, "holds": True}}

    server.responder = reply
    with ask_with(server.url) as desk:
        opinion = await judge(desk)
    assert opinion.passed is None
    assert "sure_enough" not in opinion.criteria
    assert action_with(opinion) == "ESCALATE"


def one_missing(body: dict[str, Any]) -> Any:
    held = agreeing(body)
    del held["nothing_beyond"]
    return held


@pytest.mark.parametrize(
    "broken",
    [
        lambda body: "yes, looks good to me",
        lambda body: agreeing(body) | {"score": 9},
        one_missing,
        lambda body: agreeing(body) | {"cause_shown": {"quote": "KeyError 'currency'", "holds": "mostly"}},
        lambda body: Fault("cut", 2),
        lambda body: Fault("garbage"),
        lambda body: Fault("empty"),
    ],
)
async def test_a_broken_reply_is_asked_for_once_more_and_then_nobody_knows(server: FakeOllama, broken: Any) -> None:
    server.responder = broken
    with ask_with(server.url) as desk:
        opinion = await judge(desk)
        lost = list(desk.lost)
    assert opinion.passed is None
    assert not opinion.criteria
    assert action_with(opinion) == "ESCALATE"
    assert lost and lost[0].startswith("what a language model thinks of the answer: ")


async def test_a_reply_that_is_mended_counts(server: FakeOllama) -> None:
    replies: list[Any] = ["no JSON at all"]
    server.responder = lambda body: replies.pop() if replies else agreeing(body)
    with ask_with(server.url) as desk:
        assert (await judge(desk)).passed is True


async def test_a_slow_one_and_a_dead_one_leave_the_question_to_a_person(server: FakeOllama) -> None:
    server.responder = lambda body: Fault("slow", 60)
    with ask_with(server.url, chat_first_seconds=0.5) as desk:
        assert action_with(await judge(desk)) == "ESCALATE"
    with running() as gone:
        url = gone.url
    with ask_with(url, chat_first_seconds=0.5) as desk:
        assert action_with(await judge(desk)) == "ESCALATE"


async def test_without_a_model_or_a_claim_nobody_is_asked(server: FakeOllama) -> None:
    server.asked.clear()
    with desk_for(server.url) as desk:
        assert await ask_model_judge(desk, brief_of(settled()), POLICY, None) is None
    with ask_with(server.url) as desk:
        assert (
            await ask_model_judge(desk, brief_of_answer("why?", "HEALTHY", "all is well", (), {}), POLICY, None) is None
        )
    assert not server.asked


async def test_the_same_is_asked_once_per_version_of_the_policy(server: FakeOllama) -> None:
    server.responder, kept = agreeing, KeptOpinions()
    other = Policy(POLICY.name, 7, POLICY.rules)
    with ask_with(server.url) as desk:
        server.asked.clear()
        async with start_trace("why?", "x", NOWHERE) as trace:
            first = await ask_model_judge(desk, brief_of(settled()), POLICY, kept)
            again = await ask_model_judge(desk, brief_of(settled()), POLICY, kept)
            view = trace.view()
        assert first == again
        assert len(server.asked) == 1
        assert [stage.status for _, stage in walk_stages(view) if stage.name == "model judge"][-1] == "cached"
        await ask_model_judge(desk, brief_of(settled()), other, kept)
        await ask_model_judge(desk, replace(brief_of(settled()), question="why is checkout slow?"), POLICY, kept)
        assert len(server.asked) == 3
        # What could not be used is not kept: the next run asks again.
        server.responder = lambda body: "nothing"
        await ask_model_judge(desk, replace(brief_of(settled()), question="what now?"), POLICY, kept)
    assert len(kept.held) == 3


@pytest.mark.parametrize("attack", INJECTIONS[::6], ids=range(len(INJECTIONS[::6])))
async def test_what_records_order_makes_nothing_milder(server: FakeOllama, attack: Any) -> None:
    case = settled([record(attack.text)])
    server.asked.clear()
    server.responder = agreeing  # it obeys: all is well
    with ask_with(server.url) as desk:
        opinion = await judge(desk, case)
    held_back = {**PROVEN, "answer": PROVEN["answer"] | {"outcome": "INCONCLUSIVE"}}
    asked = decide(POLICY, {**held_back, "model": {"asked": True, **opinion.as_signals()}})
    unasked = decide(POLICY, {**held_back, "model": {"asked": False}})
    assert strictness(asked.action) >= strictness(unasked.action) == strictness("ESCALATE")
    sent = json.dumps([body["messages"] for body in server.asked], ensure_ascii=False)
    assert not [secret for secret in SECRETS if secret in sent]


GOOD = "payment is the root cause: KeyError 'currency' in charge, since the deploy of 2.4.0 at 22:13"
POOR = "## Something\n- **may** be wrong somewhere in the shop, perhaps the network, nobody can say more than that"


def choosing(choose: Any) -> Any:
    def reply(body: dict[str, Any]) -> Any:
        first, second = (text.partition(": ")[2] for text in records_of(body).values())
        return {"quote_first": first[:40], "quote_second": second[:40], "better": choose(first, second)}

    return reply


@pytest.mark.parametrize(
    ("choose", "said"),
    [
        (lambda first, second: "first" if "root cause" in first else "second", "a"),
        (lambda first, second: "second" if "root cause" in first else "first", "b"),
        (lambda first, second: "same", "same"),
        (lambda first, second: "first", "inconsistent"),
        (lambda first, second: "second" if "root cause" in first else "same", "inconsistent"),
    ],
)
async def test_of_two_answers_what_holds_in_both_orders_counts(server: FakeOllama, choose: Any, said: str) -> None:
    server.asked.clear()
    server.responder = choosing(choose)
    with ask_with(server.url) as desk:
        pair = await prefer_answer(desk, "why does checkout fail?", GOOD, POOR)
    assert pair.prefers == said
    assert len(server.asked) == 2
    shown = [list(records_of(body).values()) for body in server.asked]
    assert [text.partition(": ")[2] for text in shown[0]] == [text.partition(": ")[2] for text in reversed(shown[1])]
    assert "**" not in shown[0][1]


async def test_a_choice_that_quotes_nothing_or_is_not_made_settles_nothing(server: FakeOllama) -> None:
    said = {"quote_first": "what nobody said", "quote_second": "in either of them", "better": "first"}
    for responder in (lambda body: said, lambda body: Fault("garbage")):
        server.responder = responder
        with ask_with(server.url) as desk:
            assert (await prefer_answer(desk, "why?", GOOD, POOR)).prefers == "unsettled"
