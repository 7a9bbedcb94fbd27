"""The topology agent: walks bad requests down to where they go wrong, and reads the graph as of that time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents.state import Deps, Paths, Plan, Report, State
from diagnosis.shifts import shift_signals, slowed_alike
from diagnosis.symptom import MIN_BAD, Symptom
from diagnosis.walks import (
    Blame,
    TraceForest,
    Usual,
    collect_blames,
    find_undelivered,
    learn_usual,
    slow_by_shape,
    top_bad_spans,
    walk_down,
)
from domain.errors import GraphError
from domain.observed import SpanRow
from domain.telemetry import SpanKind
from domain.times import MINUTE_US, SECOND_US
from tracing.trace import current_trace

_BAD_TRACES = 300
_GOOD_TRACES = 300
_OTHER_TRACES = 200
_STATED_TRACES = 500
_MARGIN_US = 2 * SECOND_US
# A message that fails this often among the failures looked at is the trouble itself.
_REPEATS = 3
_LOOKED_AT = 8
# At least this share of a latency symptom's requests must be slow for their own kind.
_KIND_SHARE = 0.25


async def follow_paths(state: State, deps: Deps) -> State:
    """Find where the symptom's requests go wrong, where others do, and who calls whom at that time."""
    plan, environment = state["plan"], state["question"].environment
    calls, not_seen = await _read_calls(environment, plan, deps)
    if plan.symptom is None or not plan.spans:
        missing = () if plan.spans else ("request traces: no spans were reported in this window",)
        return {"paths": Paths(calls=calls), "reports": {"topology": Report(not_seen=(*not_seen, *missing))}}
    bad, good = await _fetch_traces(environment, plan, plan.symptom, deps)
    usual = learn_usual(good, TraceForest([*good.spans.values(), *bad.spans.values()]))
    if not good.spans:
        not_seen = (*not_seen, "a healthy baseline: no requests from before the symptom are stored")
    entries = _symptom_entries(bad, good, usual, plan)
    blames = collect_blames(walk_down(span, bad, usual, plan.services) for span in entries)
    known = {(span.trace_id, span.span_id) for span in entries}
    others = collect_blames(
        walk_down(span, bad, usual, plan.services)
        for span in top_bad_spans(bad, usual, plan.window.start_us - MINUTE_US)
        if (span.trace_id, span.span_id) not in known and not _same_operation(span, plan.symptom)
    )
    paths = Paths(
        blames=tuple(blames),
        others=tuple(others),
        entries=dict(Counter(span.service for span in bad.spans.values() if span.is_entry)),
        undelivered=tuple(find_undelivered(bad, usual, plan.window.start_us)),
        calls=calls,
        called_at=usual.called_at,
        repeated=await _find_repeated(environment, [*blames, *others], deps),
        traces=len({key[0] for key in bad.spans}),
        baseline=len({key[0] for key in good.spans}),
        alike=slowed_alike(good, bad) if plan.symptom.kind == "latency" else "",
        refuted=plan.symptom.kind == "latency" and len(entries) < max(MIN_BAD, _KIND_SHARE * plan.symptom.bad),
    )
    _record(paths)
    # Failed requests end early and say nothing about where time goes.
    shifts = shift_signals(good, bad, plan.window.start_us) if plan.symptom.kind != "errors" else []
    return {"paths": paths, "reports": {"topology": Report(signals=tuple(shifts), not_seen=tuple(not_seen))}}


async def _read_calls(environment: str, plan: Plan, deps: Deps) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return who calls whom as of the window's end (it holds every edge of the window that has not been closed)."""
    try:
        edges = await deps.ledger.note(
            "calls as of", plan.window, deps.graph.edges_as_of(environment, max(0, plan.window.end_us - 1))
        )
    except GraphError as exc:
        return (), (f"the topology graph: {exc}",)
    return tuple(sorted({(edge.source, edge.target) for edge in edges})), ()


async def _fetch_traces(environment: str, plan: Plan, symptom: Symptom, deps: Deps) -> tuple[TraceForest, TraceForest]:
    telemetry, ledger = deps.telemetry, deps.ledger
    around = plan.window.widened(_MARGIN_US)
    if symptom.kind == "stated":
        chosen = telemetry.sample_traces(environment, plan.window, _STATED_TRACES)
    else:
        chosen = telemetry.bad_entries(
            environment, symptom.service, symptom.operation, plan.window, symptom.slow_us or 2**62, _BAD_TRACES
        )
    bad_ids = await ledger.note(
        "bad requests" if symptom.kind != "stated" else "requests",
        plan.window,
        chosen,
        filter=f"{symptom.service} {symptom.operation}".strip(),
        scanned=symptom.requests,
        reporting=True,
    )
    other_ids = await ledger.note(
        "traces with errors", around, telemetry.error_traces(environment, around, _OTHER_TRACES * 10)
    )
    good_ids = await ledger.note(
        "usual requests",
        plan.baseline,
        telemetry.last_entries(environment, symptom.service, symptom.operation, plan.baseline, _GOOD_TRACES),
        filter=f"{symptom.service} {symptom.operation}",
    )
    sample_ids = await ledger.note(
        "usual traces",
        plan.baseline,
        telemetry.sample_traces(
            environment, plan.baseline, _STATED_TRACES if symptom.kind == "stated" else _OTHER_TRACES
        ),
    )
    bad_wanted = list(dict.fromkeys([*bad_ids, *other_ids]))[:_STATED_TRACES]
    good_wanted = list(dict.fromkeys([*good_ids, *sample_ids]))
    bad = await ledger.note("spans of bad traces", around, telemetry.spans_of_traces(environment, bad_wanted, around))
    good = await ledger.note(
        "spans of usual traces", plan.baseline, telemetry.spans_of_traces(environment, good_wanted, plan.baseline)
    )
    return TraceForest(bad), TraceForest([span for span in good if span.start_us < plan.window.start_us])


def _symptom_entries(forest: TraceForest, good: TraceForest, usual: Usual, plan: Plan) -> list[SpanRow]:
    symptom = plan.symptom
    if symptom is None or symptom.kind == "stated":
        return []
    entries = [
        span
        for span in forest.spans.values()
        if _same_operation(span, symptom)
        and span.is_entry
        and plan.window.start_us - _MARGIN_US <= span.start_us < plan.window.end_us
        and (span.error or span.duration_us > (symptom.slow_us or usual.slow_us(span)))
    ]
    if symptom.kind == "latency":
        slow_us = slow_by_shape(good, symptom.service, symptom.operation)
        entries = [span for span in entries if span.duration_us > slow_us.get(forest.shape(span), 0)]
    if symptom.kind == "errors":
        entries = [span for span in entries if span.error] or entries
    return sorted(entries, key=lambda span: (span.start_us, span.trace_id, span.span_id))


def _same_operation(span: SpanRow, symptom: Symptom) -> bool:
    return span.service == symptom.service and span.name == symptom.operation


async def _find_repeated(environment: str, blames: Sequence[Blame], deps: Deps) -> dict[str, str]:
    """Return, per consuming service, the id of the message that most of its looked-at failures are about."""
    found = {}
    for blame in blames:
        consumed = [walk.spans[0] for walk in blame.walks if walk.spans[0].kind == SpanKind.CONSUMER]
        if blame.kind != "failing_here" or len(consumed) < _REPEATS:
            continue
        ids: Counter[str] = Counter()
        for span in consumed[:: max(1, len(consumed) // _LOOKED_AT)][:_LOOKED_AT]:
            key = {"trace_id": span.trace_id, "span_id": span.span_id}
            record = await deps.telemetry.read_record(environment, "span", key)
            ids[str(record["attributes"].get("messaging.message.id", ""))] += 1
        message, times = ids.most_common(1)[0]
        if message and times >= _REPEATS and times > sum(ids.values()) / 2:
            found[blame.service] = message
    return found


def _record(paths: Paths) -> None:
    def words(blame: Blame) -> str:
        return f"{blame.service} ({blame.kind}, {len(blame.walks)})"

    top = paths.blames[0] if paths.blames else None
    total = sum(len(blame.walks) for blame in paths.blames)
    current_trace().decide(
        what=f"bad requests end in {words(top)}" if top else "bad requests lead nowhere",
        why=f"{total} requests were walked down to the span that no call of its own explains",
        confidence=round(len(top.walks) / total, 3) if top else 0.0,
        alternatives=[words(blame) for blame in paths.blames[1:5]],
        inputs={"traces": paths.traces, "elsewhere": [words(b) for b in paths.others[:5]], "edges": len(paths.calls)},
    )
