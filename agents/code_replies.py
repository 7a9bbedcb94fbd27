"""The replies of the code index, shared by the API and the command line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.code_meaning import find_code
from agents.replies import read_time
from domain.errors import QuestionError
from domain.frames import parse_frames
from domain.times import HOUR_US, format_us

if TYPE_CHECKING:
    from agents.services import Services
    from indexer.code_index import IndexedFile
    from indexer.linking import Reference
    from indexer.search import CodeSearch, Loaded

MAX_TEXT = 256_000
_MAX_LIMIT = 100
_SNIPPET_LINES = 12
_DEFAULT_SPAN_US = 24 * HOUR_US


async def search_code(services: Services, query: str, limit: int, service: str, by: str = "") -> dict[str, Any]:
    """Chunks that hold the words of a query, or are near to it in meaning, the best first.

    `by` is `both` (the default), `words` or `meaning`; `note` says what could not be looked at.
    """
    loaded = await _loaded(services.code)
    hits, note = await find_code(services, _wanted(query, "a query"), _bounded(limit), service, by)
    found = []
    for hit in hits:
        lines = hit.chunk.text.split("\n")
        start = max(0, min(hit.line - hit.chunk.start_line - 2, len(lines) - _SNIPPET_LINES))
        place = _place(loaded, hit.file, hit.line, hit.chunk.scope)
        snippet = {"from": hit.chunk.start_line + start, "text": "\n".join(lines[start : start + _SNIPPET_LINES])}
        distance = None if hit.distance is None else round(hit.distance, 3)
        found.append(place | {"score": hit.score, "by": list(hit.by), "distance": distance, "snippet": snippet})
    return {"query": query, "results": found, "note": note}


async def find_symbol(services: Services, name: str, limit: int) -> dict[str, Any]:
    """The definitions of a name, who calls each, and whether that is known or guessed."""
    code = services.code
    loaded = await _loaded(code)
    found = []
    for file, symbol in await code.by_symbol(_wanted(name, "a name"), _bounded(limit)):
        callers = loaded.callers_of(file, symbol.qualified)
        calls = [
            r
            for r in loaded.references
            if (r.caller_root, r.caller_path, r.caller) == (file.root, file.path, symbol.qualified)
        ]
        found.append(
            _place(loaded, file, symbol.start_line, symbol.qualified)
            | {"kind": symbol.kind, "end_line": symbol.end_line, "signature": symbol.signature, "doc": symbol.doc}
            | {"callers": [_caller(r) for r in callers[:50]], "calls": [_callee(r) for r in calls[:50]]}
        )
    return {"name": name, "results": found}


async def place_trace(services: Services, text: str, service: str) -> dict[str, Any]:
    """The files and lines of a stack trace, the innermost frame of the project first."""
    code = services.code
    loaded = await _loaded(code)
    frames = parse_frames(_wanted(text, "a stack trace"))
    if not frames:
        raise QuestionError("No stack frame was recognised in the text: paste the trace with its line breaks.")
    places = await code.by_frames(frames, service)
    found = [
        _place(loaded, p.file, p.line, p.symbol)
        | {"sure": p.sure, "frame": {"file": p.frame.file, "line": p.frame.line, "function": p.frame.function}}
        for p in places[:_MAX_LIMIT]
    ]
    return {"frames": len(frames), "results": found}


async def find_statement(services: Services, text: str, limit: int, service: str) -> dict[str, Any]:
    """The statements that may have written a log line; ties are stated, and then none of them is certain."""
    code = services.code
    loaded = await _loaded(code)
    found = [
        _place(loaded, m.file, m.statement.line, m.statement.symbol)
        | {"template": m.statement.template, "level": m.statement.level, "kind": m.statement.kind}
        | {"score": m.score, "tied": m.tied, "sure": m.sure}
        for m in await code.by_log(_wanted(text, "a log line"), _bounded(limit), service)
    ]
    return {"results": found}


async def list_code_changes(services: Services, service: str, since: str, to: str) -> dict[str, Any]:
    """What was committed to what runs in a service (or to anything) in a span of time, by default the last day."""
    await _loaded(services.code)
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


async def _loaded(code: CodeSearch) -> Loaded:
    loaded = await code.load()
    if not loaded.roots:
        raise QuestionError("No code is indexed yet: `causegraph index PATH` indexes a folder or a repository.")
    return loaded


def _place(loaded: Loaded, file: IndexedFile, line: int, symbol: str) -> dict[str, Any]:
    return {"location": loaded.roots[file.root].location, "path": file.path, "line": line, "symbol": symbol}


def _caller(reference: Reference) -> dict[str, Any]:
    return {"path": reference.caller_path, "line": reference.line, "symbol": reference.caller, "sure": reference.sure}


def _callee(reference: Reference) -> dict[str, Any]:
    return {"path": reference.callee_path, "symbol": reference.callee, "line": reference.line, "sure": reference.sure}


def _wanted(text: str, what: str) -> str:
    if not text.strip():
        raise QuestionError(f"Give {what} to look for.")
    if len(text) > MAX_TEXT:
        raise QuestionError(f"More than {MAX_TEXT:,} characters were given.")
    return text


def _bounded(limit: int) -> int:
    return max(1, min(limit, _MAX_LIMIT))


async def ask_code(services: Services, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one of the questions above by its name, with the parameters that HTTP has for it."""
    service, limit = str(values.get("service", "")), int(values.get("limit", 10))
    match what:
        case "search":
            by = str(values.get("by", ""))
            return await search_code(services, str(values.get("q", "")), limit, service, by)
        case "symbol":
            return await find_symbol(services, str(values.get("name", "")), limit)
        case "trace":
            return await place_trace(services, str(values.get("text", "")), service)
        case "log":
            return await find_statement(services, str(values.get("text", "")), limit, service)
        case "diff":
            since, to = str(values.get("from", "")), str(values.get("to", ""))
            return await list_code_changes(services, service, since, to)
        case "status":
            return await code_status(services)
    raise QuestionError(f"The code index knows nothing of {what!r}.")
