"""What every way in replies with about logs: lines found by text, and families of templates, counted and compared."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from diagnosis.logs import poisson_surprise
from domain.errors import QuestionError
from domain.observed import LogRow, TemplateCount
from domain.telemetry import DEFAULT_ENVIRONMENT, Level
from domain.times import HOUR_US, MINUTE_US, SECOND_US, SLOT_US, Window, floor_slot, format_us
from ingest.families import FAMILY_VERSION, family_id, family_text
from ingest.family_slots import FamilySlots
from ingest.fields import parse_level
from storage.families import FamilySlotStore

if TYPE_CHECKING:
    from agents.services import Services

type Order = Literal["top", "new", "vanished", "bursting"]
ORDERS: tuple[Order, ...] = ("top", "new", "vanished", "bursting")
MAX_ROWS = 1000

_LONGEST_US = 31 * 24 * HOUR_US
_FIRST_LOOK_US = 10 * SECOND_US
_LOOK_SECONDS = 0.5
_SEARCH_SECONDS = 5.0
_USUAL = 3  # lines from which on it is worth saying that a family fell silent
_BURST_FACTOR = 3.0
_BURST_SURPRISE = 6.0


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines are asked for: of an environment and a window, perhaps of one service, from a level on."""

    environment: str
    window: Window
    service: str = ""
    level: int = 0
    limit: int = 50


def make_log_query(
    environment: str, from_us: int | None, to_us: int | None, service: str = "", level: str = "", limit: int = 50
) -> LogQuery:
    """Return a query; the last hour where no time is given. Raises QuestionError for what makes no sense."""
    # At the end of a slot: of whole slots the counts are at hand.
    end = to_us if to_us is not None else floor_slot(time.time_ns() // 1000 + MINUTE_US) + SLOT_US
    start = from_us if from_us is not None else max(0, end - HOUR_US)
    if start >= end:
        raise QuestionError("`from` must lie before `to`.")
    if end - start > _LONGEST_US:
        raise QuestionError("`from` and `to` may lie 31 days apart at most.")
    known = parse_level(level) if level else None
    if level and known is None:
        raise QuestionError(f"`level`: {level[:32]!r} is none: trace, debug, info, warn, error or fatal.")
    window = Window(start, end)
    return LogQuery(environment or DEFAULT_ENVIRONMENT, window, service, int(known or 0), min(limit, MAX_ROWS))


# -- families ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Counted:
    """A family of one service and level before and in a window."""

    templates: set[int] = field(default_factory=set)
    before: int = 0
    lines: int = 0
    first_us: int | None = None
    last_us: int | None = None


type _Families = dict[tuple[str, int, str], _Counted]


async def read_families(services: Services, query: LogQuery, order: Order) -> dict[str, Any]:
    """Return families of templates: the most frequent, or those that are new, vanished or bursting.

    They are compared with a window of equal length just before. New is what was never written before in the environment.
    """
    length = query.window.end_us - query.window.start_us
    before = Window(max(0, query.window.start_us - length), query.window.start_us)
    telemetry = services.telemetry
    was = wanted_counts(await telemetry.template_counts(query.environment, before), query)
    now = wanted_counts(await telemetry.template_counts(query.environment, query.window), query)
    texts = await telemetry.template_texts({count.template_id for count in (*was, *now)})
    families = _count_families(was, now, await _name_families(services, query.environment, texts))
    if order == "new":
        fresh = {number for counted in families.values() if not counted.before for number in counted.templates}
        known = await telemetry.seen_before(query.environment, fresh, query.window.start_us)
        families = {key: one for key, one in families.items() if not one.before and one.templates.isdisjoint(known)}
    else:
        families = {key: one for key, one in families.items() if _CHOICES[order](one)}
    ranked = sorted(families.items(), key=lambda item: (-max(item[1].lines, item[1].before), item[0]))
    return {
        **frame_json(query),
        "order": order,
        "families": [_family_json(*item) for item in ranked[: query.limit]],
        "left_out": max(0, len(ranked) - query.limit),
    }


def wanted_counts(counts: Sequence[TemplateCount], query: LogQuery) -> list[TemplateCount]:
    """Return the counts of the service and from the level on that a query asks for."""
    return [c for c in counts if c.level >= query.level and query.service in ("", c.service)]


def _count_families(was: Sequence[TemplateCount], now: Sequence[TemplateCount], names: dict[int, str]) -> _Families:
    families: _Families = defaultdict(_Counted)
    for counts, current in ((was, False), (now, True)):
        for count in counts:
            one = families[count.service, count.level, names.get(count.template_id, "")]
            one.templates.add(count.template_id)
            if current:
                one.lines += count.lines
                one.first_us = min(one.first_us or count.first_us, count.first_us)
                one.last_us = max(one.last_us or count.last_us, count.last_us)
            else:
                one.before += count.lines
    return families


async def _name_families(services: Services, environment: str, texts: dict[int, str]) -> dict[int, str]:
    """Return the family of each template. A slot that opens by what is in view is open from then on, in every view."""
    found = {number: family_text(text) for number, text in texts.items()}
    store, slots = FamilySlotStore(services.database), FamilySlots()
    known = await store.opened(environment, FAMILY_VERSION)
    for text in known:
        slots.reopen(text)
    into = slots.place(sorted(set(found.values())))
    fresh = {family_id(text): text for text in slots.opened.difference(known)}
    if fresh:
        await store.open(environment, FAMILY_VERSION, fresh, time.time_ns() // 1000)
    return {number: into[text] for number, text in found.items()}


def _vanished(one: _Counted) -> bool:
    return not one.lines and one.before >= _USUAL


def _bursting(one: _Counted) -> bool:
    usual = max(one.before, 1)
    return one.lines >= _BURST_FACTOR * usual and poisson_surprise(one.lines, usual) >= _BURST_SURPRISE


_CHOICES: dict[Order, Callable[[_Counted], bool]] = {
    "top": lambda one: one.lines > 0,
    "vanished": _vanished,
    "bursting": _bursting,
}


def _family_json(key: tuple[str, int, str], one: _Counted) -> dict[str, Any]:
    service, level, text = key
    return {
        "service": service,
        "level": Level(level).name,
        "text": text,
        "lines": one.lines,
        "before": one.before,
        "first": None if one.first_us is None else format_us(one.first_us),
        "last": None if one.last_us is None else format_us(one.last_us),
        "templates": [str(number) for number in sorted(one.templates)[:20]],
    }


# -- lines -------------------------------------------------------------------------------------------------------------


async def search_lines(services: Services, query: LogQuery, text: str = "", before: str = "") -> dict[str, Any]:
    """Return lines that hold a text (in any case), newest first; `cursor` of the reply, as `before`, asks for the next.

    There may be a cursor and few lines, or none: a search ends after some seconds. `searched_from` tells how far it came.
    """
    rows, searched_from = await _find_back(services, query, text, _read_cursor(before))
    cursor = f"{searched_from}-0" if searched_from > query.window.start_us else ""
    if len(rows) == query.limit:
        cursor, searched_from = f"{rows[-1].time_us}-{rows[-1].id}", rows[-1].time_us
    return {
        **frame_json(query),
        "lines": [_line_json(row) for row in rows],
        "searched_from": format_us(searched_from),
        "cursor": cursor,
    }


async def _find_back(
    services: Services, query: LogQuery, text: str, before: tuple[int, int] | None
) -> tuple[list[LogRow], int]:
    """Return the newest lines and the time back to which all were looked at, in looks of about half a second each."""
    window, rows = query.window, list[LogRow]()
    end = window.end_us if before is None else max(window.start_us, min(window.end_us, before[0] + 1))
    span, at = _FIRST_LOOK_US, time.monotonic()
    deadline = at + _SEARCH_SECONDS
    while end > window.start_us and len(rows) < query.limit:
        part = Window(max(window.start_us, end - span), end)
        left = query.limit - len(rows)
        rows += await services.telemetry.find_lines(
            query.environment, part, query.service, query.level, text, before, left
        )
        before, end = None, part.start_us
        took, at = time.monotonic() - at, time.monotonic()
        if at > deadline:
            break
        span = int(span * min(8.0, max(0.25, _LOOK_SECONDS / max(took, 1e-6))))
    return rows, end


async def follow_lines(services: Services, query: LogQuery, after: int | None) -> dict[str, Any]:
    """Return lines in the order in which they were stored, after the one with this id; without it, where the end is."""
    telemetry = services.telemetry
    if after is None:
        return {**frame_json(query), "lines": [], "after": await telemetry.last_line_id()}
    rows, looked = await telemetry.lines_after(query.environment, after, query.service, query.level, query.limit)
    return {**frame_json(query), "lines": [_line_json(row) for row in rows], "after": looked}


def _read_cursor(text: str) -> tuple[int, int] | None:
    moment, dash, number = text.partition("-")
    if not text:
        return None
    if not (
        dash and moment.isascii() and number.isascii() and moment.isdigit() and number.isdigit() and len(text) < 40
    ):
        raise QuestionError("`before` is no cursor: give back the `cursor` of the last reply as it is.")
    return int(moment), int(number)


def _line_json(row: LogRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "time": format_us(row.time_us),
        "service": row.service,
        "level": Level(row.level).name,
        "message": row.message,
        "node": row.node,
        "trace_id": row.trace_id,
        "template": str(row.template_id),
    }


def frame_json(query: LogQuery) -> dict[str, Any]:
    """Return what was asked for: the environment and the window."""
    window = query.window
    return {"environment": query.environment, "from": format_us(window.start_us), "to": format_us(window.end_us)}
