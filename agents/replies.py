"""What every way in (HTTP, pages, command line) replies with: records, lists and errors as plain JSON."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from blake3 import blake3

from agents.plain import program_version
from domain.errors import GraphError, NotFound, QuestionError, StorageError
from domain.evidence import canonical_bytes
from domain.telemetry import DEFAULT_ENVIRONMENT
from domain.times import LATEST_US, format_us, parse_time_us
from ingest.fields import clean_environment
from retrieval.evidence import read_record
from storage.incidents import Incident
from storage.trace_search import TraceFilter
from storage.traces import TraceRow
from tracing.report import report
from tracing.scorecard import breakdown, scorecard, to_json
from tracing.timeline import timeline

if TYPE_CHECKING:
    from agents.question import Question
    from agents.services import Services

_PING_SECONDS = 2.0
# Endings of the settings that are nobody's business.
_SECRET_SETTINGS = (
    "api_key",
    "chat_key",
    "_secret",
    "_token",
    "_password",
    "_options",
    "_webhooks",
    "_headers",
    "_webhook_url",
    "_slack_url",
)
_THREAD = re.compile(r"[A-Za-z0-9_.:-]{0,64}")


# -- questions ---------------------------------------------------------------------------------------------------------


def read_time(name: str, value: str | int | float | None) -> int | None:
    """Return microseconds of a time as given by a person; raises QuestionError that names the field."""
    if value is None or value == "":
        return None
    try:
        return parse_time_us(value)
    except (ValueError, OverflowError) as exc:
        raise QuestionError(f"`{name}`: {exc}") from exc


def make_question(
    text: str,
    environment: str = "",
    *,
    at_us: int | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    thread_id: str = "",
    incident_id: str = "",
) -> Question:
    """Return a question with everything filled in that was left out; raises QuestionError for names that do not fit."""
    from agents.question import Question

    if not _THREAD.fullmatch(thread_id):
        raise QuestionError("The thread must be at most 64 letters, digits and signs of `_.:-`.")
    try:
        # As ingest cleans it: a blank at the end makes no other environment.
        environment = clean_environment(environment)
    except ValueError as exc:
        raise QuestionError(f"`environment`: {exc}") from exc
    return Question(
        text=text,
        environment=environment or DEFAULT_ENVIRONMENT,
        at_us=time.time_ns() // 1000 if at_us is None else at_us,
        from_us=from_us,
        to_us=to_us,
        thread_id=thread_id or f"thr-{secrets.token_hex(6)}",
        incident_id=incident_id,
    )


# -- evidence ----------------------------------------------------------------------------------------------------------


async def reread_evidence(services: Services, evidence_id: str, environment: str | None = None) -> dict[str, Any]:
    """Return evidence, its record as it reads now, and whether that is what was cited.

    `state` is `unchanged`, `changed` or `gone`; for the last two `cited_record` is the copy kept when it was cited, if
    there is one. Raises NotFound for evidence that is not known.
    """
    evidence = await services.evidence.load(environment, evidence_id)
    now: Mapping[str, Any] | None = None
    reason = ""
    try:
        now = await read_record(
            services.telemetry, services.graph, evidence.environment, evidence.kind, evidence.key, services.code
        )
    except NotFound as exc:
        state, reason = "gone", str(exc)
    else:
        same = blake3(canonical_bytes(now)).hexdigest() == evidence.digest
        state = "unchanged" if same else "changed"
    cited = now
    if state != "unchanged":
        try:
            cited = json.loads(await services.evidence.stored_bytes(evidence))
        except NotFound as exc:
            cited, reason = None, f"{reason} {exc}".strip()
    return {
        **evidence.to_json(),
        "time": format_us(evidence.time_us),
        "state": state,
        "reason": reason,
        "record": now,
        "cited_record": cited,
    }


# -- incidents and traces ----------------------------------------------------------------------------------------------


async def list_incidents(
    services: Services,
    environment: str = "",
    limit: int = 50,
    before_us: int = LATEST_US,
    status: str = "",
    origin: str = "",
) -> list[dict[str, Any]]:
    """Return the newest incidents of one environment, or of all, without their answers.

    `status` may be `live`: everything that is not over. `origin` is question, alert or symptom.
    """
    found = await services.incidents.list(environment, limit, before_us, status, origin)
    return [incident_line(incident) for incident in found]


def incident_line(incident: Incident) -> dict[str, Any]:
    """Return an incident without its answer."""
    causes = incident.answer.get("verdict", {}).get("causes", [])
    return {
        "id": incident.id,
        "environment": incident.environment,
        "status": incident.status,
        "origin": incident.origin,
        "title": incident.title or incident.question,
        "severity": incident.severity,
        "merged_into": incident.merged_into,
        "question": incident.question,
        "outcome": incident.outcome,
        "causes": [str(cause.get("service", "")) for cause in causes],
        "service": incident.service,
        "created": format_us(incident.created_us),
        "started": None if incident.started_us is None else format_us(incident.started_us),
        "ended": None if incident.ended_us is None else format_us(incident.ended_us),
        "thread_id": incident.thread_id,
        "trace_id": incident.trace_id,
    }


async def read_incident(services: Services, incident_id: str) -> dict[str, Any]:
    """Return an incident with its answer; raises NotFound. One that was not investigated yet has an answer that says so."""
    incident = await services.incidents.get(incident_id)
    return {**incident_line(incident), "answer": dict(incident.answer) or _unanswered(incident)}


def _unanswered(incident: Incident) -> dict[str, Any]:
    verdict = {
        "outcome": "INCONCLUSIVE",
        "reasons": ["It has not been investigated yet."],
        **{name: [] for name in ("causes", "ranking", "ruled_out", "not_seen")},
    }
    return {
        "answer": "This incident has not been investigated yet.",
        "language": "en",
        "environment": incident.environment,
        "thread_id": incident.thread_id,
        "incident_id": incident.id,
        "trace_id": "",
        "verdict": verdict,
        "claims": [],
    }


async def list_traces(
    services: Services, environment: str = "", limit: int = 50, before_us: int = LATEST_US
) -> list[dict[str, Any]]:
    """Return the newest traces of one environment, or of all."""
    return [_trace_line(row) for row in await services.traces.list(environment or None, limit, before_us)]


async def search_traces(
    services: Services, wanted: TraceFilter, limit: int = 50, offset: int = 0, *, facets: bool = False
) -> dict[str, Any]:
    """Return the newest traces that fit; with `facets` also how many fit, and how many have which value."""
    found = await services.traces.search.find(wanted, limit, offset)
    body: dict[str, Any] = {"traces": [_trace_line(row) for row in found]}
    if facets:
        counts = await services.traces.search.facets(wanted)
        body |= {"facets": counts, "total": sum(counts.get("source", {}).values())}
    return body


async def find_traces(services: Services, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the newest traces that fit a query as `GET /traces` takes it; raises QuestionError for a wrong time."""
    from_us, before_us = read_time("from", query.get("from")), read_time("before", query.get("before"))
    words = {
        name: str(query.get(name) or "")
        for name in ("environment", "source", "status", "outcome", "action", "service", "intent", "model")
    }
    wanted = TraceFilter(
        **words,
        thread_id=str(query.get("thread_id") or ""),
        search=str(query.get("search") or ""),
        open_spans=bool(query.get("open_spans")),
        from_us=from_us or 0,
        before_us=LATEST_US if before_us is None else before_us,
    )
    limit, page = int(query.get("limit") or 50), int(query.get("page") or 1)
    return list((await search_traces(services, wanted, limit, (page - 1) * limit))["traces"])


async def read_trace_overview(services: Services, hours: float, environment: str = "") -> dict[str, Any]:
    """Return what the traces of the last hours say: counts, durations, tokens, cost, open and failed stages."""
    overview = await services.traces.search.overview(hours, environment)
    told = asdict(overview)
    totals = told.pop("totals")
    return {**told, **totals, "completion_rate": overview.totals.completion_rate}


def _trace_line(row: TraceRow) -> dict[str, Any]:
    seconds = None if row.ended_us is None else (row.ended_us - row.started_us) / 1_000_000
    more = {"completion_rate": row.completion_rate, "has_open_spans": row.has_open_spans}
    return {**asdict(row), **more, "started": format_us(row.started_us), "seconds": seconds}


async def read_trace(services: Services, trace_id: str) -> dict[str, Any]:
    """Return a folded trace with its scorecard; raises NotFound."""
    view = await services.traces.load(trace_id)
    more = {"timeline": timeline(view), "scorecard": scorecard(view), "scorecard_verbose": breakdown(view)}
    more |= {"report": report(view)}
    return {**to_json(view), "started": format_us(view.started_us), **more}


# -- the state of the program ------------------------------------------------------------------------------------------


async def read_health(services: Services) -> dict[str, Any]:
    """Return whether each server answers; `status` is `ok` only if all do."""

    async def ask(ping: Any) -> str:
        try:
            await asyncio.wait_for(ping(), _PING_SECONDS)
        except (StorageError, GraphError, TimeoutError):
            return "down"
        return "up"

    mariadb, falkordb = await asyncio.gather(ask(services.database.ping), ask(services.graph.ping))
    status = "ok" if mariadb == falkordb == "up" else "degraded"
    return {
        "status": status,
        "version": program_version(),
        "servers": {"mariadb": mariadb, "falkordb": falkordb},
        "spool": read_spool(services),
    }


def read_spool(services: Services) -> dict[str, Any]:
    """Return what this process has acknowledged and not stored yet, and how many dead letters there are."""
    status = asdict(services.spool.status())
    del status["problem"]  # for the log: it may name the database's address
    return status | {"dead_letters": services.dead_letters.count()}


async def read_info(services: Services) -> dict[str, Any]:
    """Return the version, the environments, some counts, and the settings without their secrets."""
    environments = await services.telemetry.environments()
    keys: Sequence[Any] = await services.keys.list()
    return {
        "version": program_version(),
        "environments": environments,
        "counts": {
            "environments": len(environments),
            "ingest_batches": await services.telemetry.head_seq(),
            "runbooks": len(services.library.runbooks),
            "keys": sum(key.revoked_us is None for key in keys),
            "overflowed_lines": services.ingest.templates.overflowed,
        },
        "sources": [source.describe() for source in services.sources.opened],
        "settings": _public_settings(services),
    }


def _public_settings(services: Services) -> dict[str, Any]:
    said = services.settings.model_dump(mode="json")
    settings = {name: value for name, value in said.items() if not name.endswith(_SECRET_SETTINGS)}
    return settings | {name: _without_password(settings[name]) for name in ("database_url", "graph_url")}


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if not parts.password:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}"))
