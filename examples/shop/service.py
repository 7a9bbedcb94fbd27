"""The kit that all services are built with: an HTTP server and client with tracing, background loops, graceful stop."""

import contextlib
import http.client
import json
import logging
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from opentelemetry import context as otel_context
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from examples.shop.layout import Json
from examples.shop.lifetime import end_with_parent
from examples.shop.server import Request, Server, Tls
from examples.shop.state import HOST, State
from examples.shop.telemetry import Telemetry, qualified_name, start_telemetry
from examples.shop.values import read_int, read_object, read_text

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


type Handler = Callable[[Request], Json]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path such as `/orders/{order_id}`. Routes of the machinery (polling) are not traced."""

    method: str
    path: str
    handler: Handler
    traced: bool = True

    def match(self, method: str, path: str) -> dict[str, str] | None:
        wanted, given = self.path.split("/"), path.split("/")
        if method != self.method or len(wanted) != len(given):
            return None
        pairs = list(zip(wanted, given, strict=True))
        if any(want != have for want, have in pairs if not want.startswith("{")):
            return None
        return {want[1:-1]: have for want, have in pairs if want.startswith("{")}


class RefusedError(Exception):
    """A handler's answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PeerError(Exception):
    """A call to another service came to nothing. `status` is what the caller should answer in turn."""

    def __init__(self, message: str, peer: str, address: str, status: int) -> None:
        super().__init__(message)
        self.peer = peer
        self.address = address
        self.status = status


class Service:
    """One service process: its settings, its routes, its telemetry."""

    def __init__(self, state: State, name: str) -> None:
        self.state = state
        self.name = name
        self.config = state.read_config(name)
        self.version = read_text(self.config, "version")
        self.telemetry: Telemetry = start_telemetry(
            name, self.version, read_text(self.config, "instance"), read_text(self.config, "node")
        )
        self.log: logging.Logger = self.telemetry.log
        self.stopping = threading.Event()
        self.routes: list[Route] = []
        self.tls: Tls | None = None
        self._client_tls: dict[str, ssl.SSLContext] = {}
        self._loops: list[threading.Thread] = []
        meter = self.telemetry.meter
        self.requests = meter.create_counter("http.server.request.count", unit="{request}")
        self.durations = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            explicit_bucket_boundaries_advisory=LATENCY_BUCKETS_S,
        )

    def route(self, method: str, path: str, handler: Handler, *, traced: bool = True) -> None:
        self.routes.append(Route(method, path, handler, traced))

    def loop(self, step: Callable[[], None], pause_s: float, name: str) -> None:
        """Run `step` again and again in a thread of its own, `pause_s` apart, until the service stops."""

        def run() -> None:
            while not self.stopping.wait(pause_s):
                try:
                    step()
                except Exception:  # the outermost loop: a failing background job must not end the service
                    self.log.exception("%s failed, next run in %.1f s", name, pause_s)

        self._loops.append(threading.Thread(target=run, name=name, daemon=True))

    def trust(self, peer: str, authority: str) -> None:
        """Call `peer` over TLS, and trust the certificates which `authority` (a PEM file) signed."""
        self._client_tls[peer] = ssl.create_default_context(cafile=authority)

    def serve(self) -> None:
        """Answer requests until SIGTERM or SIGINT; then finish what is under way, and send what telemetry is left."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        end_with_parent()
        server = Server(read_int(self.config, "port"), self.answer, self.tls, self.log)
        accepting = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        accepting.start()
        for thread in self._loops:
            thread.start()
        ready = self.state.ready_file(self.name, os.getpid())
        ready.touch()
        self.log.info("%s %s listening on %s:%d", self.name, self.version, *server.server_address)
        self.stopping.wait()
        self.log.info("received SIGTERM, %s %s stops", self.name, self.version)
        server.shutdown()
        server.drain()
        for thread in self._loops:
            thread.join(timeout=2.0)
        ready.unlink(missing_ok=True)
        self.telemetry.shut_down()
        sys.stderr.flush()
        os._exit(0)

    # -- answering -----------------------------------------------------------------------------------------------------

    def answer(self, request: Request, headers: dict[str, str]) -> tuple[int, Json]:
        """Find the route and run its handler, inside a server span unless the route is not traced."""
        for route in self.routes:
            parameters = route.match(request.method, request.path)
            if parameters is not None:
                request = Request(request.method, request.path, parameters, request.query, request.body)
                return self._answer_traced(route, request, headers) if route.traced else self._run(route, request)
        return 404, {"error": f"no route {request.method} {request.path}"}

    def _answer_traced(self, route: Route, request: Request, headers: dict[str, str]) -> tuple[int, Json]:
        attributes: dict[str, AttributeValue] = {
            "http.request.method": route.method,
            "http.route": route.path,
            "url.path": request.path,
            "url.scheme": "https" if self.tls else "http",
            "server.address": HOST,
            "server.port": read_int(self.config, "port"),
        }
        started = time.monotonic()
        token = otel_context.attach(extract(headers))
        try:
            with self.span(f"{route.method} {route.path}", SpanKind.SERVER, attributes) as span:
                status, answer = self._run(route, request)
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_attribute("error.type", str(status))
                    span.set_status(Status(StatusCode.ERROR, str(answer.get("error", ""))))
        finally:
            otel_context.detach(token)
        labels: dict[str, AttributeValue] = {
            "http.request.method": route.method,
            "http.route": route.path,
            "http.response.status_code": status,
        }
        self.requests.add(1, labels)
        self.durations.record(time.monotonic() - started, labels)
        return status, answer

    def _run(self, route: Route, request: Request) -> tuple[int, Json]:
        try:
            return 200, route.handler(request)
        except RefusedError as refused:
            if refused.status >= 500:
                self.log.error("%s %s: %s", route.method, request.path, refused)
            return refused.status, {"error": str(refused)}
        except PeerError as error:
            cause = error.__cause__
            self.log.error(
                "%s",
                error,
                exc_info=cause if cause else None,
                extra={"attributes": {"peer.service": error.peer, "server.address": error.address}},
            )
            return error.status, {"error": f"{error.peer} unavailable"}
        except Exception as error:  # the outermost handler of a request: log it once, answer 500
            self.log.exception("%s %s failed: %s: %s", route.method, request.path, type(error).__name__, error)
            return 500, {"error": "internal error"}

    # -- calling -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def span(self, name: str, kind: SpanKind, attributes: dict[str, AttributeValue]) -> Iterator[Span]:
        """A span around a block; what the block raises is recorded and marks the span as failed."""
        with self.telemetry.tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=True, set_status_on_exception=True
        ) as span:
            yield span

    def database_span(self, operation: str, table: str, query: str) -> contextlib.AbstractContextManager[Span]:
        """A client span around one statement on the service's own SQLite file."""
        return self.span(
            f"{operation} {table}",
            SpanKind.CLIENT,
            {
                "db.system": "sqlite",
                "db.system.name": "sqlite",
                "db.namespace": f"{self.name}.db",
                "db.operation.name": operation,
                "db.collection.name": table,
                "db.query.text": " ".join(query.split()),
            },
        )

    def call(
        self,
        peer: str,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        timeout_s: float = 2.0,
        purpose: str,
        traced: bool = True,
    ) -> Json:
        """Call another service. `purpose` begins the message of the `PeerError` that is raised when it fails."""
        if not traced:
            return self._exchange(peer, method, path, body, timeout_s, purpose, None)
        host, port = self.address(peer)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "url.full": f"{'https' if peer in self._client_tls else 'http'}://{host}:{port}{path}",
            "server.address": host,
            "server.port": port,
            "peer.service": peer,
        }
        with self.span(method, SpanKind.CLIENT, attributes) as span:
            return self._exchange(peer, method, path, body, timeout_s, purpose, span)

    def address(self, peer: str) -> tuple[str, int]:
        entry = read_object(read_object(self.config, "peers"), peer)
        return read_text(entry, "host"), read_int(entry, "port")

    def _exchange(
        self, peer: str, method: str, path: str, body: Json | None, timeout_s: float, purpose: str, span: Span | None
    ) -> Json:
        host, port = self.address(peer)
        address = f"{host}:{port}"
        connection = self._connection(peer, host, port, timeout_s)
        headers = {"content-type": "application/json"}
        inject(headers)
        try:
            connection.request(method, path, json.dumps(body or {}), headers)
            response = connection.getresponse()
            answer = cast(Json, json.loads(response.read()))
        except TimeoutError as error:
            _mark(span, error)
            text = f"{purpose}: {peer} at {address} did not answer within {timeout_s:.1f} s"
            raise PeerError(text, peer, address, 504) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            _mark(span, error)
            raise PeerError(f"{purpose}: call to {peer} at {address} failed: {error}", peer, address, 503) from error
        finally:
            connection.close()
        if span:
            span.set_attribute("http.response.status_code", response.status)
        if response.status >= 400:
            if span:
                span.set_attribute("error.type", str(response.status))
            text = f"{purpose}: {peer} at {address} answered {response.status}: {answer.get('error', '')}"
            raise PeerError(text, peer, address, 502 if response.status == 500 else response.status)
        return answer

    def _connection(self, peer: str, host: str, port: int, timeout_s: float) -> http.client.HTTPConnection:
        if peer in self._client_tls:
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._client_tls[peer])
        return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _mark(span: Span | None, error: BaseException) -> None:
    if span:
        span.set_attribute("error.type", qualified_name(error))
        span.record_exception(error)
