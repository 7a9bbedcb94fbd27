"""Causal ranking: which service is the cause of a symptom, which are its victims, which merely stand by.

For every service three numbers in 0..1 are multiplied, so that a reader can follow each score:

- own: what is wrong with the service itself. Signals are weighed and combined as independent hints (noisy or).
- reach: can trouble there reach the symptom? 1 where request traces were walked from the symptom to it; less where
  only the topology of the time leads there; next to nothing where nothing leads there (a loud bystander).
- unexplained: the part of its trouble that none of its dependencies explains (a victim's is small).

An onset later than the symptom's makes a service an effect, not a cause, whatever it says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import networkx as nx

from diagnosis.signals import Ref, Signal, SignalName, combine
from diagnosis.symptom import Symptom
from diagnosis.walks import Blame, Undelivered, Walk
from diagnosis.wording import POINTS_ELSEWHERE, classify, says_refused, says_waiting
from domain.observed import SpanRow
from domain.times import MINUTE_US, SECOND_US
from domain.verdict import FaultClass

# How much each signal says about its own service, before it is combined with the others.
WEIGHTS: Mapping[SignalName, float] = {
    "failing_here": 0.85,
    "slow_here": 0.8,
    "unreachable": 0.75,
    "slow_link": 0.7,
    "address_changed": 0.9,
    "waiting": 0.35,
    "new_error_log": 0.45,
    "error_burst": 0.2,
    "vanished_log": 0.35,
    "named_by_others": 0.4,
    "restarted": 0.65,
    "not_ready": 0.3,
    "changed": 0.3,
    "bad_version": 0.8,
    "metric_shift": 0.15,
    "saturated": 0.45,
    "broken_sequence": 0.5,
    "silent": 0.15,
}
# A change or a metric alone convicts nobody: these count only beside something that went wrong.
CIRCUMSTANCE: frozenset[SignalName] = frozenset({"changed", "metric_shift", "silent", "error_burst"})

_CIRCUMSTANCE_ALONE = 0.3
_ACCUSERS = 3

_REACH_DOWNSTREAM = 0.8  # below the place where the traces end waiting
_REACH_TOPOLOGY = 0.45  # below the symptom, but off the walked paths
_REACH_HOP = 0.9
_REACH_STATED = 0.8  # trouble that was stated, not measured, may come from anywhere below
_REACH_NONE = 0.05
# Kinds of symptoms from which no request trace can be walked; of log lines at least the time is known.
_UNWALKED = ("metrics", "stated", "logs")
_TIMELESS = ("metrics", "stated")
# An orchestrator looks every now and then, and reports only after some tries.
_SLOW_REPORT_US = 90 * SECOND_US
_SLOW_REPORTERS: frozenset[SignalName] = frozenset({"restarted", "not_ready", "saturated", "metric_shift"})
_ACCUSED = 0.35
_DISBELIEVED = 0.3
_HEARSAY = 0.25
_ONSET_SLACK_US = 3 * SECOND_US
_LATE = 0.3
_EARLY_US = 60 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Candidate:
    """One service considered: its score, the three factors behind it, and what was found.

    `latest_us` is the last moment at which trouble that explains the symptom can have shown here: a request that hangs
    until it times out began to go wrong long before anything says so.
    """

    service: str
    score: float
    own: float
    reach: float
    unexplained: float
    onset_us: int
    path: tuple[str, ...]
    signals: tuple[Signal, ...]
    contributions: Mapping[str, float]
    walks: tuple[Walk, ...] = ()
    fault_class: FaultClass = "unknown"
    component: str = ""
    change_id: str = ""
    inferred: bool = False
    latest_us: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that the ranking looks at, all of it as of the symptom's window.

    `blames` are the walks of the symptom's own bad requests, `others` those of bad requests elsewhere (workers, other
    entries), `entries` how many requests each service took in within the traces looked at, `calls` the CALLS edges (caller, callee) of the topology at that time. `repeated` names, per service, the
    one message that fails there again and again; `unexplained`, the share of a service's excess in metrics that the
    services it calls do not explain.
    """

    symptom: Symptom
    services: Sequence[str]
    calls: Iterable[tuple[str, str]]
    blames: Sequence[Blame] = ()
    others: Sequence[Blame] = ()
    entries: Mapping[str, int] = field(default_factory=dict)
    undelivered: Sequence[Undelivered] = ()
    signals: Sequence[Signal] = ()
    called_at: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    repeated: Mapping[str, str] = field(default_factory=dict)
    unexplained: Mapping[str, float] = field(default_factory=dict)


def rank_causes(case: Case) -> list[Candidate]:
    """Return every service with any sign of trouble, best first; deterministic."""
    graph = nx.DiGraph()
    graph.add_nodes_from(sorted({*case.services, case.symptom.service}))
    graph.add_edges_from(sorted(set(case.calls)))
    signals = _disbelieve([*case.signals, *walk_signals(case)])
    if case.entries:
        signals = [_as_hearsay(signal) for signal in signals]
    by_service: dict[str, list[Signal]] = defaultdict(list)
    for signal in signals:
        if signal.onset_us >= case.symptom.start_us - _EARLY_US:
            by_service[signal.service].append(signal)
    own = {service: _own(found) for service, found in by_service.items()}
    unexplained = _unexplained(case, graph, own, signals)
    candidates = [
        _candidate(service, case, graph, tuple(found), own[service], unexplained.get(service, 1.0))
        for service, found in by_service.items()
    ]
    return sorted(candidates, key=lambda c: (-round(c.score, 9), c.service))


def walk_signals(case: Case) -> list[Signal]:
    """Turn the ends of the walks into signals about services."""
    signals = []
    total = sum(len(blame.walks) for blame in case.blames) or 1
    for blame in case.blames:
        signals.extend(_blame_signals(blame, len(blame.walks) / total, case))
    for blame in case.others:
        # A few slow requests among hundreds of good ones are everyday life.
        taken_in = case.entries.get(blame.walks[0].spans[0].service, 0)
        share = min(1.0, len(blame.walks) / max(taken_in, 1))
        signals.extend(_blame_signals(blame, 0.8 * share, case))
    signals.extend(_undelivered_signal(lost) for lost in case.undelivered)
    return signals


def _undelivered_signal(lost: Undelivered) -> Signal:
    return Signal(
        service=lost.consumer,
        name="unreachable",
        strength=0.6 * (1 - lost.share / lost.usual_share),
        onset_us=lost.spans[0].end_us,
        text=f"messages of {lost.producer} are no longer consumed by {lost.consumer}",
        refs=tuple(span_ref(span) for span in lost.spans[:2]),
        target=lost.producer,
        fault_class="dependency",
    )


def span_ref(span: SpanRow) -> Ref:
    """Return the address of a span's record."""
    return Ref.to("span", trace_id=span.trace_id, span_id=span.span_id)


def _blame_signals(blame: Blame, share: float, case: Case) -> list[Signal]:
    walks = blame.examples
    first = walks[0]
    text = blame.texts.most_common(1)[0][0] if blame.texts else ""
    fault_class = classify(text) if text else "unknown"
    refs = tuple(span_ref(walk.end) for walk in walks)
    moved = _moved_address(blame, case)
    if moved:
        caller, peer, usual = moved
        return [
            Signal(
                service=caller,
                name="address_changed",
                strength=share,
                onset_us=blame.onset_us,
                text=f"{caller} calls {blame.service} at {peer} and fails; before it called {usual}",
                refs=refs,
                target=blame.service,
                fault_class="config",
            )
        ]
    name: SignalName = blame.kind
    strength = share
    if blame.kind == "failing_here" and says_waiting(text) and classify(text) in POINTS_ELSEWHERE:
        name = "waiting"
    elif blame.kind == "failing_here" and fault_class in POINTS_ELSEWHERE:
        strength *= 0.6
    message = case.repeated.get(blame.service, "") if blame.kind == "failing_here" else ""
    if message:
        fault_class = "data"  # the code handles the others; what is in this one is the trouble
    if blame.kind == "slow_here" and fault_class == "unknown":
        fault_class = "data" if first.component or _ends_in_store(first) else "resource"
    return [
        Signal(
            service=blame.service,
            name=name,
            strength=strength,
            onset_us=blame.onset_us,
            text=_describe(blame, text) + (f"; message {message} fails again and again" if message else ""),
            refs=refs,
            target=first.caller,
            fault_class=fault_class,
        )
    ]


def _moved_address(blame: Blame, case: Case) -> tuple[str, str, str] | None:
    """Tell a caller that calls the wrong address from a callee that is down: (caller, its address, the usual one)."""
    if blame.kind != "unreachable":
        return None
    failed = [walk for walk in blame.walks if walk.caller and walk.end.peer]
    for walk in failed:
        usual = case.called_at.get((walk.caller, blame.service), frozenset())
        if usual and walk.end.peer not in usual and says_refused(walk.text or "refused"):
            same = sum(1 for w in failed if w.end.peer == walk.end.peer)
            if same >= 0.5 * len(blame.walks):
                return walk.caller, walk.end.peer, min(usual)
    return None


def _ends_in_store(walk: Walk) -> bool:
    return walk.end.is_call and walk.end.service == walk.service


def _describe(blame: Blame, text: str) -> str:
    count = len(blame.walks)
    said = f": {text[:200]}" if text else ""
    first = blame.examples[0]
    match blame.kind:
        case "failing_here":
            return f"{count} bad request(s) fail in {blame.service} itself ({first.end.name}){said}"
        case "slow_here":
            where = first.component or first.end.name
            return f"{count} bad request(s) spend their time in {blame.service} itself ({where}){said}"
        case "unreachable":
            return f"{count} call(s) of {first.caller} to {blame.service} fail before it answers{said}"
        case "slow_link":
            return f"{count} call(s) of {first.caller} to {blame.service} take longer than {blame.service} itself{said}"


def _own(signals: Sequence[Signal]) -> float:
    """Combine the strongest signal of each name: ten lines of one kind are not ten independent hints.

    Being named by several others is: each of them says so for itself.
    """
    strongest = _strongest_of_each(signals)
    alone = all(name in CIRCUMSTANCE for name in strongest)
    accusers: dict[str, float] = defaultdict(float)
    for signal in signals:
        if signal.name == "named_by_others":
            accusers[signal.target] = max(accusers[signal.target], WEIGHTS[signal.name] * signal.strength)
    others = [value for name, value in strongest.items() if name != "named_by_others"]
    return (_CIRCUMSTANCE_ALONE if alone else 1.0) * combine([*others, *sorted(accusers.values())[-_ACCUSERS:]])


def _strongest_of_each(signals: Sequence[Signal]) -> dict[SignalName, float]:
    found: dict[SignalName, float] = {}
    for signal in signals:
        found[signal.name] = max(found.get(signal.name, 0.0), WEIGHTS[signal.name] * signal.strength)
    return found


def _as_hearsay(signal: Signal) -> Signal:
    """Where request traces show who failed whom, an error that names another is only a hint."""
    return replace(signal, strength=_HEARSAY * signal.strength) if signal.name == "named_by_others" else signal


def _disbelieve(signals: Sequence[Signal]) -> list[Signal]:
    """Weaken the word of a lone accuser whose own settings were just changed against one with no trouble of its own."""
    changed = {s.service for s in signals if s.name == "changed" and s.fault_class == "config"}
    accusers: dict[str, set[str]] = defaultdict(set)
    for signal in signals:
        if signal.name == "named_by_others":
            accusers[signal.service].add(signal.target)
    hearsay = {"named_by_others", "vanished_log", "silent", "metric_shift", "error_burst"}
    troubled = {s.service for s in signals if s.name not in hearsay}
    weak = {
        service
        for service, names in accusers.items()
        if len(names) == 1 and names <= changed and service not in troubled
    }
    return [
        replace(s, strength=_DISBELIEVED * s.strength) if s.service in weak and s.name in hearsay else s
        for s in signals
    ]


def _unexplained(
    case: Case, graph: nx.DiGraph, own: Mapping[str, float], signals: Sequence[Signal]
) -> dict[str, float]:
    """Return per service the share of its trouble that its dependencies do not explain."""
    through: dict[str, int] = defaultdict(int)
    ended: dict[str, int] = defaultdict(int)
    for blame in (*case.blames, *(case.others if case.symptom.kind not in _UNWALKED else ())):
        moved = _moved_address(blame, case)
        for walk in blame.walks:
            culprit = moved[0] if moved else walk.service
            for service in {span.service for span in walk.spans} | {culprit}:
                through[service] += 1
            ended[culprit] += 1
    result = dict(case.unexplained) | {service: ended[service] / count for service, count in through.items()}
    for service, below in _waits_for(case, graph).items():
        deeper = max((own.get(s, 0.0) for s in below if s != service), default=0.0)
        result[service] = min(result.get(service, 1.0), 1.0 - 0.8 * deeper)
    if case.symptom.kind in _UNWALKED and not case.entries:
        for service, share in _explained_by_reports(graph, own, signals).items():
            result[service] = min(result.get(service, 1.0), share)
    return {service: max(0.05, value) for service, value in result.items()}


def _explained_by_reports(graph: nx.DiGraph, own: Mapping[str, float], signals: Sequence[Signal]) -> dict[str, float]:
    """Return, for services that only say that others fail them, the share that those others leave unexplained.

    Whom it accuses by name explains its trouble; without a name any service below it that is in trouble may.
    """
    own_trouble = {s.service for s in signals if s.name == "restarted" or _is_own_error(s)}
    accused: dict[str, set[str]] = defaultdict(set)
    for signal in signals:
        if signal.name == "named_by_others" and signal.fault_class in POINTS_ELSEWHERE:
            accused[signal.target].add(signal.service)
    shares: dict[str, float] = {}
    for signal in signals:
        service = signal.service
        pointing = signal.name in ("new_error_log", "error_burst", "not_ready", "named_by_others")
        if not pointing or service in own_trouble or service not in graph:
            continue
        below = (accused[service] or nx.descendants(graph, service)) - {service}
        deeper = max((own.get(name, 0.0) for name in below), default=0.0)
        shares[service] = min(1.0 - 0.8 * deeper, _ACCUSED if accused[service] and deeper >= _ACCUSED else 1.0)
    return shares


def _is_own_error(signal: Signal) -> bool:
    """True for a new error that speaks of the service's own trouble."""
    return signal.name == "new_error_log" and signal.fault_class not in (*POINTS_ELSEWHERE, "unknown")


def _waits_for(case: Case, graph: nx.DiGraph) -> dict[str, set[str]]:
    """Return, per service that waits for others, the services that may keep it waiting.

    One whose errors say that it waited, or that blame a dependency, waits for what it calls. One that is slow while
    its messages are no longer consumed waits for their consumer.
    """
    waits: dict[str, set[str]] = defaultdict(set)
    for signal in walk_signals(case):
        points_down = signal.name == "failing_here" and signal.fault_class in POINTS_ELSEWHERE
        if (signal.name == "waiting" or points_down) and signal.service in graph:
            waits[signal.service] |= nx.descendants(graph, signal.service)
    slow = {blame.service for blame in case.blames if blame.kind in ("slow_here", "failing_here")}
    for lost in case.undelivered:
        if lost.producer in slow:
            below = nx.descendants(graph, lost.consumer) if lost.consumer in graph else set()
            waits[lost.producer] |= {lost.consumer} | below
    return waits


def _candidate(
    service: str, case: Case, graph: nx.DiGraph, signals: tuple[Signal, ...], own: float, unexplained: float
) -> Candidate:
    blames = [b for b in case.blames if _culprit(b, case) == service]
    reach, path, inferred = _reach(service, blames, case, graph)
    onset = _onset(signals, case)
    latest = _last_possible_onset(case, blames)
    late = case.symptom.kind not in _TIMELESS and _first_shown(signals, onset) > latest
    score = own * reach * unexplained * (_LATE if late else 1.0)
    contributions: dict[str, float] = {name: round(value, 3) for name, value in _strongest_of_each(signals).items()}
    contributions |= {"reach": round(reach, 3), "unexplained": round(unexplained, 3)}
    if late:
        contributions["later_than_symptom"] = _LATE
    walks = tuple(walk for blame in blames for walk in blame.examples)
    return Candidate(
        service=service,
        score=score,
        own=own,
        reach=reach,
        unexplained=unexplained,
        onset_us=onset,
        path=path,
        signals=tuple(sorted(signals, key=lambda s: (-WEIGHTS[s.name] * s.strength, s.onset_us, s.text))),
        contributions=contributions,
        walks=walks,
        fault_class=_fault_class(signals),
        component=next((walk.component for walk in walks if walk.component), ""),
        change_id=_change_to_blame(signals),
        inferred=inferred,
        latest_us=latest,
    )


def _change_to_blame(signals: Sequence[Signal]) -> str:
    """Of several changes of one service, the one that brought a bad version, else the one closest before the symptom."""
    held = [s for s in signals if s.change_id]
    best = min(held, key=lambda s: (s.name != "bad_version", -s.strength, s.text), default=None)
    return best.change_id if best else ""


def _culprit(blame: Blame, case: Case) -> str:
    moved = _moved_address(blame, case)
    return moved[0] if moved else blame.service


def _reach(service: str, blames: Sequence[Blame], case: Case, graph: nx.DiGraph) -> tuple[float, tuple[str, ...], bool]:
    """Return how well trouble there can reach the symptom, the path (cause first), and whether that is inferred."""
    if blames:
        path = max(blames, key=lambda b: len(b.walks)).path
        if service in path:
            path = path[path.index(service) :]
        return 1.0, path, False
    best: tuple[float, tuple[str, ...]] = (_REACH_NONE, (service,))
    starts: list[tuple[str, float, tuple[str, ...]]] = [
        (case.symptom.service, _REACH_TOPOLOGY, (case.symptom.service,))
    ]
    for blame in case.blames:
        share = len(blame.walks) / max(1, sum(len(b.walks) for b in case.blames))
        starts.append(
            (_culprit(blame, case), _REACH_TOPOLOGY + (_REACH_DOWNSTREAM - _REACH_TOPOLOGY) * share, blame.path)
        )
    for start, value, known in starts:
        if start not in graph or service not in graph or service == start:
            continue
        try:
            hops = nx.shortest_path(graph, start, service)
        except nx.NetworkXNoPath:
            continue
        reach = _REACH_STATED if case.symptom.kind in _UNWALKED else value * _REACH_HOP ** (len(hops) - 2)
        upward = tuple(reversed(hops[1:]))
        tail = known[known.index(start) :] if start in known else (start,)
        if reach > best[0]:
            best = (reach, tuple(dict.fromkeys((*upward, *tail))))
    if service == case.symptom.service and best[0] < _REACH_TOPOLOGY:
        return (_REACH_STATED if case.symptom.kind in _UNWALKED else _REACH_TOPOLOGY), (service,), False
    return best[0], best[1], True


def _onset(signals: Sequence[Signal], case: Case) -> int:
    """The first moment at which the service itself shows trouble; a change alone is when it was changed."""
    hard = [s.onset_us for s in signals if s.name not in CIRCUMSTANCE]
    return min(hard) if hard else min((s.onset_us for s in signals), default=case.symptom.start_us)


def _first_shown(signals: Sequence[Signal], onset_us: int) -> int:
    """When the trouble can have begun at the earliest, given who reports it."""
    slow = [s.onset_us - _SLOW_REPORT_US for s in signals if s.name in _SLOW_REPORTERS]
    return min([onset_us, *slow])


def _last_possible_onset(case: Case, blames: Sequence[Blame]) -> int:
    """A cause may show at the latest when the first bad request that it explains ends, or the symptom begins."""
    ends = [walk.spans[0].end_us for blame in blames for walk in blame.walks]
    begin = min((walk.spans[0].end_us for blame in case.blames for walk in blame.walks), default=case.symptom.start_us)
    return max(begin, min(ends, default=begin)) + _ONSET_SLACK_US


_CLASS_TRUST: Mapping[SignalName, float] = {
    "address_changed": 1.0,
    "restarted": 0.9,
    "bad_version": 0.7,
    "failing_here": 0.85,
    "unreachable": 0.6,
    "slow_here": 0.6,
    "slow_link": 0.6,
    "new_error_log": 0.55,
    "changed": 0.4,
    "saturated": 0.5,
    "broken_sequence": 0.12,
    "named_by_others": 0.2,
    "not_ready": 0.1,
    "waiting": 0.3,
    "error_burst": 0.2,
}


def _fault_class(signals: Sequence[Signal]) -> FaultClass:
    """Vote on the kind of fault; an error that points elsewhere says little about its own service."""
    votes: dict[FaultClass, float] = defaultdict(float)
    # What fails is not finished either: a broken sequence speaks of code only where nothing says what else it is.
    said = {s.fault_class for s in signals if s.name not in ("broken_sequence", "changed")}
    explained = bool(said - {"unknown", *POINTS_ELSEWHERE})
    for signal in signals:
        if signal.fault_class == "unknown" or (signal.name == "broken_sequence" and explained):
            continue
        trust = _CLASS_TRUST.get(signal.name, 0.1) * signal.strength
        if signal.name == "changed" and signal.fault_class == "code":
            trust *= 0.5  # a deploy brings code, settings and data alike
        if signal.fault_class in POINTS_ELSEWHERE:
            trust *= 0.3
        votes[signal.fault_class] = combine((votes[signal.fault_class], trust))
    return min(votes, key=lambda c: (-round(votes[c], 6), c)) if votes else "unknown"
