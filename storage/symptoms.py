"""Requests per slot as MariaDB holds them, how far each service was judged, and the symptoms that were noticed.

The follower `symptoms` counts each span once: the rows, what was judged of them and its place move in one transaction.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import batched
from typing import Protocol

from domain.errors import NotFound
from domain.noticed import LINES, NoticedSymptom, RequestSlot
from domain.observed import MeterPoint
from domain.sketch import LatencySketch
from domain.times import LATEST_US, MINUTE_US, SLOT_US
from storage.database import Database, Row, Transaction

_KEYS = 1000
# Samples of metrics taken in one turn, and how far back they are read again where nobody remembers them.
MAX_POINTS = 200_000
SAMPLES_US = 15 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Stored:
    """What is remembered of an environment: the newest slots of its services, the newest symptoms and samples of metrics."""

    slots: Sequence[RequestSlot]
    reached: Sequence[tuple[str, int, int]]
    symptoms: Sequence[NoticedSymptom]
    points: Sequence[MeterPoint] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What a turn came to: symptoms that opened or ended, and (service, evaluated_us, lag_us) of those that got on."""

    symptoms: Sequence[NoticedSymptom]
    reached: Sequence[tuple[str, int, int]]


class Watcher(Protocol):
    """Whoever judges what goes by. Called within the transaction, which may run twice: `begin` comes first each time."""

    def begin(self, after: int) -> None:
        """Everything up to a batch was taken in before; what is remembered of anything else is void."""

    def knows(self, environment: str) -> bool:
        """Say whether an environment is remembered; else `remember` is called before anything else."""

    def remember(self, environment: str, stored: Stored) -> None:
        """Take what is stored of an environment."""

    def place(self, slot: RequestSlot) -> RequestSlot:
        """Return a slot under the operation that it is counted for."""

    def read(self, environment: str, points: Sequence[MeterPoint], heard_us: int) -> Sequence[RequestSlot]:
        """Return the requests that samples of metrics tell of; called with none where no sample came."""

    def take(self, environment: str, slots: Sequence[RequestSlot], heard_us: int) -> Judged:
        """Take in what came and judge it."""

    def end(self, upto: int) -> None:
        """Everything up to a batch was taken in."""


class SymptomStore:
    """The symptoms of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self) -> tuple[int, int]:
        """Return how far the follower and the ingest have come."""
        followed, head = (await self._database.fetch("watch_positions"))[0]
        return int(followed), int(head)

    async def follow(self, watcher: Watcher, batches: int, remembered_us: int, kept_us: int) -> int | None:
        """Let a watcher judge what the next ingest batches brought; return how far that came.

        `remembered_us` is how far back a watcher looks, `kept_us` how long slots are kept, both before the newest one
        that was judged. None if another process is at it.
        """
        return await self._database.transaction(lambda tx: _follow(tx, watcher, batches, remembered_us, kept_us))

    async def list(
        self, environment: str = "", status: str = "", limit: int = 50, before_us: int = LATEST_US
    ) -> Sequence[NoticedSymptom]:
        """Return the newest symptoms, of one environment or of all, of one status or of any."""
        rows = await self._database.fetch("list_symptoms", (environment, environment, status, status, before_us, limit))
        return [_from_row(row) for row in rows]

    async def get(self, symptom_id: str) -> NoticedSymptom:
        """Return a symptom; raises NotFound."""
        rows = await self._database.fetch("one_symptom", (symptom_id,)) if symptom_id.isascii() else []
        if not rows:
            raise NotFound(f"There is no symptom {symptom_id[:40]!r}: see `causegraph symptoms`.")
        return _from_row(rows[0])

    async def undecided(self) -> Sequence[NoticedSymptom]:
        """Return symptoms of which nobody has settled whether they are investigated: those that users meet first."""
        return [_from_row(row) for row in await self._database.fetch("undecided_symptoms")]

    async def related_incident(self, symptom: NoticedSymptom, within_us: int) -> str:
        """Return the investigation that a symptom of the same environment led to shortly before or after, or ''."""
        around = (symptom.environment, symptom.noticed_us - within_us, symptom.noticed_us + within_us)
        rows = await self._database.fetch("related_investigation", around)
        return str(rows[0][0]) if rows else ""

    async def investigations_since(self, moment_us: int) -> int:
        """Return how many investigations symptoms led to since a moment."""
        return int((await self._database.fetch("count_investigations", (moment_us,)))[0][0])

    async def decide(self, symptom: NoticedSymptom, incident_id: str) -> None:
        """Settle which investigation a symptom belongs to, '' for none; what was settled before stays."""
        await self._database.execute("decide_symptom", (incident_id, symptom.id))


def _follow(tx: Transaction, watcher: Watcher, batches: int, remembered_us: int, kept_us: int) -> int | None:
    held = tx.fetch("topology_hold", ("symptoms",))
    if not held:
        return None
    after = int(held[0][0])
    upto = min(int(tx.fetch("ingest_read_clock")[0][0]), after + batches)
    if upto == after:
        return after
    watcher.begin(after)
    heard = {str(row[0]): int(row[1]) for row in tx.fetch("watch_heard", (after, upto) * 3)}
    for environment in heard:
        if not watcher.knows(environment):
            watcher.remember(environment, _read_stored(tx, environment, remembered_us, after))
    came: defaultdict[str, list[RequestSlot]] = defaultdict(list)
    for slot in (*_read_requests(tx, after, upto), *_read_lines(tx, after, upto)):
        came[slot.environment].append(watcher.place(slot))
    points = _read_points(tx, after, upto)
    for environment, heard_us in heard.items():
        came[environment] += watcher.read(environment, points.get(environment, ()), heard_us)
    _add_slots(tx, [slot for slots in came.values() for slot in slots])
    for environment, heard_us in sorted(heard.items()):
        judged = watcher.take(environment, came.get(environment, ()), heard_us)
        _write(tx, environment, judged, kept_us)
    tx.execute("topology_advance", (upto, "symptoms"))
    watcher.end(upto)
    return upto


def _read_requests(tx: Transaction, after: int, upto: int) -> list[RequestSlot]:
    parts: dict[tuple[str, str, str, int], RequestSlot] = {}
    for environment, service, operation, slot_us, bucket, *numbers in tx.fetch(
        "watch_requests", (SLOT_US, after, upto)
    ):
        requests, errors, roots = map(int, numbers)
        durations = LatencySketch({int(bucket): requests})
        key = (str(environment).rstrip(" "), str(service).rstrip(" "), str(operation).rstrip(" "), int(slot_us))
        _merge(parts, RequestSlot(*key, requests, errors, roots, durations))
    return list(parts.values())


def _read_lines(tx: Transaction, after: int, upto: int) -> list[RequestSlot]:
    return [
        RequestSlot(str(row[0]), str(row[1]), LINES, int(row[2]), int(row[3]), int(row[4]), 0, LatencySketch())
        for row in tx.fetch("watch_lines", (SLOT_US, after, upto))
        if row[1]
    ]


def _read_points(tx: Transaction, after: int, upto: int) -> dict[str, list[MeterPoint]]:
    points: dict[str, list[MeterPoint]] = defaultdict(list)
    for row in tx.fetch("watch_points", (after, upto, MAX_POINTS)):
        points[str(row[0])].append(_point(row))
    return points


def _point(row: Row) -> MeterPoint:
    return MeterPoint._make((*map(str, row[1:7]), int(row[7]), float(row[8])))


def _merge(parts: dict[tuple[str, str, str, int], RequestSlot], slot: RequestSlot) -> None:
    key = (slot.environment, slot.service, slot.operation, slot.slot_us)
    known = parts.get(key)
    parts[key] = slot if known is None else _plus(known, slot)


def _plus(one: RequestSlot, other: RequestSlot) -> RequestSlot:
    return replace(
        one,
        requests=one.requests + other.requests,
        errors=one.errors + other.errors,
        roots=one.roots + other.roots,
        durations=one.durations.plus(other.durations),
    )


def _add_slots(tx: Transaction, came: Iterable[RequestSlot]) -> None:
    parts: dict[tuple[str, str, str, int], RequestSlot] = {}
    for slot in came:
        _merge(parts, slot)
    for keys in batched(list(parts), _KEYS):
        wanted = json.dumps([(env, service, slot_us, name) for env, service, name, slot_us in keys], ensure_ascii=False)
        for row in tx.fetch("watch_known_slots", (wanted,)):
            _merge(parts, _slot_from_row(row))
    tx.execute_many("watch_put_slot", sorted(_slot_row(slot) for slot in parts.values()))


def _read_stored(tx: Transaction, environment: str, remembered_us: int, upto: int) -> Stored:
    reached = [(str(row[0]), int(row[1]), int(row[2])) for row in tx.fetch("watch_reached", (environment,))]
    since = min((evaluated_us for _, evaluated_us, _ in reached), default=0) - remembered_us
    return Stored(
        slots=[_slot_from_row(row) for row in tx.fetch("watch_recent_slots", (remembered_us, environment))],
        reached=reached,
        symptoms=[_from_row(row) for row in tx.fetch("symptoms_since", (environment, since))],
        points=[
            _point(row)
            for row in tx.fetch("watch_earlier_points", (environment, environment, SAMPLES_US, upto, MAX_POINTS))
        ],
    )


def _write(tx: Transaction, environment: str, judged: Judged, kept_us: int) -> None:
    now_us = time.time_ns() // 1000
    tx.execute_many("put_symptom", [_symptom_row(symptom, now_us) for symptom in judged.symptoms])
    tx.execute_many("watch_put_reached", [(environment, *reached) for reached in judged.reached])
    for service, evaluated_us, _ in judged.reached:
        tx.execute("watch_drop_old_slots", (environment, service, evaluated_us - kept_us))


# -- rows --------------------------------------------------------------------------------------------------------------


def _slot_from_row(row: Row) -> RequestSlot:
    environment, service, operation, slot_us, requests, errors, roots, durations = row
    counts = (int(requests), int(errors), int(roots))
    return RequestSlot(
        str(environment), str(service), str(operation), int(slot_us), *counts, LatencySketch.from_text(durations)
    )


def _slot_row(slot: RequestSlot) -> Row:
    counts = (slot.requests, slot.errors, slot.roots)
    return (slot.environment, slot.service, slot.operation, slot.slot_us, *counts, slot.durations.to_text())


def _symptom_row(symptom: NoticedSymptom, now_us: int) -> Row:
    return (
        symptom.id,
        symptom.environment,
        symptom.service,
        symptom.operation,
        symptom.kind,
        symptom.status,
        symptom.started_us,
        symptom.noticed_us,
        symptom.ended_us,
        symptom.bad,
        symptom.requests,
        float(symptom.usual),
        symptom.slow_us,
        symptom.roots,
        now_us,
    )


def _from_row(row: Row) -> NoticedSymptom:
    environment, service, operation, kind, status, started_us, noticed_us, ended_us, *rest = row
    bad, requests, usual, slow_us, roots, opened_us, incident_id = rest
    return NoticedSymptom(
        environment=str(environment),
        service=str(service),
        operation=str(operation),
        kind=kind,
        status=status,
        started_us=int(started_us),
        noticed_us=int(noticed_us),
        ended_us=None if ended_us is None else int(ended_us),
        bad=int(bad),
        requests=int(requests),
        usual=float(usual),
        slow_us=int(slow_us),
        roots=int(roots),
        opened_us=int(opened_us),
        incident_id=str(incident_id),
    )
