"""The replies of the code index, shared by the API and the command line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.code_meaning import find_code
from agents.code_places import bounded, load_code, place_of, wanted_text
from agents.code_symbols import find_symbol
from agents.code_templates import find_templates
from agents.log_replies import LogQuery, make_log_query
from agents.replies import read_time
from domain.errors import QuestionError
from domain.frames import parse_frames
from domain.times import HOUR_US, format_us

if TYPE_CHECKING:
    from agents.services import Services

_SNIPPET_LINES = 12
_MOST_PLACES = 100
_DEFAULT_SPAN_US = 24 * HOUR_US


async def search_code(services: Services, query: str, limit: int, service: str, by: str = "") -> dict[str, Any]:
    """Chunks that hold the words of a query, or are near to it in meaning, the best first.

    `by` is `both` (the default), `words` or `meaning`; `note` says what could not be looked at.
    """
    loaded = await load_code(services.code)
    hits, note = await find_code(services, wanted_text(query, "a query"), bounded(limit), service, by)
    found = []
    for hit in hits:
        lines = hit.chunk.text.split("\n")
        start = max(0, min(hit.line - hit.chunk.start_line - 2, len(lines) - _SNIPPET_LINES))
        place = place_of(loaded, hit.file, hit.line, hit.chunk.scope)
        snippet = {"from": hit.chunk.start_line + start, "text": "\n".join(lines[start : start + _SNIPPET_LINES])}
        distance = None if hit.distance is None else round(hit.distance, 3)
        found.append(place | {"score": hit.score, "by": list(hit.by), "distance": distance, "snippet": snippet})
    return {"query": query, "results": found, "note": note}


async def place_trace(services: Services, text: str, service: str) -> dict[str, Any]:
    """The files and lines of a stack trace, the innermost frame of the project first."""
    code = services.code
    loaded = await load_code(code)
    frames = parse_frames(wanted_text(text, "a stack trace"))
    if not frames:
        raise QuestionError("No stack frame was recognised in the text: paste the trace with its line breaks.")
    places = await code.by_frames(frames, service)
    found = [
        place_of(loaded, p.file, p.line, p.symbol)
        | {"sure": p.sure, "frame": {"file": p.frame.file, "line": p.frame.line, "function": p.frame.function}}
        for p in places[:_MOST_PLACES]
    ]
    return {"frames": len(frames), "results": found}


async def find_statement(services: Services, text: str, limit: int, service: str) -> dict[str, Any]:
    """The statements that may have written a log line; ties are stated, and then none of them is certain."""
    code = services.code
    loaded = await load_code(code)
    found = [
        place_of(loaded, m.file, m.statement.line, m.statement.symbol)
        | {"template": m.statement.template, "level": m.statement.level, "kind": m.statement.kind}
        | {"score": m.score, "tied": m.tied, "sure": m.sure}
        for m in await code.by_log(wanted_text(text, "a log line"), bounded(limit), service)
    ]
    return {"results": found}


async def list_code_changes(services: Services, service: str, since: str, to: str) -> dict[str, Any]:
    """What was committed to what runs in a service (or to anything) in a span of time, by default the last day."""
    await load_code(services.code)
    until_us = read_time("to", to) or time.time_ns() // 1000
    since_us = read_time("since", since)
    since_us = until_us - _DEFAULT_SPAN_US if since_us is None else since_us
    changes, blind = await services.code.changes(service, since_us, until_us)
    found = [
        {
            "location": change.root.location,
            "commit": change.commit.id,
            "time": format_us(change.commit.time_us),
            "author": change.commit.author,
            "subject": change.commit.subject,
            "files": list(change.commit.files),
        }
        for change in changes
    ]
    return {
        "service": service,
        "from": format_us(since_us),
        "to": format_us(until_us),
        "commits": found,
        "not_seen": blind,
    }


async def code_status(services: Services) -> dict[str, Any]:
    """What is indexed, and how much was understood of it."""
    loaded = await services.code.load()
    roots = []
    for root in loaded.roots.values():
        files = [file for file in loaded.index.files if file.root == root.id]
        calls = [r for r in loaded.references if r.caller_root == root.id]
        runs = [{"service": s.service, "folder": s.folder} for s in loaded.services if s.root_id == root.id]
        roots.append(
            {
                "id": root.id,
                "location": root.location,
                "files": root.files,
                "readable": len(files),
                "being_read": root in loaded.unread,
                "symbols": sum(len(file.facts.symbols) for file in files),
                "chunks": sum(len(file.facts.chunks) for file in files),
                "log_statements": sum(len(file.facts.log_statements) for file in files),
                "calls": sum(r.sure for r in calls),
                "guessed_calls": sum(not r.sure for r in calls),
                "services": runs,
                "problems": [f"{f.path}: {problem}" for f in files for problem in f.facts.problems][:20],
            }
        )
    chunks, embedded = await services.code.count_chunks()
    embedder = services.embedder.name if services.embedder else None
    return {"roots": roots, "vectors": {"embedder": embedder, "chunks": chunks, "pending": chunks - embedded}}


async def ask_code(services: Services, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one of the questions above by its name, with the parameters that HTTP has for it."""
    service, limit = str(values.get("service", "")), int(values.get("limit", 10))
    match what:
        case "search":
            by = str(values.get("by", ""))
            return await search_code(services, str(values.get("q", "")), limit, service, by)
        case "symbol":
            hops, at = int(values.get("hops", 1)), str(values.get("at", ""))
            return await find_symbol(services, str(values.get("name", "")), limit, hops, at)
        case "trace":
            return await place_trace(services, str(values.get("text", "")), service)
        case "log":
            return await find_statement(services, str(values.get("text", "")), limit, service)
        case "diff":
            since, to = str(values.get("from", "")), str(values.get("to", ""))
            return await list_code_changes(services, service, since, to)
        case "templates":
            return await find_templates(services, str(values.get("place", "")), _log_query(values, limit))
        case "status":
            return await code_status(services)
    raise QuestionError(f"The code index knows nothing of {what!r}.")


def _log_query(values: Mapping[str, Any], limit: int) -> LogQuery:
    to_us = read_time("to", values.get("to")) or time.time_ns() // 1000
    from_us = read_time("from", values.get("from"))
    from_us = max(0, to_us - _DEFAULT_SPAN_US) if from_us is None else from_us
    environment, service = str(values.get("environment", "")), str(values.get("service", ""))
    return make_log_query(environment, from_us, to_us, service, limit=limit)
