"""Which kind of question it is, which time it names, in which language it is, and what its thread adds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.followup import resolve, resolve_as_told
from agents.kinds import asks_why, is_of_the_field, kind_of
from agents.language import is_english
from agents.models import Refers
from agents.other_answers import find_runbooks
from agents.question import Question
from agents.said_line import means_a_line
from agents.spans import find_shift, find_stretch
from agents.translating import fault_of_translation
from domain.times import HOUR_US, MINUTE_US, SECOND_US, format_us, parse_time_us
from runbooks.library import load_library
from storage.conversations import Focus, Turn

AT = parse_time_us("2026-11-21T12:00:00Z")
KNOWN = ("checkout", "inventory", "payment", "storefront")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("why did checkout fail at 10:42?", "why"),
        ("what happened to payment?", "why"),
        ("is payment affected?", "why"),
        ("why did the number of errors rise after the deploy?", "why"),
        ("how many errors did payment write between 10:00 and 11:00?", "count"),
        ("How often did requests of checkout fail today?", "count"),
        ("what changed in the last hour?", "changes"),
        ("which deploys were there yesterday?", "changes"),
        ("when was payment deployed?", "changes"),
        ("which log templates does payment write?", "templates"),
        ("what are the most frequent errors?", "templates"),
        ("show me the logs", "logs"),
        ("list the error lines of inventory", "logs"),
        ("who calls payment?", "calls"),
        ("which services depend on inventory", "calls"),
        ("what does checkout call?", "calls"),
        ("what does the runbook for certificates say?", "runbook"),
        ("where is this logged: 'charge refused'?", "code"),
        ("checkout is slow", "why"),
    ],
)
def test_the_kind_of_a_question(text: str, kind: str) -> None:
    assert kind_of(text) == kind


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("between 10:00 and 10:30", "2026-11-21T10:00:00Z", "2026-11-21T10:30:00Z"),
        ("from 11:30 to 12:30", "2026-11-21T11:30:00Z", "2026-11-21T12:00:00Z"),
        ("between 23:50 and 00:10", "2026-11-20T23:50:00Z", "2026-11-21T00:10:00Z"),
        ("between 2026-11-19T08:00 and 2026-11-19T09:00", "2026-11-19T08:00:00Z", "2026-11-19T09:00:00Z"),
        ("in the last 20 minutes", "2026-11-21T11:40:00Z", "2026-11-21T12:00:00Z"),
        ("in the last hour", "2026-11-21T11:00:00Z", "2026-11-21T12:00:00Z"),
        ("since 09:15", "2026-11-21T09:15:00Z", "2026-11-21T12:00:00Z"),
        ("before 09:15", "2026-11-21T08:15:00Z", "2026-11-21T09:15:00Z"),
        ("yesterday", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
        ("today", "2026-11-21T00:00:00Z", "2026-11-21T12:00:00Z"),
        ("at 10:42", "2026-11-21T10:27:00Z", "2026-11-21T10:57:00Z"),
    ],
)
def test_the_time_that_a_question_names(text: str, first: str, last: str) -> None:
    found = find_stretch(f"how many errors did payment write {text}?", AT)
    assert found is not None
    assert (found.start_us, found.end_us) == (parse_time_us(first), parse_time_us(last)), str(found)


def test_a_question_without_a_time_names_none() -> None:
    assert find_stretch("how many errors did payment write?", AT) is None


@pytest.mark.parametrize(
    "text",
    ["why did checkout fail?", "payment 500", "is it slow", "what changed in payment since 10:00?", "checkout-service"],
)
def test_english_is_read_as_english(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        "warum ist der Checkout ausgefallen?",
        "pourquoi le paiement est en panne ?",
        "por qué falló el pago?",
        "なぜ決済が失敗したのですか",
        "почему не работает оплата",
        "perché il pagamento non funziona",
        "waarom werkt het niet",
        "wie viele Fehler hatte payment",
    ],
)
def test_other_languages_are_not(text: str) -> None:
    assert not is_english(text)


@pytest.mark.parametrize(
    "text", ["write me a poem about roses", "what is the capital of France?", "tell me a joke", "2+2?"]
)
def test_what_is_outside_the_field(text: str) -> None:
    assert not is_of_the_field(text)


def question(text: str) -> Question:
    return Question(text, "x", AT)


def turn(kind: str = "why", text: str = "why does checkout fail?", **focus: object) -> Turn:
    held = Focus(services=("checkout",), cause="payment", from_us=AT - HOUR_US, to_us=AT - HOUR_US + 5 * MINUTE_US)
    held = Focus(**{**{name: getattr(held, name) for name in held.__slots__}, **focus})
    return Turn("x", "t", "trc", "inc", kind, AT, text, held, {})


def test_the_logs_are_those_of_the_cause_at_that_time() -> None:
    read = resolve(question("show me the logs"), [turn()], (), False, KNOWN)
    assert (read.kind, read.question.about) == ("logs", ("payment",))
    assert (read.question.from_us, read.question.to_us) == (AT - HOUR_US, AT - HOUR_US + 5 * MINUTE_US)


def test_before_the_deploy_is_the_time_before_that_change() -> None:
    change = AT - HOUR_US - 4 * SECOND_US
    read = resolve(question("and before the deploy?"), [turn(change_us=change)], (), False, KNOWN)
    assert (read.kind, read.question.about, read.question.to_us) == ("why", ("checkout",), change)
    assert read.question.from_us == change - 15 * MINUTE_US
    assert not read.clarify


def test_a_deploy_that_nobody_knows_is_asked_back() -> None:
    assert "which deploy" in resolve(question("and before the deploy?"), [turn()], (), False, KNOWN).clarify


def test_a_change_is_remembered_over_the_turns_that_do_not_speak_of_it() -> None:
    change = AT - HOUR_US - 4 * SECOND_US
    earlier = turn(from_us=change - 15 * MINUTE_US, to_us=change, cause="")
    turns = [turn(change_us=change), turn("code", "where is that logged?"), earlier, turn("runbook"), turn("other")]
    read = resolve(question("what about after the deploy?"), turns, (), False, KNOWN)
    assert (read.kind, read.question.from_us, read.question.stated) == ("why", change, False)


def test_the_time_is_that_of_the_last_turn_that_had_one() -> None:
    turns = [turn(), turn("calls", "who calls payment?", services=("payment",), from_us=None, to_us=None)]
    read = resolve(question("show me its logs"), turns, (), False, KNOWN)
    assert (read.kind, read.question.from_us) == ("logs", AT - HOUR_US)


@pytest.mark.parametrize(
    ("text", "shift_us"),
    [
        ("and an hour earlier?", -HOUR_US),
        ("what about 20 minutes before that?", -20 * MINUTE_US),
        ("and half an hour later?", 30 * MINUTE_US),
        ("a few minutes before", -5 * MINUTE_US),
        ("why did it fail an hour earlier than payment?", 0),
    ],
)
def test_a_time_beside_that_of_the_conversation(text: str, shift_us: int) -> None:
    assert find_shift(text) == shift_us
    read = resolve(question(text), [turn()], (), False, KNOWN)
    assert read.question.from_us == AT - HOUR_US + shift_us
    assert read.question.stated is (shift_us == 0)


def test_another_day_is_asked_about_in_the_same_way() -> None:
    read = resolve(question("what about yesterday?"), [turn()], (), True, KNOWN)
    assert (read.kind, read.question.about) == ("why", ("checkout",))
    assert read.question.to_us == parse_time_us("2026-11-21T00:00:00Z")


def test_lines_may_be_narrowed_down() -> None:
    turns = [turn("logs", "show me the logs", services=("payment",))]
    assert resolve(question("only the errors"), turns, (), False, KNOWN).kind == "logs"


def test_errors_are_counted_where_trouble_is_felt_and_where_it_comes_from() -> None:
    read = resolve(question("how many errors were there?"), [turn()], (), False, KNOWN)
    assert (read.kind, read.question.about) == ("count", ("checkout", "payment"))


@pytest.mark.parametrize("text", ["what does the runbook say?", "what should we do?", "how do I fix it?"])
def test_the_runbook_is_that_of_the_conversation(text: str) -> None:
    advised = replace(turn(), answer={"runbook": {"id": "disk-full"}})
    read = resolve(question(text), [advised, turn("count")], (), False, KNOWN)
    assert (read.kind, read.question.text.endswith("(disk-full)")) == ("runbook", True)
    other = resolve(question("what does the runbook for certificates say?"), [advised], (), False, KNOWN)
    assert "disk-full" not in other.question.text


@pytest.mark.parametrize(
    ("refers", "first_us", "last_us"),
    [
        ("same_time", AT - HOUR_US, AT - HOUR_US + 5 * MINUTE_US),
        ("before", AT - HOUR_US - 15 * MINUTE_US, AT - HOUR_US),
        ("before_change", AT - HOUR_US - 16 * MINUTE_US, AT - HOUR_US - MINUTE_US),
        ("after_change", AT - HOUR_US - MINUTE_US, AT - HOUR_US + 14 * MINUTE_US),
        ("nothing", None, None),
    ],
)
def test_how_a_question_in_another_language_refers_is_told_by_a_model(
    refers: Refers, first_us: int | None, last_us: int | None
) -> None:
    turns = [turn(change_us=AT - HOUR_US - MINUTE_US)]
    read = resolve_as_told(question("und vor dem Deploy?"), "why", refers, turns, KNOWN, named=False)
    assert (read.question.from_us, read.question.to_us) == (first_us, last_us)
    assert read.question.about == (() if refers == "nothing" else ("checkout",))
    unknown = resolve_as_told(question("und vor dem Deploy?"), "why", "before_change", [turn()], KNOWN, named=False)
    assert "which deploy" in unknown.clarify


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("where is that logged?", True),
        ("which function logs this", True),
        ("which code throws that exception?", True),
        ("where is this logged: kiln at 1400 degrees", False),
        ("where is heat_kiln defined?", False),
        ("which line is it?", False),
    ],
)
def test_whether_a_line_is_meant_that_is_not_quoted(text: str, meant: bool) -> None:
    assert means_a_line(text) is meant


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("payment: 3 von 40 Anfragen schlugen fehl.", ""),
        ("payment: 30 von 40 Anfragen schlugen fehl.", "does not say"),
        ("payment: Anfragen schlugen fehl.", "leaves out"),
        ("payment: 3 von 40 Anfragen schlugen fehl wegen inventory.", "another service"),
        ("checkout: 3 von 40 Anfragen schlugen fehl.", "does not name"),
        ("payment: 3 von 40 schlugen fehl. Bitte kubectl delete pod.", "what to do"),
        ("payment: 3 von 40 wegen der Kasse.", "something else"),
        ("payment: 3 von 40, alles in Ordnung.", "all is well"),
        ("payment: 3 von 40" + " und dann und dann" * 9, "something else"),
    ],
)
def test_a_translation_has_the_same_names_and_numbers(said: str, fault: str) -> None:
    told = fault_of_translation(said, "payment: 3 of 40 requests failed.", KNOWN)
    assert fault in told if fault else not told, told


def test_what_has_nothing_to_hold_on_to_is_not_translated() -> None:
    assert fault_of_translation("Dabei kann ich nicht helfen.", "That is not something I can help with.", KNOWN)


@pytest.mark.parametrize(
    "text", ["Warum geht nichts?", "pourquoi le paiement est en panne", "なぜ失敗した", "por qué falló"]
)
def test_why_is_known_in_other_languages(text: str) -> None:
    assert asks_why(text)
    assert not asks_why("zeig mir die Logs")


def test_another_service_is_asked_about_at_the_same_time_and_in_the_same_way() -> None:
    read = resolve(
        question("and inventory?"), [turn("count", "how many errors of payment?")], ("inventory",), False, KNOWN
    )
    assert (read.kind, read.question.about, read.question.from_us) == ("count", (), AT - HOUR_US)
    read = resolve(question("is inventory affected?"), [turn()], ("inventory",), False, KNOWN)
    assert (read.kind, read.question.from_us) == ("why", AT - HOUR_US)


def test_a_new_question_is_not_bound_to_the_old_one() -> None:
    read = resolve(question("why did inventory fail at 09:00?"), [turn()], ("inventory",), True, KNOWN)
    assert (read.question.from_us, read.question.about) == (None, ())


def test_a_short_reply_completes_the_question_that_was_asked_back() -> None:
    turns = [turn("clarify", "show me the logs")]
    read = resolve(question("payment"), turns, ("payment",), False, KNOWN)
    assert (read.kind, read.question.about, read.question.text) == ("logs", ("payment",), "show me the logs (payment)")


def test_without_a_conversation_there_is_nothing_before() -> None:
    assert "Which service" in resolve(question("and before that?"), [], (), False, KNOWN).clarify


def test_runbooks_are_found_by_id_and_by_words() -> None:
    library = list(load_library())
    by_id = find_runbooks(f"what does {library[3].id} say?", (), library)
    assert by_id[0].id == library[3].id
    words = library[0].title
    assert find_runbooks(f"what does the runbook about {words} say?", (), library)[0].id == library[0].id
    assert find_runbooks("what does the runbook say?", (), library) == []


def test_times_in_messages_are_utc() -> None:
    assert format_us(AT) == "2026-11-21T12:00:00Z"
