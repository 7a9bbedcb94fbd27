"""Whatever way an event comes in, what its text says of exceptions, codes and request traces is in its fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.telemetry import LogEvent
from ingest import datadog, json_records, otlp, syslog
from ingest.payload import Decoded

NOW = 1_800_000_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
PYTHON = """checkout failed
Traceback (most recent call last):
  File "/srv/shop/checkout.py", line 41, in pay
    charge(order)
  File "/srv/shop/billing.py", line 7, in charge
    raise PaymentRefused("no funds")
shop.errors.PaymentRefused: no funds"""
FRAMES = "/srv/shop/billing.py:7 charge\n/srv/shop/checkout.py:41 pay"


def _json(text: str, more: dict[str, Any]) -> Decoded[LogEvent]:
    record = {"timestamp": NOW, "service": "s", "level": "error", "message": text, "attributes": more}
    return json_records.decode_logs(json.dumps([record]).encode(), "", "e")


def _datadog(text: str, more: dict[str, Any]) -> Decoded[LogEvent]:
    return datadog.decode_logs({}, json.dumps([{"message": text, "status": "error", **more}]).encode(), "", "e", NOW)


def _otlp(text: str, more: dict[str, Any]) -> Decoded[LogEvent]:
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in more.items()]
    record = {"timeUnixNano": str(NOW * 1000), "severityNumber": 17, "body": {"stringValue": text}, "attributes": pairs}
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    return otlp.decode_logs(json.dumps(body).encode(), "application/json", "e", NOW)


def _syslog(text: str, more: dict[str, Any]) -> Decoded[LogEvent]:
    elements = "".join(f'[x {key}="{value}"]' for key, value in more.items()) or "-"
    frame = syslog.Frame("10.1.2.3", NOW, f"<11>1 - h app - - {elements} {text}".encode())
    rules = syslog.SyslogRules(ZoneInfo("UTC"))
    return syslog.decode_frames(rules, syslog.encode_frames([frame]), "", "e", NOW)


WAYS = (_json, _datadog, _otlp, _syslog)


@pytest.mark.parametrize("send", WAYS)
def test_a_stack_trace_becomes_fields(send: Callable[[str, dict[str, Any]], Decoded[LogEvent]]) -> None:
    (event,) = send(PYTHON, {}).records
    assert event.attributes["exception.type"] == "shop.errors.PaymentRefused"
    assert event.attributes["exception.message"] == "no funds"
    assert event.attributes["exception.frames"] == FRAMES
    assert not any(name.startswith("code.") for name in event.attributes)


@pytest.mark.parametrize("send", WAYS)
def test_codes_and_request_traces_become_fields(send: Callable[[str, dict[str, Any]], Decoded[LogEvent]]) -> None:
    (event,) = send(f"listener down, ORA-12541, trace_id={TRACE} span_id=00f067aa0ba902b7", {}).records
    assert event.attributes["error.code"] == "ORA-12541"
    assert (event.trace_id, event.span_id) == (TRACE, "00f067aa0ba902b7")
    assert dict(send("nothing to see", {}).records[0].attributes).keys() <= {"syslog.facility"}


@pytest.mark.parametrize("name", ["exception.stacktrace", "error.stack", "stack_trace"])
@pytest.mark.parametrize("send", [_json, _datadog, _otlp])
def test_a_stack_trace_in_a_field_of_its_own(
    send: Callable[[str, dict[str, Any]], Decoded[LogEvent]], name: str
) -> None:
    (event,) = send("checkout failed", {name: PYTHON.partition("\n")[2], "exception.type": "Said"}).records
    assert (event.message, event.attributes["exception.frames"]) == ("checkout failed", FRAMES)
    assert event.attributes["exception.type"] == "Said"


@pytest.mark.parametrize("send", WAYS)
def test_a_text_that_does_not_fit_says_how_much_is_gone(
    send: Callable[[str, dict[str, Any]], Decoded[LogEvent]],
) -> None:
    (event,) = send("ä" * 50_000, {}).records
    assert len(event.message.encode()) + int(str(event.attributes["log.cut_bytes"])) == 100_000
    assert 65_532 < len(event.message.encode()) <= 65_536
    assert "log.cut_bytes" not in send("x" * 60_000 + "\x1b[0m", {}).records[0].attributes


def test_a_text_that_is_read_with_care_says_it_too() -> None:
    record = {"timestamp": "2026-01-01", "service": "s", "message": "x" * 100_000}
    (event,) = json_records.decode_logs(json.dumps(record).encode(), "", "e").records
    assert event.attributes["log.cut_bytes"] == 100_000 - 65_536
