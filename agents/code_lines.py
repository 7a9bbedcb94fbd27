"""From what a verdict cites to the lines of code behind it: who writes the error, who raised it, who changed it last."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.state import Deps, State
from domain.errors import CausegraphError
from domain.evidence import Evidence
from domain.frames import Frame, parse_frames
from domain.times import HOUR_US, format_us
from domain.verdict import Cause, Claim, CodeLine, Verdict
from indexer.code_index import IndexedFile
from indexer.search import CodeSearch, Loaded
from tracing.trace import current_trace

_SECONDS = 20.0
_TEXTS = 12
_LINES = 4
_CALLERS = 3
_RECENT_US = 14 * 24 * HOUR_US
_STACKS = ("exception.stacktrace", "stacktrace", "stack_trace", "error.stack", "exc_info", "stack", "traceback")
_MISTAKES = (
    (
        re.compile(r"\bKeyError: ?(?P<name>'[^']{1,60}'|\S{1,60})"),
        "handle a value without {name} before it is looked up",
    ),
    (re.compile(r"\bZeroDivisionError\b|\bdivide by zero\b|/ by zero"), "check the divisor for zero before dividing"),
    (
        re.compile(r"\b(?:IndexError|IndexOutOfBounds\w*|index out of range)\b"),
        "check the length before the index is used",
    ),
    (
        re.compile(r"\bNoneType\b|\bNullPointerException\b|\bNullReferenceException\b|\bnil pointer\b|of undefined\b"),
        "check that the value is there before it is used",
    ),
)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A line of indexed code that an error of a service leads to. `how` is `raised` (a frame) or `written` (a log)."""

    service: str
    file: IndexedFile
    line: int
    symbol: str
    how: str
    text: str
    strength: float


async def locate_lines(state: State, deps: Deps) -> State:
    """Find the lines behind the errors of the cause; without an index of its code nothing is said.

    The verdict stands without them: where they cannot be read, it says so.
    """
    verdict = state["verdict"]
    if deps.code is None or not verdict.causes:
        return {}
    try:
        async with asyncio.timeout(_SECONDS):
            return await _locate(verdict, deps, deps.code)
    except (CausegraphError, TimeoutError) as exc:
        reason = f"took longer than {_SECONDS:.0f} s" if isinstance(exc, TimeoutError) else f"failed: {exc}"
        told = (*verdict.not_seen, f"the lines of code behind the errors: looking them up {reason}")
        return {"verdict": replace(verdict, not_seen=told)}


async def _locate(verdict: Verdict, deps: Deps, code: CodeSearch) -> State:
    loaded = await code.load()
    claims: list[Claim] = []
    causes: list[Cause] = []
    for cause in verdict.causes:
        known = any(one.service == cause.service for one in loaded.services)
        suspects = await find_suspects(cause.service, deps.desk.found, deps.desk.records, code) if known else []
        best, told = await _cite(cause, suspects, loaded, deps)
        causes.append(replace(cause, code=best) if best else cause)
        claims += told
    if loaded.roots:
        current_trace().decide(
            what=f"{len(claims)} line(s) of code are behind the errors",
            why="stack frames and log lines of the cause were looked up in the code that it runs",
            confidence=0.8 if claims else 0.4,
            alternatives=[],
            inputs={"lines": [f"{c.service} {c.code.file}:{c.code.line}" for c in causes if c.code]},
        )
    return {"verdict": replace(verdict, causes=tuple(causes)), "code": tuple(claims)}


async def find_suspects(
    service: str, found: Mapping[str, Evidence], records: Mapping[str, bytes], code: CodeSearch
) -> list[Suspect]:
    """Return the lines that the cited errors of a service lead to, the strongest first; ties lead nowhere."""
    suspects: dict[tuple[str, str, int], Suspect] = {}
    about = [e for e in found.values() if e.service == service and e.kind in ("log", "span")]
    for evidence in sorted(about, key=lambda e: (e.time_us, e.id))[:_TEXTS]:
        record = json.loads(records[evidence.id])
        message, stack = read_texts(record)
        places = await code.by_frames(parse_frames(stack), service)
        for depth, place in enumerate([p for p in places if p.sure][:2]):
            suspect = Suspect(service, place.file, place.line, place.symbol, "raised", stack, 1.0 - 0.3 * depth)
            _keep(suspects, suspect)
        if written := [p for p in await code.by_frames(read_origin(record), service) if p.sure]:
            place = written[0]
            _keep(suspects, Suspect(service, place.file, place.line, place.symbol, "written", message, 0.6))
            continue
        for match in (await code.by_log(message, 2, service))[:1] if message else ():
            if match.sure and not match.tied:
                strength = 0.6 * match.score * (0.8 if match.statement.kind == "print" else 1.0)
                line, symbol = match.statement.line, match.statement.symbol
                _keep(suspects, Suspect(service, match.file, line, symbol, "written", message, strength))
    return sorted(suspects.values(), key=lambda s: (-s.strength, s.file.path, s.line))


def read_texts(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return (message, stack trace) of the record of a log line or a span; "" for what it does not hold."""
    message = str(record.get("message") or record.get("status_message") or "")
    attributes = _attributes(record)
    stacks = [str(attributes[name]) for name in _STACKS if attributes.get(name)]
    return message.split("\n", 1)[0], "\n".join([*stacks, message if "\n" in message or "\\n" in message else ""])


def read_origin(record: Mapping[str, Any]) -> tuple[Frame, ...]:
    """Return where a log line says that it was written, in the attributes that OpenTelemetry has for it."""
    attributes = _attributes(record)
    path = str(attributes.get("code.file.path") or attributes.get("code.filepath") or "")
    line = str(attributes.get("code.line.number") or attributes.get("code.lineno") or "")
    if not path or not line.isdecimal() or len(line) > 7:
        return ()
    name = str(attributes.get("code.function.name") or attributes.get("code.function") or "").rpartition(".")[2]
    return (Frame("python", path.replace("\\", "/"), int(line), name),)


def _attributes(record: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = record.get("attributes") or {}
    if isinstance(attributes, str):
        try:
            attributes = json.loads(attributes)
        except ValueError:
            return {}
    return attributes if isinstance(attributes, dict) else {}


def _keep(suspects: dict[tuple[str, str, int], Suspect], suspect: Suspect) -> None:
    key = (suspect.file.root, suspect.file.path, suspect.line)
    if key not in suspects or suspects[key].strength < suspect.strength:
        suspects[key] = suspect


async def _cite(
    cause: Cause, suspects: Sequence[Suspect], loaded: Loaded, deps: Deps
) -> tuple[CodeLine | None, list[Claim]]:
    claims: list[Claim] = []
    best: CodeLine | None = None
    for suspect in _chosen(suspects):
        key = {
            "root": suspect.file.root,
            "path": suspect.file.path,
            "line": suspect.line,
            "content_hash": suspect.file.content_hash,
            "service": suspect.service,
        }
        try:
            evidence = await deps.desk.cite("code", key, f"code {suspect.how}")
        except CausegraphError:
            continue
        if evidence is None:
            continue
        record = json.loads(deps.desk.records[evidence.id])
        best = best or CodeLine(suspect.file.path, suspect.line, suspect.symbol)
        claims.append(Claim(_tell(suspect, record, loaded, cause), (evidence.id,)))
    return best, claims


def _chosen(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Return the strongest lines: where it was raised, who called that, and who wrote it down."""
    raised = [s for s in suspects if s.how == "raised"][:2]
    written = [s for s in suspects if s.how == "written"]
    return [*raised, *written][:_LINES]


def _tell(suspect: Suspect, record: Mapping[str, Any], loaded: Loaded, cause: Cause) -> str:
    where = f"{suspect.file.path}:{suspect.line}" + (f" in {suspect.symbol}" if suspect.symbol else "")
    verb = "went wrong at" if suspect.how == "raised" else "is written at"
    parts = [f"{suspect.service}: its error {verb} {where}: `{record['text'].strip()[:160]}`"]
    callers = loaded.callers_of(suspect.file, suspect.symbol)
    sure = [f"{c.caller or 'the top'} ({c.caller_path}:{c.line})" for c in callers if c.sure][:_CALLERS]
    if sure:
        parts.append(f"called by {', '.join(sure)}")
    if commit := record["commit"]:
        when = format_us(commit["time_us"])
        parts.append(f'last changed by {commit["author"]} at {when}: "{commit["subject"]}" ({commit["id"][:12]})')
    if hint := suggest(suspect, record, cause):
        parts.append(f"to try: {hint}")
    return "; ".join(parts)


def suggest(suspect: Suspect, record: Mapping[str, Any], cause: Cause) -> str:
    """Return what to try, "" where the cited line does not say enough."""
    if suspect.how != "raised" or not str(record["text"]).strip():
        return ""
    for pattern, advice in _MISTAKES:
        if found := pattern.search(suspect.text):
            name = found.groupdict().get("name", "")
            if name and name.strip("'\"") not in " ".join(record["around"]):
                continue
            return advice.format(name=name)
    commit = record["commit"]
    if commit and 0 <= cause.onset_us - commit["time_us"] <= _RECENT_US:
        return f"go back before commit {commit['id'][:12]}, which touched this line shortly before the trouble began"
    return ""
