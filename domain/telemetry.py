"""The records that flow in: log events, spans, metric points, changes, orchestrator events, alerts, stated edges.

Times are microseconds since 1970 (`*_us`): these records are counted in millions, compared and subtracted, and the
database holds the same integers. Every record belongs to an environment; nothing crosses from one to another.

Those that come in millions are msgspec's structs: made, and written to the spool, in a tenth of a dataclass's time. They
hold scalars only, so that the garbage collector need not look at them. An empty mapping as a default is made anew for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import msgspec

type Scalar = str | int | float | bool | None
type Attributes = Mapping[str, Scalar]

DEFAULT_ENVIRONMENT = "default"
UNKNOWN_SERVICE = "unknown_service"
# Names that a cluster's objects go by in the topology: pod/NAMESPACE/NAME is no host, ingress/NAME no service of its own.
POD_PREFIX = "pod/"
INGRESS_PREFIX = "ingress/"


class Level(IntEnum):
    """Log levels, numbered as the first severity number of each OpenTelemetry range."""

    TRACE = 1
    DEBUG = 5
    INFO = 9
    WARN = 13
    ERROR = 17
    FATAL = 21


class SpanKind(IntEnum):
    """OpenTelemetry's span kinds, with its numbers."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


type ChangeKind = Literal["deploy", "config", "flag", "rollback"]
CHANGE_KINDS: tuple[ChangeKind, ...] = ("deploy", "config", "flag", "rollback")


class LogEvent(msgspec.Struct, frozen=True, gc=False):
    """One log line of one service. `trace_id` and `span_id` are lower-case hex, or empty."""

    environment: str
    time_us: int
    service: str
    level: Level
    message: str
    template_id: int
    template: str
    node: str = ""
    trace_id: str = ""
    span_id: str = ""
    attributes: Attributes = {}


class Span(msgspec.Struct, frozen=True, gc=False):
    """One span of a request trace. `peer` is the address or service that a client span says it calls, or empty."""

    environment: str
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: SpanKind
    start_us: int
    duration_us: int
    error: bool
    status_message: str = ""
    node: str = ""
    version: str = ""
    peer: str = ""
    attributes: Attributes = {}


class MetricPoint(msgspec.Struct, frozen=True, gc=False):
    """One sample of one series. `source` and `destination` are set for edge metrics, else empty."""

    environment: str
    time_us: int
    service: str
    name: str
    value: float
    node: str = ""
    source: str = ""
    destination: str = ""
    attributes: Attributes = {}


@dataclass(frozen=True, slots=True)
class Change:
    """A deploy, a config edit, a flag flip or a rollback, as somebody or something reported it."""

    environment: str
    time_us: int
    service: str
    kind: ChangeKind
    summary: str
    version: str = ""
    actor: str = ""
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrchestratorEvent:
    """What an orchestrator (Kubernetes, systemd, a process manager) says happened to an object."""

    environment: str
    time_us: int
    kind: str
    object: str
    text: str
    service: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of one rule. `fingerprint` is the sender's own identity for the alert, or derived from its labels.

    `payload` names the blob that holds the webhook's body as it came, if it was kept.
    """

    environment: str
    time_us: int
    source: str
    name: str
    status: Literal["firing", "resolved"]
    fingerprint: str
    service: str = ""
    severity: str = ""
    summary: str = ""
    runbook_url: str = ""
    ended_us: int | None = None
    labels: Attributes = field(default_factory=dict)
    payload: str = ""


@dataclass(frozen=True, slots=True)
class StatedEdge:
    """A dependency that was stated (by a file, a person, a cluster), not observed in traffic."""

    environment: str
    source: str
    target: str
    kind: Literal["CALLS", "RUNS_ON"]
    observed_by: str
    valid_from_us: int
    valid_to_us: int | None = None
