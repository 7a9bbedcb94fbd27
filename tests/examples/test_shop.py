"""The example shop, as real processes, with a small OTLP receiver in the test."""

import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from examples.shop.faults import FAULTS, Fault
from examples.shop.layout import SERVICES
from examples.shop.load import RouteStats, Visit, draw_visit
from examples.shop.releases import payment_2_3_0, payment_2_4_0
from examples.shop.scenario import run_scenario
from examples.shop.shop import Shop
from examples.shop.state import HOST, State

CHECKOUT = "POST /checkout"


@dataclass(frozen=True)
class SeenSpan:
    service: str
    name: str
    kind: int
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    error: bool
    resource: dict[str, Any]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class SeenLog:
    service: str
    severity: str
    body: str
    trace_id: bytes
    attributes: dict[str, Any]
    received: float


@dataclass
class Received:
    spans: list[SeenSpan] = field(default_factory=list)
    logs: list[SeenLog] = field(default_factory=list)
    metrics: set[tuple[str, str]] = field(default_factory=set)
    changes: list[dict[str, str]] = field(default_factory=list)
    events: list[dict[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    url: str = ""

    def errors_by_service(self, since: float = 0.0) -> Counter[str]:
        return Counter(log.service for log in self.logs if log.severity in ("ERROR", "FATAL") and log.received >= since)

    def add(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            self._add_spans(body)
        elif path == "/v1/logs":
            self._add_logs(body)
        elif path == "/v1/metrics":
            self._add_metrics(body)
        elif path == "/changes":
            self.changes += json.loads(body)
        elif path == "/events":
            self.events += json.loads(body)

    def _add_spans(self, body: bytes) -> None:
        for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = plain(batch.resource.attributes)
            for span in (span for scope in batch.scope_spans for span in scope.spans):
                self.spans.append(
                    SeenSpan(
                        resource["service.name"],
                        span.name,
                        span.kind,
                        span.trace_id,
                        span.span_id,
                        span.parent_span_id,
                        span.status.code == 2,
                        resource,
                        plain(span.attributes),
                    )
                )

    def _add_logs(self, body: bytes) -> None:
        for batch in ExportLogsServiceRequest.FromString(body).resource_logs:
            service = plain(batch.resource.attributes)["service.name"]
            for record in (record for scope in batch.scope_logs for record in scope.log_records):
                self.logs.append(
                    SeenLog(
                        service,
                        record.severity_text,
                        record.body.string_value,
                        record.trace_id,
                        plain(record.attributes),
                        time.monotonic(),
                    )
                )

    def _add_metrics(self, body: bytes) -> None:
        for batch in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            service = plain(batch.resource.attributes)["service.name"]
            self.metrics |= {(service, metric.name) for scope in batch.scope_metrics for metric in scope.metrics}


def plain(attributes: Any) -> dict[str, Any]:
    return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in attributes}


@contextmanager
def receive() -> Iterator[Received]:
    """A server that takes OTLP and the two web hooks, and remembers what it got."""
    received = Received()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            with lock:
                received.tokens.add(self.headers.get("authorization", ""))
                received.add(self.path, body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def state_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="shop-"))
    yield folder
    shutil.rmtree(folder)


@contextmanager
def running_shop(state_dir: Path, received: Received) -> Iterator[Shop]:
    shop = Shop(
        state_dir,
        otlp_endpoint=received.url,
        headers={"authorization": "Bearer of-tests"},
        changes_url=f"{received.url}/changes",
        events_url=f"{received.url}/events",
        environment="shop-test",
    )
    with shop:
        yield shop


def checkouts_during(shop: Shop, seconds: float) -> RouteStats:
    """What became of the checkouts that ended in the next seconds."""
    before = shop.stats().get(CHECKOUT)
    time.sleep(seconds)
    return shop.stats()[CHECKOUT].minus(before)


def wait_until(condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.1) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def has_visited(shop: Shop, count: int) -> Callable[[], bool]:
    return lambda: CHECKOUT in shop.stats() and shop.stats()[CHECKOUT].ok >= count


def test_shop_works_breaks_and_is_mended(state_dir: Path) -> None:
    with receive() as received:
        with running_shop(state_dir, received) as shop:
            pids = shop.pids()
            shop.load(12)
            assert wait_until(has_visited(shop, 10), 20)
            assert shop.stats()[CHECKOUT].failed == 0

            shop.inject("wrong-port")
            broken = checkouts_during(shop, 3)
            assert broken.failed_share > 0.9

            shop.mend("wrong-port")
            assert wait_until(lambda: checkouts_during(shop, 1).failed == 0, 10)
            pids += shop.pids()
        assert not [pid for pid in pids if is_alive(pid)]
        assert_traces_reach_the_bank(received)
        assert_telemetry_is_complete(received)
    assert [(change["service"], change["kind"]) for change in received.changes] == [
        ("payment", "config"),
        ("recommendations", "deploy"),
        ("payment", "rollback"),
    ]
    assert {event["reason"] for event in received.events} == {"Started", "Killing"}
    assert received.tokens == {"Bearer of-tests"}


def assert_traces_reach_the_bank(received: Received) -> None:
    by_trace: dict[bytes, set[str]] = {}
    for span in received.spans:
        by_trace.setdefault(span.trace_id, set()).add(span.service)
    everybody_in_a_checkout = set(SERVICES) - {"recommendations"}
    assert [services for services in by_trace.values() if services == everybody_in_a_checkout]
    known = {span.span_id for span in received.spans}
    lost = [span for span in received.spans if span.parent_id and span.parent_id not in known]
    assert len(lost) < 0.02 * len(received.spans)
    consumed = [span for span in received.spans if span.kind == 5]
    producers = {span.span_id for span in received.spans if span.kind == 4}
    assert consumed
    assert all(span.parent_id in producers for span in consumed)


def assert_telemetry_is_complete(received: Received) -> None:
    payment = next(span for span in received.spans if span.service == "payment")
    assert payment.resource["deployment.environment.name"] == "shop-test"
    assert payment.resource["host.name"] == "node-b"
    assert payment.resource["service.version"] == "2.3.0"
    to_bank = [span for span in received.spans if span.attributes.get("peer.service") == "bank"]
    assert {span.attributes.get("error.type") for span in to_bank if span.error} == {"ConnectionRefusedError"}
    refused = next(log for log in received.logs if log.service == "payment" and log.severity == "ERROR")
    assert refused.trace_id
    assert refused.attributes["exception.type"] == "ConnectionRefusedError"
    assert "exception.stacktrace" in refused.attributes
    assert {service for service, name in received.metrics if name == "process.memory.usage"} == set(SERVICES)
    assert ("orders", "db.client.connection.count") in received.metrics
    assert ("queue", "messaging.queue.depth") in received.metrics


def test_processes_die_with_the_one_that_started_them(state_dir: Path) -> None:
    code = f"""
import os, time
from examples.shop.shop import Shop
shop = Shop({str(state_dir)!r}, otlp_endpoint="http://127.0.0.1:9")
shop.start()
shop.load(10)
time.sleep(1.5)
failed = sum(entry.failed for entry in shop.stats().values())
print(failed, *shop.pids(), flush=True)
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    failed, *pids = map(int, ended.stdout.split())
    assert failed == 0
    assert len(pids) == len(SERVICES)
    assert wait_until(lambda: not [pid for pid in pids if is_alive(pid)], 10)
    exporter_lines = [
        line for line in (state_dir / "logs" / "storefront.log").read_text().splitlines() if "opentelemetry" in line
    ]
    assert len(exporter_lines) == 1


def test_customers_follow_from_the_seed() -> None:
    def visits(seed: int) -> list[Visit]:
        dice = random.Random(seed)
        return [draw_visit(dice, number) for number in range(500)]

    assert visits(1) == visits(1)
    assert visits(1) != visits(2)
    assert {visit.route for visit in visits(1)} == {CHECKOUT, "GET /products", "GET /recommendations"}


def test_new_payment_release_fails_on_half_of_the_carts() -> None:
    dice = random.Random(1)
    visits = [draw_visit(dice, number) for number in range(2000)]
    carts = [json.loads(visit.body) for visit in visits if visit.route == CHECKOUT]
    failed = 0
    for cart in carts:
        assert payment_2_3_0.amount_due(50.0, cart["currency"], cart["gift_card"]) > 0
        try:
            payment_2_4_0.amount_due(50.0, cart["currency"], cart["gift_card"])
        except KeyError:
            failed += 1
    assert 0.4 < failed / len(carts) < 0.6


def test_a_port_that_somebody_took_is_replaced_at_its_callers_too(state_dir: Path) -> None:
    state = State(state_dir)
    state.prepare(1)
    port = state.port("bank")
    with socket.socket() as squatter:
        squatter.bind((HOST, port))
        squatter.listen()
        state.prepare(1)
    assert state.port("bank") != port
    peers = state.read_config("payment")["peers"]
    assert peers == {"bank": {"host": HOST, "port": state.port("bank")}}


def test_settings_are_restored_one_step_at_a_time(state_dir: Path) -> None:
    state = State(state_dir)
    state.prepare(1)
    first = state.read_config("orders")
    state.write_config("orders", {**first, "pool_size": 4})
    state.write_config("orders", {**first, "pool_size": 2})
    restored = state.restore_config("orders")
    assert restored is not None
    assert restored["pool_size"] == 4
    assert state.restore_config("orders") == first == state.read_config("orders")
    assert state.restore_config("orders") is None


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_fault_shows_and_is_mended(fault: Fault, state_dir: Path) -> None:
    with receive() as received, running_shop(state_dir, received) as shop:
        shop.load(16)
        assert wait_until(has_visited(shop, 20), 20)
        calm = shop.stats()
        assert not [route for route, entry in calm.items() if entry.failed]

        since = time.monotonic()
        shop.inject(fault.name)
        broken = checkouts_during(shop, 18)
        noise = received.errors_by_service(since)
        shop.mend(fault.name)
        restored = wait_until(lambda: checkouts_during(shop, 2).failed == 0, 20)
        print(fault.name, f"{broken.failed_share:.2f}", noise.most_common(4))

        assert restored
        if fault.breaks_checkout:
            assert broken.failed_share > 0.15
        else:
            assert not [route for route, entry in shop.stats().items() if entry.failed]
        if fault.name == "memory-leak":
            assert Counter(event["reason"] for event in received.events)["OOMKilled"] >= 2


@pytest.mark.long
def test_scenario_reports_each_phase(state_dir: Path) -> None:
    lines: list[str] = []
    report = run_scenario(state_dir, "cert-expired", warmup=4, broken=5, mended=4, progress=lines.append)
    assert report.warm[CHECKOUT].failed == 0
    assert report.broken[CHECKOUT].failed_share > 0.9
    assert report.mended[CHECKOUT].failed_share < 0.2
    assert report.seconds_until_visible is not None
    assert any("injected cert-expired" in line for line in lines)
