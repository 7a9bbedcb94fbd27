"""The durable write of ingested records: each delivery is one line in the ledger, and all of it is stored or nothing.

Ingest transactions take turns by locking `ingest_clock`, so `seq` grows in commit order and whoever has read up to a
`seq` has missed nothing before it. Everything that can be computed without the database is computed before the lock
(`prepare`). A batch whose key is in the ledger already is a retry: nothing is written, its records count as duplicates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec

from domain.errors import StorageRefused
from domain.telemetry import Alert
from storage.batch import Batch, Kind, PreparedBatch, make_alert_row, prepare
from storage.database import Database, Row, Transaction
from storage.log_rows import merge_counts

__all__ = ["Batch", "IngestStore", "Kind", "PreparedBatch", "Sink", "Written", "prepare"]

_PACKET_BYTES = 4 * 1024 * 1024  # well under the 16 MB that a server takes by default
_ROW_BYTES = 300
_WRITERS = 2  # writers take turns in the database anyway; the other connections stay free for readers
_KNOWN_TEMPLATES = 200_000


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch came to. `seq` is its number, or that of the first delivery where this one is a retry.

    `spooled`: it is safe on the disk, but not in the database yet; `accepted` is then the number of its records.
    `refused` records were not taken by the database and are kept as a dead letter; `reason` says why.
    """

    seq: int
    accepted: int
    duplicate: int
    retry: bool = False
    ids: tuple[str, ...] = ()
    spooled: bool = False
    refused: int = 0
    reason: str = ""


class Sink(Protocol):
    """Where deliveries go: `take` returns once a batch is safe, whatever is killed afterwards."""

    async def take(self, batch: Batch, patience: float | None = None, bulk: bool = False) -> Written:
        """Keep a batch, all of it or nothing. Raises StorageError: then nothing is kept, and it may be sent again.

        `patience`: seconds to wait for what became of a batch that is safe already, where its sender waits less long.
        `bulk`: its sender does not ask what became of it, only that it is safe.
        """

    async def latest_seq(self) -> int:
        """Return the number of the last batch."""


class _TakenBack(Exception):
    """Ends a transaction that was only a trial."""


class IngestStore:
    """Writes batches. One per process and database: it remembers which templates are stored.

    `last_seq` is the number of the newest batch that it knows of.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(_WRITERS)
        self._known: set[int] = set()
        self.last_seq = 0

    async def take(self, batch: Batch, patience: float | None = None, bulk: bool = False) -> Written:
        """Store a batch, all of it or nothing; return when it is committed. Raises StorageError."""
        return await self.write(await asyncio.to_thread(prepare, batch))

    async def write(self, batch: PreparedBatch) -> Written:
        """The same for one that is prepared."""
        return (await self.write_all([(batch, 0)]))[0]

    async def write_all(self, batches: Sequence[tuple[PreparedBatch, int]]) -> list[Written]:
        """Store batches in one transaction, in order; each gets the next `seq`, or the one beside it where that is ahead.

        Raises StorageError: then none of them is stored.
        """
        every: dict[int, tuple[int, str]] = {}
        for batch, _ in batches:
            every.update(batch.templates)
        new_templates = {key: row for key, row in every.items() if key not in self._known}
        async with self._turns:
            written = await self._database.transaction(lambda tx: _write_all(tx, batches, new_templates))
        if any(not one.retry for one in written):
            if len(self._known) > _KNOWN_TEMPLATES:
                self._known.clear()
            self._known.update(new_templates)
        self.last_seq = max(self.last_seq, *(one.seq for one in written))
        return written

    async def probe(self) -> None:
        """Write to the ledger and take it back; raises StorageError where the database takes no batch at all."""

        def work(tx: Transaction) -> None:
            seq = int(tx.fetch("ingest_lock_clock")[0][0]) + 1
            tx.execute("ingest_advance_clock", (seq,))
            tx.execute("ingest_add_batch", (seq, "", "logs", f"probe {seq}", 0, 0, 0, 0))
            raise _TakenBack

        with suppress(_TakenBack):
            await self._database.transaction(work)

    async def latest_seq(self) -> int:
        """Return the number of the last committed batch."""
        self.last_seq = int((await self._database.fetch("ingest_read_clock"))[0][0])
        return self.last_seq


def _write_all(
    tx: Transaction, batches: Sequence[tuple[PreparedBatch, int]], templates: Mapping[int, tuple[int, str]]
) -> list[Written]:
    last = first = int(tx.fetch("ingest_lock_clock")[0][0])
    written = _find_earlier(tx, [batch for batch, _ in batches])
    told: list[Written] = []
    fresh: list[tuple[PreparedBatch, int]] = []
    for batch, at_least in batches:
        key = (batch.environment, batch.kind, batch.key)
        earlier = written.get(key)
        if earlier is not None:
            told.append(Written(earlier.seq, 0, earlier.accepted + earlier.duplicate, retry=True, ids=batch.ids))
            continue
        last = max(last + 1, at_least)
        fresh.append((batch, last))
        written[key] = Written(last, batch.records, 0, ids=batch.ids)
        told.append(written[key])
    if last == first:
        return told
    tx.execute("ingest_advance_clock", (last,))
    if templates:
        tx.execute_many("ingest_add_templates", [(key, *row) for key, row in sorted(templates.items())])
    _write_logs(tx, fresh)
    exact = {seq: _write_rest(tx, batch, seq) for batch, seq in fresh}
    tx.execute_many(
        "ingest_add_batch",
        [
            (seq, b.environment, b.kind, b.key, b.received_us, exact[seq], b.records - exact[seq], b.rejected)
            for b, seq in fresh
        ],
    )
    return [_exactly(one, exact) for one in told]


def _exactly(one: Written, accepted: Mapping[int, int]) -> Written:
    if one.retry or one.accepted == accepted[one.seq]:
        return one
    return Written(one.seq, accepted[one.seq], one.accepted - accepted[one.seq], ids=one.ids)


def _find_earlier(tx: Transaction, batches: Iterable[PreparedBatch]) -> dict[tuple[str, str, str], Written]:
    """Return what is in the ledger of these batches, by environment, kind and key."""
    keys = msgspec.json.encode([(batch.environment, batch.kind, batch.key) for batch in batches])
    return {
        (environment, kind, key): Written(int(seq), int(accepted), int(duplicate))
        for environment, kind, key, seq, accepted, duplicate in tx.fetch("ingest_find_batches", (keys.decode(),))
    }


def _write_logs(tx: Transaction, batches: Sequence[tuple[PreparedBatch, int]]) -> None:
    """Write the log events and the counts of several batches with as few statements as can be."""
    expected = sum(batch.logs.count for batch, _ in batches)
    if expected:
        content = "".join([batch.logs.load(seq) for batch, seq in batches]).encode()
        loaded = tx.load_rows("ingest_load_logs", content)
        if loaded is None:
            loaded = _insert_logs(tx, batches)
        if loaded != expected:
            raise StorageRefused(f"MariaDB took {loaded} of {expected} log events.")
        tx.execute_rows("ingest_add_arrivals", [(seq, *row) for batch, seq in batches for row in batch.arrivals])
    counts = merge_counts(row for batch, _ in batches for row in batch.counts)
    if counts:
        tx.execute_rows("ingest_add_counts", counts)


def _insert_logs(tx: Transaction, batches: Sequence[tuple[PreparedBatch, int]]) -> int:
    rows = [row for batch, seq in batches for row in batch.logs.rows(seq)]
    return sum(tx.execute_rows("ingest_add_logs", part) for part in _packets(rows))


def _write_rest(tx: Transaction, batch: PreparedBatch, seq: int) -> int:
    """Write what is no log event, and return how many records of the batch were new."""
    accepted = batch.logs.count + batch.counted
    for query, rows in batch.inserts:
        accepted += _insert(tx, query, seq, rows)
    for alert, key, labels, dated in batch.alerts:
        accepted += _write_alert(tx, seq, alert, key, labels, dated)
    for alert, key, labels, dated in batch.woken:
        _write_alert(tx, seq, alert, key, labels, dated)
    return accepted


def _insert(tx: Transaction, query: str, seq: int, rows: Sequence[Row]) -> int:
    """Insert rows and return how many were new. A changed edge counts as two rows touched, a new one as one."""
    if query == "ingest_add_edges":
        return sum(min(1, tx.execute(query, (seq, *row))) for row in rows)
    return sum(tx.execute_many(query, [(seq, *row) for row in part]) for part in _packets(rows))


def _packets(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Split rows so that each bulk statement fits in the server's packet."""
    size = start = 0
    for at, row in enumerate(rows):
        row_size = _ROW_BYTES + sum(4 * len(value) for value in row if isinstance(value, str) and len(value) > 512)
        if size + row_size > _PACKET_BYTES and at > start:
            yield rows[start:at]
            start, size = at, 0
        size += row_size
    yield rows[start:]


def _write_alert(tx: Transaction, seq: int, alert: Alert, key: str, labels: str, dated: bool) -> int:
    """Store a new alert or the end of a known one; return 1 where that changed something, else 0.

    An alert without a start speaks of the open alert with its fingerprint, if there is one.
    """
    if not dated:
        found = tx.fetch("ingest_find_open_alert", (alert.environment, alert.source, alert.fingerprint))
        if not found and alert.status == "resolved":
            return 0
        key = str(found[0][0]) if found else key
    known = tx.fetch("ingest_find_alert", (alert.environment, key))
    # An end without a time of its own ended when it was told.
    ended = alert.ended_us if alert.ended_us is not None or alert.status == "firing" else alert.time_us
    if not known:
        tx.execute("ingest_add_alert", (seq, *make_alert_row(alert, key, ended, labels)))
        return 1
    if alert.status == "firing" or known[0] == ("resolved", ended):
        return 0
    tx.execute("ingest_resolve_alert", (seq, ended, alert.environment, key))
    return 1
