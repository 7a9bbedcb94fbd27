"""Prometheus remote write: what Prometheus sends, and the statuses by which it decides to drop or to repeat."""

from __future__ import annotations

import math
import struct
from typing import Any

import cramjam
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import PayloadError
from ingest.prometheus import decode_metrics
from ingest.prometheus_messages import WriteRequest, WriteRequestV2
from storage.batch import Batch, prepare
from storage.database import Database

NOW = 1_800_000_000_000_000
V1 = "application/x-protobuf"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
STALE: float = struct.unpack("<d", bytes.fromhex("020000000000f07f"))[0]
MILLIS = 1_709_289_720_123

type Series = tuple[dict[str, str], list[tuple[float, int]]]


def v1(*series: Series) -> bytes:
    message = WriteRequest()
    for labels, samples in series:
        one = message.timeseries.add()
        for name, said in labels.items():
            one.labels.add(name=name, value=said)
        for value, timestamp in samples:
            one.samples.add(value=value, timestamp=timestamp)
    return bytes(message.SerializeToString())


def v2(*series: Series) -> bytes:
    message = WriteRequestV2(symbols=[""])
    for labels, samples in series:
        one = message.timeseries.add()
        for word in (word for pair in labels.items() for word in pair):
            one.labels_refs.append(len(message.symbols))
            message.symbols.append(word)
        for value, timestamp in samples:
            one.samples.add(value=value, timestamp=timestamp)
    return bytes(message.SerializeToString())


def squeeze(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


@pytest.mark.parametrize(("make", "content_type"), [(v1, V1), (v2, V2), (v1, V1 + "; proto=prometheus.WriteRequest")])
def test_both_versions_say_the_same(make: Any, content_type: str) -> None:
    labels = {"__name__": "up", "job": "cart", "instance": "10.0.0.7:9090", "env": "prod", "pod": "cart-1"}
    decoded = decode_metrics(make((labels, [(1.0, MILLIS), (0.0, MILLIS + 15_000)])), content_type, "e", NOW)
    first, second = decoded.records
    assert (first.environment, first.service, first.node, first.name) == ("prod", "cart", "10.0.0.7", "up")
    assert (first.value, first.time_us, second.value) == (1.0, MILLIS * 1000, 0.0)
    assert (first.attributes["k8s.pod.name"], first.attributes["instance"]) == ("cart-1", "10.0.0.7:9090")
    assert not {"__name__", "pod"} & set(first.attributes)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"source_workload": "cart", "destination_workload": "stock", "reporter": "source", "app": "proxy"}, ("cart", "stock", "cart")),
        ({"source_workload": "cart", "destination_workload": "stock", "reporter": "destination"}, ("cart", "stock", "stock")),
        ({"source_canonical_service": "cart", "destination_canonical_service": "db"}, ("cart", "db", "cart")),
        ({"deployment": "cart", "dst_deployment": "stock", "direction": "outbound"}, ("cart", "stock", "cart")),
        ({"source_workload": "unknown", "destination_workload": "stock", "job": "mesh"}, ("", "", "mesh")),
        ({"client": "cart", "server": "stock", "job": "j"}, ("", "", "j")),
        ({"__name__": "traces_service_graph_request_total", "client": "cart", "server": "stock"}, ("cart", "stock", "cart")),
    ],
)  # fmt: skip
def test_meshes_tell_who_calls_whom(labels: dict[str, str], expected: tuple[str, str, str]) -> None:
    (point,) = decode_metrics(v1(({"__name__": "requests", **labels}, [(1, 1)])), V1, "e", NOW).records
    assert (point.source, point.destination, point.service) == expected


def test_what_says_nothing_is_left_out_and_what_is_wrong_is_counted() -> None:
    name = {"__name__": "a", "job": "j"}
    body = v1(
        (name, [(STALE, MILLIS), (math.nan, MILLIS), (math.inf, MILLIS), (2.0, MILLIS), (1.0, -5), (1.0, 2**62)]),
        ({"job": "j"}, [(1.0, 1), (1.0, 2)]),
        ({**name, "env": "e" * 65}, [(1.0, 1)]),
    )
    decoded = decode_metrics(body, V1, "e", NOW)
    assert [point.value for point in decoded.records] == [2.0]
    assert decoded.rejected == 5
    assert decoded.errors[-2:] == [
        "series 2: it has no label __name__",
        "series 3: its environment: longer than 64 characters",
    ]


def test_native_histograms_give_count_and_sum() -> None:
    message = WriteRequest()
    series = message.timeseries.add()
    series.labels.add(name="__name__", value="latency")
    series.histograms.add(count_int=4, sum=2.5, timestamp=MILLIS)
    series.histograms.add(sum=STALE, timestamp=MILLIS)
    decoded = decode_metrics(message.SerializeToString(), V1, "e", NOW)
    assert [(point.name, point.value) for point in decoded.records] == [("latency.count", 4.0), ("latency.sum", 2.5)]


@pytest.mark.parametrize(("make", "content_type"), [(v1, V1), (v2, V2)])
async def test_a_write_is_answered_with_204_and_a_repeated_one_counts_once(
    client: httpx.AsyncClient, admin_key: str, database: Database, environment: str, make: Any, content_type: str
) -> None:
    body = squeeze(make(({"__name__": "up", "job": "cart"}, [(1.0, MILLIS), (1.0, MILLIS + 1)])))
    for _ in range(2):
        reply = await client.post(
            "/api/v1/write",
            params={"environment": environment},
            content=body,
            headers={
                "Content-Type": content_type, "Content-Encoding": "snappy", "X-API-Key": "",
                "Authorization": f"Bearer {admin_key}",
            },
        )  # fmt: skip
        assert (reply.status_code, reply.content) == (204, b"")
        assert reply.headers["x-prometheus-remote-write-samples-written"] == "2"

    def work(tx: Any) -> int:
        tx._cursor.execute("SELECT COUNT(*) FROM metric_point WHERE environment = ?", (environment,))
        return int(tx._cursor.fetchall()[0][0])

    assert await database.transaction(work) == 2


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (squeeze(b"\xff\xff"), {}, 400),
        (b"not snappy", {}, 400),
        (b"\xff\xff\xff\xff\x0f", {}, 413),
        (squeeze(v1(({"job": "j"}, [(1.0, 1)]))), {}, 400),
        (squeeze(b""), {"Content-Type": "application/json"}, 415),
        (squeeze(b""), {"Content-Type": "application/x-protobuf;proto=some.Other"}, 415),
        (squeeze(b""), {"Content-Encoding": "br"}, 415),
        (squeeze(b""), {"X-API-Key": "cg_wrong"}, 401),
    ],
)
async def test_what_can_never_be_taken_is_not_asked_for_again(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    usual = {"Content-Type": V1, "Content-Encoding": "snappy"}
    reply = await client.post("/api/v1/write", content=body, headers=usual | headers)
    assert reply.status_code == status
    assert "retry-after" not in reply.headers


@given(st.binary(max_size=300), st.sampled_from([V1, V2]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_answered(body: bytes, content_type: str) -> None:
    try:
        decoded = decode_metrics(body, content_type, "e", NOW)
    except PayloadError:
        return
    prepare(Batch("e", "metrics", "k", NOW, metrics=decoded.records))


labels = st.dictionaries(
    st.sampled_from(["__name__", "job", "env", "source", "destination", "instance"]), st.text(max_size=70)
)


@given(
    st.lists(
        st.tuples(labels, st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=3)), max_size=3
    )
)
@settings(max_examples=200, deadline=None)
def test_any_series_are_answered(series: list[Series]) -> None:
    for make, content_type in ((v1, V1), (v2, V2)):
        decoded = decode_metrics(make(*series), content_type, "e", NOW)
        prepare(Batch("e", "metrics", "k", NOW, metrics=decoded.records))
