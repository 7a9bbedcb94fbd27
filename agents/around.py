"""What lies around a verdict, for the model that words it: an evidence pack, every record of it read and cited by code first.

Nothing here can change the verdict. Records of other services than those of its chains are left out.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from agents.state import Deps, State
from domain.errors import CausegraphError
from domain.times import Window
from retrieval.items import ItemKind, Wanted
from retrieval.ranking import Hit
from tracing.trace import current_trace

logger = logging.getLogger(__name__)

_KINDS = frozenset[ItemKind](("template", "line", "change", "event", "code"))
_LIMIT = 8
_SEARCHED = 24
_TOKENS = 1_200
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Around:
    """A record that no claim cites, by the id of its evidence, and why it may be of use."""

    evidence: str
    why: str


async def look_around(state: State, deps: Deps) -> tuple[Around, ...]:
    """Return records around the verdict; none without a model that reads them, or where they cannot be found in time."""
    verdict, plan = state["verdict"], state["plan"]
    if deps.finder is None or plan.symptom is None or not verdict.causes or not deps.models.has("explain"):
        return ()
    question = state["question"]
    path = dict.fromkeys(service for cause in verdict.causes for service in cause.path)
    end_us = min(question.at_us, plan.window.end_us) + 1
    wanted = Wanted(
        text=question.text,
        environment=question.environment,
        window=Window(min(plan.baseline.start_us, end_us), end_us),
        moment_us=min(plan.symptom.start_us, end_us - 1),
        kinds=_KINDS,
        named=tuple(path),
        unwell={one.service: one.score for one in state["ranking"] if one.service in path},
    )
    try:
        async with asyncio.timeout(_SECONDS):
            hits = await deps.ledger.note("evidence pack", wanted.window, _find(deps, wanted))
            found = [one for hit in hits if (one := await _cite(hit, frozenset(path), deps)) is not None]
    except (CausegraphError, TimeoutError) as exc:
        logger.warning("no evidence pack", extra={"reason": str(exc) or "it took too long"})
        return ()
    cited = {i for cause in verdict.causes for i in cause.evidence}
    kept = tuple({one.evidence: one for one in found if one.evidence not in cited}.values())[:_LIMIT]
    current_trace().decide(
        what=f"{len(kept)} records around the verdict are shown to the model as well",
        why="they fit the question and are of the services of the chain; each was read again and has its evidence id",
        confidence=1.0,
        alternatives=[],
        inputs={"found": len(hits), "services": list(path)},
    )
    return kept


async def _find(deps: Deps, wanted: Wanted) -> tuple[Hit, ...]:
    if deps.finder is None:
        return ()
    return (await deps.finder.find(wanted, limit=_SEARCHED, tokens=_TOKENS, timed=True)).hits


async def _cite(hit: Hit, services: frozenset[str], deps: Deps) -> Around | None:
    item = hit.item
    if item.record is None or not services.intersection(item.services):
        return None
    kind, key = item.record
    if kind == "code":
        key = {**key, "service": next(name for name in item.services if name in services)}
    evidence = await deps.desk.cite(kind, key, "evidence pack")
    return None if evidence is None else Around(evidence.id, hit.why)
