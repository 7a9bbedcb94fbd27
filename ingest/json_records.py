"""The plain JSON bodies of `/ingest/*` to records: pydantic at the border, one reason for each record that is not taken.

Reasons count records from 1: `record 3: timestamp: not a time: 'yesterday' ...`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from blake3 import blake3
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from domain.errors import PayloadError
from domain.telemetry import (
    CHANGE_KINDS,
    DEFAULT_ENVIRONMENT,
    Alert,
    Attributes,
    Change,
    ChangeKind,
    Level,
    LogEvent,
    OrchestratorEvent,
    Scalar,
    StatedEdge,
)
from domain.times import parse_time_us
from ingest.fields import (
    MESSAGE_BYTES,
    clean_attributes,
    clean_environment,
    clean_name,
    clean_text,
    note_cut,
    parse_level,
)
from ingest.log_event import LogDraft, with_templates
from ingest.payload import Decoded, Unreadable, parse_json, parse_records
from ingest.timestamps import parse_said_time

ALERT_SOURCES = ("alertmanager", "grafana", "generic")

_ENVIRONMENT_KEYS = ("deployment.environment.name", "deployment.environment")
_ENVIRONMENT_LABELS = (*_ENVIRONMENT_KEYS, "deployment_environment_name", "deployment_environment", "environment")
_SERVICE_LABELS = (
    "service", "service_name", "service.name", "app", "app_kubernetes_io_name", "application", "deployment", "job",
)  # fmt: skip


# -- the shapes that are taken -----------------------------------------------------------------------------------------


def _required_name(value: Any) -> str:
    name = clean_name(_text(value))
    if not name:
        raise ValueError("must not be empty")
    return name


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    return msgspec.json.encode(value).decode()


def _environment(value: Any) -> str:
    return clean_environment(_text(value))


def _id(value: Any) -> str:
    """Return lower-case hex of an id, however it was dashed; an empty text for what is none."""
    text = _text(value).replace("-", "").lower()
    return text if len(text) in (16, 32) and not text.strip("0123456789abcdef") and text.strip("0") else ""


def _time(value: Any) -> int:
    if not isinstance(value, str | int | float):
        raise ValueError("not a time (RFC 3339, or an epoch number in s, ms, us or ns)")
    return parse_said_time(value, time.time_ns() // 1000)  # a text may leave out the year


def _end(value: Any) -> int | None:
    # Alertmanager says the year 1 for "not ended".
    return None if value is None or (isinstance(value, str) and value.startswith("0001-")) else _time(value)


type _Time = Annotated[int, BeforeValidator(_time)]
type _OptionalTime = Annotated[int | None, BeforeValidator(_end)]
type _Name = Annotated[str, BeforeValidator(_required_name)]
type _OptionalName = Annotated[str, BeforeValidator(lambda value: clean_name(_text(value)))]
type _Text = Annotated[str, BeforeValidator(lambda value: clean_text(_text(value)))]
type _Environment = Annotated[str, BeforeValidator(_environment)]
type _Id = Annotated[str, BeforeValidator(_id)]
type _Attributes = Annotated[
    dict[str, Any], BeforeValidator(lambda value: clean_attributes(value.items()) if isinstance(value, dict) else value)
]
type _OptionalAttributes = Annotated[_Attributes, BeforeValidator(lambda value: {} if value is None else value)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    environment: _Environment = ""


class _LogIn(_Record):
    timestamp: _Time
    service: _Name
    level: str | int | float | None = None
    message: Annotated[str, BeforeValidator(lambda value: clean_text(_text(value), MESSAGE_BYTES))]
    node: _OptionalName = ""
    trace_id: _Id = ""
    span_id: _Id = ""
    attributes: _OptionalAttributes = Field(default_factory=dict)


class _ChangeIn(_Record):
    timestamp: _Time
    service: _Name
    kind: Annotated[ChangeKind, BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)]
    summary: _Text
    version: _OptionalName = ""
    actor: _OptionalName = ""
    attributes: _OptionalAttributes = Field(default_factory=dict)


class _EventIn(_Record):
    timestamp: _Time
    kind: Annotated[str, BeforeValidator(lambda value: _required_name(value)[:64])]
    object: Annotated[str, BeforeValidator(lambda value: clean_name(_text(value), 255))]
    text: _Text
    service: _OptionalName = ""
    reason: _OptionalName = ""


class _EdgeIn(_Record):
    source: _Name
    target: _Name
    kind: Annotated[
        Literal["CALLS", "RUNS_ON"], BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
    ] = "CALLS"


class _TopologyIn(_Record):
    edges: list[Any]
    observed_by: Annotated[str, BeforeValidator(lambda value: _required_name(value)[:64])] = "stated"
    valid_from: _Time = 0
    valid_to: _OptionalTime = None


class _AlertGroupIn(BaseModel):
    """Alertmanager's webhook (version 4), and Grafana's, which has its shape but version 1 and an orgId."""

    version: str = ""
    orgId: int | None = None
    alerts: list[Any]
    truncatedAlerts: int = 0


class _GroupedAlertIn(BaseModel):
    status: Literal["firing", "resolved"]
    labels: _Attributes
    annotations: _OptionalAttributes = Field(default_factory=dict)
    startsAt: _Time
    endsAt: _OptionalTime = None
    fingerprint: _OptionalName = ""


class _AlertIn(_Record):
    name: Annotated[str, BeforeValidator(lambda value: _required_name(value)[:255])]
    status: Literal["firing", "resolved"]
    service: _OptionalName = ""
    severity: _OptionalName = ""
    summary: _Text = ""
    runbook_url: _Text = ""
    fingerprint: _OptionalName = ""
    starts_at: _OptionalTime = None
    ends_at: _OptionalTime = None
    labels: _OptionalAttributes = Field(default_factory=dict)


# -- bodies to records -------------------------------------------------------------------------------------------------


def decode_logs(body: bytes, content_type: str, environment: str) -> Decoded[LogEvent]:
    """Return the log events of a body of `/ingest/logs`."""

    def draft(raw: Any) -> LogDraft:
        return _quick_draft(raw, environment) or careful_draft(raw)

    def careful_draft(raw: Any) -> LogDraft:
        given = _LogIn.model_validate(raw)
        level = parse_level(given.level)
        attributes: Attributes = given.attributes
        if level is None and given.level is not None:
            attributes = {**attributes, "level": clean_name(str(given.level))}
        attributes = note_cut(attributes, _text(raw.get("message")), given.message)
        return LogDraft(
            environment=given.environment or _environment(_said(attributes, _ENVIRONMENT_KEYS)) or environment,
            time_us=given.timestamp,
            service=given.service,
            level=level or Level.INFO,
            message=given.message,
            node=given.node,
            trace_id=given.trace_id,
            span_id=given.span_id if len(given.span_id) == 16 else "",
            attributes=attributes,
        )

    return with_templates(_decode(parse_records(body, content_type), draft))


class _PlainLog(msgspec.Struct, gc=False):
    """A log event as our shipper and most others write it: nothing to convert."""

    timestamp: int
    service: str
    message: str
    level: str = ""
    node: str = ""
    environment: str = ""
    trace_id: str = ""
    span_id: str = ""
    attributes: dict[str, Scalar] = {}


def _quick_draft(raw: Any, environment: str) -> LogDraft | None:
    """Return what `_LogIn` would lead to, in a fraction of its time; None for what needs a closer look."""
    try:
        given = msgspec.convert(raw, _PlainLog)
        named = _environment(given.environment) if given.environment else ""
        time_us = parse_time_us(given.timestamp)
        attributes = clean_attributes(given.attributes.items()) if given.attributes else {}
        said = _environment(_said(attributes, _ENVIRONMENT_KEYS)) if attributes else ""
    except ValueError:
        return None
    service, level = clean_name(given.service), parse_level(given.level) if given.level else None
    if not service or (level is None and "level" in raw):
        return None
    span_id = _id(given.span_id) if given.span_id else ""
    message = clean_text(given.message, MESSAGE_BYTES)
    return LogDraft(
        named or said or environment,
        time_us,
        service,
        level or Level.INFO,
        message,
        clean_name(given.node) if given.node else "",
        _id(given.trace_id) if given.trace_id else "",
        span_id if len(span_id) == 16 else "",
        note_cut(attributes, given.message, message),
    )


def decode_changes(body: bytes, content_type: str, environment: str) -> Decoded[Change]:
    """Return the changes of a body of `/ingest/changes`."""

    def change(raw: Any) -> Change:
        given = _ChangeIn.model_validate(raw)
        return Change(
            environment=given.environment or _environment(_said(given.attributes, _ENVIRONMENT_KEYS)) or environment,
            time_us=given.timestamp,
            service=given.service,
            kind=given.kind,
            summary=given.summary,
            version=given.version,
            actor=given.actor,
            attributes=given.attributes,
        )

    return _decode(parse_records(body, content_type), change)


def decode_events(body: bytes, content_type: str, environment: str) -> Decoded[OrchestratorEvent]:
    """Return the orchestrator events of a body of `/ingest/events`."""

    def event(raw: Any) -> OrchestratorEvent:
        given = _EventIn.model_validate(raw)
        return OrchestratorEvent(
            environment=given.environment or environment,
            time_us=given.timestamp,
            kind=given.kind,
            object=given.object,
            text=given.text,
            service=given.service,
            reason=given.reason,
        )

    return _decode(parse_records(body, content_type), event)


def decode_topology(body: bytes, content_type: str, environment: str) -> Decoded[StatedEdge]:
    """Return the stated edges of a body of `/ingest/topology`; without `valid_from` they have held since ever."""
    value = parse_json(body, content_type)
    try:
        given = _TopologyIn.model_validate({"edges": value} if isinstance(value, list) else value)
    except ValidationError as exc:
        raise PayloadError(f"The topology cannot be read: {_reason(exc)}") from exc
    if given.valid_to is not None and given.valid_to < given.valid_from:
        raise PayloadError("The topology cannot be read: valid_to lies before valid_from.")

    def edge(raw: Any) -> StatedEdge:
        stated = _EdgeIn.model_validate(raw)
        return StatedEdge(
            environment=stated.environment or given.environment or environment,
            source=stated.source,
            target=stated.target,
            kind=stated.kind,
            observed_by=given.observed_by,
            valid_from_us=given.valid_from,
            valid_to_us=given.valid_to,
        )

    around = value if isinstance(value, dict) else {}
    return _decode(given.edges, edge, noun="edge", keep_as=lambda raw: {**around, "edges": [raw]})


def decode_alerts(source: str, body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Alert]:
    """Return the alerts of a webhook's body. Raises PayloadError for a source that is not in `ALERT_SOURCES`.

    A generic alert without `starts_at` gets `now_us` and is listed as undated.
    """
    match source:
        case "alertmanager" | "grafana":
            return _decode_alert_groups(parse_records(body, content_type), environment)
        case "generic":
            records = parse_records(body, content_type)
            decoded = _decode(records, lambda raw: _generic_alert(raw, environment, now_us), noun="alert")
            decoded.undated = {at for at, alert in enumerate(decoded.records) if alert.time_us == now_us}
            return decoded
    raise PayloadError(f"There is no alert source {source[:64]!r}; known are {', '.join(ALERT_SOURCES)}.")


def _decode_alert_groups(groups: Iterable[Any], environment: str) -> Decoded[Alert]:
    decoded: Decoded[Alert] = Decoded()
    for raw in groups:
        if isinstance(raw, Unreadable):
            decoded.refuse(raw.reason, raw)
            continue
        try:
            group = _AlertGroupIn.model_validate(raw)
        except ValidationError as exc:
            raise PayloadError(f"The webhook cannot be read: {_reason(exc)}") from exc
        # The two senders differ in this, not in the address that people gave them.
        source = "grafana" if group.version == "1" and group.orgId is not None else "alertmanager"

        def alert(item: Any, source: str = source) -> Alert:
            return _grouped_alert(item, environment, source)

        _decode(group.alerts, alert, "alert", partial(_alert_alone, raw), decoded)
        if group.truncatedAlerts > 0:
            decoded.note(f"the sender left out {group.truncatedAlerts} alerts of this group (truncatedAlerts)")
    return decoded


def _alert_alone(group: Mapping[str, Any], item: Any) -> dict[str, Any]:
    return {**group, "alerts": [item]}


def _grouped_alert(raw: Any, environment: str, source: str) -> Alert:
    given = _GroupedAlertIn.model_validate(raw)
    labels, notes = given.labels, given.annotations
    name = _said(labels, ("alertname",))
    if not name:
        raise ValueError("labels.alertname: missing")
    ended = given.endsAt if given.status == "resolved" else None
    return Alert(
        environment=_environment(_said(labels, _ENVIRONMENT_LABELS)) or environment,
        time_us=given.startsAt,
        source=source,
        name=clean_name(name, 255),
        status=given.status,
        fingerprint=given.fingerprint or _fingerprint(labels),
        service=clean_name(_said(labels, _SERVICE_LABELS)),
        severity=clean_name(_said(labels, ("severity", "priority")), 32),
        summary=_said(notes, ("summary", "description", "message")),
        runbook_url=_said(notes, ("runbook_url", "runbook")),
        ended_us=max(ended, given.startsAt) if ended is not None else None,
        labels=labels,
    )


def _generic_alert(raw: Any, environment: str, now_us: int) -> Alert:
    given = _AlertIn.model_validate(raw)
    start = now_us if given.starts_at is None else given.starts_at
    ended = given.ends_at if given.status == "resolved" else None
    return Alert(
        environment=given.environment or _environment(_said(given.labels, _ENVIRONMENT_LABELS)) or environment,
        time_us=start,
        source="generic",
        name=given.name,
        status=given.status,
        fingerprint=given.fingerprint or _fingerprint({"": given.name, "service": given.service, **given.labels}),
        service=given.service,
        severity=given.severity[:32],
        summary=given.summary,
        runbook_url=given.runbook_url,
        ended_us=max(ended, start) if ended is not None else None,
        labels=given.labels,
    )


def _fingerprint(labels: Attributes) -> str:
    return blake3(msgspec.json.encode(sorted((key, _text(value)) for key, value in labels.items()))).hexdigest(length=8)


def _said(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    return next((_text(values[key]) for key in keys if values.get(key) not in (None, "")), "")


def _decode[R](
    records: Iterable[Any],
    read: Callable[[Any], R],
    noun: str = "record",
    keep_as: Callable[[Any], Any] = lambda raw: raw,
    decoded: Decoded[R] | None = None,
) -> Decoded[R]:
    """Read records one by one; `keep_as` makes of one that cannot be read what could be sent again by itself."""
    decoded = Decoded() if decoded is None else decoded
    for number, raw in enumerate(records, 1):
        if isinstance(raw, Unreadable):
            decoded.refuse(raw.reason, raw)
            continue
        try:
            decoded.records.append(read(raw))
        except ValidationError as exc:
            reason = f"{noun} {number}: {_reason(exc)}"
        except ValueError as exc:
            reason = f"{noun} {number}: {exc}"
        else:
            continue
        decoded.refuse_as(reason, partial(keep_as, raw))
    return decoded


def _reason(exc: ValidationError) -> str:
    return "; ".join(_one_reason(error) for error in exc.errors(include_url=False, include_input=False)[:3])


def _one_reason(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "missing":
            what = "missing"
        case "model_type" | "model_attributes_type":
            what = "not a JSON object"
        case "literal_error" if where == "kind" and "deploy" in error["msg"]:
            what = f"must be one of {', '.join(CHANGE_KINDS)}"
        case _:
            what = error["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def resolve_environment(query: str) -> str:
    """Return the environment of records that name none. Raises PayloadError for a name that is too long."""
    try:
        return clean_environment(query) or DEFAULT_ENVIRONMENT
    except ValueError as exc:
        raise PayloadError(f"environment: {exc}") from exc
