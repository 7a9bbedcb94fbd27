"""Where agent traces of other programs come in: decoded in a thread, stored once, and counted by record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.agent_events import OWN_TRACE
from ingest.agent_traces import AgentRecords, Form, decode_agent_records
from ingest.compression import decompress
from ingest.json_records import resolve_environment
from ingest.payload import parse_json
from ingest.service import Delivery
from storage.traces import TraceStore
from tracing.events import Event


@dataclass(frozen=True, slots=True)
class AgentReceipt:
    """What became of a delivery: counts of records, the first reasons of rejection, and our id of each trace."""

    accepted: int
    duplicate: int
    rejected: int
    errors: tuple[str, ...] = ()
    traces: dict[str, str] = field(default_factory=dict)


class AgentIntake:
    """Takes agent traces. Every method raises StorageError where nothing was kept: send it again."""

    def __init__(self, store: TraceStore, max_body_bytes: int) -> None:
        self._store = store
        self._max_body_bytes = max_body_bytes

    async def accept(self, form: Form, delivery: Delivery) -> AgentReceipt:
        """Take a JSON body; raises PayloadError for what cannot be understood."""
        found = await asyncio.to_thread(self._decode, form, delivery)
        await self._refuse_unknown(found)
        accepted, duplicate = await self.store(found.records)
        return AgentReceipt(accepted, duplicate, found.rejected, tuple(found.errors), found.traces)

    async def store(self, records: Sequence[Sequence[Event]]) -> tuple[int, int]:
        """Store the events of some records; return how many records brought something new, and how many did not."""
        new = await self._store.add([event for record in records for event in record])
        accepted = 0
        for record in records:
            # What is shared by all records of a trace (its implied beginning) makes none of them new.
            own = {event.event_id for event in record if event.number or event.type != "RUN_START"}
            accepted += bool(own & new)
            new -= own
        return accepted, len(records) - accepted

    def _decode(self, form: Form, delivery: Delivery) -> AgentRecords:
        body = decompress(delivery.body, delivery.content_encoding, self._max_body_bytes)
        value = parse_json(body, delivery.content_type)
        return decode_agent_records(form, value, resolve_environment(delivery.environment), time.time_ns() // 1000)

    async def _refuse_unknown(self, found: AgentRecords) -> None:
        """What is said of a run of our own is only taken if there is such a run."""
        own = {event.trace_id for record in found.records for event in record if OWN_TRACE.fullmatch(event.trace_id)}
        missing = own - await self._store.exist(own) if own else set()
        for record in [record for record in found.records if record[0].trace_id in missing]:
            found.records.remove(record)
            found.reject(f"there is no trace {record[0].trace_id}")
            found.traces.pop(record[0].trace_id, None)
