"""Evidence that outlives its source: the row that names a record, and a blob of the record's bytes as they were read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import cast

from blake3 import blake3

from domain.errors import NotFound
from domain.evidence import Evidence, EvidenceKind, canonical_bytes
from storage.blobs import BlobStore
from storage.database import Database, Row

_TEXT_CHARACTERS = 16_000


class EvidenceStore:
    """Keeps what investigations found, so that a cited record can be read after retention removed its source."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def save(self, evidences: Sequence[Evidence], records: Mapping[str, bytes], found_by: str) -> None:
        """Store evidence found by a trace, and the canonical bytes of those records that are given (by evidence id).

        Evidence that is stored already stays as it was. Raises ValueError if bytes are not those that were cited.
        """
        cited = {evidence.id: evidence for evidence in evidences}
        for evidence_id, record in records.items():
            if evidence_id not in cited or blake3(record).hexdigest() != cited[evidence_id].digest:
                raise ValueError(f"the bytes given for {evidence_id} are not those of the record that was cited")
        # The bytes first: a row must not promise what is not there.
        await self._blobs.put_many(records.values())
        now_us = time.time_ns() // 1000
        rows = [_write_row(evidence, found_by, now_us) for evidence in cited.values()]
        if rows:
            await self._database.transaction(lambda tx: tx.execute_many("insert_evidence", rows))

    async def load(self, environment: str | None, evidence_id: str) -> Evidence:
        """Return evidence by its id, in one environment or (None) wherever it is; raises NotFound."""
        rows: list[Row] = []  # an id that is not ASCII cannot be compared with the column
        if evidence_id.isascii() and environment is None:
            rows = await self._database.fetch("evidence_by_id", (evidence_id,))
        elif evidence_id.isascii():
            rows = await self._database.fetch("evidence_in_environment", (environment, evidence_id))
        if not rows:
            where = "" if environment is None else f" in environment {environment!r}"
            raise NotFound(
                f"There is no evidence {evidence_id[:80]!r}{where}. Ids look like log-1a2b3c4d5e6f and come with answers."
            )
        return _read_row(rows[0])

    async def of_trace(self, trace_id: str) -> list[Evidence]:
        """Return what a trace was the first to find, by time."""
        return [_read_row(row) for row in await self._database.fetch("evidence_of_trace", (trace_id,))]

    async def stored_bytes(self, evidence: Evidence) -> bytes:
        """Return the record's bytes as they were cited; raises NotFound if none were kept, StorageError if damaged."""
        try:
            return await self._blobs.get(evidence.digest)
        except NotFound as exc:
            raise NotFound(f"No copy of the record behind {evidence.id} was kept: it was found but not cited.") from exc


def _write_row(evidence: Evidence, found_by: str, now_us: int) -> tuple[object, ...]:
    return (
        evidence.id,
        evidence.environment,
        evidence.kind,
        canonical_bytes(dict(evidence.key)).decode(),
        evidence.digest,
        evidence.query,
        evidence.text[:_TEXT_CHARACTERS],
        evidence.service,
        evidence.time_us,
        canonical_bytes(list(evidence.entities)).decode(),
        found_by,
        now_us,
    )


def _read_row(row: Row) -> Evidence:
    return Evidence(
        id=str(row[0]),
        environment=str(row[1]),
        kind=cast(EvidenceKind, row[2]),
        key=json.loads(row[3]),
        digest=str(row[4]),
        query=str(row[5]),
        text=str(row[6]),
        service=str(row[7]),
        time_us=int(row[8]),
        entities=tuple(json.loads(row[9])),
    )
