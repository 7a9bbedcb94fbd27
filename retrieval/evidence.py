"""The evidence desk: reads a record again by its key, and only then gives it an id that a claim may cite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from blake3 import blake3

from domain.errors import NotFound
from domain.evidence import Evidence, EvidenceKind, canonical_bytes, make_evidence
from domain.telemetry import Level
from domain.times import format_us
from graph.topology import TopologyGraph
from storage.telemetry import Telemetry


class CodeRecords(Protocol):
    """Reads lines of indexed code; the indexer provides it."""

    async def read_code(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record of a line (`root`, `path`, `line`); raises NotFound."""
        ...


async def read_record(
    telemetry: Telemetry,
    graph: TopologyGraph,
    environment: str,
    kind: EvidenceKind,
    key: Mapping[str, Any],
    code: CodeRecords | None = None,
) -> dict[str, Any]:
    """Return the record behind an evidence key as plain JSON, from whichever store holds it; NotFound if gone."""
    if kind == "code":
        if code is None:
            raise NotFound("There is no code index here.")
        return await code.read_code(key)
    if kind == "edge":
        return await _read_edge(graph, environment, key)
    return await telemetry.read_record(environment, kind, key)


async def _read_edge(graph: TopologyGraph, environment: str, key: Mapping[str, Any]) -> dict[str, Any]:
    moment = int(key["at_us"])
    for edge in await graph.edges_between(environment, key["source"], key["target"]):
        if edge.valid_from_us <= moment and (edge.valid_to_us is None or moment < edge.valid_to_us):
            return {
                "kind_of_record": "edge",
                "source": edge.source,
                "target": edge.target,
                "kind": edge.kind,
                "observed_by": edge.observed_by,
                "valid_from_us": edge.valid_from_us,
                "valid_at_us": moment,
            }
    raise NotFound(f"No edge {key['source']} -> {key['target']} was valid at {format_us(moment)}.")


def describe_record(kind: EvidenceKind, key: Mapping[str, Any], record: Mapping[str, Any]) -> tuple[str, str, int]:
    """Return (a line for people, the service it speaks of, its time in us)."""
    match kind:
        case "log":
            level = Level(record["level"]).name
            return f"{level} {record['service']}: {record['message'][:400]}", record["service"], record["time_us"]
        case "span":
            state = f"failed: {record['status_message'][:300]}" if record["error"] else "ended without error"
            peer = f" to {record['peer']}" if record["peer"] else ""
            took = f"{record['duration_us'] / 1000:.1f} ms"
            return f"span {record['name']}{peer} took {took}, {state}", record["service"], record["start_us"]
        case "change":
            what = f"{record['kind']} {record['version']}".strip()
            return f"{what}: {record['summary'][:300]}", record["service"], record["time_us"]
        case "event":
            text = f"{record['reason']} {record['object']}: {record['text'][:300]}"
            return text.strip(), record["service"] or record["object"], record["time_us"]
        case "metric":
            return f"{record['name']} = {record['value']:.6g}", record["service"], record["time_us"]
        case "count":
            return f"{record['lines']} lines of template {key['template_id']}", key["service"], key["start_us"]
        case "requests":
            text = (
                f"{key['name']}: {record['requests']} requests, {record['errors']} failed, "
                f"{record['slow']} took longer than {key['slow_us'] / 1000:.0f} ms"
            )
            return text, key["service"], key["start_us"]
        case "edge":
            since = format_us(record["valid_from_us"])
            text = f"{record['source']} calls {record['target']} since {since} (seen by {record['observed_by']})"
            return text, record["source"], record["valid_from_us"]
        case "code" if record["kind_of_record"] == "commit":
            commit = record["commit"]
            text = f'commit {commit["id"][:12]} by {commit["author"]}: "{commit["subject"][:200]}"'
            return text, record["service"], commit["time_us"]
        case "code":
            where = f"{record['path']}:{record['line']}" + (f" in {record['symbol']}" if record["symbol"] else "")
            moment = record["commit"]["time_us"] if record["commit"] else 0
            return f"{where}: {record['text'].strip()[:200]}", record["service"], moment
        case "alert" | "runbook":
            return str(record.get("name") or record.get("title", "")), str(record.get("service", "")), 0


class EvidenceDesk:
    """Makes evidence for one investigation and remembers the canonical bytes of each record."""

    def __init__(
        self, telemetry: Telemetry, graph: TopologyGraph, environment: str, code: CodeRecords | None = None
    ) -> None:
        self._telemetry = telemetry
        self._code = code
        self._graph = graph
        self._environment = environment
        self.found: dict[str, Evidence] = {}
        self.records: dict[str, bytes] = {}

    async def cite(self, kind: EvidenceKind, key: Mapping[str, Any], query: str) -> Evidence | None:
        """Read the record and return its evidence; None where no such record is stored."""
        try:
            record = await read_record(self._telemetry, self._graph, self._environment, kind, key, self._code)
        except NotFound:
            return None
        text, service, moment = describe_record(kind, key, record)
        entities = (record["source"], record["target"]) if kind == "edge" else ()
        evidence = make_evidence(
            environment=self._environment,
            kind=kind,
            key=key,
            record=record,
            query=query,
            text=text,
            service=service,
            time_us=moment,
            entities=entities,
        )
        self.found[evidence.id] = evidence
        self.records[evidence.id] = canonical_bytes(record)
        return evidence


async def recheck(
    telemetry: Telemetry, graph: TopologyGraph, evidence: Evidence, code: CodeRecords | None = None
) -> str:
    """Read the record behind evidence once more; return "" if it still holds the same bytes, else what differs."""
    try:
        record = await read_record(telemetry, graph, evidence.environment, evidence.kind, evidence.key, code)
    except NotFound as exc:
        return str(exc)
    digest = blake3(canonical_bytes(record)).hexdigest()
    return "" if digest == evidence.digest else "The record has changed since it was cited."
