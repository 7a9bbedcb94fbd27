"""Where time went: the self-time of services and the time lost on links, before against after.

The time lost on a link is what the caller's span lasts longer than the callee's span under it (network, queues, time
before the callee takes the work in). Network delay is visible nowhere else: neither in the callee's own spans nor in
anybody's error lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from diagnosis.blames import span_ref
from diagnosis.signals import Signal
from diagnosis.walks import TraceForest
from domain.observed import SpanRow
from domain.telemetry import SpanKind

_MIN_SPANS = 4
# Extra time counts in full from this many microseconds on, and a rise in full from this many times the usual.
_FULL_EXTRA_US = 200_000.0
_HALF_RATIO = 4.0
_MIN_STRENGTH = 0.05
_PER_KIND = 12
# Everything is slow alike: of so many places at least, this share took so many times as long, and so much longer (us).
_ALIKE_SERVICES = 4
_ALIKE_PLACES = 6
_ALIKE_SHARE = 0.75
_ALIKE_TIMES = 2.0
_ALIKE_EXTRA_US = 1_000.0


@dataclass(frozen=True, slots=True)
class Shift:
    """A duration (us) before and after: means, counts, and the worst span since."""

    before_us: float
    after_us: float
    before: int
    after: int
    worst: SpanRow

    @property
    def strength(self) -> float:
        """How much longer it takes, 0 to 1: both the ratio and the extra time must be worth mentioning."""
        extra = self.after_us - self.before_us
        if extra <= 0:
            return 0.0
        ratio = extra / max(self.before_us, 1_000.0)
        return ratio / (ratio + _HALF_RATIO) * min(1.0, extra / _FULL_EXTRA_US)


def shift_signals(good: TraceForest, bad: TraceForest, start_us: int) -> list[Signal]:
    """Compare link times and self-times of two sets of traces; the strongest few of each kind."""
    signals = []
    for (caller, callee), shift in _compare(_links(good), _links(bad)).items():
        signals.append(
            Signal(
                service=callee,
                name="slow_link",
                strength=shift.strength,
                onset_us=max(start_us, shift.worst.start_us),
                text=f"calls of {caller} to {callee} lose {shift.after_us / 1000:.1f} ms on the way, {shift.before_us / 1000:.1f} ms before",
                refs=(span_ref(shift.worst),),
                target=caller,
                fault_class="network",
            )
        )
    for (service, operation), shift in _compare(_selves(good), _selves(bad)).items():
        signals.append(
            Signal(
                service=service,
                name="slow_here",
                strength=0.8 * shift.strength,
                onset_us=max(start_us, shift.worst.start_us),
                text=f"{service} itself takes {shift.after_us / 1000:.1f} ms for {operation}, {shift.before_us / 1000:.1f} ms before",
                refs=(span_ref(shift.worst),),
                fault_class="resource",
            )
        )
    strong = [signal for signal in signals if signal.strength >= _MIN_STRENGTH]
    return sorted(strong, key=lambda s: (-s.strength, s.service, s.name, s.text))[: 2 * _PER_KIND]


def slowed_alike(good: TraceForest, bad: TraceForest) -> str:
    """Say where nearly everything that bad requests pass slowed down alike, "" where it did not.

    That is a machine or a network that is short of something, and no single link or service. Where one service is at an
    end of nearly all that is slow, that one explains it.
    """
    ends: list[tuple[frozenset[str], Shift]] = [
        (frozenset(pair), shift) for pair, shift in _compare(_links(good), _links(bad)).items()
    ]
    ends += [(frozenset((key[0],)), shift) for key, shift in _compare(_selves(good), _selves(bad)).items()]
    slow = [services for services, shift in ends if _is_slower(shift)]
    involved = {service for services, _ in ends for service in services}
    if len(involved) < _ALIKE_SERVICES or len(ends) < _ALIKE_PLACES or len(slow) < _ALIKE_SHARE * len(ends):
        return ""
    most = max(sum(service in services for services in slow) for service in sorted(involved))
    if most >= _ALIKE_SHARE * len(slow):
        return ""
    return f"{len(slow)} of {len(ends)} services and links that the slow requests pass became slow alike"


def _is_slower(shift: Shift) -> bool:
    return shift.after_us >= _ALIKE_TIMES * shift.before_us and shift.after_us - shift.before_us >= _ALIKE_EXTRA_US


def _compare[K](
    before: Mapping[K, Sequence[tuple[float, SpanRow]]], after: Mapping[K, Sequence[tuple[float, SpanRow]]]
) -> dict[K, Shift]:
    shifts = {}
    for key, now in after.items():
        was = before.get(key, ())
        if len(was) < _MIN_SPANS or len(now) < _MIN_SPANS:
            continue
        worst = max(now, key=lambda pair: (pair[0], pair[1].span_id))[1]
        shifts[key] = Shift(fmean(v for v, _ in was), fmean(v for v, _ in now), len(was), len(now), worst)
    return shifts


def _links(forest: TraceForest) -> dict[tuple[str, str], list[tuple[float, SpanRow]]]:
    found: dict[tuple[str, str], list[tuple[float, SpanRow]]] = defaultdict(list)
    for span in forest.spans.values():
        parent = forest.parent(span)
        if parent is None or parent.service == span.service or parent.kind == SpanKind.PRODUCER:
            continue
        found[parent.service, span.service].append((float(max(0, parent.duration_us - span.duration_us)), parent))
    return found


def _selves(forest: TraceForest) -> dict[tuple[str, str], list[tuple[float, SpanRow]]]:
    """Self-time per operation: what an entry span lasts less the calls to other services made under it."""
    found: dict[tuple[str, str], list[tuple[float, SpanRow]]] = defaultdict(list)
    for span in forest.spans.values():
        if span.is_entry:
            found[span.service, span.name].append((float(_self_time(span, forest)), span))
    return found


def _self_time(entry: SpanRow, forest: TraceForest) -> int:
    """An entry span's duration less the union of the spans below it that wait for other services."""
    waits = sorted((s.start_us, min(s.end_us, entry.end_us)) for s in _waits(entry, forest))
    waited, reached = 0, entry.start_us
    for start, end in waits:
        start = max(start, reached)
        if end > start:
            waited += end - start
            reached = end
    return max(0, entry.duration_us - waited)


def _waits(entry: SpanRow, forest: TraceForest) -> Iterable[SpanRow]:
    stack, seen = [entry], {entry.span_id}
    while stack:
        for child in forest.children(stack.pop()):
            if child.span_id in seen:
                continue
            seen.add(child.span_id)
            if child.is_call or child.service != entry.service:
                yield child
            else:
                stack.append(child)
