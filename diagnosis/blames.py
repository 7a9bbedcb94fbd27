"""The ends of the walks down bad requests, as signals about the services where they end."""

from __future__ import annotations

from diagnosis.case import Case
from diagnosis.signals import Ref, Signal, SignalName
from diagnosis.walks import Blame, Undelivered, Walk
from diagnosis.wording import POINTS_ELSEWHERE, classify, says_refused, says_waiting
from domain.observed import SpanRow

# Kinds of symptoms from which no request trace can be walked; of log lines at least the time is known.
UNWALKED = ("metrics", "stated", "logs")


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
    moved = moved_address(blame, case)
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


def moved_address(blame: Blame, case: Case) -> tuple[str, str, str] | None:
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


def culprit(blame: Blame, case: Case) -> str:
    moved = moved_address(blame, case)
    return moved[0] if moved else blame.service


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
