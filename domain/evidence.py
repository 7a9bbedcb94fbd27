"""Evidence by record: an id that names the kind, the row, the stored bytes and the query that found them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from blake3 import blake3

from domain.times import Window

type EvidenceKind = Literal[
    "log", "span", "metric", "change", "event", "alert", "edge", "count", "requests", "runbook", "code"
]


# Parts of a key that say as of when a record is read. They belong to reading it again, not to which record it is: the same
# numbers read again later are the same evidence.
_AS_OF = frozenset(("seq", "until_us"))


def canonical_bytes(record: object) -> bytes:
    """Return the one JSON spelling of a record: sorted keys, no spaces, UTF-8. Equal records give equal bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One stored record that a claim may cite.

    `key` finds the record again, `digest` is the BLAKE3 (hex) of its canonical bytes when it was read, `query` is the
    name of the query that found it, `text` is a line for people, `entities` the services that the record speaks of.
    """

    id: str
    environment: str
    kind: EvidenceKind
    key: Mapping[str, Any]
    digest: str
    query: str
    text: str
    service: str
    time_us: int
    entities: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make_evidence(
    *,
    environment: str,
    kind: EvidenceKind,
    key: Mapping[str, Any],
    record: object,
    query: str,
    text: str,
    service: str,
    time_us: int,
    entities: tuple[str, ...] = (),
) -> Evidence:
    """Build the evidence of a record; the same record found by the same query always gets the same id."""
    digest = blake3(canonical_bytes(record)).hexdigest()
    place = {part: value for part, value in key.items() if part not in _AS_OF}
    name = blake3(canonical_bytes([environment, kind, place, digest, query])).hexdigest(length=6)
    return Evidence(
        id=f"{kind}-{name}",
        environment=environment,
        kind=kind,
        key=dict(key),
        digest=digest,
        query=query,
        text=text,
        service=service,
        time_us=time_us,
        entities=entities or ((service,) if service else ()),
    )


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One query of an investigation: what was asked, how much was looked at, and whether the source was speaking.

    `reporting` is False when the source sent nothing at all in the window, so that zero rows mean "no data" and not
    "nothing happened"; None where the question does not arise.
    """

    query: str
    window: Window
    filter: str
    rows_scanned: int
    rows_returned: int
    reporting: bool | None
    seconds: float
    error: str = ""
