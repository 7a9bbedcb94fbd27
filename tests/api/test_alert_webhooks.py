"""Each sender of alerts with its real payload: signatures right, wrong, replayed, duplicated and oversized; keys; mappings."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.services import Services
from api.app import build_app
from domain.errors import PayloadError, SettingsError
from domain.settings import Settings
from ingest import monitors, paging
from ingest.mapped_alerts import read_mappings
from ingest.signatures import PAGERDUTY, SENTRY, Scheme
from storage.database import QUERIES, Database

QUERIES["test_alerts"] = (
    "SELECT name, status, service, severity, time_us, ended_us, payload, labels, runbook_url, source FROM alert "
    "WHERE environment = ? ORDER BY time_us, name"
)
NOW = 1_800_000_000_000_000
PD_SECRET = "lDQHScfUeXUKaQRNF+8XIiDKZ7XX3itBAYzwU0TARw8lJqRnkKl2iB1anSb0Z+IK"
PD_VECTOR = Path(__file__).with_name("pagerduty_vector.json")
PD_SIGNATURE = "v1=0c0b9495b893a39e70d1fea2fe11fbe0a825f88b9f67846f6cc07dd2bc5476cd"
GRAFANA = Scheme("X-Grafana-Alerting-Signature", timestamp_header="X-Grafana-Time")
SOON = Scheme("X-Sig", "sha256=")

MAPPINGS = """
zabbix:
  each: problems
  name: [trigger.name, title]
  status: {at: value, resolved: [RESOLVED]}
  service: [host.service, host.name]
  severity: severity
  summary: text
  fingerprint: eventid
  starts_at: since
  ends_at: until
  labels: tags
  id: delivery
  signature: {header: X-Sig, secret: zabbix-secret, prefix: "sha256="}
nightly:
  name: job
  status: {at: state}
"""

GRAFANA_BODY = {
    "receiver": "webhook", "status": "firing", "version": "1", "orgId": 1, "title": "TestAlert", "state": "alerting",
    "groupKey": "webhook-c4edaaf9f9f839b0-1777986297", "truncatedAlerts": 0, "message": "Firing",
    "alerts": [{
        "status": "firing", "labels": {"alertname": "TestAlert", "grafana_folder": "Test Folder", "instance": "Grafana"},
        "annotations": {"description": "Test Description", "summary": "TEST"}, "startsAt": "2026-05-05T13:04:57.62281314Z",
        "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "?orgId=1", "fingerprint": "c4edaaf9f9f839b0",
        "values": {"B": 22, "C": 1}, "valueString": "[ var='B' value=22 ]", "orgId": 1,
    }],
}  # fmt: skip
SENTRY_BODY = {
    "action": "triggered", "actor": {"id": "sentry", "name": "Sentry", "type": "application"},
    "data": {
        "event": {
            "event_id": "e4874d664c3540c1a32eab185f12c5ab", "datetime": "2019-08-19T21:06:17.677000Z", "level": "error",
            "title": "ReferenceError: heck is not defined", "culprit": "?(<anonymous>)", "issue_id": "1117540176",
            "exception": {"values": [{"type": "ReferenceError", "stacktrace": {"frames": [
                {"filename": "/js/vendor.js", "lineno": 1, "in_app": False},
                {"filename": "/js/cart.js", "lineno": 12, "in_app": True},
                {"filename": "/js/runner.js", "lineno": 1, "in_app": False}]}}]},
            "tags": [["level", "error"], ["handled", "no"], ["service", "cart"]],
        },
        "triggered_rule": "Very Important Alert Rule!",
    },
    "installation": {"uuid": "a8e5d37a-696c-4c54-adb5-b3f28d64c7de"},
}  # fmt: skip
DATADOG_BODY = {
    "body": "p99 is high", "last_updated": "1800000000000", "event_type": "query_alert_monitor",
    "title": "[Triggered] Checkout is slow", "severity": "P2", "alert_type": "error", "alert_query": "avg:x > 3",
    "alert_transition": "Triggered", "date": "1800000000000", "scopes": "host:web-1", "org": {"id": "1", "name": "o"},
    "url": "https://app.datadoghq.com/event/1", "tags": "service:checkout,env:production,monitor", "id": "77",
    "monitor_id": "123", "aggreg_key": "$AGGREG_KEY",
}  # fmt: skip
OPSGENIE_BODY = {
    "action": "Create",
    "alert": {
        "alertId": "052652ac-5d1c-464a-812a-7dd18bbfba8c", "message": "disk is full", "tags": ["tag1", "severity:high"],
        "tinyId": "23", "entity": "orders-db", "alias": "aliastest", "createdAt": 1800000000000,
        "updatedAt": 1800000000000000000, "username": "fili@ifountain.com", "description": "97 % used",
        "details": {"runbook_url": "https://runbooks.example/disk"}, "priority": "P1", "source": "nagios",
    },
    "source": {"name": "", "type": "web"}, "integrationName": "Webhook Integration", "integrationType": "Webhook",
}  # fmt: skip


@pytest.fixture(scope="module")
async def hooked(services: Services, tmp_path_factory: pytest.TempPathFactory) -> httpx.ASGITransport:
    mappings = tmp_path_factory.mktemp("mappings") / "mappings.yaml"
    mappings.write_text(MAPPINGS)
    settings = Settings(
        data_dir=services.settings.data_dir, embedder="none", pagerduty_secret=f"older-secret {PD_SECRET}",
        sentry_secret="sentry-secret", grafana_secret="grafana-secret", grafana_timestamp_header="X-Grafana-Time",
        alert_mappings=mappings,
    )  # fmt: skip
    return httpx.ASGITransport(build_app(replace(services, settings=settings)), raise_app_exceptions=False)


@pytest.fixture
async def sender(hooked: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a key."""
    async with httpx.AsyncClient(transport=hooked, base_url="http://test") as opened:
        yield opened


async def stored(database: Database, environment: str) -> list[dict[str, Any]]:
    names = ("name", "status", "service", "severity", "time_us", "ended_us", "payload", "labels", "runbook", "source")
    return [dict(zip(names, row, strict=True)) for row in await database.fetch("test_alerts", (environment,))]


async def send(client: httpx.AsyncClient, source: str, environment: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await client.post(
        f"/ingest/alerts/{source}", content=content, params={"environment": environment}, headers=sent
    )


# -- PagerDuty ---------------------------------------------------------------------------------------------------------


async def test_pagerduty_known_answer(sender: httpx.AsyncClient, environment: str) -> None:
    body = PD_VECTOR.read_bytes().rstrip(b"\n")
    taken = await send(sender, "pagerduty", environment, body, X_PagerDuty_Signature=PD_SIGNATURE)
    assert (taken.status_code, taken.json()["accepted"]) == (200, 0)
    assert "incident.priority_updated" in taken.json()["errors"][0]
    among = await send(sender, "pagerduty", environment, body, X_PagerDuty_Signature=f"v1={'0' * 64},{PD_SIGNATURE}")
    assert among.status_code == 200
    for wrong in (PD_SIGNATURE[:-1] + "e", PD_SIGNATURE.removeprefix("v1="), "v1=", "v1=\xff"):
        refused = await sender.post(
            "/ingest/alerts/pagerduty", content=body, headers={b"X-PagerDuty-Signature": wrong.encode("latin-1")}
        )
        assert refused.status_code == 401, wrong
    changed = await send(sender, "pagerduty", environment, body + b" ", X_PagerDuty_Signature=PD_SIGNATURE)
    assert changed.status_code == 401


def pagerduty_event(kind: str, number: int, at: str) -> bytes:
    said = json.loads(PD_VECTOR.read_bytes())
    said["event"] |= {"id": f"01EVENT{number}", "event_type": kind, "occurred_at": at}
    return json.dumps(said).encode()


async def test_pagerduty_course(sender: httpx.AsyncClient, database: Database, environment: str) -> None:
    async def tell(kind: str, number: int, at: str) -> dict[str, Any]:
        body = pagerduty_event(kind, number, at)
        headers = {"X_PagerDuty_Signature": PAGERDUTY.sign(PD_SECRET, body), "X_Webhook_Id": f"{time.time()}"}
        reply = await send(sender, "pagerduty", environment, body, **headers)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    assert (await tell("incident.triggered", 1, "2026-04-26T17:36:27.458Z"))["accepted"] == 1
    again = await tell("incident.triggered", 1, "2026-04-26T17:36:27.458Z")
    assert (again["accepted"], again["duplicate"]) == (0, 1), "a retry has the same event id, whatever its headers say"
    assert (await tell("incident.acknowledged", 2, "2026-04-26T17:37:00Z"))["accepted"] == 0
    assert (await tell("incident.resolved", 3, "2026-04-26T17:40:00Z"))["accepted"] == 1
    (alert,) = await stored(database, environment)
    assert (alert["name"], alert["status"], alert["service"], alert["severity"]) == (
        "A little bump in the road", "resolved", "API Service", "P1",
    )  # fmt: skip
    assert alert["ended_us"] - alert["time_us"] == 212_542_000


# -- Sentry and Grafana ------------------------------------------------------------------------------------------------


async def test_sentry_issue_alert(sender: httpx.AsyncClient, database: Database, environment: str) -> None:
    body = json.dumps(SENTRY_BODY).encode()
    good = SENTRY.sign("sentry-secret", body)
    headers = {"Sentry_Hook_Resource": "event_alert", "Sentry_Hook_Signature": good}
    assert (await send(sender, "sentry", environment, body, **headers, Request_ID="a")).json()["accepted"] == 1
    replayed = await send(sender, "sentry", environment, body, **headers, Request_ID="another")
    assert replayed.json()["duplicate"] == 1
    wrong = await send(sender, "sentry", environment, body, Sentry_Hook_Signature=SENTRY.sign("other", body))
    assert wrong.status_code == 401
    assert (await send(sender, "sentry", environment, body)).status_code == 401
    (alert,) = await stored(database, environment)
    labels = json.loads(alert["labels"])
    assert (alert["name"], alert["service"]) == ("ReferenceError: heck is not defined", "cart")
    assert (labels["code.file.path"], labels["code.line.number"]) == ("/js/cart.js", "12")
    large = json.dumps({**SENTRY_BODY, "padding": "x" * 1_100_000}).encode()
    refused = await send(
        sender, "sentry", environment, large, Sentry_Hook_Signature=SENTRY.sign("sentry-secret", large)
    )
    assert refused.status_code == 413


async def test_grafana_signs_the_time_too(sender: httpx.AsyncClient, database: Database, environment: str) -> None:
    body, now = json.dumps(GRAFANA_BODY).encode(), str(int(time.time()))
    headers = {"X_Grafana_Alerting_Signature": GRAFANA.sign("grafana-secret", body, now), "X_Grafana_Time": now}
    assert (await send(sender, "grafana", environment, body, **headers)).json()["accepted"] == 1
    assert (await send(sender, "grafana", environment, body, **headers)).json()["duplicate"] == 1
    for timestamp, signed in (
        (str(int(now) - 301), None),
        (str(int(now) + 600), None),
        (now, str(int(now) - 1)),
        ("x", "x"),
    ):
        told = GRAFANA.sign("grafana-secret", body, signed or timestamp)
        headers = {"X_Grafana_Alerting_Signature": told, "X_Grafana_Time": timestamp}
        assert (await send(sender, "grafana", environment, body, **headers)).status_code == 401
    bare = await send(
        sender, "grafana", environment, body, X_Grafana_Alerting_Signature=SENTRY.sign("grafana-secret", body)
    )
    assert bare.status_code == 401, "where the time is to be signed, a body alone could be replayed"
    (alert,) = await stored(database, environment)
    assert (alert["name"], alert["source"]) == ("TestAlert", "grafana")


# -- senders that do not sign ------------------------------------------------------------------------------------------


async def test_a_key_in_the_address_may_send_alerts_alone(
    sender: httpx.AsyncClient, services: Services, database: Database, environment: str
) -> None:
    _, alert_key = await services.keys.create_key("datadog", "alert")
    _, ingest_key = await services.keys.create_key("collector", "ingest")

    async def post(path: str, key: str) -> int:
        query = {"environment": environment, "token": key}
        return (await sender.post(path, json=DATADOG_BODY, params=query)).status_code

    assert await post("/ingest/alerts/datadog", alert_key) == 200
    assert await post("/ingest/alerts/datadog", ingest_key) == 401, "a key that may do more has no place in an address"
    assert await post("/ingest/alerts/datadog", "cg_made-up") == 401
    assert await post("/ingest/logs", alert_key) == 401
    assert (await sender.post("/ingest/logs", json=[], headers={"X-API-Key": alert_key})).status_code == 403
    assert (await sender.get("/incidents", headers={"X-API-Key": alert_key})).status_code == 403
    assert (await sender.post("/ingest/alerts/datadog", json=DATADOG_BODY, auth=("any", alert_key))).status_code == 200
    (alert,) = await stored(database, "production")  # the tag `env` says so
    assert (alert["name"], alert["service"], alert["severity"]) == ("Checkout is slow", "checkout", "P2")
    body = await services.blobs.get(alert["payload"])
    assert json.loads(body) == DATADOG_BODY, "the body is kept as it came"


async def test_opsgenie(sender: httpx.AsyncClient, admin_key: str, database: Database, environment: str) -> None:
    headers = {"X_API_Key": admin_key}
    assert (await send(sender, "opsgenie", environment, OPSGENIE_BODY, **headers)).json()["accepted"] == 1
    assert (await send(sender, "opsgenie", environment, OPSGENIE_BODY, **headers)).json()["duplicate"] == 1
    over = {"action": "Close", "alert": {**OPSGENIE_BODY["alert"], "updatedAt": 1800000060000000000}}  # type: ignore[dict-item]
    assert (await send(sender, "opsgenie", environment, over, **headers)).json()["accepted"] == 1
    (alert,) = await stored(database, environment)
    assert (alert["status"], alert["service"], alert["severity"], alert["runbook"]) == (
        "resolved", "orders-db", "P1", "https://runbooks.example/disk",
    )  # fmt: skip
    assert (alert["time_us"], alert["ended_us"]) == (NOW, NOW + 60_000_000)


async def test_cloudevents(sender: httpx.AsyncClient, admin_key: str, database: Database, environment: str) -> None:
    event = {
        "specversion": "1.0", "id": "1", "source": "/monitor/7", "type": "com.example.alert.firing",
        "time": "2027-01-15T08:00:00Z", "subject": "cart", "data": {"name": "slow cart", "severity": "high"},
    }  # fmt: skip
    key = {"X_API_Key": admin_key}
    structured = {**key, "Content_Type": "application/cloudevents+json"}
    assert (await send(sender, "cloudevents", environment, event, **structured)).json()["accepted"] == 1
    assert (await send(sender, "cloudevents", environment, event, **structured)).json()["duplicate"] == 1
    binary = {f"ce_{name}": str(value) for name, value in event.items() if name != "data"}
    binary |= {"ce_id": "2", "ce_type": "com.example.alert.resolved", "ce_time": "2027-01-15T08:05:00Z"}
    assert (await send(sender, "cloudevents", environment, event["data"], **key, **binary)).json()["accepted"] == 1
    (alert,) = await stored(database, environment)
    assert (alert["name"], alert["service"], alert["status"]) == ("slow cart", "cart", "resolved")
    assert (await send(sender, "cloudevents", environment, {"data": {}}, **structured)).status_code == 400


async def test_a_sender_of_the_operators_own_mapping(
    sender: httpx.AsyncClient, database: Database, environment: str
) -> None:
    problem = {
        "trigger": {"name": "No free swap"}, "value": "PROBLEM", "host": {"name": "db-1"}, "severity": 4, "text": "0 MB",
        "eventid": 501, "since": NOW // 1_000_000, "tags": [{"tag": "team", "value": "storage"}],
    }  # fmt: skip

    async def tell(number: int, *problems: Any) -> httpx.Response:
        body = json.dumps({"delivery": number, "problems": problems}).encode()
        return await send(sender, "zabbix", environment, body, X_Sig=SOON.sign("zabbix-secret", body))

    told = (await tell(1, problem, "no object")).json()
    assert told.pop("dead_letter").startswith("dead-")
    assert told | {"watermark": 0} == {
        "accepted": 1, "duplicate": 0, "rejected": 1, "errors": ["alert: not a JSON object"], "watermark": 0,
    }  # fmt: skip
    over = {**problem, "value": "RESOLVED", "until": NOW // 1_000_000 + 30}
    assert (await tell(2, over)).json()["accepted"] == 1
    assert (await tell(2, over)).json()["duplicate"] == 1
    (alert,) = await stored(database, environment)
    assert (alert["name"], alert["service"], alert["severity"], alert["status"]) == (
        "No free swap", "db-1", "4", "resolved",
    )  # fmt: skip
    assert json.loads(alert["labels"]) == {"team": "storage"}
    assert (await send(sender, "zabbix", environment, {}, X_Sig="sha256=00")).status_code == 401
    assert (await send(sender, "nightly", environment, {"job": "backup"})).status_code == 401


def test_bad_mappings_are_told_of_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mappings.yaml"
    for text, told in (
        ("nagios: {name: a}", "nagios.status"),
        ("nagios: {name: a, status: {at: b}, severty: c}", "severty"),
        ("- a", "no names"),
        ("a: [", "cannot be read"),
        ("'a b': {}", "no name of letters"),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError, match=told):
            read_mappings(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_mappings(tmp_path / "missing.yaml")
    assert read_mappings(None) == {}


# -- courses that need no server ---------------------------------------------------------------------------------------


def test_datadog_variables_that_were_not_filled_in_are_absent() -> None:
    said = {**DATADOG_BODY, "alert_transition": "$ALERT_TRANSITION", "date": "$DATE", "severity": "$ALERT_PRIORITY"}
    (alert,) = monitors.decode_datadog(json.dumps(said).encode(), "", "e", NOW).records
    assert (alert.status, alert.severity, alert.time_us) == ("firing", "error", NOW)
    decoded = monitors.decode_datadog(json.dumps({**DATADOG_BODY, "alert_transition": "Muted"}).encode(), "", "e", NOW)
    assert not decoded.records
    assert decoded.errors
    triggered, over = (
        monitors.decode_datadog(json.dumps({**DATADOG_BODY, "alert_transition": word}).encode(), "", "e", NOW).records[
            0
        ]
        for word in ("Triggered", "Recovered")
    )
    assert triggered.fingerprint == over.fingerprint


def test_sentry_metric_alert_and_issue() -> None:
    alert = {
        "action": "resolved",
        "data": {
            "description_text": "1000 events in the last 10 minutes", "description_title": "Resolved: Too many errors",
            "metric_alert": {
                "alert_rule": {"name": "Too many errors", "environment": "prod"}, "id": "7", "projects": ["backend"],
                "date_started": "2020-09-05T17:00:00Z", "date_closed": "2020-09-05T17:10:00Z",
            },
        },
    }  # fmt: skip
    (found,) = monitors.decode_sentry(json.dumps(alert).encode(), "", "e", NOW).records
    assert (found.name, found.status, found.service, found.environment) == (
        "Too many errors", "resolved", "backend", "prod",
    )  # fmt: skip
    assert found.ended_us == found.time_us + 600_000_000
    issue = {"action": "resolved", "data": {"issue": {"id": "1117540176", "title": "x"}}}
    over = monitors.decode_sentry(json.dumps(issue).encode(), "", "e", NOW)
    began = monitors.decode_sentry(json.dumps(SENTRY_BODY).encode(), "", "e", NOW)
    assert over.records[0].fingerprint == began.records[0].fingerprint
    assert over.undated == began.undated == {0}
    assert not monitors.decode_sentry(b'{"action": "created", "data": {"installation": {}}}', "", "e", NOW).records


@pytest.mark.parametrize("body", [b"[]", b"nothing", b"1", b'{"event": 5, "alert": [], "data": "x", "action": {}}'])
def test_what_is_no_such_webhook_is_refused_or_not_looked_at(body: bytes) -> None:
    for decode in (paging.decode_pagerduty, paging.decode_opsgenie, monitors.decode_datadog, monitors.decode_sentry):
        try:
            decoded = decode(body, "", "e", NOW)
        except PayloadError:
            continue
        assert not decoded.records
        assert decoded.errors
