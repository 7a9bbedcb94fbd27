"""inventory: reserves stock. Every movement of stock is a row of the ledger; what is available is their sum."""

import sqlite3
import threading
import time
from datetime import UTC, datetime

from examples.shop.layout import Json
from examples.shop.server import Request
from examples.shop.service import RefusedError, Service
from examples.shop.state import State
from examples.shop.values import read_int, read_number, read_objects, read_text

SELECT_AVAILABLE = """
SELECT w.id, w.name,
  (SELECT COALESCE(SUM(m.delta), 0) FROM stock_movements m WHERE m.sku = ? AND m.warehouse_id = w.id) AS available
FROM warehouses w ORDER BY available DESC LIMIT 1
"""

INSERT_MOVEMENT = """
INSERT INTO stock_movements (sku, warehouse_id, delta, reason, moved_at) VALUES (?, ?, ?, ?, ?)
"""


def build(state: State) -> Service:
    service = Service(state, "inventory")
    service.route("POST", "/reservations", Inventory(service).reserve)
    return service


class Inventory:
    """One connection, one writer at a time, as SQLite wants it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.lock = threading.Lock()
        self.lock_timeout_s = read_number(service.config, "lock_timeout_s")
        self.slow_query_ms = read_number(service.config, "slow_query_ms")
        self.db = sqlite3.connect(
            service.state.data / "inventory.db", timeout=5, isolation_level=None, check_same_thread=False
        )
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA automatic_index = OFF")

    def reserve(self, request: Request) -> Json:
        order_id = read_text(request.body, "order_id")
        lines = read_objects(request.body, "lines")
        started = time.monotonic()
        if not self.lock.acquire(timeout=self.lock_timeout_s):
            raise RefusedError(503, f"reservation for order {order_id}: ledger busy for {self.lock_timeout_s:.1f} s")
        try:
            for line in lines:
                self._reserve_line(order_id, read_text(line, "sku"), read_int(line, "quantity"))
        finally:
            self.lock.release()
        self.service.log.info(
            "reserved %d lines for order %s in %d ms", len(lines), order_id, (time.monotonic() - started) * 1000
        )
        return {"order_id": order_id}

    def _reserve_line(self, order_id: str, sku: str, quantity: int) -> None:
        warehouse, name, available = self._find_warehouse(sku)
        if available < quantity:
            raise RefusedError(409, f"{sku}: {quantity} wanted, {available} available in {name}")
        moved_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self.service.database_span("INSERT", "stock_movements", INSERT_MOVEMENT):
            self.db.execute(INSERT_MOVEMENT, (sku, warehouse, -quantity, f"order {order_id}", moved_at))

    def _find_warehouse(self, sku: str) -> tuple[int, str, int]:
        started = time.monotonic()
        with self.service.database_span("SELECT", "stock_movements", SELECT_AVAILABLE):
            warehouse, name, available = self.db.execute(SELECT_AVAILABLE, (sku,)).fetchone()
        took_ms = (time.monotonic() - started) * 1000
        if took_ms > self.slow_query_ms:
            self.service.log.warning("slow query, %d ms: %s", took_ms, " ".join(SELECT_AVAILABLE.split()))
        return warehouse, name, available
