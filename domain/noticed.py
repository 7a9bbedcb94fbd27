"""What is noticed without a question: requests per operation and slot, and the symptoms that were found in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from blake3 import blake3

from domain.sketch import LatencySketch

type SymptomKind = Literal["errors", "latency", "traffic"]
type SymptomStatus = Literal["open", "recovered", "silent"]


# Names for what no operation is known of: lines in place of requests, and requests that metrics alone tell of.
LINES, METERED = "(log lines)", "(metrics)"


@dataclass(frozen=True, slots=True)
class RequestSlot:
    """The requests that one operation of a service answered in one slot of time, by when they ended.

    `roots` counts those that no other service's request led to: what users meet.
    """

    environment: str
    service: str
    operation: str
    slot_us: int
    requests: int
    errors: int
    roots: int
    durations: LatencySketch


@dataclass(frozen=True, slots=True)
class NoticedSymptom:
    """A symptom that was noticed in the stream of requests.

    `started_us` to `ended_us` bound it (`ended_us` None while it is open) and `noticed_us` is when it was sure, all in
    the time of the records; `opened_us` is when that was written down here. `bad` of `requests` failed ("errors") or
    took longer than `slow_us` ("latency"); of "traffic", `requests` came where `usual` per minute used to. For the other
    kinds `usual` is the usual share of bad requests. `status` says how it ended: "recovered", or "silent" where no
    request came that could show it. `incident_id` is the investigation that it led to or joined, if any.
    """

    environment: str
    service: str
    operation: str
    kind: SymptomKind
    status: SymptomStatus
    started_us: int
    noticed_us: int
    ended_us: int | None
    bad: int
    requests: int
    usual: float
    slow_us: int = 0
    roots: int = 0
    opened_us: int = 0
    incident_id: str = ""

    @property
    def id(self) -> str:
        """`sym-` and twelve hex characters: the same symptom has the same id, whoever notices it."""
        named = "\n".join((self.environment, self.service, self.operation, self.kind, str(self.noticed_us)))
        return f"sym-{blake3(named.encode()).hexdigest(length=6)}"
