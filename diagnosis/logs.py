"""What the log templates say: new kinds of errors, bursts, lines that stopped, and who is named in others' errors."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from diagnosis.signals import Ref, Signal
from diagnosis.wording import POINTS_ELSEWHERE, classify, named_services
from domain.observed import TemplateCount
from domain.telemetry import Level
from domain.times import Window

# The place of a log statement (`t.s.TravelServiceImpl#532`, `Foo.java:123`) names it better than its masked text.
_STATEMENT = re.compile(r"(?:[\w$]+\.)+[\w$]+#\d+|[\w$-]+\.(?:java|kt|scala|py|go|js|ts|rb|cs|php|rs|cpp|cc|c):\d+")

_NEW_WEIGHT = {Level.FATAL: 1.0, Level.ERROR: 0.9, Level.WARN: 0.5}
_BURST_FACTOR = 3.0
_BURST_SURPRISE = 12.0
_VANISHED_SURPRISE = 4.0
_PER_SERVICE = 6
# What a new kind of line is still worth that was written as often right before the trouble is said to have begun.
_FORETOLD = 0.3


@dataclass(frozen=True, slots=True)
class TemplateShift:
    """A template of a service before and after the symptom began.

    `before` and `after` count lines, `expected` is what the baseline's rate promises for the window; `known` says
    that it was written in the environment at any time before, also outside the baseline. `foretold` is the share of
    its rate that it had already right before the stated start, between the baseline and the window.
    """

    service: str
    template_id: int
    text: str
    level: int
    before: int
    after: int
    expected: float
    first_us: int
    known: bool
    foretold: float = 0.0


def compare_templates(
    before: Sequence[TemplateCount],
    after: Sequence[TemplateCount],
    scales: Mapping[str, float],
    texts: Mapping[int, str],
    known: Collection[int],
    start_us: int,
    foretold: Mapping[tuple[str, int], float] | None = None,
) -> list[TemplateShift]:
    """Pair the line counts of two windows per service, level and log statement.

    `scales` holds, per service (and "" for the others), by how much the baseline's counts are multiplied to give what
    is to be expected: the ratio of work done, or of time. Templates of one statement (same source line) count as one.
    """
    old, new = _by_statement(before, texts), _by_statement(after, texts)
    shifts = []
    for key in sorted(old.keys() | new.keys()):
        service, level, _ = key
        was, now = old.get(key, []), new.get(key, [])
        lines = sum(count.lines for count in was)
        main = max(now or was, key=lambda count: (count.lines, count.template_id))
        shifts.append(
            TemplateShift(
                service=service,
                template_id=main.template_id,
                text=texts.get(main.template_id, ""),
                level=level,
                before=lines,
                after=sum(count.lines for count in now),
                expected=lines * scales.get(service, scales[""]),
                first_us=min((count.first_us for count in now), default=start_us),
                known=any(count.template_id in known for count in now),
                foretold=max(((foretold or {}).get((service, c.template_id), 0.0) for c in now), default=0.0),
            )
        )
    return shifts


def _by_statement(
    counts: Sequence[TemplateCount], texts: Mapping[int, str]
) -> dict[tuple[str, int, str], list[TemplateCount]]:
    grouped: dict[tuple[str, int, str], list[TemplateCount]] = defaultdict(list)
    for count in counts:
        grouped[count.service, count.level, statement_of(count.template_id, texts)].append(count)
    return grouped


def statement_of(template_id: int, texts: Mapping[int, str]) -> str:
    """Return what names a log statement: its place in the code where the text says one, else the template's id."""
    place = _STATEMENT.search(texts.get(template_id, ""))
    return place.group(0) if place else str(template_id)


def log_signals(shifts: Sequence[TemplateShift], window: Window, services: Sequence[str]) -> list[Signal]:
    """Turn template shifts into signals, the strongest few per service."""
    found: dict[str, list[Signal]] = defaultdict(list)
    for shift in shifts:
        signal = _new(shift, window) or _burst(shift, window) or _vanished(shift, window)
        if signal is not None:
            found[shift.service].append(signal)
        if signal is not None and _accuses(signal):
            for named in _named(shift, services):
                found[named].append(_named_signal(named, shift, signal))
    return [
        signal
        for service in sorted(found)
        for signal in sorted(found[service], key=lambda s: (-s.strength, s.onset_us, s.text))[:_PER_SERVICE]
    ]


def _ref(shift: TemplateShift, window: Window) -> Ref:
    return Ref.to(
        "count",
        template_id=shift.template_id,
        service=shift.service,
        start_us=window.start_us,
        end_us=window.end_us,
    )


def _new(shift: TemplateShift, window: Window) -> Signal | None:
    if shift.level < Level.WARN or shift.before or shift.known or not shift.after:
        return None
    fault_class = classify(shift.text)
    # One line may be chance; from a handful on it is not.
    weight = _NEW_WEIGHT.get(Level(shift.level), 0.9) * (1 - 0.5**shift.after)
    weight *= max(_FORETOLD, 1.0 - shift.foretold)
    if fault_class in POINTS_ELSEWHERE:
        weight *= 0.5
    level = Level(shift.level).name
    return Signal(
        service=shift.service,
        name="new_error_log",
        strength=weight,
        onset_us=shift.first_us,
        text=f"{shift.service} wrote {shift.after} {level} line(s) of a kind not seen before: {shift.text[:200]}",
        refs=(_ref(shift, window),),
        fault_class=fault_class,
    )


def _burst(shift: TemplateShift, window: Window) -> Signal | None:
    if shift.level < Level.WARN or not shift.after or not (shift.before or shift.known):
        return None
    expected = max(shift.expected, 0.5)
    if shift.after < _BURST_FACTOR * expected or poisson_surprise(shift.after, expected) < _BURST_SURPRISE:
        return None
    return Signal(
        service=shift.service,
        name="error_burst",
        strength=min(1.0, 0.3 + 0.1 * math.log(shift.after / expected)),
        onset_us=shift.first_us,
        text=f"{shift.service} wrote {shift.after} lines where {expected:.0f} were usual: {shift.text[:200]}",
        refs=(_ref(shift, window),),
        fault_class=classify(shift.text),
    )


def _vanished(shift: TemplateShift, window: Window) -> Signal | None:
    # An error that no longer occurs is no sign of trouble.
    if shift.level >= Level.WARN or shift.after > 0.4 * shift.expected:
        return None
    surprise = poisson_surprise(shift.after, shift.expected)
    if surprise < _VANISHED_SURPRISE:
        return None
    return Signal(
        service=shift.service,
        name="vanished_log",
        strength=surprise / (surprise + 20),
        onset_us=window.start_us,
        text=f"{shift.service} wrote {shift.after} of a steady line where {shift.expected:.0f} were usual: {shift.text[:200]}",
        refs=(_ref(shift, window),),
    )


def poisson_surprise(count: int, expected: float) -> float:
    """Return the log-likelihood ratio of a count against a Poisson rate: 0 where it is as expected."""
    return (count * math.log(count / max(expected, 1e-9)) if count else 0.0) - (count - expected)


def _named(shift: TemplateShift, services: Sequence[str]) -> list[str]:
    return [name for name in named_services(shift.text, services) if name != shift.service]


def _accuses(signal: Signal) -> bool:
    return signal.name == "new_error_log" or (signal.name == "error_burst" and signal.fault_class in POINTS_ELSEWHERE)


def _named_signal(named: str, shift: TemplateShift, cause: Signal) -> Signal:
    """One who says that another does not answer accuses it; one who merely names it hints at it."""
    accused = cause.fault_class in POINTS_ELSEWHERE
    certain = (1 - 0.5**shift.after) * max(_FORETOLD, 1.0 - shift.foretold)
    return Signal(
        service=named,
        name="named_by_others",
        strength=certain if accused else 0.4 * certain,
        onset_us=shift.first_us,
        text=f"{shift.service} names {named} in {shift.after} error(s): {shift.text[:160]}",
        refs=cause.refs,
        target=shift.service,
        fault_class=cause.fault_class if accused else "unknown",
    )
