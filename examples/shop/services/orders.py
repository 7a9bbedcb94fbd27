"""orders: stores orders behind a pool of connections, announces them on the queue, exports them to the data team."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.pool import QueuePool

from examples.shop.layout import Json
from examples.shop.server import Request
from examples.shop.service import RefusedError, Service
from examples.shop.state import State
from examples.shop.values import read_int, read_number, read_text

TOPIC = "orders.placed"
PAST_ORDERS = 2_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  id TEXT PRIMARY KEY, total REAL NOT NULL, status TEXT NOT NULL, placed_at TEXT NOT NULL
)
"""
FILL = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT OR IGNORE INTO orders SELECT printf('ord-past-%05d', i), 20 + i % 80, 'accepted', '2026-01-01T00:00:00Z' FROM n
"""
INSERT = "INSERT OR REPLACE INTO orders (id, total, status, placed_at) VALUES (:id, :total, 'placed', :placed_at)"
UPDATE = "UPDATE orders SET status = 'accepted' WHERE id = :id"
SELECT_STATUS = "SELECT status FROM orders WHERE id = :id"
SELECT_ALL = "SELECT id, total, status, placed_at FROM orders ORDER BY placed_at, id"


def build(state: State) -> Service:
    service = Service(state, "orders")
    orders = Orders(service)
    service.route("POST", "/orders", orders.place)
    service.route("GET", "/orders/{order_id}", orders.show)
    service.route("POST", "/orders/{order_id}/acceptance", orders.accept)
    for target in ("ledger", "warehouse"):
        service.loop(partial(orders.export, target), pause_s=0.5, name=f"export to {target}")
    return service


class Orders:
    """The store of orders."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.pool_size = read_int(service.config, "pool_size")
        self.export_rows_per_s = read_number(service.config, "export_rows_per_s")
        self.engine = create_engine(
            f"sqlite:///{service.state.data / 'orders.db'}",
            poolclass=QueuePool,
            pool_size=self.pool_size,
            max_overflow=0,
            pool_timeout=read_number(service.config, "pool_timeout_s"),
            connect_args={"timeout": 5, "check_same_thread": False},
        )
        event.listen(self.engine, "connect", _set_up_connection)
        with self.engine.begin() as connection:
            connection.execute(text(SCHEMA))
            connection.execute(text(FILL), {"count": PAST_ORDERS})
        self.changed = threading.Condition()
        meter = service.telemetry.meter
        meter.create_observable_up_down_counter("db.client.connection.count", [self._observe_pool])
        meter.create_observable_up_down_counter("db.client.connection.max", [self._observe_pool_size])

    def place(self, request: Request) -> Json:
        order_id = read_text(request.body, "order_id")
        total = read_number(request.body, "total")
        placed_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._statement("INSERT", INSERT) as connection:
            connection.execute(text(INSERT), {"id": order_id, "total": total, "placed_at": placed_at})
        self._announce(order_id, total)
        self.service.log.info("order %s stored, total %.2f", order_id, total)
        return {"order_id": order_id}

    def show(self, request: Request) -> Json:
        """The order's status, after at most `wait_s` when it is not accepted yet."""
        order_id = request.parameters["order_id"]
        deadline = time.monotonic() + float(request.query.get("wait_s", "0"))
        while (status := self._read_status(order_id)) != "accepted" and time.monotonic() < deadline:
            with self.changed:
                self.changed.wait(min(0.25, max(0.0, deadline - time.monotonic())))
        return {"order_id": order_id, "status": status}

    def accept(self, request: Request) -> Json:
        order_id = request.parameters["order_id"]
        with self._statement("UPDATE", UPDATE) as connection:
            connection.execute(text(UPDATE), {"id": order_id})
        with self.changed:
            self.changed.notify_all()
        return {"order_id": order_id, "status": "accepted"}

    def export(self, target: str) -> None:
        """Stream all orders to the data team, at the rate that their sink takes."""
        started = time.monotonic()
        rows = 0
        with self.engine.connect() as connection:
            for _ in connection.execution_options(yield_per=50).execute(text(SELECT_ALL)):
                rows += 1
                if rows % 50 == 0 and self.service.stopping.wait(50 / self.export_rows_per_s):
                    return
        self.service.log.info("exported %d orders to %s in %.1f s", rows, target, time.monotonic() - started)

    def _read_status(self, order_id: str) -> str:
        with self._statement("SELECT", SELECT_STATUS) as connection:
            status = connection.execute(text(SELECT_STATUS), {"id": order_id}).scalar_one_or_none()
        if status is None:
            raise RefusedError(404, f"no order {order_id}")
        return str(status)

    def _announce(self, order_id: str, total: float) -> None:
        host, port = self.service.address("queue")
        attributes: dict[str, AttributeValue] = {
            "messaging.system": "shopqueue",
            "messaging.destination.name": TOPIC,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "server.address": host,
            "server.port": port,
            "peer.service": "queue",
        }
        with self.service.span(f"send {TOPIC}", SpanKind.PRODUCER, attributes) as span:
            headers: dict[str, str] = {}
            inject(headers)
            message: Json = {"headers": {**headers}, "body": {"order_id": order_id, "total": total}}
            sent = self.service.call(
                "queue", "POST", f"/topics/{TOPIC}/messages", message, purpose=f"announcement of order {order_id}"
            )
            span.set_attribute("messaging.message.id", read_text(sent, "message_id"))

    @contextmanager
    def _statement(self, operation: str, query: str) -> Iterator[Connection]:
        """A connection of the pool, in a transaction; the span includes the wait for it."""
        with self.service.database_span(operation, "orders", query), self.engine.begin() as connection:
            yield connection

    def _observe_pool(self, _: CallbackOptions) -> Iterable[Observation]:
        used = self._pool().checkedout()
        yield Observation(used, {"db.client.connection.state": "used", "db.client.connection.pool.name": "orders"})
        idle = max(0, self.pool_size - used)
        yield Observation(idle, {"db.client.connection.state": "idle", "db.client.connection.pool.name": "orders"})

    def _observe_pool_size(self, _: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self.pool_size, {"db.client.connection.pool.name": "orders"})

    def _pool(self) -> QueuePool:
        pool = self.engine.pool
        if not isinstance(pool, QueuePool):
            raise TypeError(f"the pool is a {type(pool).__name__}")
        return pool


def _set_up_connection(connection: object, _: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a DBAPI connection
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
