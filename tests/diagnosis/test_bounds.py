"""A question that says when trouble began is not answered with what had gone on before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diagnosis.bounds import hold_to, prefer_begun
from diagnosis.symptom import Symptom
from domain.observed import EntryBucket


def buckets(errors: Sequence[int]) -> list[EntryBucket]:
    return [EntryBucket("shop", "GET /", at, 10, bad, 8.0, 0, 10) for at, bad in enumerate(errors)]


def symptom(start: int, end: int) -> Symptom:
    return Symptom("shop", "GET /", "errors", start, end, 20, 40, 0.5, 0.0, 30.0, False, 400_000, 10)


def hold(errors: Sequence[int], start: int, first: int) -> list[Symptom]:
    return hold_to([symptom(start, len(errors))], buckets(errors), 1, first)


def test_a_symptom_within_the_time_is_left_alone() -> None:
    assert hold([0, 0, 5, 5], 2, 2) == [symptom(2, 4)]


def test_what_was_as_bad_before_is_no_answer() -> None:
    assert hold([4, 5, 5, 5], 0, 2) == []


def test_what_grew_much_worse_begins_at_the_time() -> None:
    held = hold([1, 0, 8, 8], 0, 2)[0]
    assert (held.start_us, held.bad, held.requests, held.usual_share) == (2, 16, 20, 0.05)


def test_without_anything_from_before_the_symptom_begins_later() -> None:
    rows = [row for row in buckets([0, 0, 8, 8]) if row.bucket >= 2]
    assert hold_to([symptom(0, 4)], rows, 1, 2)[0].start_us == 2


def test_what_always_failed_gives_way_to_what_began_to_fail() -> None:
    always, begun = replace(symptom(0, 4), service="mailer"), symptom(2, 4)
    rows = [*buckets([0, 0, 8, 8]), *(row._replace(service="mailer") for row in buckets([5, 5, 5, 5]))]
    assert prefer_begun([always, begun], rows, 1) == [begun]
    assert prefer_begun([always], rows, 1) == [always]
    assert prefer_begun([always], rows, 1, asked=False) == []
    assert prefer_begun([always, replace(always, service="poster")], rows, 1, asked=False) != []
