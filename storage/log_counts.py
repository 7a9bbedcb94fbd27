"""How often log templates were written, from the counts per slot, which outlive the lines.

A window may cut through a slot. Of what was written on both sides of a cut the kept lines tell how much lies inside; lines
that were only counted, or are dropped by now, are shared out evenly between the first and the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from domain.observed import TemplateCount
from domain.times import SLOT_US, Window, floor_slot
from storage.database import Database

type _Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class StepCount:
    """How many lines of a level were written in a step of time, which began at `start_us`."""

    start_us: int
    level: int
    lines: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """Lines of a slot that are kept: all of them, and those of a window with their first and last moment."""

    lines: int
    inside: int
    first_us: int
    last_us: int


class LogCounts:
    """Reads counts. Every method raises StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_template(self, environment: str, window: Window) -> list[TemplateCount]:
        """Return how often each service wrote each template at each level in a window."""
        whole = _whole_slots(window)
        counts = await self._slots(environment, whole) if whole is not None else []
        for slot_us in _cut_slots(window):
            counts += await self._cut(environment, slot_us, window)
        merged: dict[_Key, TemplateCount] = {}
        for count in counts:
            known = merged.get(count[:3])
            merged[count[:3]] = count if known is None else _add(known, count)
        return sorted(merged.values())

    async def by_step(
        self, environment: str, window: Window, step_us: int, service: str, level: int, template_id: int
    ) -> list[StepCount]:
        """Return the lines of each step (of whole slots) and level, of a service and of a template if these are given."""
        found: dict[tuple[int, int], int] = {}
        whole = _whole_slots(window)
        if whole is not None:
            asked = (step_us, environment, whole.start_us, whole.end_us, service, service, level, template_id)
            for step, at, lines in await self._database.fetch("stepped_counts", (*asked, template_id)):
                found[int(step) * step_us, int(at)] = int(lines)
        for slot_us in _cut_slots(window):
            for count in await self._cut(environment, slot_us, window):
                if service in ("", count.service) and level <= count.level and template_id in (0, count.template_id):
                    key = floor_slot(slot_us, step_us), count.level
                    found[key] = found.get(key, 0) + count.lines
        return [StepCount(*key, lines) for key, lines in sorted(found.items())]

    async def _slots(self, environment: str, window: Window) -> list[TemplateCount]:
        rows = await self._database.fetch("slot_template_counts", (environment, window.start_us, window.end_us))
        return [TemplateCount(str(row[0]), *map(int, row[1:])) for row in rows]

    async def _cut(self, environment: str, slot_us: int, window: Window) -> list[TemplateCount]:
        """Return that part of a slot's counts which lies in a window."""
        counts = await self._slots(environment, Window(slot_us, slot_us + SLOT_US))
        cut = any(not window.holds(count.first_us) or not window.holds(count.last_us) for count in counts)
        kept = await self._kept(environment, slot_us, window) if cut else {}
        parts = (_part(count, window, kept.get(count[:3], _NONE)) for count in counts)
        return [part for part in parts if part.lines]

    async def _kept(self, environment: str, slot_us: int, window: Window) -> Mapping[_Key, _Kept]:
        asked = (*(window.start_us, window.end_us) * 3, environment, slot_us, slot_us + SLOT_US)
        rows = await self._database.fetch("cut_template_counts", asked)
        return {
            (str(row[0]), int(row[1]), int(row[2])): _Kept(int(row[3]), int(row[4]), int(row[5] or 0), int(row[6] or 0))
            for row in rows
        }


_NONE = _Kept(0, 0, 0, 0)


def _whole_slots(window: Window) -> Window | None:
    first, last = -(-window.start_us // SLOT_US) * SLOT_US, floor_slot(window.end_us)
    return Window(first, last) if first < last else None


def _cut_slots(window: Window) -> Iterable[int]:
    """Return the slots of which a part lies in a window, and a part outside."""
    edges = (floor_slot(edge) for edge in (window.start_us, window.end_us) if edge % SLOT_US)
    return sorted(set(edges)) if window.start_us < window.end_us else ()


def _part(count: TemplateCount, window: Window, kept: _Kept) -> TemplateCount:
    """Return what of a slot's count lies in a window; `lines` is 0 where that is nothing."""
    first, last = max(count.first_us, window.start_us), min(count.last_us, window.end_us - 1)
    if first > last:
        return count._replace(lines=0)
    if (first, last) == (count.first_us, count.last_us):
        return count
    unkept = max(0, count.lines - kept.lines)
    shared = round(unkept * (last - first + 1) / (count.last_us - count.first_us + 1))
    if kept.inside and not unkept:
        return count._replace(lines=kept.inside, first_us=kept.first_us, last_us=kept.last_us)
    outside = int(count.first_us < window.start_us) + int(count.last_us >= window.end_us)
    lines = min(count.lines - outside, max(kept.inside + shared, 2 - outside))
    return count._replace(lines=lines, first_us=first, last_us=last)


def _add(one: TemplateCount, other: TemplateCount) -> TemplateCount:
    return one._replace(
        lines=one.lines + other.lines,
        first_us=min(one.first_us, other.first_us),
        last_us=max(one.last_us, other.last_us),
    )
