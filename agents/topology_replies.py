"""What every way in replies with about the topology: who called whom at a moment, by which chains, and what changed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from domain.errors import GraphError, NotFound, QuestionError
from domain.telemetry import DEFAULT_ENVIRONMENT
from domain.times import MINUTE_US, Window, floor_slot, format_us
from graph.kinds import describe_services
from graph.ontology import Edge
from graph.picture import topology_svg
from ingest.fields import clean_environment
from storage.call_minutes import CallMinute, CallMinutes, sum_by_edge
from storage.topology import CLIENT_SPANS

if TYPE_CHECKING:
    from agents.services import Services

# Those that count calls; a point of a metric says that there were some, not how many.
_COUNTING = ("traces", CLIENT_SPANS)
# What an edge was like lately is told of so many minutes before the moment that is looked at.
_LATELY_US = 15 * MINUTE_US
_MOST_MINUTES_US = 24 * 60 * MINUTE_US
_AROUND_CHAIN = 6  # further callers and callees of each service of a chain, those that are called most


async def read_topology(services: Services, environment: str = "", at_us: int | None = None) -> dict[str, Any]:
    """Return who called whom as of a moment (default: now), a line for each pair, and what and where each service is."""
    environment, at_us = _place(environment), _moment(at_us)
    up_to_date = await _catch_up(services)
    edges = await services.graph.edges_as_of(environment, at_us, ("CALLS", "RUNS_ON"))
    lines = call_lines(edge for edge in edges if edge.kind == "CALLS")
    lately = await _lately(services, environment, at_us)
    for line in lines:
        found = lately.get((line["source"], line["target"]))
        line["lately"] = None if found is None else {"minutes": _LATELY_US // MINUTE_US, **_rates(found)}
    return {
        "environment": environment,
        "at": format_us(at_us),
        "edges": lines,
        "services": [asdict(service) for service in describe_services(edges)],
        "up_to_date": up_to_date,
    }


async def read_calls(
    services: Services,
    caller: str,
    callee: str,
    environment: str = "",
    from_us: int | None = None,
    to_us: int | None = None,
) -> dict[str, Any]:
    """Return the calls from one service to another per minute, at most of a day; by default of the last hour.

    Minutes in which there were none are left out. Raises QuestionError for times that make no window.
    """
    environment, end_us = _place(environment), _moment(to_us)
    start_us = end_us - 60 * MINUTE_US if from_us is None else from_us
    if not 0 <= end_us - start_us <= _MOST_MINUTES_US:
        raise QuestionError("`from` and `to`: a window of at most a day is needed.")
    up_to_date = await _catch_up(services)
    window = Window(floor_slot(start_us, MINUTE_US), end_us)
    minutes = await CallMinutes(services.database).of_edge(environment, caller, callee, window)
    return {
        "environment": environment,
        "source": caller,
        "target": callee,
        "from": format_us(window.start_us),
        "to": format_us(window.end_us),
        "minutes": [{"minute": format_us(m.minute_us), "observed_by": m.observed_by, **_rates(m)} for m in minutes],
        "up_to_date": up_to_date,
    }


async def _lately(services: Services, environment: str, at_us: int) -> Mapping[tuple[str, str], CallMinute]:
    last_us = floor_slot(at_us, MINUTE_US) + MINUTE_US
    window = Window(max(0, last_us - _LATELY_US), last_us)
    return sum_by_edge(await CallMinutes(services.database).between(environment, window))


def _rates(minute: CallMinute) -> dict[str, Any]:
    return {
        "calls": minute.count,
        "errors": minute.errors,
        "p50_ms": round(minute.durations.quantile_us(0.5) / 1000, 3),
        "p95_ms": round(minute.durations.quantile_us(0.95) / 1000, 3),
    }


async def read_paths(
    services: Services, cause: str, symptom: str, environment: str = "", at_us: int | None = None
) -> dict[str, Any]:
    """Return the shortest chains by which the symptom's service called the cause's then, cause first, symptom last.

    Raises NotFound for a service that was never seen.
    """
    environment, at_us = _place(environment), _moment(at_us)
    up_to_date = await _catch_up(services)
    known = await services.graph.services(environment)
    for name in (cause, symptom):
        if name not in known:
            near = ", ".join(other for other in known if name.lower() in other.lower())[:200]
            advice = f"did you mean {near}?" if near else "see `causegraph topology show`."
            raise NotFound(f"There is no service {name[:128]!r} in the environment {environment!r}: {advice}")
    return {
        "environment": environment,
        "at": format_us(at_us),
        "cause": cause,
        "symptom": symptom,
        "paths": await services.graph.paths(environment, cause, symptom, at_us),
        "up_to_date": up_to_date,
    }


async def read_diff(services: Services, earlier_us: int, later_us: int, environment: str = "") -> dict[str, Any]:
    """Return which calls there were at the later moment and not at the earlier one, and the other way around."""
    environment = _place(environment)
    up_to_date = await _catch_up(services)
    added, removed = await services.graph.diff(environment, earlier_us, later_us)
    return {
        "environment": environment,
        "from": format_us(earlier_us),
        "to": format_us(later_us),
        "added": call_lines(added),
        "removed": call_lines(removed),
        "up_to_date": up_to_date,
    }


async def draw_topology(
    services: Services, environment: str = "", at_us: int | None = None, *, styled: bool = True
) -> str:
    """Return who called whom as of a moment as a picture."""
    environment, at_us = _place(environment), _moment(at_us)
    await _catch_up(services)
    edges = await services.graph.edges_as_of(environment, at_us)
    lately = await _lately(services, environment, at_us)
    notes = {pair: _tell_lately(_rates(found)) for pair, found in lately.items()}
    return topology_svg(edges, notes=notes, styled=styled)


def _tell_lately(rates: Mapping[str, Any]) -> str:
    minutes = _LATELY_US // MINUTE_US
    return (
        f"in the last {minutes} minutes {rates['calls']} calls, {rates['errors']} failed, half within "
        f"{rates['p50_ms']:g} ms, 95 % within {rates['p95_ms']:g} ms"
    )


async def draw_answer(services: Services, environment: str, answer: Mapping[str, Any]) -> str:
    """Return the first causal chain of an answer among the calls around it at that time, as a picture without colours.

    Empty where there is no chain, or no graph to be asked.
    """
    causes = answer.get("verdict", {}).get("causes", [])
    chain = [str(service) for service in causes[0].get("path", [])] if causes else []
    until = answer.get("window", {}).get("to")
    if len(chain) < 2 or not until:
        return ""
    from agents.replies import read_time

    try:
        edges = await services.graph.edges_as_of(environment, max(0, (read_time("to", until) or 0) - 1))
    except GraphError:
        return ""
    causing = {str(cause.get("service", "")) for cause in causes}
    return topology_svg(_around(edges, chain), chain, causing - {chain[0]}, styled=False)


def call_lines(edges: Iterable[Edge]) -> list[dict[str, Any]]:
    """Return calls as JSON, a line for each pair of services.

    `calls` and `errors` count from `since` on; they are null where only metrics or a statement tell of the pair. A
    `since` of null is since ever, an `until` of null until further notice.
    """
    pairs: dict[tuple[str, str], list[Edge]] = {}
    for edge in sorted(edges, key=lambda edge: (edge.source, edge.target, edge.observed_by, edge.valid_from_us)):
        pairs.setdefault((edge.source, edge.target), []).append(edge)
    return [_call_line(source, target, group) for (source, target), group in pairs.items()]


def _call_line(source: str, target: str, edges: Sequence[Edge]) -> dict[str, Any]:
    counting = [edge for edge in edges if edge.observed_by in _COUNTING and not edge.stated]
    seen = [edge for edge in edges if not edge.stated]
    since = min(edge.valid_from_us for edge in edges)
    ends = [edge.valid_to_us for edge in edges]
    return {
        "source": source,
        "target": target,
        "kind": edges[0].kind,
        "calls": sum(edge.count for edge in counting) if counting else None,
        "errors": sum(edge.errors for edge in counting) if counting else None,
        "since": format_us(since) if since else None,
        "last_seen": format_us(max(edge.last_seen_us for edge in seen)) if seen else None,
        "until": None if None in ends else format_us(max(end for end in ends if end is not None)),
        "observed_by": sorted({edge.observed_by for edge in edges}),
        "stated": not seen,
    }


def _around(edges: Sequence[Edge], chain: Sequence[str]) -> list[Edge]:
    """Return the calls between the services of a chain, and the most frequent ones from and to each of them."""
    kept = {edge for edge in edges if edge.source in chain and edge.target in chain}
    for service in chain:
        beside = [edge for edge in edges if service in (edge.source, edge.target) and edge not in kept]
        beside.sort(key=lambda edge: (-edge.count, edge.source, edge.target, edge.observed_by, edge.valid_from_us))
        kept.update(beside[:_AROUND_CHAIN])
    return list(kept)


async def _catch_up(services: Services) -> bool:
    """Let the graph catch up with everything acknowledged so far; say whether it did in time.

    Raises GraphError at once where there is no graph.
    """
    await services.graph.ping()
    if not await services.spool.wait_drained(services.settings.watermark_seconds):
        return False
    head = await services.telemetry.head_seq()
    return await services.projection.wait_for(head, services.settings.watermark_seconds)


def _place(environment: str) -> str:
    try:
        return clean_environment(environment) or DEFAULT_ENVIRONMENT
    except ValueError as exc:
        raise QuestionError(f"`environment`: {exc}") from exc


def _moment(at_us: int | None) -> int:
    return time.time_ns() // 1000 if at_us is None else at_us
