"""Alerts of senders that an operator describes in a file (CAUSEGRAPH_ALERT_MAPPINGS), and CloudEvents.

The file is YAML: names of sources, and for each where in its JSON the fields of an alert are (docs/triggers.md).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from domain.errors import PayloadError, SettingsError
from domain.telemetry import Alert
from ingest.alert_notice import Notice, read_object, take_notice
from ingest.json_paths import reach, reach_map, reach_text, read_tags
from ingest.payload import Decoded, media_type, parse_json
from ingest.signatures import Scheme

type _Paths = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
_OVER = ("resolved", "ok", "recovered", "closed", "inactive", "normal", "success", "up", "cleared", "end", "ended")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StatusMapping(_Strict):
    """Where a sender says whether an alert fires, and by which words it is over."""

    at: _Paths
    resolved: tuple[str, ...] = _OVER


class SignatureMapping(_Strict):
    """How a sender signs its body: hexadecimal HMAC-SHA256."""

    header: str
    secret: str = Field(min_length=8)
    prefix: str = ""
    timestamp_header: str = ""
    joint: str = ":"

    @property
    def scheme(self) -> Scheme:
        """The same, ready to check."""
        return Scheme(self.header, self.prefix, self.timestamp_header, self.joint)


class AlertMapping(_Strict):
    """Where in a sender's JSON the fields of an alert are: dotted paths; of several the first that leads somewhere counts.

    `each` leads to a list of alerts, which the other paths begin at; without it the body is one alert. `id` begins at the body.
    """

    name: _Paths
    status: StatusMapping
    each: str = ""
    fingerprint: _Paths = ()
    service: _Paths = ()
    severity: _Paths = ()
    summary: _Paths = ()
    runbook_url: _Paths = ()
    environment: _Paths = ()
    starts_at: _Paths = ()
    ends_at: _Paths = ()
    labels: str = ""
    id: _Paths = ()
    signature: SignatureMapping | None = None

    def delivery_id(self, body: bytes) -> str:
        """Return what the retries of a delivery have in common, or ''. Raises PayloadError."""
        return reach_text(read_object(body), *self.id) if self.id else ""

    def decode(self, source: str, body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Alert]:
        """Return the alerts of a body. Raises PayloadError."""
        said = parse_json(body, content_type)
        found = reach(said, self.each) if self.each else said
        items = found if isinstance(found, list) else [found]
        decoded: Decoded[Alert] = Decoded()
        for item in items:
            if isinstance(item, dict):
                take_notice(decoded, self._notice(source, item), environment, now_us)
            else:
                decoded.reject("alert: not a JSON object")
        return decoded

    def _notice(self, source: str, item: Mapping[str, Any]) -> Notice:
        over = reach_text(item, *self.status.at).lower() in {word.lower() for word in self.status.resolved}
        labels, name = read_tags(reach(item, self.labels)) if self.labels else {}, reach_text(item, *self.name)
        service = reach_text(item, *self.service)
        identity = reach_text(item, *self.fingerprint) or msgspec.json.encode([name, service, sorted(labels.items())])
        return Notice(
            source=source,
            name=name,
            status="resolved" if over else "firing",
            identity=identity if isinstance(identity, str) else identity.decode(),
            started=_moment(item, self.starts_at),
            ended=_moment(item, self.ends_at) if over else "",
            service=service,
            severity=reach_text(item, *self.severity),
            summary=reach_text(item, *self.summary),
            runbook_url=reach_text(item, *self.runbook_url),
            environment=reach_text(item, *self.environment),
            labels=labels,
        )


def read_mappings(path: Path | None) -> dict[str, AlertMapping]:
    """Return the mappings of a file by the name of the source; raises SettingsError that says what is wrong where."""
    if path is None:
        return {}
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise SettingsError(f"CAUSEGRAPH_ALERT_MAPPINGS: {path} cannot be read: {exc}") from exc
    if not isinstance(given, dict):
        raise SettingsError(f"CAUSEGRAPH_ALERT_MAPPINGS: {path} holds no names of sources.")
    return {str(name): _read_mapping(path, str(name), value) for name, value in given.items()}


def _read_mapping(path: Path, name: str, value: Any) -> AlertMapping:
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii() or len(name) > 32:
        raise SettingsError(
            f"CAUSEGRAPH_ALERT_MAPPINGS: {name[:40]!r} in {path} is no name of letters, digits, - and _."
        )
    try:
        return AlertMapping.model_validate(value)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise SettingsError(f"CAUSEGRAPH_ALERT_MAPPINGS: {path}: {where}: {first['msg']}") from exc


# -- CloudEvents -------------------------------------------------------------------------------------------------------


def read_cloudevents(headers: Mapping[str, str], body: bytes, content_type: str) -> list[dict[str, Any]]:
    """Return the events of a request, in the structured, the batched or the binary mode. Raises PayloadError."""
    if media_type(content_type).startswith("application/cloudevents") or "ce-specversion" not in headers:
        said = parse_json(body, content_type)
        events = said if isinstance(said, list) else [said]
    else:
        event = {name.removeprefix("ce-"): value for name, value in headers.items() if name.startswith("ce-")}
        events = [{**event, "data": parse_json(body, content_type)}]
    for event in events:
        missing = [key for key in ("id", "source", "type", "specversion") if not reach_text(event, key)]
        if missing:
            raise PayloadError(f"This is no CloudEvent: it lacks {', '.join(missing)}.")
    return events


def cloudevents_id(events: list[dict[str, Any]]) -> str:
    """Return what retries of the same events have in common."""
    return " ".join(f"{reach_text(event, 'source')} {reach_text(event, 'id')}" for event in events)


def decode_cloudevents(
    events: list[dict[str, Any]], body: bytes, content_type: str, environment: str, now_us: int
) -> Decoded[Alert]:
    """Return the alerts of events: their data has the fields of a generic alert; type, time and subject stand in."""
    decoded: Decoded[Alert] = Decoded()
    for event in events:
        data = _event_data(event)
        kind, source = reach_text(event, "type"), reach_text(event, "source")
        name = reach_text(data, "name", "title", "alertname") or kind
        status = (reach_text(data, "status", "state") or kind.rpartition(".")[2]).lower()
        identity = reach_text(data, "fingerprint") or f"{source}\n{reach_text(event, 'subject')}\n{name}"
        notice = Notice(
            source="cloudevents",
            name=name,
            status="resolved" if status in _OVER else "firing",
            identity=identity,
            started=reach_text(data, "starts_at") or ("" if status in _OVER else reach_text(event, "time")),
            ended=(reach_text(data, "ends_at") or reach_text(event, "time")) if status in _OVER else "",
            service=reach_text(data, "service") or reach_text(event, "subject"),
            severity=reach_text(data, "severity"),
            summary=reach_text(data, "summary", "message", "description"),
            runbook_url=reach_text(data, "runbook_url"),
            environment=reach_text(data, "environment"),
            labels={**reach_map(data, "labels"), "cloudevents.type": kind, "cloudevents.source": source},
        )
        take_notice(decoded, notice, environment, now_us)
    return decoded


def _event_data(event: Mapping[str, Any]) -> dict[str, Any]:
    packed = event.get("data_base64")
    if isinstance(packed, str):
        try:
            return read_object(base64.b64decode(packed, validate=True))
        except (binascii.Error, ValueError) as exc:
            raise PayloadError(f"data_base64 cannot be read: {exc}") from exc
    return reach_map(event, "data")


def _moment(item: Mapping[str, Any], paths: tuple[str, ...]) -> str:
    return reach_text(item, *paths) if paths else ""
