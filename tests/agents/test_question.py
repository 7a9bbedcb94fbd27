"""Reading questions: subjects, moments, bounds."""

from __future__ import annotations

import pytest

from agents.planner import choose_symptom
from agents.question import Question, Subject, bounds_of, find_moment, find_subject
from diagnosis.symptom import Symptom
from domain.errors import QuestionError
from domain.times import HOUR_US, MINUTE_US, parse_time_us

AT = parse_time_us("2026-03-04T12:00:00Z")
SERVICES = ["checkout", "payment", "storefront"]
OPERATIONS = [("storefront", "POST /checkout"), ("storefront", "GET /products"), ("checkout", "POST /checkouts")]


def test_a_name_means_the_service_and_every_operation_that_carries_it() -> None:
    subject = find_subject("why did checkout fail?", SERVICES, OPERATIONS)
    assert subject.services == ("checkout",)
    assert ("storefront", "POST /checkout") in subject.operations
    assert ("storefront", "GET /products") not in subject.operations


@pytest.mark.parametrize("text", ["why did warehouse fail?", "Why is the warehouse service down?"])
def test_an_unknown_name_is_noticed(text: str) -> None:
    assert find_subject(text, SERVICES, OPERATIONS).unknown == "warehouse"


@pytest.mark.parametrize(
    "text", ["Users report slow or failing requests. Why?", "why is everything down?", "what is wrong?"]
)
def test_general_questions_name_nobody(text: str) -> None:
    assert find_subject(text, SERVICES, OPERATIONS) == Subject()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("why did checkout fail at 10:42?", "2026-03-04T10:42:00Z"),
        ("why did checkout fail at 23:10?", "2026-03-03T23:10:00Z"),
        ("what happened 20 minutes ago", "2026-03-04T11:40:00Z"),
        ("why was it slow at 2026-03-01 08:15", "2026-03-01T08:15:00Z"),
        ("why did checkout fail at 10:42 pm?", "2026-03-03T22:42:00Z"),
        ("why did checkout fail at 12:05am?", "2026-03-04T00:05:00Z"),
        ("why did checkout fail at 10:42 a.m.?", "2026-03-04T10:42:00Z"),
    ],
)
def test_moments_in_the_text(text: str, moment: str) -> None:
    assert find_moment(text, AT) == parse_time_us(moment)


def test_nothing_later_than_the_moment_of_asking_is_read() -> None:
    asked = Question("why at 11:59?", "default", AT)
    start, end = bounds_of(asked)
    assert start == AT - 16 * MINUTE_US
    assert end == AT
    assert bounds_of(Question("why?", "default", AT, AT - HOUR_US, AT + HOUR_US)) == (AT - HOUR_US, AT)


@pytest.mark.parametrize(
    "text",
    ["why at 2026-13-45 10:42?", "why at 1950-01-01T00:00?", "why at 2099-01-01T00:00:00Z?", "at 2026-03-05 00:00"],
)
def test_a_time_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(QuestionError, match="question"):
        bounds_of(Question(text, "default", AT))


def symptom(service: str, operation: str, evidence: float, roots: int, start: int = AT - MINUTE_US) -> Symptom:
    return Symptom(service, operation, "errors", start, AT, 9, 10, 0.9, 0.0, evidence, False, 0, roots)


def test_what_users_meet_comes_before_what_is_strongest() -> None:
    found = [symptom("checkout", "POST /checkouts", 300, 0), symptom("storefront", "POST /checkout", 200, 50)]
    subject = find_subject("why did checkout fail?", SERVICES, OPERATIONS)
    chosen, rest = choose_symptom(found, subject, None, AT)
    assert chosen is not None
    assert chosen.service == "storefront"
    assert rest == ()


def test_trouble_elsewhere_is_told_apart_from_what_was_asked() -> None:
    found = [symptom("storefront", "GET /products", 300, 50)]
    chosen, rest = choose_symptom(found, find_subject("why did payment fail?", SERVICES, OPERATIONS), None, AT)
    assert chosen is None
    assert [s.operation for s in rest] == ["GET /products"]


def test_a_symptom_outside_the_stated_window_is_another_story() -> None:
    found = [symptom("storefront", "POST /checkout", 300, 50, AT - MINUTE_US)]
    assert choose_symptom(found, Subject(), AT - 3 * HOUR_US, AT - 2 * HOUR_US)[0] is None
