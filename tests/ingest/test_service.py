from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from domain.errors import NotFound, PayloadError, PayloadTooLarge
from domain.settings import Settings
from domain.telemetry import Level, LogEvent
from ingest.datadog import decode_logs
from ingest.service import Delivery, Ingest, Receipt
from storage.batch import Batch
from storage.database import Database
from storage.dead_letters import DeadLetters
from storage.frames import Head, encode_frame
from storage.ingest import IngestStore

TIME = "2024-03-01T10:42:00Z"


@pytest.fixture
def ingest(database: Database) -> Ingest:
    return Ingest(IngestStore(database), Settings(max_body_bytes=8_000_000))


def delivery(environment: str, value: Any, **more: Any) -> Delivery:
    return Delivery(json.dumps(value).encode(), "application/json", environment=environment, **more)


def line(message: Any = "order 7 placed", **more: Any) -> dict[str, Any]:
    return {"timestamp": TIME, "service": "checkout", "level": "info", "message": message, **more}


def counts(receipt: Receipt) -> tuple[int, int, int]:
    return receipt.accepted, receipt.duplicate, receipt.rejected


async def rows(database: Database, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Ask the database something that no query of the program asks."""

    def work(tx: Any) -> list[tuple[Any, ...]]:
        tx._cursor.execute(sql, parameters)
        return [tuple(row) for row in tx._cursor.fetchall()]

    return await database.transaction(work)


async def stored(database: Database, environment: str) -> tuple[int, int]:
    """Return the number of log events, and the sum of their counts."""
    events = await rows(database, "SELECT COUNT(*) FROM log_event WHERE environment = ?", environment)
    summed = await rows(database, "SELECT COALESCE(SUM(count), 0) FROM log_count WHERE environment = ?", environment)
    return int(events[0][0]), int(summed[0][0])


async def test_equal_lines_within_a_batch_all_count(ingest: Ingest, database: Database, environment: str) -> None:
    receipt = await ingest.accept_logs(delivery(environment, [line(), line(), line("order 8 placed")]))
    assert counts(receipt) == (3, 0, 0)
    assert await stored(database, environment) == (3, 3)
    found = await rows(
        database,
        "SELECT c.count, c.level, t.text FROM log_count c JOIN log_template t ON t.id = c.template_id"
        " WHERE c.environment = ?",
        environment,
    )
    assert found == [(3, 9, "order <*> placed")]


async def test_a_redelivery_changes_nothing(ingest: Ingest, database: Database, environment: str) -> None:
    sent = delivery(environment, [line(), line(), {"service": "x"}])
    first = await ingest.accept_logs(sent)
    again = await ingest.accept_logs(sent)
    zipped = await ingest.accept_logs(
        Delivery(gzip.compress(sent.body), sent.content_type, "gzip", environment=environment)
    )
    assert counts(first) == (2, 0, 1)
    assert counts(again) == counts(zipped) == (0, 2, 1)
    assert first.watermark == again.watermark == zipped.watermark
    assert await stored(database, environment) == (2, 2)
    # The same body elsewhere is another delivery.
    assert counts(await ingest.accept_logs(delivery(f"{environment}-b", [line(), line(), {}]))) == (2, 0, 1)


async def test_an_idempotency_key_names_the_delivery(ingest: Ingest, database: Database, environment: str) -> None:
    first = await ingest.accept_logs(delivery(environment, [line()], idempotency_key="a"))
    other = await ingest.accept_logs(delivery(environment, [line()], idempotency_key="b"))
    retry = await ingest.accept_logs(delivery(environment, [line("never seen before")], idempotency_key="a"))
    assert [counts(receipt) for receipt in (first, other, retry)] == [(1, 0, 0), (1, 0, 0), (0, 1, 0)]
    assert await stored(database, environment) == (2, 2)
    # What the refused retry spoke of is stored whole when it comes for the first time.
    await ingest.accept_logs(delivery(environment, [line("never seen before")]))
    assert await rows(database, "SELECT COUNT(*) FROM log_template WHERE text = 'never seen before'") == [(1,)]


async def test_bad_records_are_rejected_alone(ingest: Ingest, database: Database, environment: str) -> None:
    receipt = await ingest.accept_logs(
        delivery(environment, [line(), line(timestamp="yesterday"), 5, line(environment="e" * 65)])
    )
    assert counts(receipt) == (1, 0, 3)
    assert receipt.errors[0].startswith("record 2: timestamp: not a time: 'yesterday'")
    assert receipt.errors[1:] == (
        "record 3: not a JSON object",
        "record 4: environment: longer than 64 characters",
    )
    assert await stored(database, environment) == (1, 1)


async def test_a_batch_may_hold_several_environments(ingest: Ingest, database: Database, environment: str) -> None:
    other = f"{environment}-b"
    attributes = {"deployment.environment.name": other}
    receipt = await ingest.accept_logs(
        delivery(environment, [line(), line(environment=other), line(attributes=attributes)])
    )
    assert counts(receipt) == (3, 0, 0)
    assert await stored(database, environment) == (1, 1)
    assert await stored(database, other) == (2, 2)


async def test_odd_text_is_stored(ingest: Ingest, database: Database, environment: str) -> None:
    messages = [
        "nul \x00 bell \x07 \x1b[31mred\x1b[0m 12",
        "\u00e9\U0001f600 \u202e \\ ' \" ? :x",
        "y" * 100_000,
        "\U0001f600" * 40_000,
        "",
        {"k": [1, 2]},
        None,
    ]
    body = [
        line(message, service="s" * 300, node=" n\n1 ", attributes={"a": "x" * 100_000, "b": [1], "c": None, "d": 1.5})
        for message in messages
    ]
    assert counts(await ingest.accept_logs(delivery(environment, body))) == (7, 0, 0)
    found = await rows(
        database,
        "SELECT message, service, node, attributes FROM log_event WHERE environment = ? ORDER BY id",
        environment,
    )
    assert [row[0] for row in found] == [
        "nul   bell   red 12", messages[1], "y" * 65_536, "\U0001f600" * 16_384, "", '{"k":[1,2]}', "",
    ]  # fmt: skip
    assert {row[1:3] for row in found} == {("s" * 128, "n 1")}
    assert json.loads(found[0][3]) == {"a": "x" * 16_384, "b": "[1]", "c": None, "d": 1.5}


async def test_long_lines_do_not_outgrow_the_packet(ingest: Ingest, database: Database, environment: str) -> None:
    roomy = Ingest(ingest._sink, Settings(max_body_bytes=200_000_000))
    body = [line("\u00e9" * 32_000) for _ in range(600)]
    assert counts(await roomy.accept_logs(delivery(environment, body))) == (600, 0, 0)
    assert await stored(database, environment) == (600, 600)


async def test_levels_and_ids_of_any_spelling(ingest: Ingest, database: Database, environment: str) -> None:
    levels = ["warn", "WARNING", "err", "crit", 3, "3", 17, 50, "Information", "INFO2", None, "audit"]
    body = [line(level=level, trace_id="5B8EFFF798038103D269B633813FC60C", span_id="zz") for level in levels]
    assert counts(await ingest.accept_logs(delivery(environment, body))) == (len(levels), 0, 0)
    found = await rows(
        database, "SELECT level, trace_id, span_id FROM log_event WHERE environment = ? ORDER BY id", environment
    )
    assert [row[0] for row in found] == [13, 13, 17, 21, 17, 17, 17, 17, 9, 9, 9, 9]
    assert {row[1:] for row in found} == {("5b8efff798038103d269b633813fc60c", "")}


async def test_counts_keep_the_first_and_last_moment(ingest: Ingest, database: Database, environment: str) -> None:
    for seconds in (["2024-03-01T10:42:04Z", "2024-03-01T10:42:06Z"], ["2024-03-01T10:42:01Z", "2024-03-01T10:42:15Z"]):
        await ingest.accept_logs(delivery(environment, [line(timestamp=second) for second in seconds]))
    found = await rows(
        database,
        "SELECT count, last_us - first_us FROM log_count WHERE environment = ? ORDER BY slot_us",
        environment,
    )
    assert found == [(3, 5_000_000), (1, 0)]


async def test_twenty_writers_count_right_and_seq_grows_in_commit_order(
    ingest: Ingest, database: Database, environment: str
) -> None:
    async def write(writer: int) -> list[int]:
        found = []
        for number in range(5):
            body = [line(f"worker {writer} step {step}", level="error") for step in range(10)]
            receipt = await ingest.accept_logs(delivery(environment, [*body, line(f"batch {writer}/{number}")]))
            assert counts(receipt) == (11, 0, 0)
            found.append(receipt.watermark)
        return found

    marks = await asyncio.gather(*(write(writer) for writer in range(20)))
    assert len({mark for found in marks for mark in found}) == 100
    assert all(found == sorted(found) for found in marks)
    assert await stored(database, environment) == (1100, 1100)
    found = await rows(
        database, "SELECT level, SUM(count) FROM log_count WHERE environment = ? GROUP BY level", environment
    )
    assert sorted((int(level), int(total)) for level, total in found) == [(9, 100), (17, 1000)]


async def test_the_same_delivery_sent_at_once_by_many_is_stored_once(
    ingest: Ingest, database: Database, environment: str
) -> None:
    sent = delivery(environment, [line(), line()])
    receipts = await asyncio.gather(*(ingest.accept_logs(sent) for _ in range(12)))
    assert sum(receipt.accepted for receipt in receipts) == 2
    assert sum(receipt.duplicate for receipt in receipts) == 22
    assert await stored(database, environment) == (2, 2)


async def test_changes_get_ids(ingest: Ingest, database: Database, environment: str) -> None:
    deploy = {"timestamp": TIME, "service": "payment", "kind": "Deploy", "version": "2.4.0", "summary": "new timeout"}
    first = await ingest.accept_changes(delivery(environment, [deploy, {**deploy, "kind": "flag"}]))
    again = await ingest.accept_changes(delivery(environment, deploy))
    assert counts(first) == (2, 0, 0)
    assert counts(again) == (0, 1, 0)
    assert again.ids == first.ids[:1]
    assert first.ids[0].startswith("chg-")
    assert len(first.ids[0]) == 16
    bad = await ingest.accept_changes(delivery(environment, {**deploy, "kind": "party"}))
    assert bad.errors == ("record 1: kind: must be one of deploy, config, flag, rollback",)


async def test_events_are_stored_once(ingest: Ingest, database: Database, environment: str) -> None:
    event = {"timestamp": TIME, "kind": "Pod", "object": "payment-1", "reason": "OOMKilled", "text": "exit 137"}
    assert counts(await ingest.accept_events(delivery(environment, [event, event]))) == (1, 1, 0)
    found = await rows(database, "SELECT kind, reason FROM orchestrator_event WHERE environment = ?", environment)
    assert found == [("Pod", "OOMKilled")]


async def test_topology_is_stated_from_ever_and_can_be_ended(
    ingest: Ingest, database: Database, environment: str
) -> None:
    edges = [{"source": "a", "target": "b"}, {"source": "a", "target": "n1", "kind": "runs_on"}, {"source": "a"}]
    first = await ingest.accept_topology(delivery(environment, {"edges": edges, "observed_by": "git"}))
    assert counts(first) == (2, 0, 1)
    assert first.errors == ("edge 3: target: missing",)
    ended = await ingest.accept_topology(
        delivery(environment, {"edges": edges[:2], "observed_by": "git", "valid_to": TIME})
    )
    assert counts(ended) == (2, 0, 0)
    found = await rows(
        database,
        "SELECT kind, valid_from_us, valid_to_us, seq FROM stated_edge WHERE environment = ? ORDER BY kind",
        environment,
    )
    assert found == [
        ("CALLS", 0, 1709289720000000, ended.watermark),
        ("RUNS_ON", 0, 1709289720000000, ended.watermark),
    ]
    same = await ingest.accept_topology(
        delivery(environment, {"edges": edges[:2], "observed_by": "git", "valid_to": TIME}, idempotency_key="again")
    )
    assert counts(same) == (0, 2, 0)
    with pytest.raises(PayloadError, match="valid_to lies before"):
        await ingest.accept_topology(delivery(environment, {"edges": [], "valid_from": TIME, "valid_to": 5}))


ALERT = {
    "status": "firing",
    "labels": {"alertname": "HighErrors", "service": "checkout", "severity": "critical"},
    "annotations": {"summary": "5xx above 5 %", "runbook_url": "https://wiki/5xx"},
    "startsAt": "2024-03-01T10:42:00.014Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "fingerprint": "948c667b1fc76492",
}


async def alerts(database: Database, environment: str) -> list[tuple[Any, ...]]:
    return await rows(
        database,
        "SELECT source, name, status, ended_us, service, severity, runbook_url FROM alert WHERE environment = ?"
        " ORDER BY time_us",
        environment,
    )


async def test_an_alert_fires_once_and_resolves(ingest: Ingest, database: Database, environment: str) -> None:
    group = {"version": "4", "status": "firing", "alerts": [ALERT, {**ALERT, "labels": {}}], "truncatedAlerts": 2}
    fired = await ingest.accept_alerts(delivery(environment, group), "alertmanager")
    assert counts(fired) == (1, 0, 1)
    assert fired.errors == (
        "alert 2: labels.alertname: missing",
        "the sender left out 2 alerts of this group (truncatedAlerts)",
    )
    common = ("alertmanager", "HighErrors")
    rest = ("checkout", "critical", "https://wiki/5xx")
    assert await alerts(database, environment) == [(*common, "firing", None, *rest)]
    over = {**ALERT, "status": "resolved", "endsAt": "2024-03-01T10:50:00Z"}
    resolved = await ingest.accept_alerts(delivery(environment, {**group, "alerts": [over]}), "alertmanager")
    late = await ingest.accept_alerts(delivery(environment, {**group, "alerts": [ALERT]}), "alertmanager")
    assert counts(resolved) == (1, 0, 0)
    assert counts(late) == (0, 1, 0)
    assert await alerts(database, environment) == [(*common, "resolved", 1709290200000000, *rest)]


async def test_grafana_is_known_by_its_payload(ingest: Ingest, database: Database, environment: str) -> None:
    await ingest.accept_alerts(delivery(environment, {"version": "1", "orgId": 1, "alerts": [ALERT]}), "alertmanager")
    assert [row[0] for row in await alerts(database, environment)] == ["grafana"]


async def test_generic_alerts_without_a_start_open_and_close(
    ingest: Ingest, database: Database, environment: str
) -> None:
    accepted = []
    for status in ("resolved", "firing", "firing", "resolved", "firing"):
        sent = delivery(environment, {"name": "disk full", "status": status, "service": "db"})
        accepted.append((await ingest.accept_alerts(sent, "generic")).accepted)
    assert accepted == [0, 1, 0, 1, 1]
    assert [row[2] for row in await alerts(database, environment)] == ["resolved", "firing"]


async def test_equal_bodies_without_times_are_retries_for_a_while_only(
    ingest: Ingest, database: Database, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "no clock here"}}]}]}]}
    accepted = []
    for minute in (0, 1, 60):
        monkeypatch.setattr(time, "time_ns", lambda minute=minute: (1_700_000_000 + 60 * minute) * 1_000_000_000)
        accepted.append((await ingest.accept_otlp_logs(delivery(environment, body))).accepted)
    assert accepted == [1, 0, 1]
    assert await stored(database, environment) == (2, 2)


async def test_a_caller_who_leaves_cannot_break_the_write(ingest: Ingest, database: Database, environment: str) -> None:
    async def leave(number: int) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ingest.accept_logs(delivery(environment, [line(f"step {number}")])), number / 1000)

    await asyncio.gather(*(leave(number) for number in range(30)))
    again = [await ingest.accept_logs(delivery(environment, [line(f"step {number}")])) for number in range(30)]
    assert all(receipt.accepted + receipt.duplicate == 1 for receipt in again)
    assert await stored(database, environment) == (30, 30)


async def test_unknown_alert_sources_are_refused(ingest: Ingest, environment: str) -> None:
    with pytest.raises(PayloadError, match="known are alertmanager, grafana, generic"):
        await ingest.accept_alerts(delivery(environment, []), "nagios")


async def test_bodies_have_a_bound(ingest: Ingest, environment: str) -> None:
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    with pytest.raises(PayloadTooLarge):
        await ingest.accept_logs(Delivery(bomb, "application/json", "gzip", environment))


async def test_refused_records_are_kept_and_can_be_taken_again(
    ingest: Ingest, database: Database, environment: str, tmp_path: Path
) -> None:
    letters = DeadLetters(tmp_path)
    keeping = Ingest(ingest._sink, Settings(), letters)
    bad = [line(timestamp="yesterday"), 5]
    receipt = await keeping.accept_logs(delivery(environment, [line(), *bad]))
    again = await keeping.accept_logs(delivery(environment, [line(), *bad]))
    assert (counts(receipt), counts(again)) == ((1, 0, 2), (0, 1, 2))
    (letter,) = letters.find_all()
    assert receipt.dead_letter == again.dead_letter == letter.id
    assert (letter.kind, letter.source, letter.environment, letter.records, letter.kept) == (
        "logs", "json", environment, 2, 2,
    )  # fmt: skip
    assert letter.reasons == receipt.errors
    _, body = letters.read(letter.id)
    assert [json.loads(record) for record in body.splitlines()] == bad
    # It is no better than it was.
    assert counts(await keeping.replay(letter.id)) == (0, 0, 2)
    assert letters.count() == 1
    # Somebody has mended it, or a newer program reads it.
    mended = letters.keep(letter, json.dumps(line("order 9 placed")).encode())
    assert counts(await keeping.replay(mended)) == (1, 0, 0)
    assert [one.id for one in letters.find_all()] == [letter.id]
    assert await stored(database, environment) == (2, 2)
    with pytest.raises(NotFound):
        await keeping.replay(mended)


def _otlp(environment: str, *records: dict[str, Any]) -> Delivery:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "till"}}]}
    body = {
        "resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {"name": "app"}, "logRecords": [*records]}]}]
    }
    return delivery(environment, body)


async def test_refused_records_of_otlp_are_requests_of_their_own(
    ingest: Ingest, database: Database, environment: str, tmp_path: Path
) -> None:
    letters = DeadLetters(tmp_path)
    keeping = Ingest(ingest._sink, Settings(), letters)
    good = {"timeUnixNano": "1700000000000000000", "body": {"stringValue": "sold 3 chairs"}}
    late = good | {"timeUnixNano": "18446744073709551615"}  # a number that fits, a time that does not
    words = good | {"timeUnixNano": "yesterday"}
    receipt = await keeping.accept_otlp_logs(_otlp(environment, good, late, words))
    assert counts(receipt) == (1, 0, 2)
    (letter,) = letters.find_all()
    assert (letter.id, letter.source, letter.kind, letter.kept) == (receipt.dead_letter, "otlp", "logs", 2)
    assert counts(await keeping.replay(letter.id)) == (0, 0, 2)
    _, body = letters.read(letter.id)
    mended = letters.keep(
        letter, body.replace(b"18446744073709551615", b"1700000001000000000").replace(b"yesterday", b"1")
    )
    assert counts(await keeping.replay(mended)) == (2, 0, 0)
    services = await rows(database, "SELECT DISTINCT service FROM log_event WHERE environment = ?", environment)
    assert services == [("till",)]
    assert await stored(database, environment) == (3, 3)


async def test_refused_items_of_datadog_can_be_taken_again(
    ingest: Ingest, database: Database, environment: str, tmp_path: Path
) -> None:
    letters = DeadLetters(tmp_path)
    keeping = Ingest(ingest._sink, Settings(), letters)
    defaults = {"service": "till"}
    sent = delivery(environment, [{"message": "good", "timestamp": 1_700_000_000}, {"message": {"deep": 1}}, 7])
    receipt = await keeping.accept("logs", f"datadog {json.dumps(defaults)}", sent, partial(decode_logs, defaults))
    assert receipt.rejected >= 1
    (letter,) = letters.find_all()
    assert letter.kept == receipt.rejected
    assert (await keeping.replay(letter.id)).rejected == receipt.rejected
    mended = letters.keep(letter, b'{"message": "mended", "timestamp": 1700000000}')
    assert counts(await keeping.replay(mended)) == (1, 0, 0)
    services = await rows(database, "SELECT DISTINCT service FROM log_event WHERE environment = ?", environment)
    assert services == [("till",)]


async def test_what_is_kept_of_many_refused_records_is_bounded(
    ingest: Ingest, environment: str, tmp_path: Path
) -> None:
    keeping = Ingest(ingest._sink, Settings(), DeadLetters(tmp_path))
    many = await keeping.accept_logs(delivery(environment, [line("x" * 60_000, timestamp="no") for _ in range(40)]))
    (letter,) = DeadLetters(tmp_path).find_all()
    assert (many.rejected, letter.records) == (40, 40)
    assert 10 < letter.kept < 20


async def test_an_edge_that_was_refused_is_taken_once_it_is_mended(
    ingest: Ingest, environment: str, tmp_path: Path
) -> None:
    letters = DeadLetters(tmp_path)
    keeping = Ingest(ingest._sink, Settings(), letters)
    edges = [{"source": "a"}, {"source": "b", "target": "c"}, {"target": "d"}]
    receipt = await keeping.accept_topology(delivery(environment, {"edges": edges, "observed_by": "me"}))
    assert counts(receipt) == (1, 0, 2)
    (letter,) = letters.find_all()
    assert counts(await keeping.replay(letter.id)) == (0, 0, 2)
    assert letters.find_all() == [letter]
    mended = letters.keep(letter, letters.read(letter.id)[1].replace(b'"source":"a"', b'"source":"a","target":"z"'))
    assert counts(await keeping.replay(mended)) == (1, 0, 1)


async def test_a_dead_delivery_is_taken_again_under_its_first_name(
    ingest: Ingest, database: Database, environment: str, tmp_path: Path
) -> None:
    letters = DeadLetters(tmp_path)
    keeping = Ingest(ingest._sink, Settings(), letters)
    event = LogEvent(environment, 1_700_000_000_000_000, "web", Level.INFO, "hello", 7, "hello")
    batch = Batch(environment, "logs", "once", 5, logs=[event])
    for expected in ((1, 0, 0), (0, 1, 0)):
        letter = letters.keep_delivery(Head.of(batch), encode_frame(batch), "the table was full")
        assert counts(await keeping.replay(letter)) == expected
    assert letters.count() == 0
    assert await stored(database, environment) == (1, 1)
