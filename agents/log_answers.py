"""Questions about logs that are looked up: how many, which templates, show me the lines."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from agents.looked_up import Asked, Found
from agents.state import Deps
from domain.observed import TemplateCount
from domain.telemetry import Level
from domain.times import format_us
from domain.verdict import Claim

_SHOWN = 8
_LINES = 12
_OPERATIONS = 6
_NEVER_SLOW = 2**62
_WARNINGS = re.compile(r"\bwarn\w*\b", re.IGNORECASE)
_ERRORS = re.compile(r"\b(?:errors?|exceptions?|failures?|failed|fatal|panics?|fail\w*)\b", re.IGNORECASE)
_REQUESTS = re.compile(r"\b(?:requests?|calls|traffic|fail\w*)\b", re.IGNORECASE)
_NEW = re.compile(r"\bnew\b", re.IGNORECASE)
_QUOTED = re.compile(r"[\"'`“]([^\"'`”]{2,200})[\"'`”]")


async def answer_count(asked: Asked, deps: Deps) -> Found | None:
    """Count error lines (or all lines, or warnings), and requests with those that failed."""
    level = _level(asked.question.text, Level.ERROR)
    counts = _wanted(await _counts(asked, deps), asked.services, level)
    word = {Level.ERROR: "error lines", Level.WARN: "lines of level WARN or above"}.get(level, "log lines")
    claims = []
    by_service: dict[str, list[TemplateCount]] = defaultdict(list)
    for count in counts:
        by_service[count.service].append(count)
    texts = await deps.telemetry.template_texts({count.template_id for count in counts})
    for service, held in sorted(by_service.items(), key=lambda item: -sum(c.lines for c in item[1])):
        claims += await _count_claims(service, held, texts, asked, deps)
    lines = sum(count.lines for count in counts)
    requests, failed, more = await _count_requests(asked, deps) if _REQUESTS.search(asked.question.text) else (0, 0, [])
    who = ", ".join(asked.services) or "all services"
    told = f"{who}: {lines} {word} {asked.during}."
    if requests:
        told = f"{who}: {failed} of {requests} requests failed {asked.during}; {lines} {word} were written."
    silent = (
        not counts and not requests and not await deps.telemetry.log_extent(asked.question.environment, asked.window)
    )
    not_seen = ("logs: nothing at all was reported in this time, so none is not the same as zero",) if silent else ()
    return Found(told, tuple([*more, *claims][: 2 * _SHOWN]), not_seen, decided=f"{lines} {word}")


async def answer_templates(asked: Asked, deps: Deps) -> Found | None:
    """Return the log templates that were written most, or those that are new."""
    text = asked.question.text
    counts = _wanted(await _counts(asked, deps), asked.services, _level(text, Level.TRACE))
    new = _NEW.search(text) is not None
    if new:
        ids = {count.template_id for count in counts}
        known = await deps.telemetry.seen_before(asked.question.environment, ids, asked.window.start_us)
        counts = [count for count in counts if count.template_id not in known]
    counts.sort(key=lambda count: (-count.lines, count.service, count.template_id))
    texts = await deps.telemetry.template_texts({count.template_id for count in counts[:_SHOWN]})
    claims = [claim for count in counts[:_SHOWN] if (claim := await _claim_of(count, texts, asked, deps))]
    who = ", ".join(asked.services) or "all services"
    kind = "new log templates" if new else "log templates"
    told = f"{who}: {len(counts)} {kind} {asked.during}" + (
        f", the {len(claims)} most frequent:" if len(counts) > len(claims) else "."
    )
    return Found(told, tuple(claims), decided=f"{len(counts)} {kind}")


async def answer_logs(asked: Asked, deps: Deps) -> Found | None:
    """Show log lines: the newest of a service, those that hold a quoted text, the errors."""
    text = asked.question.text
    wanted = _QUOTED.search(text)
    if not asked.services and not wanted and not _ERRORS.search(text) and len(asked.known) > 1:
        return Found(f"The logs of which service do you mean: {', '.join(asked.known[:20])}?", clarify=True)
    level = _level(text, Level.TRACE)
    rows = []
    for service in asked.services or ("",):
        found = await deps.ledger.note(
            "log lines",
            asked.window,
            deps.telemetry.find_lines(
                asked.question.environment,
                asked.window,
                service,
                level,
                wanted.group(1) if wanted else "",
                None,
                _LINES,
            ),
            filter=service,
        )
        rows += found
    claims = []
    for row in sorted(rows, key=lambda row: row.time_us)[-_LINES:]:
        evidence = await deps.desk.cite("log", {"id": row.id}, "log lines")
        if evidence:
            name = Level(row.level).name
            claims.append(Claim(f"{format_us(row.time_us)} {name} {row.service}: {row.message[:300]}", (evidence.id,)))
    who = ", ".join(asked.services) or "all services"
    if not claims:
        return Found(f"{who} wrote no such log lines {asked.during}.", decided="no lines")
    return Found(
        f"{who}: the last {len(claims)} log lines {asked.during}:", tuple(claims), decided=f"{len(claims)} lines"
    )


async def _counts(asked: Asked, deps: Deps) -> Sequence[TemplateCount]:
    lookup = deps.telemetry.template_counts(asked.question.environment, asked.window)
    return await deps.ledger.note("template counts", asked.window, lookup, filter=", ".join(asked.services))


def _wanted(counts: Iterable[TemplateCount], services: Sequence[str], level: int) -> list[TemplateCount]:
    return [count for count in counts if count.level >= level and (not services or count.service in services)]


def _level(text: str, otherwise: Level) -> Level:
    if _WARNINGS.search(text):
        return Level.WARN
    if _ERRORS.search(text):
        return Level.ERROR
    return Level.TRACE if re.search(r"\b(?:lines?|logs?|messages?)\b", text, re.IGNORECASE) else otherwise


async def _count_claims(
    service: str, counts: list[TemplateCount], texts: dict[int, str], asked: Asked, deps: Deps
) -> list[Claim]:
    counts.sort(key=lambda count: (-count.lines, count.template_id))
    return [claim for count in counts[:3] if (claim := await _claim_of(count, texts, asked, deps))]


async def _claim_of(count: TemplateCount, texts: dict[int, str], asked: Asked, deps: Deps) -> Claim | None:
    key = {
        "template_id": count.template_id,
        "service": count.service,
        "start_us": asked.window.start_us,
        "end_us": asked.window.end_us,
        "seq": await deps.telemetry.head_seq(),
    }
    evidence = await deps.desk.cite("count", key, "template counts")
    if evidence is None:
        return None
    text = texts.get(count.template_id, "")[:200]
    return Claim(
        f"{count.service} wrote {count.lines} times at level {Level(count.level).name}: {text}", (evidence.id,)
    )


async def _count_requests(asked: Asked, deps: Deps) -> tuple[int, int, list[Claim]]:
    environment, window = asked.question.environment, asked.window
    names = await deps.telemetry.entry_names(environment, window)
    requests = failed = 0
    claims = []
    for service, name in [pair for pair in names if not asked.services or pair[0] in asked.services][:_OPERATIONS]:
        key = {
            "service": service,
            "name": name,
            "start_us": window.start_us,
            "end_us": window.end_us,
            "slow_us": _NEVER_SLOW,
            "seq": await deps.telemetry.head_seq(),
            "until_us": asked.question.at_us,
        }
        evidence = await deps.desk.cite("requests", key, "requests")
        if evidence is None:
            continue
        record = evidence_numbers(deps.desk.records[evidence.id])
        requests, failed = requests + record[0], failed + record[1]
        claims.append(Claim(f"{service} {name}: {record[1]} of {record[0]} requests failed", (evidence.id,)))
    return requests, failed, claims


def evidence_numbers(record: bytes) -> tuple[int, int]:
    """Return (requests, failed) of the record of an operation's requests."""
    held = json.loads(record)
    return int(held["requests"] or 0), int(held["errors"] or 0)
