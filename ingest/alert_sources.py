"""Every sender of alerts by the name in its address: how it signs, what its retries have in common, how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import msgspec
from blake3 import blake3

from domain.errors import PayloadError
from domain.settings import Settings
from domain.telemetry import Alert
from ingest import json_records, monitors, paging
from ingest.mapped_alerts import cloudevents_id, decode_cloudevents, read_cloudevents, read_mappings
from ingest.payload import Decode, Decoded, parse_json
from ingest.signatures import GRAFANA, PAGERDUTY, SENTRY, Scheme

_BUILT_IN = (*json_records.ALERT_SOURCES, "pagerduty", "opsgenie", "datadog", "sentry", "cloudevents")


@dataclass(frozen=True, slots=True)
class Signing:
    """How the deliveries of a source are signed, and the secrets (separated by blanks) that may have done it."""

    scheme: Scheme
    secrets: str


@dataclass(frozen=True, slots=True)
class Read:
    """How a delivery is to be taken: `key` is what its retries have in common, '' where that is the body alone."""

    decode: Decode
    key: str = ""


class AlertSources:
    """The sources that the settings know. Raises SettingsError for mappings that cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._mappings = read_mappings(settings.alert_mappings)
        grafana = Scheme(GRAFANA, timestamp_header=settings.grafana_timestamp_header)
        named = {
            "pagerduty": Signing(PAGERDUTY, settings.pagerduty_secret),
            "sentry": Signing(SENTRY, settings.sentry_secret),
            "grafana": Signing(grafana, settings.grafana_secret),
        }
        self._signing = {name: signing for name, signing in named.items() if signing.secrets.split()}
        for name, mapping in self._mappings.items():
            if mapping.signature is not None:
                self._signing[name] = Signing(mapping.signature.scheme, mapping.signature.secret)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all sources."""
        return (*_BUILT_IN, *(name for name in self._mappings if name not in _BUILT_IN))

    def signing(self, source: str) -> Signing | None:
        """Return how a source's deliveries are signed; None where the settings have no secret of it."""
        return self._signing.get(source)

    def read(self, source: str, body: bytes, content_type: str, headers: Mapping[str, str], *, signed: bool) -> Read:
        """Return how to take a delivery. Raises PayloadError.

        What is signed is told from its retries by signed bytes alone: a replay with another id in a header is still one.
        """
        read = self._read(source, body, content_type, headers)
        if signed and not read.key:
            return replace(read, key=blake3(body).hexdigest())
        return read

    def _read(self, source: str, body: bytes, content_type: str, headers: Mapping[str, str]) -> Read:
        mapping = self._mappings.get(source)
        if mapping is not None:
            return Read(partial(mapping.decode, source), mapping.delivery_id(body))
        match source:
            case "alertmanager" | "grafana" | "generic":
                return Read(partial(json_records.decode_alerts, source))
            case "pagerduty":
                return Read(paging.decode_pagerduty, paging.pagerduty_id(body))
            case "opsgenie":
                return Read(paging.decode_opsgenie, paging.opsgenie_id(body))
            case "datadog":
                return Read(monitors.decode_datadog, monitors.datadog_id(body))
            case "sentry":
                return Read(monitors.decode_sentry)
            case "cloudevents":
                events = read_cloudevents(headers, body, content_type)
                return Read(partial(decode_cloudevents, events), cloudevents_id(events))
        raise PayloadError(f"There is no alert source {source[:64]!r}; known are {', '.join(self.names)}.")


def with_payload(decode: Decode, digest: str) -> Decode:
    """Return a decoder whose alerts name the blob that holds the body as it came."""

    def decode_with_payload(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Alert]:
        decoded: Decoded[Alert] = decode(body, content_type, environment, now_us)
        decoded.records = [replace(alert, payload=digest) for alert in decoded.records]
        if decoded.rejected and not decoded.refused:
            decoded.refused.append(msgspec.json.encode(parse_json(body, content_type)))
        return decoded

    return decode_with_payload
