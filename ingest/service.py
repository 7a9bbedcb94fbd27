"""What every way in ends in: a body is decoded in a thread, kept durably as one batch, and then acknowledged."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

from blake3 import blake3

from domain.errors import NotFound, StorageError
from domain.settings import Settings
from domain.telemetry import LogEvent
from domain.times import MINUTE_US
from ingest import json_records, otlp
from ingest.bucket_memory import BucketMemory
from ingest.compression import decompress
from ingest.json_records import resolve_environment
from ingest.log_rules import LogRules
from ingest.payload import MAX_ERRORS, Decode, Decoded
from ingest.replays import find_replay
from ingest.template import MASK_VERSION
from ingest.template_budget import TemplateBudget
from ingest.topology_files import decode_topology_file
from storage.batch import Batch, Kind
from storage.dead_letters import DeadLetter, DeadLetters
from storage.frames import decode_frame
from storage.ingest import Sink
from tracing.events import Event

logger = logging.getLogger(__name__)

# Equal bodies are one delivery sent twice, unless their records carry no time: then only for so long.
_UNDATED_RETRY_US = 10 * MINUTE_US

_FIELDS: dict[Kind, str] = {
    "logs": "logs",
    "traces": "spans",
    "metrics": "metrics",
    "changes": "changes",
    "events": "events",
    "topology": "edges",
    "alerts": "alerts",
}


class AgentTraces(Protocol):
    """Stores spans of agent traces, which come among telemetry and are none."""

    async def store(self, records: Sequence[Sequence[Event]]) -> tuple[int, int]:
        """Return how many records brought something new, and how many did not; raises StorageError."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request's body and what its headers and its address say of it.

    `patience` is how many seconds its sender waits for what became of it once it is safe; None: as the settings say.
    `bulk`: the reply to it says no more than that it is safe, so that it need not wait for the database.
    """

    body: bytes
    content_type: str = ""
    content_encoding: str = ""
    environment: str = ""
    idempotency_key: str = ""
    patience: float | None = None
    bulk: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery: counts of records, the first reasons of rejection, the watermark, ids of changes.

    `watermark` is the `seq` that a question must wait for to see these records. `spooled`: they are safe on the disk, but
    not in the database yet, so that `accepted` may still hold duplicates. `dead_letter` names what was kept of the
    rejected records.
    """

    accepted: int
    duplicate: int
    rejected: int
    errors: tuple[str, ...]
    watermark: int
    ids: tuple[str, ...] = ()
    spooled: bool = False
    dead_letter: str = ""


class Ingest:
    """Takes deliveries of all kinds. A Receipt is only returned for what is safe, whatever is killed afterwards.

    Every method raises PayloadError (or PayloadTooLarge, UnsupportedMediaType) for what cannot be understood, and
    StorageError (StorageUnavailable, StorageFull, StorageBusy) where nothing was kept: send it again.
    """

    def __init__(
        self,
        sink: Sink,
        settings: Settings,
        dead_letters: DeadLetters | None = None,
        rules: LogRules | None = None,
        agent_traces: AgentTraces | None = None,
    ) -> None:
        self._sink = sink
        self._rules = rules or LogRules()
        self.templates = TemplateBudget(settings.template_limit)
        self._dead_letters = dead_letters
        self._agent_traces = agent_traces
        self._buckets = BucketMemory()
        self._alert_mappings = settings.alert_mappings
        self.max_body_bytes = settings.max_body_bytes

    async def accept_otlp_logs(self, delivery: Delivery) -> Receipt:
        """Take an ExportLogsServiceRequest."""
        return await self.accept("logs", "otlp", delivery, otlp.decode_logs)

    async def accept_otlp_traces(self, delivery: Delivery) -> Receipt:
        """Take an ExportTraceServiceRequest."""
        return await self.accept("traces", "otlp", delivery, otlp.decode_traces)

    async def accept_otlp_metrics(self, delivery: Delivery) -> Receipt:
        """Take an ExportMetricsServiceRequest."""
        return await self.accept("metrics", "otlp", delivery, partial(otlp.decode_metrics, memory=self._buckets))

    async def accept_logs(self, delivery: Delivery) -> Receipt:
        """Take log events as plain JSON."""
        return await self.accept("logs", "json", delivery, _dated(json_records.decode_logs))

    async def accept_changes(self, delivery: Delivery) -> Receipt:
        """Take changes; the receipt holds their ids."""
        return await self.accept("changes", "json", delivery, _dated(json_records.decode_changes))

    async def accept_events(self, delivery: Delivery) -> Receipt:
        """Take orchestrator events."""
        return await self.accept("events", "json", delivery, _dated(json_records.decode_events))

    async def accept_topology(self, delivery: Delivery) -> Receipt:
        """Take stated edges."""
        return await self.accept("topology", "json", delivery, _dated(json_records.decode_topology))

    async def accept_topology_file(self, delivery: Delivery) -> Receipt:
        """Take stated edges as a file tells of them: YAML or JSON, a compose file, Kubernetes manifests."""
        return await self.accept("topology", "file", delivery, _dated(decode_topology_file))

    async def accept_alerts(self, delivery: Delivery, source: str) -> Receipt:
        """Take a webhook of alerts from a known source."""
        return await self.accept("alerts", source, delivery, partial(json_records.decode_alerts, source))

    async def accept(self, kind: Kind, form: str, delivery: Delivery, decode: Decode) -> Receipt:
        """Take a delivery of another form: `decode` makes records of its body; equal bodies of one `form` are retries."""
        return await self._take(kind, form, delivery, decode)

    async def _take(self, kind: Kind, form: str, delivery: Delivery, decode: Decode, *, keep: bool = True) -> Receipt:
        decoded, batch = await asyncio.to_thread(self._decode, kind, form, delivery, decode)
        keep = keep and bool(decoded.refused)
        letter = await asyncio.to_thread(self._keep_refused, form, batch, decoded) if keep else ""
        # Telemetry first: it is safe in the spool also while the database is away, which agent traces wait for.
        done = await self._sink.take(batch, delivery.patience, delivery.bulk) if decoded.records else None
        accepted, duplicate = await self._store_agent_records(decoded)
        errors = tuple(decoded.errors)
        if done is None:
            seq = await self._sink.latest_seq()
            return Receipt(accepted, duplicate, decoded.rejected, errors, seq, dead_letter=letter)
        return Receipt(
            accepted=done.accepted + accepted,
            duplicate=done.duplicate + duplicate,
            rejected=decoded.rejected + done.refused,
            errors=(*errors, done.reason) if done.reason else errors,
            watermark=done.seq,
            ids=done.ids,
            spooled=done.spooled,
            dead_letter=letter,
        )

    async def _store_agent_records(self, decoded: Decoded[Any]) -> tuple[int, int]:
        if not decoded.agent_records:
            return 0, 0
        if self._agent_traces is None:
            decoded.reject("spans of agent traces are not stored here", len(decoded.agent_records))
            return 0, 0
        return await self._agent_traces.store(decoded.agent_records)

    async def replay(self, letter_id: str) -> Receipt:
        """Take what a dead letter holds once more, and drop the letter if nothing of it is rejected again.

        Raises NotFound, and whatever taking it raises.
        """
        letters = self._dead_letters
        if letters is None:
            raise NotFound("There are no dead letters here.")
        letter, body = await asyncio.to_thread(letters.read, letter_id)
        receipt = await (self._replay_delivery(body) if letter.form == "delivery" else self._replay(letter, body))
        if not receipt.rejected:
            await asyncio.to_thread(letters.drop, letter_id)
        return receipt

    async def _replay_delivery(self, frame: bytes) -> Receipt:
        done = await self._sink.take(await asyncio.to_thread(decode_frame, frame))
        errors = (done.reason,) if done.reason else ()
        return Receipt(done.accepted, done.duplicate, done.refused, errors, done.seq, done.ids, done.spooled)

    async def _replay(self, letter: DeadLetter, body: bytes) -> Receipt:
        """Take refused records again, each body of theirs by itself; the receipt speaks of all of them."""
        again = find_replay(letter.kind, letter.source, body, self._alert_mappings)
        receipts = []
        for content in again.bodies:
            delivery = Delivery(content, again.content_type, environment=letter.environment)
            kind = cast(Kind, letter.kind)
            # What is refused again is in the letter already.
            receipts.append(await self._take(kind, letter.source, delivery, again.decode, keep=False))
        return Receipt(
            accepted=sum(one.accepted for one in receipts),
            duplicate=sum(one.duplicate for one in receipts),
            rejected=sum(one.rejected for one in receipts),
            errors=tuple(error for one in receipts for error in one.errors)[:MAX_ERRORS],
            watermark=max(one.watermark for one in receipts),
        )

    def _keep_refused(self, form: str, batch: Batch, decoded: Decoded[Any]) -> str:
        """Keep the refused records as a dead letter and return its id, or nothing; they must not cost the good ones."""
        if self._dead_letters is None:
            return ""
        letter = DeadLetter(
            id="",
            kept_us=batch.received_us,
            form="records",
            kind=batch.kind,
            source=form,
            environment=batch.environment,
            records=decoded.rejected,
            kept=len(decoded.refused),
            reasons=tuple(decoded.errors),
        )
        try:
            return self._dead_letters.keep(letter, b"\n".join(decoded.refused))
        except StorageError as exc:
            logger.warning("Rejected records could not be kept", extra={"reason": str(exc)})
            return ""

    def _decode(self, kind: Kind, form: str, delivery: Delivery, decode: Decode) -> tuple[Decoded[Any], Batch]:
        now_us = time.time_ns() // 1000
        environment = resolve_environment(delivery.environment)
        body = decompress(delivery.body, delivery.content_encoding, self.max_body_bytes)
        decoded = decode(body, delivery.content_type, environment, now_us)
        batch = Batch(
            environment=environment,
            kind=kind,
            key=_batch_key(form, body, delivery.idempotency_key, _salt(kind, decoded, now_us)),
            received_us=now_us,
            rejected=decoded.rejected,
            mask_version=MASK_VERSION,
            undated=frozenset(decoded.undated),
            **({_FIELDS[kind]: decoded.records} if kind != "logs" else self._sorted(decoded.records, now_us)),
        )
        return decoded, batch

    def _sorted(self, events: Sequence[LogEvent], now_us: int) -> dict[str, Any]:
        found = self._rules.sort(self.templates.apply(events, now_us))
        return {"logs": found.kept, "counted": found.counted, "woken": found.alerts}


def _dated(decode: Callable[[bytes, str, str], Decoded[Any]]) -> Decode:
    """Fit a decoder whose records always carry their own time."""
    return lambda body, content_type, environment, now_us: decode(body, content_type, environment)


def _salt(kind: Kind, decoded: Decoded[Any], now_us: int) -> str:
    if not decoded.undated:
        return ""
    # Alerts without a start are matched with the open ones, so firing, resolved, firing are three deliveries.
    return str(now_us) if kind == "alerts" else str(now_us // _UNDATED_RETRY_US)


def _batch_key(form: str, body: bytes, idempotency_key: str, salt: str) -> str:
    """Return what a retry has in common with the first delivery: the Idempotency-Key, else the body."""
    if idempotency_key:
        return blake3(f"key\n{form}\n{idempotency_key}".encode()).hexdigest()
    return blake3(f"body\n{form}\n{salt}\n".encode() + body).hexdigest()
