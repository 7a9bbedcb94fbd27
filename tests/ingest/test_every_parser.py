"""Every decoder of `ingest/` is found and fed: whatever comes, it gives records that can be stored or a PayloadError."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ingest
from domain.errors import PayloadError
from ingest import agent_traces, cloudwatch, datadog, json_records, syslog, topology_files
from ingest.mapped_alerts import decode_cloudevents, read_cloudevents
from ingest.payload import Decoded

NOW = 1_800_000_000_000_000
TYPES = (
    "", "application/json", "application/x-ndjson", "application/x-protobuf", "text/plain", "application/yaml",
    "application/cloudevents+json", "application/vnd.google.protobuf; x=1", "\x00",
)  # fmt: skip

# Decoders that are asked in a way of their own.
ADAPTERS: dict[Callable[..., Any], Callable[..., Any]] = {
    json_records.decode_logs: lambda body, kind, place, now: json_records.decode_logs(body, kind, place),
    json_records.decode_changes: lambda body, kind, place, now: json_records.decode_changes(body, kind, place),
    json_records.decode_events: lambda body, kind, place, now: json_records.decode_events(body, kind, place),
    json_records.decode_topology: lambda body, kind, place, now: json_records.decode_topology(body, kind, place),
    json_records.decode_alerts: partial(json_records.decode_alerts, "generic"),
    topology_files.decode_topology_file: lambda body, kind, place, now: topology_files.decode_topology_file(
        body, kind, place
    ),
    datadog.decode_logs: partial(datadog.decode_logs, {"service": "web"}),
    cloudwatch.decode_firehose: partial(cloudwatch.decode_firehose, 1_000_000),
    syslog.decode_frames: partial(syslog.decode_frames, syslog.SyslogRules(ZoneInfo("UTC"))),
    decode_cloudevents: lambda body, kind, place, now: decode_cloudevents(
        read_cloudevents({"ce-type": "a", "ce-id": "1"}, body, kind), body, kind, place, now
    ),
    agent_traces.decode_agent_records: lambda body, kind, place, now: [
        agent_traces.decode_agent_records(form, _value(body), place, now)
        for form in ("traces", "spans", "langgraph", "evals")
    ],
}


def _value(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PayloadError(str(exc)) from exc


def _found() -> dict[str, Callable[..., Any]]:
    """Return every function `decode_...` of ingest/ that takes a body, by its name."""
    found: dict[str, Callable[..., Any]] = {}
    for info in pkgutil.iter_modules(ingest.__path__, "ingest."):
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            if name.startswith("decode_") and inspect.isfunction(thing) and thing.__module__ == info.name:
                found[f"{info.name}.{name}"] = thing
    return found


DECODERS = _found()
WORDS = st.sampled_from(
    ["timestamp", "service", "message", "level", "edges", "alerts", "event", "data", "series", "records", "app",
     "deployment", "Type", "Message", "resourceLogs", "scopeLogs", "logRecords", "services", "kind", "metadata", "spec",
     "traces", "spans", "evals", "id", "attributes", "status", "messages", "payload", "type", "value", "0001-01-01", "firing"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=6),
    max_leaves=25,
)
bodies = st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode("utf-8", "replace"))


@pytest.mark.parametrize("name", sorted(DECODERS))
@given(body=bodies, kind=st.sampled_from(TYPES))
@settings(max_examples=40, deadline=None)
def test_whatever_comes_is_records_or_a_payload_error(name: str, body: bytes, kind: str) -> None:
    decoder = DECODERS[name]
    decode = ADAPTERS.get(decoder, decoder)
    try:
        decoded = decode(body, kind, "e", NOW)
    except PayloadError:
        return
    if isinstance(decoded, Decoded):
        assert decoded.rejected >= len(decoded.refused)
        assert len(decoded.errors) <= 21


def test_every_way_in_is_among_them() -> None:
    """A decoder with other parameters needs an adapter, or the test above says nothing of it."""
    for name, decoder in DECODERS.items():
        if decoder not in ADAPTERS:
            assert list(get_type_hints(decoder))[:4] == ["body", "content_type", "environment", "now_us"], name
    assert len(DECODERS) >= 20
