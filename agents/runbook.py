"""The runbook agent: which runbook fits the verdict, or a clear none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from agents.state import Deps, State
from domain.evidence import Evidence
from domain.telemetry import CHANGE_KINDS
from domain.verdict import Cause
from runbooks.match import match_runbooks
from tracing.trace import current_trace


async def choose_runbook(state: State, deps: Deps) -> State:
    """Match the runbooks by fault class, service and the wording of the evidence."""
    verdict = state["verdict"]
    if not verdict.causes:
        return {"runbook": None}
    cause = verdict.causes[0]
    messages: dict[str, list[str]] = defaultdict(list)
    for evidence_id in cause.evidence:
        if evidence := deps.desk.found.get(evidence_id):
            messages[evidence.text].append(evidence_id)
    candidate = next(c for c in state["ranking"] if c.service == cause.service)
    for signal in candidate.signals:
        if ids := [state["cited"][ref] for ref in signal.refs if ref in state["cited"]]:
            messages[signal.text].extend(ids)
    change = next((c for c in CHANGE_KINDS if cause.change_id and c in kinds_of_changes(cause, deps.desk.found)), None)
    matches = match_runbooks(
        deps.library,
        services=[cause.service],
        fault_class=cause.fault_class,
        messages=messages,
        change=change,
    )
    current_trace().decide(
        what=f"runbook {matches[0].id}" if matches else "no runbook fits",
        why=matches[0].why if matches else "none matches the service, the kind of fault or the wording",
        confidence=round(min(1.0, matches[0].score), 3) if matches else 0.5,
        alternatives=[f"{match.id} ({match.score:.2f})" for match in matches[1:4]],
        inputs={"fault_class": cause.fault_class, "service": cause.service},
    )
    return {"runbook": matches[0] if matches else None}


def kinds_of_changes(cause: Cause, found: Mapping[str, Evidence]) -> list[str]:
    """Return the kinds of the changes that the cause cites, each the first word of its evidence."""
    cited = (found[i] for i in cause.evidence if i in found)
    kinds = (evidence.text.split(" ", 1)[0].rstrip(":") for evidence in cited if evidence.kind == "change")
    return list(dict.fromkeys(kinds))
