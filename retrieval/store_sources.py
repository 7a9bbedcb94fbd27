"""Candidates from the stores: log templates, lines, services, incidents, changes, orchestrator events, runs, requests."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence

from domain.embedding import Embedder
from domain.errors import EmbeddingError, StorageError
from domain.observed import LogRow
from domain.terms import rank_texts, read_terms
from domain.times import DAY_US, HOUR_US, MINUTE_US, Window, format_us
from retrieval.embedding import FARTHEST, find_near
from retrieval.items import Candidates, Item, Wanted
from retrieval.names import exact_names, stands_in, trace_ids
from retrieval.store_items import (
    change_item,
    event_item,
    incident_item,
    incident_text,
    line_item,
    request_item,
    run_item,
    show_line,
    template_item,
)
from retrieval.text_vectors import text_key
from storage.search import SearchStore, WrittenTemplate
from storage.vectors import Corpus, VectorStore

DEPTH = 60
"""How many of each ranking of a corpus become candidates."""

_ALL_AT_ONCE = (
    1_000  # log templates that are compared one by one: exact, and no slower than an index filtered afterwards
)
_WIDE, _WIDER, _FEW = 400, 4_000, 20
_UNWELL, _TROUBLE_US = 8, 30 * MINUTE_US
_TWICE, _MOST_SERVICES = math.log(2), 1_000
_LINES = 20
_LINE_SECONDS = 0.6
_TEMPLATE = re.compile(r"(?<!\d)\d{15,20}(?!\d)")
# How far back raw lines are looked through, step by step, until there is enough or the time is up.
_STEPS_US = (HOUR_US, 6 * HOUR_US, DAY_US, 7 * DAY_US, 31 * DAY_US)


class StoreSources:
    """Looks for candidates in MariaDB. Raises StorageError; what an embedder cannot do is a note."""

    def __init__(self, store: SearchStore, vectors: VectorStore | None, embedder: Embedder | None) -> None:
        self._store = store
        self._vectors = vectors
        self._embedder = embedder

    async def unwell(self, wanted: Wanted) -> dict[str, float]:
        """Return the services that wrote more errors in the half hour before the moment than in the one before that: 1 for the
        most, by orders of magnitude."""
        at, half = wanted.moment_us + 1, _TROUBLE_US
        now = await self._store.errors(wanted.environment, Window(max(0, at - half), at), _MOST_SERVICES)
        usual = await self._store.errors(
            wanted.environment, Window(max(0, at - 2 * half), max(0, at - half)), _MOST_SERVICES
        )
        more = {service: math.log1p(lines) - math.log1p(usual.get(service, 0)) for service, lines in now.items()}
        worst = sorted((service for service in more if more[service] > _TWICE), key=lambda service: -more[service])
        return {service: more[service] / more[worst[0]] for service in worst[:_UNWELL]}

    # -- log templates -------------------------------------------------------------------------------------------------

    async def templates(self, wanted: Wanted) -> Candidates:
        """Find log templates by words, by meaning and by id."""
        found = Candidates()
        written = await self._store.written(wanted.environment, wanted.window, _ALL_AT_ONCE)
        if written is not None:
            near = await self._near(found, wanted, "template", [str(one.id) for one in written], DEPTH)
        else:
            near, written = await self._templates_by_index(found, wanted)
        texts = await self._store.template_texts(one.id for one in written)
        worded = rank_texts(((str(number), text) for number, text in texts.items()), wanted.words, DEPTH)
        nearest, named = list(near)[:DEPTH], _TEMPLATE.findall(wanted.text)
        chosen = {*worded, *nearest, *named}
        kept = [one for one in written if str(one.id) in chosen and one.id in texts]
        items = {str(one.id): template_item(wanted.environment, one, texts[one.id]) for one in kept}
        found.add_worded(items[number] for number in worded)
        for number in nearest:
            if number in items:
                found.add_near(items[number], near[number])
        for number in named:
            if number in items:
                found.add_exact(items[number], number)
        return found

    async def _templates_by_index(
        self, found: Candidates, wanted: Wanted
    ) -> tuple[dict[str, float], list[WrittenTemplate]]:
        """Return the nearest in meaning, and with them those that hold words, both of what was written in the environment.

        The indexes know of no environments: where few of theirs are of this one, more are asked for.
        """
        try:
            worded = await self._store.templates_with_words(list(read_terms(wanted.words)), _WIDE)
        except StorageError as exc:
            worded = []
            found.notes.append(f"Log templates were not searched by words: {exc}")
        for wide in (_WIDE, _WIDER):
            near = await self._near(found, wanted, "template", None, wide)
            ids = {int(one) for one in near} | set(worded)
            written = await self._store.written_of(wanted.environment, wanted.window, ids)
            if len(written) >= _FEW or len(near) < wide:
                break
        return near, written

    async def templates_of(self, environment: str, window: Window, ids: Iterable[int]) -> list[Item]:
        """Return log templates by their ids, those that were written in the window."""
        written = await self._store.written_of(environment, window, ids)
        texts = await self._store.template_texts(one.id for one in written)
        return [template_item(environment, one, texts[one.id]) for one in written if one.id in texts]

    async def with_newest_lines(self, wanted: Wanted, items: Sequence[Item]) -> list[Item]:
        """Return the items, log templates with their newest line as the record that shows them."""
        ids = [int(item.id) for item in items if item.kind == "template"]
        lines = await self._store.newest_lines(wanted.environment, wanted.window, ids) if ids else {}
        return [
            show_line(item, wanted.environment, lines[int(item.id)])
            if item.kind == "template" and int(item.id) in lines
            else item
            for item in items
        ]

    # -- lines and requests --------------------------------------------------------------------------------------------

    async def lines(self, wanted: Wanted) -> Candidates:
        """Find raw lines by what only they hold: names with digits or signs in them, and what stands in quotes."""
        found = Candidates()
        for name in exact_names(wanted.text)[:3]:
            rows, note = await self._lines_holding(wanted, name)
            for row in rows:
                found.add_exact(line_item(wanted.environment, row), name)
            found.notes += [note] if note else []
        return found

    async def _lines_holding(self, wanted: Wanted, text: str) -> tuple[list[LogRow], str]:
        """Look through the newest lines, further back until there are some; not for longer than half a second or so."""
        began = time.perf_counter()
        newest = await self._store.newest_line_us(wanted.environment, wanted.window)
        upto = wanted.window.end_us
        for step in (*_STEPS_US, wanted.window.end_us):
            if newest is None or upto <= wanted.window.start_us:
                return [], ""
            since = max(wanted.window.start_us, newest - step)
            try:
                rows = await self._store.lines(wanted.environment, Window(since, upto), text, _LINES)
            except StorageError:
                break
            if rows:
                return rows, ""
            upto = since
            if time.perf_counter() - began > _LINE_SECONDS:
                break
        if upto <= wanted.window.start_us:
            return [], ""
        return (
            [],
            f"Lines before {format_us(upto)} were not looked through for {text[:60]!r}: bound the time with `from` and `to`.",
        )

    async def requests(self, wanted: Wanted) -> Candidates:
        """Find request traces by their ids, with their gravest lines."""
        found = Candidates()
        for trace_id in trace_ids(wanted.text):
            request = await self._store.request(wanted.environment, wanted.window, trace_id)
            if request is not None and wanted.wants("request"):
                found.add_exact(request_item(wanted.environment, trace_id, request), trace_id)
            if wanted.wants("line"):
                for row in await self._store.lines_of_trace(wanted.environment, wanted.window, trace_id, _LINES):
                    found.add_exact(line_item(wanted.environment, row), trace_id)
        return found

    # -- what there is less of: looked through as a whole -----------------------------------------------------------------

    async def incidents(self, wanted: Wanted) -> Candidates:
        """Find past incidents by words, by meaning and by id."""
        rows = await self._store.incidents(wanted.environment, wanted.window)
        found = _by_words(wanted, [incident_item(row) for row in rows])
        items = {text_key(incident_text(row)): incident_item(row) for row in rows}
        for key, distance in (await self._near(found, wanted, "incident", list(items), DEPTH)).items():
            found.add_near(items[key], distance)
        return found

    async def changes(self, wanted: Wanted) -> Candidates:
        """Find changes by words and by id."""
        rows = await self._store.changes(wanted.environment, wanted.window)
        return _by_words(wanted, [change_item(wanted.environment, row) for row in rows])

    async def changes_of(self, environment: str, window: Window, ids: Iterable[str]) -> list[Item]:
        """Return changes by their ids, those of the window."""
        return [change_item(environment, row) for row in await self._store.changes_of(environment, window, ids)]

    async def events(self, wanted: Wanted) -> Candidates:
        """Find the orchestrator's events by words."""
        rows = await self._store.events(wanted.environment, wanted.window)
        return _by_words(wanted, [event_item(wanted.environment, row) for row in rows])

    async def runs(self, wanted: Wanted) -> Candidates:
        """Find traces of agent runs by words and by id."""
        rows = await self._store.runs(wanted.environment, wanted.window)
        return _by_words(wanted, [run_item(row) for row in rows])

    async def _near(
        self, found: Candidates, wanted: Wanted, corpus: Corpus, among: Sequence[str] | None, limit: int
    ) -> dict[str, float]:
        if self._vectors is None or self._embedder is None or among == []:
            return {}
        try:
            near = await find_near(self._vectors, corpus, self._embedder, wanted.text, limit, among)
        except (EmbeddingError, StorageError) as exc:
            found.notes.append(f"Nothing was searched by meaning among {corpus}s: {exc}")
            return {}
        return {one.id: one.distance for one in near if one.distance < FARTHEST}


def _by_words(wanted: Wanted, items: Sequence[Item]) -> Candidates:
    """Return the items whose words fit the text best, and those whose id stands in it."""
    found = Candidates()
    by_key = {item.key: item for item in items}
    found.add_worded(by_key[key] for key in rank_texts(((i.key, i.text) for i in items), wanted.words, DEPTH))
    for item in items:
        if stands_in(item.id, wanted.text):
            found.add_exact(item, item.id)
    return found
