"""Log templates before and after: new, bursting, vanished, and who is named."""

from __future__ import annotations

from diagnosis.logs import compare_templates, log_signals
from diagnosis.signals import Signal
from domain.observed import TemplateCount
from domain.telemetry import Level
from domain.times import Window

WINDOW = Window(60_000_000, 120_000_000)
TEXTS = {
    1: "order <*> accepted",
    2: "payment refused: KeyError: 'currency'",
    3: "cache miss for <*>",
    4: "call to bank at <*> failed: Connection refused",
    5: "shop.orders.Service#17 route A <*>",
    6: "shop.orders.Service#17 route B <*>",
}


def count(template: int, lines: int, level: Level = Level.INFO, service: str = "payment") -> TemplateCount:
    return TemplateCount(service, template, level, lines, 61_000_000, 119_000_000)


def signals(
    before: list[TemplateCount], after: list[TemplateCount], scale: float = 1.0, known: tuple[int, ...] = ()
) -> list[Signal]:
    shifts = compare_templates(before, after, {"": scale}, TEXTS, known, WINDOW.start_us)
    return log_signals(shifts, WINDOW, ["bank", "payment"])


def test_a_new_error_is_named_with_its_kind() -> None:
    (found,) = signals([], [count(2, 10, Level.ERROR)])
    assert (found.name, found.fault_class) == ("new_error_log", "code")
    assert found.onset_us == 61_000_000


def test_an_error_seen_at_any_time_before_is_not_new() -> None:
    assert signals([], [count(2, 2, Level.ERROR)], known=(2,)) == []


def test_an_error_that_stopped_is_no_trouble_but_a_steady_line_is() -> None:
    assert signals([count(2, 50, Level.ERROR)], []) == []
    (found,) = signals([count(1, 50)], [])
    assert found.name == "vanished_log"


def test_less_work_explains_fewer_lines() -> None:
    assert signals([count(1, 50)], [count(1, 5)], scale=0.1) == []


def test_templates_of_one_statement_count_as_one() -> None:
    assert signals([count(5, 40)], [count(6, 40)]) == []


def test_who_is_named_in_a_new_error_gets_a_hint() -> None:
    found = signals([], [count(4, 10, Level.ERROR)])
    assert {(s.service, s.name) for s in found} == {("payment", "new_error_log"), ("bank", "named_by_others")}


def test_a_burst_of_known_warnings_is_weaker_than_anything_new() -> None:
    (burst,) = signals([count(3, 5, Level.WARN)], [count(3, 200, Level.WARN)])
    (new,) = signals([], [count(2, 10, Level.ERROR)])
    assert burst.name == "error_burst"
    assert burst.strength < new.strength
