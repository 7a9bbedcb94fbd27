"""The outbox is delivered in order and once, whatever the server answers; cursors move with it or not at all."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.errors import SettingsError, ShippingError
from ingest.shipping.delivery import Delivery, compress
from ingest.shipping.line import Line
from ingest.shipping.sink import Answer, HttpSink, read_answer
from ingest.shipping.state import State
from ingest.shipping.status import read_status
from tests.ingest.shipping.receiving import Reply, receiving


def _body(*messages: str) -> bytes:
    lines = [Line(timestamp=1, service="svc", message=message) for message in messages]
    return compress(msgspec.json.Encoder().encode_lines(lines))


@pytest.fixture
def state(tmp_path: Path) -> Any:
    made = State(tmp_path / "state")
    yield made
    made.close()


async def _deliver_all(state: State, url: str) -> Delivery:
    sink = HttpSink(url, "key", "shop floor")
    delivery = Delivery(state, sink)
    async with asyncio.timeout(60):
        await delivery.run(until_empty=lambda: True)
    await sink.close()
    return delivery


async def test_batches_go_out_in_order_under_keys_of_their_own(state: State) -> None:
    for number in range(3):
        state.save({}, _body(f"{number} a", f"{number} b"), 2, {})
    with receiving() as receiver:
        await _deliver_all(state, receiver.url)
    assert receiver.messages == ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b"]
    assert len(receiver.keys) == 3
    assert receiver.headers[0]["X-API-Key"] == "key"
    assert state.counters() == {"batches": 3, "accepted": 6, "duplicate": 0}
    assert state.waiting().batches == 0


async def test_what_may_pass_is_tried_again_after_the_time_that_the_server_asks_for(state: State) -> None:
    times: list[float] = []

    def judge(number: int, records: list[Any]) -> Reply | None:
        times.append(time.monotonic())
        replies: dict[int, Reply] = {1: (429, {"Retry-After": "1"}, {}), 2: (503, {}, {}), 3: (401, {}, {})}
        return replies.get(number)

    state.save({}, _body("a"), 1, {})
    with receiving(judge=judge) as receiver:
        await _deliver_all(state, receiver.url)
    assert receiver.messages == ["a"]
    assert times[1] - times[0] >= 1.0
    assert len({header["Idempotency-Key"] for header in receiver.headers}) == 1


async def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_bytes(state: State) -> None:
    state.save({}, _body("a"), 1, {})
    with receiving() as receiver:
        batch = state.next_batch()
        assert batch is not None
        sink = HttpSink(receiver.url, "key")
        assert (await sink.send(batch.body, batch.key)).accepted == 1
        await sink.close()
        # killed before it was noted: the batch is still there
        await _deliver_all(state, receiver.url)
        assert (receiver.messages, receiver.duplicates, receiver.conflicts) == (["a"], 1, 0)
    assert state.counters()["duplicate"] == 1


async def test_a_refused_batch_is_taken_apart_to_the_bad_record(state: State) -> None:
    def judge(number: int, records: list[Any]) -> Reply | None:
        bad = any(record["message"] == "bad" for record in records)
        return (400, {}, {"error": "a record is bad"}) if bad else None

    state.save({}, _body(*[str(number) for number in range(20)], "bad", "last"), 22, {})
    state.save({}, _body("next batch"), 1, {})
    with receiving(judge=judge) as receiver:
        await _deliver_all(state, receiver.url)
    assert receiver.messages == [*[str(number) for number in range(20)], "last", "next batch"]
    (aside,) = [json.loads(line) for line in (state.folder / "set-aside.ndjson").read_text().splitlines()]
    assert json.loads(aside["record"])["message"] == "bad"
    assert "a record is bad" in aside["reason"]
    assert state.counters()["set_aside"] == 1


async def test_rejected_records_that_are_named_are_set_aside(state: State) -> None:
    reply = {"accepted": 1, "duplicate": 0, "rejected": 2, "errors": ["record 2: service: missing"]}
    state.save({}, _body("good", "bad", "unnamed"), 3, {})
    with receiving(judge=lambda number, records: (200, {}, reply)) as receiver:
        await _deliver_all(state, receiver.url)
    aside = (state.folder / "set-aside.ndjson").read_text()
    assert '\\"bad\\"' in aside
    counters = state.counters()
    assert (counters["accepted"], counters["set_aside"], counters["rejected"]) == (1, 1, 1)


async def test_nobody_there_is_no_reason_to_lose_anything(state: State) -> None:
    with receiving() as gone:
        url = gone.url
    state.save({}, _body("a"), 1, {})
    sink = HttpSink(url, "key")
    delivery = Delivery(state, sink)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.0):
            await delivery.run(until_empty=lambda: True)
    await sink.close()
    assert state.waiting().batches == 1
    assert "127.0.0.1" in delivery.trouble
    assert read_status(state.folder).trouble == delivery.trouble


@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [
        (200, b'{"accepted": 1}', "taken"),
        (200, b"<html>", "wrong"),
        (301, b"", "wrong"),
        (400, b"", "refused"),
        (401, b"", "wrong"),
        (403, b"", "wrong"),
        (404, b"", "wrong"),
        (408, b"", "later"),
        (413, b"", "refused"),
        (415, b"", "refused"),
        (422, b"", "refused"),
        (429, b"", "later"),
        (500, b"", "later"),
        (503, b"", "later"),
        (599, b"", "later"),
    ],
)
def test_what_replies_mean(status: int, text: bytes, outcome: str) -> None:
    assert read_answer(status, "", text).outcome == outcome


def test_retry_after_is_bounded_and_needs_no_sense() -> None:
    assert read_answer(503, "7", b"").wait_seconds == 7.0
    assert read_answer(503, "99999999", b"").wait_seconds == 3600.0
    assert read_answer(503, "Wed, 21 Oct 2026 07:28:00 GMT", b"") == Answer("later", "status 503: ")


@pytest.mark.parametrize("server", ["", "causegraph:8765", "ftp://host", "http://host:port"])
def test_an_address_must_be_one(server: str) -> None:
    with pytest.raises(SettingsError):
        HttpSink(server, "key")


def test_a_state_folder_has_one_owner(state: State) -> None:
    with pytest.raises(ShippingError, match="Another shipper"):
        State(state.folder)
    state.save({"files": {"a": b"1", "b": b"2"}}, None, 0, {"read": 3})
    state.save({"files": {"a": b"3", "b": None}}, None, 0, {"read": 4})
    state.close()
    again = State(state.folder)
    assert again.cursors("files") == {"a": b"3"}
    assert again.cursors("other") == {}
    assert again.counters()["read"] == 7
    again.close()


def test_what_cannot_be_saved_whole_is_not_saved_at_all(state: State) -> None:
    state.save({"files": {"a": b"1"}}, None, 0, {})
    with pytest.raises(ShippingError):
        state.save({"files": {"a": b"2"}}, _body("x"), 1, {"read": None})  # type: ignore[dict-item]
    assert state.cursors("files") == {"a": b"1"}
    assert state.waiting().batches == 0


def test_two_nodes_from_one_image_have_keys_of_their_own(tmp_path: Path, state: State) -> None:
    state.save({}, _body("a"), 1, {})
    state.save({}, _body("a"), 1, {})
    first = state.next_batch()
    assert first is not None
    state.finish(first, {})
    second = state.next_batch()
    assert second is not None
    assert first.key != second.key
