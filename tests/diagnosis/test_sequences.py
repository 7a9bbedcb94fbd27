"""Steps that no longer follow one another, and what is no such thing."""

from __future__ import annotations

from collections.abc import Sequence

from diagnosis.sequences import Broken, find_broken, sequence_signals
from domain.observed import TracedLine
from domain.times import Window

TEXTS = {1: "order <*> received", 2: "stock <*> reserved", 3: "order <*> confirmed"}


def requests(kinds: Sequence[Sequence[int]], service: str = "orders", operation: str = "place") -> list[TracedLine]:
    return [
        TracedLine(service, f"{number:032x}", f"{number:016x}", template, 1000 * number + at, operation)
        for number, templates in enumerate(kinds)
        for at, template in enumerate(templates)
    ]


def find(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> list[Broken]:
    counts = {("orders", "place"): len(before)}, {("orders", "place"): len(after)}
    return find_broken(requests(before), requests(after), TEXTS, counts)


def test_a_step_that_is_left_out_is_found_while_the_others_go_on() -> None:
    broken = find([[1, 2, 3]] * 20, [[1, 2]] * 30)
    assert {found.step.then for found in broken} == {"3"}
    signal = sequence_signals(broken, TEXTS, Window(5, 10))[0]
    assert (signal.service, signal.name, signal.onset_us) == ("orders", "broken_sequence", 5)
    assert "order <*> confirmed" in signal.text
    assert signal.refs


def test_an_operation_that_writes_nothing_any_more_is_found() -> None:
    assert [found.step.first for found in find([[1]] * 20, [[]] * 20)] == ["place"]


def test_less_traffic_breaks_nothing() -> None:
    assert find([[1, 2, 3]] * 50, [[1, 2, 3]] * 5) == []
    assert find([[1, 2, 3]] * 50, []) == []


def test_a_step_that_was_often_left_out_before_breaks_nothing() -> None:
    assert find([[1, 2, 3], [1, 2]] * 20, [[1, 2]] * 20) == []


def test_a_few_requests_of_another_kind_break_nothing() -> None:
    assert find([[1, 2, 3]] * 20, [[1, 2, 3]] * 15 + [[1, 2]] * 4) == []


def test_too_few_from_before_say_nothing() -> None:
    assert find([[1, 2, 3]] * 4, [[1, 2]] * 30) == []
