"""Questions about code are told from questions about incidents."""

from __future__ import annotations

import pytest

from agents.code_intents import read_code_intent
from agents.question import Question
from domain.times import parse_time_us

NOW_US = parse_time_us("2026-11-20T15:00:00Z")


def _read(text: str) -> tuple[str, str, bool] | None:
    intent = read_code_intent(Question(text, "default", NOW_US))
    return (intent.kind, intent.what, intent.plain) if intent else None


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("where is this logged: card 7 was declined", "logged", "card 7 was declined"),
        ('Where is "card 7 was declined" logged?', "logged", "card 7 was declined"),
        ("Which line logs 'card 7 was declined'?", "logged", "card 7 was declined"),
        ("where do we log that: queue is full", "logged", "queue is full"),
        ("which code writes this error in payment: no route to bank", "logged", "no route to bank"),
        ("who calls amount_due", "callers", "amount_due"),
        ("what calls `Payment.charge()`?", "callers", "Payment.charge"),
        ("callers of convert", "callers", "convert"),
        ("where is amount_due called from?", "callers", "amount_due"),
        ("where is the function convert defined?", "defined", "convert"),
        ("what changed in payment since yesterday", "changed", "payment"),
        ("what has changed in the code of payment?", "changed", "payment"),
        ("which commits were merged to payment today", "changed", "payment"),
        ("where is this stack trace from?\n  File 'a.py', line 3, in f", "trace", None),
    ],
)
def test_what_is_asked_about_code(text: str, kind: str, what: str | None) -> None:
    found = _read(text)
    assert found is not None and found[0] == kind
    assert what is None or found[1] == what


@pytest.mark.parametrize(
    "text",
    [
        "why did checkout fail at 10:42?",
        "why is payment slow",
        "what changed before checkout failed?",
        "what changed in payment that broke checkout?",
        "what changed?",
        "where is the problem",
        "where is payment slow?",
        "is checkout healthy?",
        "who calls and complains about checkout being down?",
        "which service logs the most errors?",
        "what errors were logged in payment?",
        "how many errors were logged: all of them",
        "",
    ],
)
def test_what_is_not(text: str) -> None:
    assert _read(text) is None


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("who calls payment", False),
        ("who calls payment()", True),
        ("who calls the function pay", True),
        ("who calls a_b", True),
    ],
)
def test_a_bare_name_may_be_that_of_a_service(text: str, plain: bool) -> None:
    found = _read(text)
    assert found is not None and found[2] is plain


@pytest.mark.parametrize(
    ("words", "since"),
    [
        ("since yesterday", "2026-11-19T00:00:00Z"),
        ("today", "2026-11-20T00:00:00Z"),
        ("in the last 3 days", "2026-11-17T15:00:00Z"),
        ("in the last hour", "2026-11-20T14:00:00Z"),
        ("since 2026-11-01", "2026-11-01T00:00:00Z"),
        ("since 2026-11-20T10:30:00Z", "2026-11-20T10:30:00Z"),
        ("since 10:30", "2026-11-20T10:30:00Z"),
    ],
)
def test_since_when(words: str, since: str) -> None:
    intent = read_code_intent(Question(f"what changed in payment {words}", "default", NOW_US))
    assert intent is not None and intent.since_us == parse_time_us(since)


def test_without_a_time_none_is_made_up() -> None:
    intent = read_code_intent(Question("what changed in payment?", "default", NOW_US))
    assert intent is not None and intent.since_us is None
