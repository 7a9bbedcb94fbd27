"""What is read back from the stores: typed rows, one class for each query that returns more than a number."""

from __future__ import annotations

from typing import Literal, NamedTuple

from domain.telemetry import SpanKind

type MeasuredRole = Literal["latency", "errors", "availability", "traffic"]


class SpanRow(NamedTuple):
    """A stored span without its attributes. Times and durations in microseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: int
    start_us: int
    duration_us: int
    error: bool
    status_message: str
    peer: str
    node: str
    version: str

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us

    @property
    def is_entry(self) -> bool:
        """True where the service takes work in."""
        return self.kind in (SpanKind.SERVER, SpanKind.CONSUMER) or not self.parent_id

    @property
    def is_call(self) -> bool:
        """True where the service asks another for something."""
        return self.kind in (SpanKind.CLIENT, SpanKind.PRODUCER)


class EntryBucket(NamedTuple):
    """The requests that one operation of a service took in during one bucket of time."""

    service: str
    name: str
    bucket: int
    requests: int
    errors: int
    log_duration: float
    slow: int
    roots: int


class Activity(NamedTuple):
    """How much a service did in a window; `log_duration` is the mean natural logarithm of microseconds."""

    service: str
    requests: int
    errors: int
    log_duration: float
    first_us: int
    last_us: int


class VersionLoad(NamedTuple):
    """What one version of a service took in during one bucket of time; `duration_us` is the sum of its requests."""

    service: str
    version: str
    bucket: int
    requests: float
    errors: float
    duration_us: float
    first_us: int


class MeterPoint(NamedTuple):
    """A sample of a metric of requests: about which service, as which caller saw it. `attributes` is its JSON text."""

    service: str
    name: str
    series: str
    about: str
    source: str
    attributes: str
    time_us: int
    value: float


class TemplateCount(NamedTuple):
    """How often a service wrote a log template in a window."""

    service: str
    template_id: int
    level: int
    lines: int
    first_us: int
    last_us: int


class LevelBucket(NamedTuple):
    """Error lines and all lines of a service in one bucket of time, and when its first error line was written."""

    service: str
    bucket: int
    errors: int
    lines: int
    first_error_us: int | None


class LogRow(NamedTuple):
    """A stored log event; `attributes` is its JSON text."""

    id: int
    time_us: int
    service: str
    level: int
    template_id: int
    node: str
    trace_id: str
    span_id: str
    message: str
    attributes: str


class TracedLine(NamedTuple):
    """A log event that says to which request and span it belongs; `operation` is that span's name, "" if not stored."""

    service: str
    trace_id: str
    span_id: str
    template_id: int
    time_us: int
    operation: str


class ChangeRow(NamedTuple):
    """A stored change."""

    id: str
    time_us: int
    service: str
    kind: str
    version: str
    summary: str
    actor: str


class AlertRow(NamedTuple):
    """A stored alert that fires."""

    time_us: int
    name: str
    service: str
    summary: str


class OrchestratorRow(NamedTuple):
    """A stored orchestrator event."""

    id: str
    time_us: int
    kind: str
    object: str
    service: str
    reason: str
    text: str


class MetricShift(NamedTuple):
    """One metric series before and after a moment; the `after_*` and `before_*` are None where there is no sample.

    `about` is the service that it speaks of: the destination of an edge metric, else the sender itself. `role` is what
    it measures where it was worked out of other series; else its name says that.
    """

    service: str
    name: str
    series: str
    before_count: int
    before_mean: float | None
    before_deviation: float | None
    before_max: float | None
    after_count: int
    after_mean: float | None
    after_max: float | None
    after_min: float | None
    about: str
    role: MeasuredRole | None = None
