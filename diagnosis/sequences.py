"""Which step follows which within a request, before against now: the mark of a fault in code that breaks nothing loudly.

The lines that one service writes for one request form a sequence, opened by the operation that took the request in. A
line that nearly always followed another and now mostly does not, though the other is written as often as ever, says
that the code takes another way between the two. Counting lines alone cannot see that while the traffic varies.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diagnosis.logs import statement_of
from diagnosis.signals import Ref, Signal
from domain.observed import TracedLine
from domain.times import Window

_USUAL = 0.7
_MIN_BEFORE = 6
_MIN_AFTER = 4
_DROPPED = 0.6
_SURPRISE = 6.0
_HALF = 12.0
_PER_SERVICE = 2


@dataclass(frozen=True, slots=True)
class Step:
    """A step and what should come after it: `first` may be an operation (its span), `then` is a log statement."""

    service: str
    first: str
    then: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A step that was followed `was` times of `of_before`, and now `now` of `of_after`."""

    step: Step
    template_id: int
    was: int
    of_before: int
    now: int
    of_after: int

    @property
    def surprise(self) -> float:
        """The log-likelihood ratio of what is seen now against the share of before."""
        usual = (self.was + 0.5) / (self.of_before + 1)
        share = min(max(self.now / self.of_after, 1e-3), 1 - 1e-3)
        missing = self.of_after - self.now
        return self.now * math.log(share / usual) + missing * math.log((1 - share) / (1 - usual))


def find_broken(
    before: Sequence[TracedLine],
    after: Sequence[TracedLine],
    texts: Mapping[int, str],
    entered: tuple[Mapping[tuple[str, str], int], Mapping[tuple[str, str], int]],
) -> list[Broken]:
    """Return the steps that are no longer taken, most surprising first.

    `entered` counts how often each (service, operation) was entered in the two stretches: an operation that writes no
    line at all any more shows nowhere else.
    """
    old, new = _follow(before, texts), _follow(after, texts)
    ids = {(line.service, statement_of(line.template_id, texts)): line.template_id for line in before}
    found = []
    for step, was in old.pairs.items():
        opened = (step.service, step.first)
        total_before = entered[0].get(opened, old.firsts[opened])
        total_after = entered[1].get(opened, new.firsts[opened])
        if was < _MIN_BEFORE or was < _USUAL * total_before or total_after < _MIN_AFTER:
            continue
        now = min(new.pairs[step], total_after)
        broken = Broken(step, ids[step.service, step.then], was, max(was, total_before), now, total_after)
        if now / total_after < _DROPPED * was / broken.of_before and broken.surprise >= _SURPRISE:
            found.append(broken)
    return sorted(found, key=lambda b: (-b.surprise, b.step.service, b.step.then, b.step.first))


@dataclass(slots=True)
class _Followed:
    pairs: Counter[Step]
    firsts: Counter[tuple[str, str]]


def _follow(lines: Iterable[TracedLine], texts: Mapping[int, str]) -> _Followed:
    """Count, per request, which statements came anywhere after which, each pair once."""
    requests: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: line.time_us):
        steps = requests[line.service, line.trace_id, line.span_id]
        if not steps and line.operation:
            steps.append(line.operation)
        steps.append(statement_of(line.template_id, texts))
    followed = _Followed(Counter(), Counter())
    for (service, *_), steps in requests.items():
        once = list(dict.fromkeys(steps))
        followed.firsts.update((service, first) for first in once)
        pairs = dict.fromkeys((first, then) for at, first in enumerate(once) for then in once[at + 1 : at + 6])
        followed.pairs.update(Step(service, first, then) for first, then in pairs)
    return followed


def sequence_signals(broken: Sequence[Broken], texts: Mapping[int, str], window: Window) -> list[Signal]:
    """Turn broken steps into signals, the strongest two statements of each service."""
    chosen: dict[str, dict[str, Broken]] = defaultdict(dict)
    for found in broken:
        known = chosen[found.step.service]
        if len(known) < _PER_SERVICE:
            known.setdefault(found.step.then, found)
    return [
        Signal(
            service=service,
            name="broken_sequence",
            strength=found.surprise / (found.surprise + _HALF),
            onset_us=window.start_us,
            text=(
                f"in {found.now} of {found.of_after} requests of {service} a step is followed by the next, "
                f"{found.was} of {found.of_before} before: {texts.get(found.template_id, '')[:160]}"
            ),
            refs=(
                Ref.to(
                    "count",
                    template_id=found.template_id,
                    service=service,
                    start_us=window.start_us,
                    end_us=window.end_us,
                ),
            ),
            fault_class="code",
        )
        for service, held in sorted(chosen.items())
        for found in held.values()
    ]
