"""Walks down request traces: from a bad request to the span that no call of its own explains.

A failed or slow span is explained by a call that it made, if that call failed too or took the extra time. Following
the explanation to its end gives the place where the request went wrong and the path on which the trouble came up. At
a call without an answer the end is the link itself: who is called is then told by where that address led before.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from diagnosis.symptom import SLOW_EXTRA_US, SLOW_FACTOR
from diagnosis.wording import says_refused, says_waiting
from domain.observed import SpanRow
from domain.telemetry import SpanKind

type EndKind = Literal["failing_here", "slow_here", "unreachable", "slow_link"]

# A call explains its caller's slowness when it accounts for this share of the extra time.
_EXPLAINS = 0.5
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Usual:
    """How operations normally behave, learned from good traces.

    `slow_us`: duration above which a span of (service, name, kind) is slow; `spent_us`: time that one span of a
    parent operation usually spends in calls of a child operation; `peers`: which service answered at an address;
    `consumed`: share of a producer operation's messages that were consumed, and by whom.
    """

    duration_us: Mapping[tuple[str, str, int], float]
    spent_us: Mapping[tuple[str, str, str, str], float]
    peers: Mapping[str, str]
    called_at: Mapping[tuple[str, str], frozenset[str]]
    consumed: Mapping[tuple[str, str], tuple[float, str]]

    def slow_us(self, span: SpanRow) -> float:
        usual = self.duration_us.get((span.service, span.name, span.kind))
        return math.inf if usual is None else max(SLOW_FACTOR * usual, usual + SLOW_EXTRA_US)

    def is_bad(self, span: SpanRow) -> bool:
        return span.error or span.duration_us > self.slow_us(span)

    def extra_us(self, span: SpanRow) -> float:
        return span.duration_us - self.duration_us.get((span.service, span.name, span.kind), 0.0)


@dataclass(frozen=True, slots=True)
class Walk:
    """One bad request explained: the spans from the entry down to the end, and what kind of end it is.

    `service` is to blame; for a link end that is the callee, and `caller` made the call.
    """

    spans: tuple[SpanRow, ...]
    kind: EndKind
    service: str
    caller: str
    component: str
    text: str

    @property
    def end(self) -> SpanRow:
        return self.spans[-1]

    @property
    def services(self) -> tuple[str, ...]:
        """The path of services, cause first, symptom last."""
        names = [span.service for span in self.spans]
        if self.service != names[-1]:
            names.append(self.service)
        return tuple(dict.fromkeys(reversed(names)))

    @property
    def onset_us(self) -> int:
        """When the end went wrong: an error shows when the span ends, slowness from its start."""
        return self.end.end_us if self.end.error else self.end.start_us


@dataclass(slots=True)
class Blame:
    """All walks that end in one service in one way."""

    service: str
    kind: EndKind
    walks: list[Walk] = field(default_factory=list)

    @property
    def onset_us(self) -> int:
        return min(walk.onset_us for walk in self.walks)

    @property
    def texts(self) -> Counter[str]:
        return Counter(walk.text for walk in self.walks if walk.text)

    @property
    def path(self) -> tuple[str, ...]:
        return Counter(walk.services for walk in self.walks).most_common(1)[0][0]

    @property
    def examples(self) -> list[Walk]:
        """The first walk along the most common path, then the first of each other text."""
        path = self.path
        chosen: dict[str, Walk] = {}
        for walk in sorted(self.walks, key=lambda w: (w.services != path, w.onset_us, w.end.span_id)):
            chosen.setdefault(walk.text, walk)
        return list(chosen.values())[:3]


class TraceForest:
    """The spans of some traces, each with its children."""

    def __init__(self, spans: Iterable[SpanRow]) -> None:
        self.spans: dict[tuple[str, str], SpanRow] = {}
        for span in spans:
            self.spans[span.trace_id, span.span_id] = span
        self._children: dict[tuple[str, str], list[SpanRow]] = defaultdict(list)
        for span in self.spans.values():
            if span.parent_id:
                self._children[span.trace_id, span.parent_id].append(span)
        for children in self._children.values():
            children.sort(key=lambda s: (s.start_us, s.span_id))

    def children(self, span: SpanRow) -> Sequence[SpanRow]:
        return self._children.get((span.trace_id, span.span_id), ())

    def parent(self, span: SpanRow) -> SpanRow | None:
        return self.spans.get((span.trace_id, span.parent_id)) if span.parent_id else None

    def called_service(self, span: SpanRow) -> str:
        """Return the service that answered a call, or "" where no span of another service shows it."""
        for child in self.children(span):
            if child.service != span.service:
                return child.service
        return ""

    def shape(self, span: SpanRow) -> frozenset[tuple[str, str]]:
        """Return which operations were entered below a span: one entry of a gateway serves requests of many kinds."""
        found: set[tuple[str, str]] = set()
        stack, seen = [span], {span.span_id}
        while stack:
            for child in self.children(stack.pop()):
                if child.span_id not in seen:
                    seen.add(child.span_id)
                    stack.append(child)
                    if child.is_entry:
                        found.add((child.service, child.name))
        return frozenset(found)

    def consumer(self, span: SpanRow) -> str:
        """Return the service that consumed the message of a producer span, or ""."""
        return next((c.service for c in self.children(span) if c.kind == SpanKind.CONSUMER), "")


def learn_usual(good: TraceForest, everything: TraceForest) -> Usual:
    """Learn how operations behave from good traces; addresses are learned from all traces, which name who answered."""
    durations: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    spent: dict[tuple[str, str, str, str], int] = defaultdict(int)
    parents: Counter[tuple[str, str]] = Counter()
    produced: Counter[tuple[str, str]] = Counter()
    consumed: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    called_at: dict[tuple[str, str], set[str]] = defaultdict(set)
    for span in good.spans.values():
        if not span.error:
            durations[span.service, span.name, span.kind].append(span.duration_us)
        parents[span.service, span.name] += 1
        for child in good.children(span):
            spent[span.service, span.name, child.service, child.name] += child.duration_us
        callee = good.called_service(span)
        if span.kind == SpanKind.PRODUCER:
            produced[span.service, span.name] += 1
            if consumer := good.consumer(span):
                consumed[span.service, span.name][consumer] += 1
        if span.is_call and span.peer and callee:
            called_at[span.service, callee].add(span.peer)
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for span in everything.spans.values():
        if span.is_call and span.peer and (callee := everything.called_service(span)):
            answers[span.peer][callee] += 1
    return Usual(
        duration_us={key: median(values) for key, values in durations.items()},
        spent_us={key: total / parents[key[0], key[1]] for key, total in spent.items()},
        peers={peer: min(names, key=lambda n: (-names[n], n)) for peer, names in answers.items()},
        called_at={pair: frozenset(peers) for pair, peers in called_at.items()},
        consumed={
            key: (sum(names.values()) / produced[key], min(names, key=lambda n: (-names[n], n)))
            for key, names in consumed.items()
        },
    )


def slow_by_shape(good: TraceForest, service: str, operation: str) -> dict[frozenset[tuple[str, str]], float]:
    """Return, per kind of request of an operation, the duration (us) above which such a request is slow."""
    durations: dict[frozenset[tuple[str, str]], list[int]] = defaultdict(list)
    for span in good.spans.values():
        if span.service == service and span.name == operation and span.is_entry:
            durations[good.shape(span)].append(span.duration_us)
    return {
        shape: max(SLOW_FACTOR * median(values), median(values) + SLOW_EXTRA_US) for shape, values in durations.items()
    }


def walk_down(entry: SpanRow, forest: TraceForest, usual: Usual, services: Sequence[str]) -> Walk:
    """Follow the explanation of a bad span to its end."""
    path = [entry]
    seen = {entry.span_id}
    while len(path) < _MAX_DEPTH:
        nxt = _explaining_child(path[-1], forest, usual)
        if nxt is None or nxt.span_id in seen:
            break
        seen.add(nxt.span_id)
        path.append(nxt)
    return _close(path, forest, usual, services)


def _explaining_child(span: SpanRow, forest: TraceForest, usual: Usual) -> SpanRow | None:
    children = [c for c in forest.children(span) if c.kind != SpanKind.CONSUMER]
    if span.error:
        failed = [child for child in children if child.error]
        if failed:
            return max(failed, key=lambda child: (child.end_us, child.span_id))
    # A failure that took as long as ever, or nobody knows how long it usually takes, is not the fault of a slow call.
    extra = usual.extra_us(span)
    known = (span.service, span.name, span.kind) in usual.duration_us
    if extra <= 0 or not known or not (span.error or span.duration_us > usual.slow_us(span)):
        return None
    groups: dict[tuple[str, str], list[SpanRow]] = defaultdict(list)
    for child in children:
        groups[child.service, child.name].append(child)
    slow: list[tuple[float, SpanRow]] = []
    for (service, name), calls in sorted(groups.items()):
        took = sum(call.duration_us for call in calls) - usual.spent_us.get((span.service, span.name, service, name), 0)
        longest = max(calls, key=lambda call: (call.duration_us, call.span_id))
        if took > 0 and (usual.is_bad(longest) or math.isinf(usual.slow_us(longest))):
            slow.append((took, longest))
    return _greatest(slow, extra)


def _greatest(slow: Sequence[tuple[float, SpanRow]], extra: float) -> SpanRow | None:
    """Return the call that took most of the extra time, where calls took most of it and it took more than is left.

    Several calls may be slow for one reason, each for its part: a store that all of them use.
    """
    total = sum(took for took, _ in slow)
    took, call = max(slow, key=lambda pair: (pair[0], pair[1].span_id), default=(0.0, None))
    return call if total >= _EXPLAINS * extra and took >= extra - total else None


def _close(path: Sequence[SpanRow], forest: TraceForest, usual: Usual, services: Sequence[str]) -> Walk:
    end = path[-1]
    text = next((span.status_message for span in reversed(path) if span.status_message), "")
    kind: EndKind = "failing_here" if end.error else "slow_here"
    service, caller, component = end.service, "", ""
    if end.is_call:
        answered = forest.called_service(end)
        callee = answered or usual.peers.get(end.peer, "") or _usual_callee(end, usual, services)
        if callee and callee != end.service:
            if not answered:
                service, caller, kind = callee, end.service, "unreachable" if end.error else "slow_link"
            elif not end.error:
                service, caller, kind = callee, end.service, "slow_link"
            elif says_waiting(text) or says_refused(text):
                service, caller, kind = callee, end.service, "unreachable"
        else:
            component = end.peer or end.name
    return Walk(tuple(path), kind, service, caller, component, text)


def _usual_callee(span: SpanRow, usual: Usual, services: Sequence[str]) -> str:
    """Whom a call with an unknown address was meant for: the one that answered this operation before, or is named."""
    candidates = {
        child
        for (parent_service, parent_name, child, _), _spent in usual.spent_us.items()
        if parent_service == span.service and parent_name == span.name and child != span.service
    }
    if len(candidates) == 1:
        return candidates.pop()
    host = span.peer.rsplit(":", 1)[0].split(".")[0].lower()
    return next((name for name in services if name.lower() in (host, span.peer.lower())), "")


def collect_blames(walks: Iterable[Walk]) -> list[Blame]:
    """Group walks by where and how they end, most walks first."""
    blames: dict[tuple[str, EndKind], Blame] = {}
    for walk in walks:
        key = (walk.service, walk.kind)
        blames.setdefault(key, Blame(*key)).walks.append(walk)
    return sorted(blames.values(), key=lambda b: (-len(b.walks), b.service, b.kind))


def top_bad_spans(forest: TraceForest, usual: Usual, start_us: int) -> list[SpanRow]:
    """Return the bad entry spans that no bad caller waits for, of traces that go wrong after a moment."""
    found = []
    for span in forest.spans.values():
        if not span.is_entry or span.end_us < start_us or not usual.is_bad(span):
            continue
        parent = forest.parent(span)
        if parent is None or parent.kind == SpanKind.PRODUCER or not usual.is_bad(parent):
            found.append(span)
    return sorted(found, key=lambda s: (s.start_us, s.trace_id, s.span_id))


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Messages of a producer that nobody consumed, though before somebody nearly always did."""

    producer: str
    consumer: str
    usual_share: float
    share: float
    spans: tuple[SpanRow, ...]


def find_undelivered(forest: TraceForest, usual: Usual, start_us: int, minimum: int = 3) -> list[Undelivered]:
    """Return the producer operations whose messages stopped being consumed after a moment."""
    sent: dict[tuple[str, str], list[SpanRow]] = defaultdict(list)
    for span in forest.spans.values():
        if span.kind == SpanKind.PRODUCER and span.start_us >= start_us:
            sent[span.service, span.name].append(span)
    found = []
    for key, spans in sorted(sent.items()):
        usual_share, consumer = usual.consumed.get(key, (0.0, ""))
        lost = sorted((s for s in spans if not forest.consumer(s)), key=lambda s: (s.start_us, s.span_id))
        share = 1 - len(lost) / len(spans)
        if usual_share >= 0.5 and len(lost) >= minimum and share < 0.5 * usual_share:
            found.append(Undelivered(key[0], consumer, usual_share, share, tuple(lost[:5])))
    return found
