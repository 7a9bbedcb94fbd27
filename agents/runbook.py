"""The runbook agent: which runbook fits the verdict, by what alerts name, labels, words, graph and meaning; or a clear none."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agents.state import Deps, State
from domain.errors import GraphError, PayloadError
from domain.evidence import Evidence
from domain.telemetry import CHANGE_KINDS
from domain.times import Window
from domain.verdict import Cause, RunbookCheck, RunbookMatch
from graph.runbooks import RunbookGraph
from runbooks.linked import fetch_runbook, find_named
from runbooks.match import Links, match_runbooks, measure_nearness
from tracing.trace import current_trace

_MOST_NAMED = 5
_MOST_CITED = 3
_TOLD = 300
_MOST_SEARCHED = 3
_SEARCHED_CHARACTERS = 500
_SECTIONS = 60


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
        links=await _find_links(state, deps, cause, list(messages)),
    )
    named = await _named_by_alerts(state, deps, cause)
    matches = [*named, *(match for match in matches if match.id not in {one.id for one in named})]
    current_trace().decide(
        what=f"runbook {matches[0].id}" if matches else "no runbook fits",
        why=matches[0].why
        if matches
        else "none fits the service, the kind of fault, the wording, its meaning or the graph",
        confidence=round(min(1.0, matches[0].score), 3) if matches else 0.5,
        alternatives=[f"{match.id} ({match.score:.2f})" for match in matches[1:4]],
        inputs={"fault_class": cause.fault_class, "service": cause.service},
    )
    return {"runbook": replace(matches[0], checks=_follow(matches[0], cause, deps)) if matches else None}


async def _find_links(state: State, deps: Deps, cause: Cause, texts: Sequence[str]) -> Links:
    """Ask the graph and the meaning of the texts. What cannot be asked links nothing, and the decision says so."""
    environment, moment_us = state["question"].environment, state["plan"].window.start_us
    neighbours: list[str] = []
    helped: dict[str, str] = {}
    try:
        calls = await deps.graph.surroundings(environment, [cause.service], moment_us, 1)
        neighbours = sorted({edge.target for edge in calls if edge.source == cause.service})
        before = await RunbookGraph(deps.graph.connection).related(environment, [cause.service], moment_us)
        for link in before:
            if link.fault_class == cause.fault_class:
                helped.setdefault(link.runbook, link.incident_id)
    except GraphError as exc:
        current_trace().decide("link no runbook by the graph", str(exc), 1.0)
    return Links(tuple(neighbours), helped, await _find_near(deps, texts))


async def _find_near(deps: Deps, texts: Sequence[str]) -> Mapping[str, float]:
    """Return how near each runbook's meaning is to the texts that say most: the longest."""
    if deps.runbook_search is None:
        return {}
    distances: dict[str, float] = {}
    for text in sorted(texts, key=len, reverse=True)[:_MOST_SEARCHED]:
        hits, note = await deps.runbook_search.find(text[:_SEARCHED_CHARACTERS], _SECTIONS)
        if note:
            current_trace().decide("link no runbook by meaning", note, 1.0)
            return {}
        for hit in hits:
            if hit.distance is not None:
                runbook_id = hit.section.runbook.id
                distances[runbook_id] = min(hit.distance, distances.get(runbook_id, hit.distance))
    return measure_nearness(distances)


async def _named_by_alerts(state: State, deps: Deps, cause: Cause) -> list[RunbookMatch]:
    """Return the runbooks that alerts on the way from the cause to the symptom name: that is the strongest link."""
    plan = state["plan"]
    window = Window(plan.window.start_us, max(plan.window.end_us, state["question"].at_us))
    named = await deps.telemetry.runbooks_named(state["question"].environment, window)
    found: list[RunbookMatch] = []
    for url, alert, service in sorted(named, key=lambda one: one[2] != cause.service)[:_MOST_NAMED]:
        if service and service not in cause.path:
            continue
        runbook = find_named(deps.library, url)
        if runbook is None:
            try:
                runbook = await fetch_runbook(url, deps.runbook_hosts)
            except PayloadError as exc:
                current_trace().decide(f"leave {url[:200]} out", str(exc), 1.0)
        if runbook is not None and runbook.id not in {match.id for match in found}:
            steps = tuple(step.to_json() for step in runbook.steps)
            why = f"the alert {alert} names it ({url[:200]})"
            found.append(RunbookMatch(runbook.id, runbook.title, why, 1.0, (), steps, runbook.revision))
    return found


def _follow(match: RunbookMatch, cause: Cause, deps: Deps) -> tuple[RunbookCheck, ...]:
    """Look whether what each step expects was found at the cause. Nothing is run."""
    checks: list[RunbookCheck] = []
    found = [evidence for evidence in deps.desk.found.values() if evidence.service == cause.service]
    for step in match.steps:
        for expected in step["expected_evidence"]:
            kind, what = str(expected["kind"]), str(expected["what"])
            fitting = sorted(
                (evidence for evidence in found if evidence.kind == kind),
                key=lambda one: (-len(_words(one.text) & _words(what)), one.id not in cause.evidence, one.id),
            )[:_MOST_CITED]
            told = fitting[0].text[:_TOLD] if fitting else ""
            ids = tuple(evidence.id for evidence in fitting)
            checks.append(RunbookCheck(step["name"], kind, what, bool(fitting), ids, told))
    seen = sum(check.seen for check in checks)
    current_trace().decide(
        f"follow runbook {match.id}", f"{seen} of {len(checks)} things that it expects were seen", 1.0
    )
    return tuple(checks)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]{4,}", text.casefold()))


def kinds_of_changes(cause: Cause, found: Mapping[str, Evidence]) -> list[str]:
    """Return the kinds of the changes that the cause cites, each the first word of its evidence."""
    cited = (found[i] for i in cause.evidence if i in found)
    kinds = (evidence.text.split(" ", 1)[0].rstrip(":") for evidence in cited if evidence.kind == "change")
    return list(dict.fromkeys(kinds))
