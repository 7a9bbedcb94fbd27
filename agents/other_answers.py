"""Questions about changes, callers and runbooks that are looked up."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict

from agents.looked_up import Asked, Found
from agents.state import Deps
from domain.errors import GraphError
from domain.times import format_us
from domain.verdict import Claim
from runbooks.model import Runbook

_SHOWN = 12
_WORD = re.compile(r"[a-z0-9]{3,}")
_PLAIN_WORDS = frozenset(
    "the what does say runbook runbooks playbook playbooks which for about how our show tell step steps there with and are you read open have".split()
)
_OUTWARD = re.compile(
    r"\b(?:what|which services?|whom?)\b.{0,20}\b(?:does|do)\b.{0,60}\b(?:call|depend|use|talk|rely)|\b(?:dependenc(?:y|ies) of|upstreams? of)\b",
    re.IGNORECASE,
)


async def answer_changes(asked: Asked, deps: Deps) -> Found | None:
    """Return what was deployed, configured or switched."""
    rows = await deps.ledger.note(
        "changes", asked.window, deps.telemetry.changes(asked.question.environment, asked.window)
    )
    wanted = [row for row in rows if not asked.services or row.service in asked.services]
    claims = []
    for row in wanted[-_SHOWN:]:
        evidence = await deps.desk.cite("change", {"id": row.id}, "changes")
        if evidence:
            by = f" by {row.actor}" if row.actor else ""
            what = f"{row.kind} {row.version}".strip()
            text = f"{format_us(row.time_us)} {row.service}: {what}{by}: {row.summary[:200]}"
            claims.append(Claim(text, (evidence.id,)))
    who = ", ".join(asked.services) or "all services"
    told = (
        f"{who}: {len(wanted)} changes {asked.during}." if wanted else f"{who}: no change was recorded {asked.during}."
    )
    other = len(rows) - len(wanted)
    notes = (f"{other} changes of other services in that time",) if other else ()
    return Found(told, tuple(claims), notes=notes, decided=f"{len(wanted)} changes")


async def answer_calls(asked: Asked, deps: Deps) -> Found | None:
    """Return who calls a service, directly and through others, or whom it calls."""
    if not asked.services:
        return Found(f"The callers of which service: {', '.join(asked.known[:20])}?", clarify=True)
    at_us = asked.window.end_us
    try:
        edges = await deps.graph.edges_as_of(asked.question.environment, max(0, at_us - 1))
    except GraphError:
        return Found("Who calls whom cannot be looked up now.", not_seen=("the topology graph: it does not answer",))
    outward = _OUTWARD.search(asked.question.text) is not None
    pairs = {
        (edge.source, edge.target) if not outward else (edge.target, edge.source)
        for edge in edges
        if edge.kind == "CALLS"
    }
    service = asked.services[0]
    direct = sorted({one for one, other in pairs if other == service})
    through = sorted(_reaching(service, pairs) - set(direct) - {service})
    claims = []
    for name in direct[:_SHOWN]:
        source, target = (service, name) if outward else (name, service)
        key = {"source": source, "target": target, "at_us": max(0, at_us - 1)}
        evidence = await deps.desk.cite("edge", key, "calls as of")
        if evidence:
            claims.append(Claim(f"{source} calls {target}", (evidence.id,)))
    moment = format_us(at_us)
    if not direct:
        told = f"{service} called nobody as of {moment}." if outward else f"Nobody called {service} as of {moment}."
    elif outward:
        told = f"{service} calls {', '.join(direct)} as of {moment}."
    else:
        told = f"{service} is called by {', '.join(direct)} as of {moment}."
    if through:
        told += f" Through {'them' if len(direct) > 1 else direct[0]} also: {', '.join(through[:20])}."
    return Found(told, tuple(claims), decided=f"{len(direct)} {'called' if outward else 'callers'}")


def _reaching(service: str, pairs: set[tuple[str, str]]) -> set[str]:
    found, frontier = {service}, {service}
    while frontier:
        frontier = {one for one, other in pairs if other in frontier} - found
        found |= frontier
    return found


async def answer_runbook(asked: Asked, deps: Deps) -> Found | None:
    """Return what a runbook says, found by its id or by the words of its title."""
    found = find_runbooks(asked.question.text, asked.services, list(deps.library))
    if not found:
        titles = "; ".join(f"{runbook.id}: {runbook.title}" for runbook in list(deps.library)[:20])
        return Found(f"Which runbook do you mean? There are: {titles}.", clarify=True)
    best = found[0]
    steps = ". ".join(f"{number}. {step.name}" for number, step in enumerate(best.steps, start=1))
    others = ", ".join(runbook.id for runbook in found[1:4])
    told = f"Runbook {best.id}, {best.title}: {steps}." + (f" Others that may be meant: {others}." if others else "")
    body = {
        "id": best.id,
        "title": best.title,
        "why": "it was asked for",
        "score": 1.0,
        "evidence": [],
        "steps": [asdict(step) for step in best.steps],
    }
    return Found(told, runbook=body, decided=f"runbook {best.id}")


def find_runbooks(text: str, services: Sequence[str], library: Sequence[Runbook]) -> list[Runbook]:
    """Return the runbooks that a text names, best first: an id in full, else the most words of id, title and services."""
    lowered = text.lower()
    words = set(_WORD.findall(lowered)) - _PLAIN_WORDS

    def score(runbook: Runbook) -> float:
        if runbook.id.lower() in lowered:
            return 100.0
        own = set(_WORD.findall(f"{runbook.id} {runbook.title}".lower())) - _PLAIN_WORDS
        return len(words & own) / math.sqrt(max(1, len(own))) + len(set(services) & set(runbook.services))

    scored = sorted(((score(runbook), runbook.id, runbook) for runbook in library), key=lambda row: (-row[0], row[1]))
    return [runbook for points, _, runbook in scored if points > 0.3]
