"""What must hold from the ingest to the verdict: noise convicts nobody, clocks do not matter, evidence does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from domain.times import DAY_US, SECOND_US
from domain.verdict import Outcome
from storage.database import QUERIES, Database

QUERIES["test_drop_span"] = "DELETE FROM span WHERE environment = ? AND trace_id = ? AND span_id = ?"
QUERIES["test_drop_line"] = "DELETE FROM log_event WHERE environment = ? AND id = ?"
QUERIES["test_drop_change"] = "DELETE FROM change_event WHERE environment = ? AND id = ?"
QUERIES["test_drop_count"] = "DELETE FROM log_count WHERE environment = ? AND template_id = ? AND service = ?"
QUERIES["test_drop_counted"] = "DELETE FROM log_event WHERE environment = ? AND template_id = ? AND service = ?"
QUERIES["test_drop_spans"] = "DELETE FROM span WHERE environment = ? AND service = ?"
QUERIES["test_drop_lines"] = "DELETE FROM log_event WHERE environment = ? AND service = ?"
QUERIES["test_drop_counts"] = "DELETE FROM log_count WHERE environment = ? AND service = ?"
QUERIES["test_drop_changes"] = "DELETE FROM change_event WHERE environment = ? AND service = ?"

T0 = 1_780_000_000 * SECOND_US
QUIET, BROKEN = 90, 60
CHAIN = ("front", "basket", "stock")
ORDER: dict[Outcome, int] = {"HEALTHY": 0, "INCONCLUSIVE": 0, "LIKELY": 1, "CONFIRMED": 2}

type Span = dict[str, Any]


@dataclass
class Told:
    """What a system sent: spans per service, log lines, changes and orchestrator events; times as offsets from its start."""

    spans: dict[str, list[Span]] = field(default_factory=dict)
    logs: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def by_version(self) -> dict[tuple[str, str], list[Span]]:
        found: dict[tuple[str, str], list[Span]] = {}
        for service, held in self.spans.items():
            for span in held:
                found.setdefault((service, span.get("version", "")), []).append(span)
        return found

    def without(self, service: str) -> Told:
        spans = {name: held for name, held in self.spans.items() if name != service}
        logs = [line for line in self.logs if line["service"] != service]
        return Told(spans, logs, [c for c in self.changes if c["service"] != service], self.events)


def broken_stock() -> Told:
    """A chain of three of which the last one begins to fail after a deploy, a request a second."""
    told = Told(changes=[{"at": QUIET - 5, "service": "stock", "kind": "deploy", "version": "2", "summary": "new"}])
    for second in range(QUIET + BROKEN):
        bad = second >= QUIET and second % 3 != 0
        trace, parent = f"{second + 1:032x}", ""
        for depth, service in enumerate(CHAIN):
            took = (len(CHAIN) - depth) * 20_000
            for kind, name in ((2, f"GET /{service}"), (3, "GET")):
                if kind == 3 and service == CHAIN[-1]:
                    continue
                number = f"{2 * depth + kind:016x}"
                span = _span(
                    trace,
                    number,
                    parent,
                    name,
                    kind,
                    second * SECOND_US + depth * 2000 + kind * 100,
                    took - kind * 1000,
                    bad,
                )
                told.spans.setdefault(service, []).append(span)
                parent = number
        if bad:
            line = {"at": second + 0.04, "service": "stock", "level": "ERROR", "message": "KeyError: 'shelf'"}
            told.logs.append(line)
        told.logs.append({"at": second, "service": "front", "level": "INFO", "message": "served a page"})
    return told


def with_noise(told: Told) -> Told:
    """Put a service beside it that nothing calls, that fails, shouts, restarts and was just deployed."""
    spans, logs = dict(told.spans), list(told.logs)
    spans["loud"] = [
        _span(f"{10_000 + n:032x}", "1", "", "job", 2, (QUIET + n / 4) * SECOND_US, 900_000, True) for n in range(200)
    ]
    logs += [
        {"at": QUIET - 1 + n / 10, "service": "loud", "level": "FATAL", "message": f"panic: everything of {n} is lost"}
        for n in range(300)
    ]
    change = {"at": QUIET - 2, "service": "loud", "kind": "deploy", "version": "9", "summary": "rewrite"}
    events = [
        {
            "at": QUIET + n,
            "kind": "Warning",
            "object": "Pod/loud-1",
            "service": "loud",
            "reason": "BackOff",
            "text": "crash",
        }
        for n in range(10)
    ]
    return Told(spans, logs, [*told.changes, change], [*told.events, *events])


def _span(trace: str, number: str, parent: str, name: str, kind: int, at_us: float, took_us: int, bad: bool) -> Span:
    return {
        "traceId": trace,
        "spanId": number.rjust(16, "0"),
        "parentSpanId": parent,
        "name": name,
        "kind": kind,
        "at_us": int(at_us),
        "took_us": took_us,
        "status": {"code": 2, "message": "KeyError: 'shelf'"} if bad else {},
    }


async def send(client: httpx.AsyncClient, environment: str, told: Told, start_us: int) -> None:
    exports = []
    for (service, version), held in told.by_version().items():
        said = {"service.name": service} | ({"service.version": version} if version else {})
        attributes = [{"key": key, "value": {"stringValue": value}} for key, value in said.items()]
        spans = [_dated(span, start_us) for span in held]
        exports.append({"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]})
    await _post(client, "/v1/traces", {"resourceSpans": exports}, environment)
    for path, rows in (("logs", told.logs), ("changes", told.changes), ("events", told.events)):
        if rows:
            await _post(client, f"/ingest/{path}", [_at(row, start_us) for row in rows], environment)


def _at(row: dict[str, Any], start_us: int) -> dict[str, Any]:
    kept = {key: value for key, value in row.items() if key != "at"}
    return kept | {"timestamp": start_us + int(row["at"] * SECOND_US)}


def _dated(span: Span, start_us: int) -> Span:
    began = start_us + span["at_us"]
    kept = {key: value for key, value in span.items() if not key.endswith("_us") and key != "version"}
    return kept | {"startTimeUnixNano": str(began * 1000), "endTimeUnixNano": str((began + span["took_us"]) * 1000)}


async def _post(client: httpx.AsyncClient, path: str, body: Any, environment: str) -> None:
    reply = await client.post(path, json=body, params={"environment": environment})
    assert reply.status_code == 200, reply.text


async def ask(client: httpx.AsyncClient, environment: str, told: Told, start_us: int = T0) -> dict[str, Any]:
    await send(client, environment, told, start_us)
    return await _ask_again(client, environment, start_us)


async def _ask_again(client: httpx.AsyncClient, environment: str, start_us: int = T0) -> dict[str, Any]:
    question = {"question": "Why do requests to front fail?", "environment": environment}
    question["at"] = str((start_us + (QUIET + BROKEN) * SECOND_US) // SECOND_US)
    reply = await client.post("/chat", json=question, timeout=120)
    assert reply.status_code == 200, reply.text
    verdict: dict[str, Any] = reply.json()["verdict"]
    return verdict


def causes(verdict: dict[str, Any]) -> Sequence[str]:
    return [cause["service"] for cause in verdict["causes"]]


@pytest.fixture(scope="module")
async def plain(transport: httpx.ASGITransport, admin_key: str) -> dict[str, Any]:
    """The verdict on the broken system alone."""
    headers = {"X-API-Key": admin_key}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        verdict = await ask(client, f"plain-{uuid.uuid4().hex[:12]}", broken_stock())
    assert (verdict["outcome"], causes(verdict)) == ("CONFIRMED", ["stock"]), verdict["reasons"]
    return verdict


async def test_an_unrelated_noisy_service_changes_no_verdict(
    client: httpx.AsyncClient, environment: str, plain: dict[str, Any]
) -> None:
    verdict = await ask(client, environment, with_noise(broken_stock()))
    assert (verdict["outcome"], causes(verdict)) == (plain["outcome"], causes(plain)), verdict["reasons"]
    assert verdict["causes"][0]["path"] == plain["causes"][0]["path"] == ["stock", "basket", "front"]


async def test_noise_alone_is_nobodys_fault_where_nothing_else_is_wrong(
    client: httpx.AsyncClient, environment: str
) -> None:
    healthy = Told(spans={name: [s | {"status": {}} for s in held] for name, held in broken_stock().spans.items()})
    verdict = await ask(client, environment, with_noise(healthy))
    assert not causes(verdict), verdict["reasons"]


@pytest.mark.parametrize("shift_us", [-4_000 * DAY_US + 12_345_678, 400 * DAY_US + 987_654_321])
async def test_shifting_all_clocks_changes_nothing_but_the_times(
    client: httpx.AsyncClient, environment: str, plain: dict[str, Any], shift_us: int
) -> None:
    verdict = await ask(client, environment, broken_stock(), T0 + shift_us)
    assert (verdict["outcome"], causes(verdict)) == (plain["outcome"], causes(plain)), verdict["reasons"]
    assert [(r["service"], round(r["score"], 2)) for r in verdict["ranking"]] == [
        (r["service"], round(r["score"], 2)) for r in plain["ranking"]
    ]


async def test_without_the_records_that_it_cites_a_verdict_is_weaker(
    client: httpx.AsyncClient, environment: str, database: Database
) -> None:
    """What was cited is deleted, again and again: nothing gone is ever cited, and in the end nothing is confirmed."""
    verdict = await ask(client, environment, broken_stock())
    assert (verdict["outcome"], causes(verdict)) == ("CONFIRMED", ["stock"])
    gone: set[str] = set()
    for _ in range(3):
        cited = {name for cause in verdict["causes"] for name in cause["evidence"]}
        assert cited
        gone |= {name for name in cited if await _delete_record(client, environment, database, name)}
        verdict = await _ask_again(client, environment)
        for name in sorted(_cited(verdict)):
            reread = (await client.get(f"/evidence/{name}", params={"environment": environment})).json()
            assert reread["state"] == "unchanged", (name, reread)
        assert not gone & _cited(verdict)
        if verdict["outcome"] != "CONFIRMED":
            break
    for query in ("test_drop_spans", "test_drop_lines", "test_drop_counts", "test_drop_changes"):
        await database.execute(query, (environment, "stock"))
    verdict = await _ask_again(client, environment)
    assert (verdict["outcome"], causes(verdict)) != ("CONFIRMED", ["stock"]), verdict["reasons"]
    assert not gone & _cited(verdict)


def _cited(verdict: dict[str, Any]) -> set[str]:
    found = {name for cause in verdict["causes"] for name in cause["evidence"]}
    return found | {name for ruled in verdict["ruled_out"] for name in ruled["evidence"]}


async def _delete_record(client: httpx.AsyncClient, environment: str, database: Database, name: str) -> bool:
    """Delete the row behind a piece of evidence; False for what is no row of its own (sums, edges of the graph)."""
    shown = (await client.get(f"/evidence/{name}", params={"environment": environment})).json()
    key = shown["key"]
    match shown["kind"]:
        case "span":
            await database.execute("test_drop_span", (environment, key["trace_id"], key["span_id"]))
        case "log":
            await database.execute("test_drop_line", (environment, key["id"]))
        case "change":
            await database.execute("test_drop_change", (environment, key["id"]))
        case "count":
            await database.execute("test_drop_count", (environment, key["template_id"], key["service"]))
            await database.execute("test_drop_counted", (environment, key["template_id"], key["service"]))
        case _:
            return False
    return True


async def test_of_several_deploys_the_one_that_brought_the_bad_version_is_named(
    client: httpx.AsyncClient, environment: str
) -> None:
    told = broken_stock()
    for span in told.spans["stock"]:
        # Every third request of the broken time goes well: that is the stable version.
        late = span["at_us"] >= QUIET * SECOND_US
        span["version"] = "2" if span["status"] or (late and span["at_us"] // SECOND_US % 6 == 0) else "1"
    told.changes = [
        {"at": QUIET - 9, "service": "stock", "kind": "deploy", "version": "2", "summary": "the canary"},
        {"at": QUIET - 6, "service": "basket", "kind": "deploy", "version": "7", "summary": "another"},
        {"at": QUIET - 3, "service": "stock", "kind": "config", "summary": "a flag"},
    ]
    verdict = await ask(client, environment, told)
    assert causes(verdict) == ["stock"], verdict["reasons"]
    assert not [line for line in verdict["not_seen"] if "failed" in line], verdict["not_seen"]
    assert "bad_version" in verdict["ranking"][0]["signals"]
    # Sent again, the changes say the ids that they have.
    again = await client.post("/ingest/changes", json=[_at(told.changes[0], T0)], params={"environment": environment})
    assert verdict["causes"][0]["change"] == again.json()["ids"][0]


@pytest.mark.long
async def test_ten_thousand_services_with_cycles_and_self_calls_change_no_verdict(
    client: httpx.AsyncClient, environment: str, plain: dict[str, Any]
) -> None:
    count = 10_000
    edges = [(n, n * k % count) for n in range(count) for k in (7, 13)] + [(n, n) for n in range(0, count, 3)]
    stated = [{"source": f"s{a}", "target": f"s{b}"} for a, b in edges]
    # The chain itself lies within them, and calls lead back up it.
    stated += [{"source": "stock", "target": "s1"}, {"source": "s5", "target": "front"}]
    stated += [{"source": "stock", "target": "front"}, {"source": "basket", "target": "basket"}]
    for at in range(0, len(stated), 5_000):
        await _post(
            client,
            "/ingest/topology",
            {"edges": stated[at : at + 5_000], "valid_from": T0 // SECOND_US - 9},
            environment,
        )
    began = time.process_time()
    verdict = await ask(client, environment, broken_stock())
    assert (verdict["outcome"], causes(verdict)) == (plain["outcome"], causes(plain)), verdict["reasons"]
    assert verdict["causes"][0]["path"] == plain["causes"][0]["path"]
    assert time.process_time() - began < 20
