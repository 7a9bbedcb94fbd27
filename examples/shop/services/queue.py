"""queue: topics of messages, in order. The first message of a topic must be acknowledged before the next is leased."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable
from typing import cast

from opentelemetry.metrics import CallbackOptions, Observation

from examples.shop.layout import Json, JsonValue
from examples.shop.server import Request
from examples.shop.service import RefusedError, Service
from examples.shop.state import State
from examples.shop.values import read_number

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  topic TEXT NOT NULL,
  headers TEXT NOT NULL,
  body TEXT NOT NULL,
  deliveries INTEGER NOT NULL DEFAULT 0,
  available_at REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS ix_messages_topic ON messages (topic, id);
"""
INSERT = "INSERT INTO messages (topic, headers, body) VALUES (?, ?, ?)"
SELECT_HEAD = "SELECT id, headers, body, deliveries, available_at FROM messages WHERE topic = ? ORDER BY id LIMIT 1"
LEASE = "UPDATE messages SET deliveries = deliveries + 1, available_at = ? WHERE id = ?"
RELEASE = "UPDATE messages SET available_at = ? WHERE topic = ? AND id = ?"
DELETE = "DELETE FROM messages WHERE topic = ? AND id = ?"
LIST = "SELECT id, body, deliveries FROM messages WHERE topic = ? ORDER BY id LIMIT 50"
COUNT = "SELECT topic, COUNT(*) FROM messages GROUP BY topic"


def build(state: State) -> Service:
    service = Service(state, "queue")
    queue = Queue(service)
    service.route("POST", "/topics/{topic}/messages", queue.publish)
    service.route("GET", "/topics/{topic}/messages", queue.show, traced=False)
    service.route("POST", "/topics/{topic}/leases", queue.lease, traced=False)
    service.route("POST", "/topics/{topic}/messages/{id}/ack", queue.acknowledge)
    service.route("POST", "/topics/{topic}/messages/{id}/nack", queue.reject)
    service.route("DELETE", "/topics/{topic}/messages/{id}", queue.drop, traced=False)
    return service


class Queue:
    """The messages, in a file, so that they outlive a restart."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.lease_s = read_number(service.config, "lease_s")
        self.lock = threading.Lock()
        self.arrived = threading.Condition()
        self.db = sqlite3.connect(
            service.state.data / "queue.db", timeout=5, isolation_level=None, check_same_thread=False
        )
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.executescript(SCHEMA)
        service.telemetry.meter.create_observable_gauge(
            "messaging.queue.depth", [self._observe_depth], unit="{message}", description="Messages not acknowledged"
        )

    def publish(self, request: Request) -> Json:
        topic = request.parameters["topic"]
        headers, body = json.dumps(request.body.get("headers", {})), json.dumps(request.body.get("body"))
        with self.lock:
            message = self.db.execute(INSERT, (topic, headers, body)).lastrowid
        with self.arrived:
            self.arrived.notify_all()
        return {"message_id": f"msg-{message}"}

    def lease(self, request: Request) -> Json:
        """The first message of the topic, or an empty answer when none comes within `wait_s`."""
        deadline = time.monotonic() + read_number(request.body, "wait_s")
        while not self.service.stopping.is_set():
            message = self._lease_head(request.parameters["topic"])
            left = deadline - time.monotonic()
            if message or left <= 0:
                return message
            with self.arrived:
                self.arrived.wait(min(left, 0.1))
        return {}

    def acknowledge(self, request: Request) -> Json:
        return self._delete(request)

    def drop(self, request: Request) -> Json:
        self.service.log.info("%s dropped from %s on request", request.parameters["id"], request.parameters["topic"])
        return self._delete(request)

    def reject(self, request: Request) -> Json:
        """Keep the message where it is in the order, and offer it again after `delay_s`."""
        topic, message = request.parameters["topic"], request.parameters["id"]
        available_at = time.time() + read_number(request.body, "delay_s")
        with self.lock:
            self.db.execute(RELEASE, (available_at, topic, _number(message)))
        return {}

    def show(self, request: Request) -> Json:
        with self.lock:
            rows = self.db.execute(LIST, (request.parameters["topic"],)).fetchall()
        messages: list[JsonValue] = [
            {"message_id": f"msg-{number}", "body": json.loads(body), "deliveries": deliveries}
            for number, body, deliveries in rows
        ]
        return {"messages": messages}

    def _lease_head(self, topic: str) -> Json:
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                return self._lease_row(topic, self.db.execute(SELECT_HEAD, (topic,)).fetchone())
            finally:
                self.db.execute("COMMIT")

    def _lease_row(self, topic: str, row: tuple[int, str, str, int, float] | None) -> Json:
        if row is None or row[4] > time.time():
            return {}
        number, headers, body, deliveries, _ = row
        self.db.execute(LEASE, (time.time() + self.lease_s, number))
        if deliveries:
            self.service.log.warning("redelivering msg-%d of %s, delivery %d", number, topic, deliveries + 1)
        return {
            "message_id": f"msg-{number}",
            "headers": json.loads(headers),
            "body": json.loads(body),
            "delivery": deliveries + 1,
        }

    def _delete(self, request: Request) -> Json:
        topic, message = request.parameters["topic"], request.parameters["id"]
        with self.lock:
            deleted = self.db.execute(DELETE, (topic, _number(message))).rowcount
        if not deleted:
            raise RefusedError(404, f"no message {message} in {topic}")
        with self.arrived:
            self.arrived.notify_all()
        return {"message_id": message}

    def _observe_depth(self, _: CallbackOptions) -> Iterable[Observation]:
        with self.lock:
            rows = cast(list[tuple[str, int]], self.db.execute(COUNT).fetchall())
        for topic, depth in rows or [("orders.placed", 0)]:
            yield Observation(depth, {"messaging.destination.name": topic})


def _number(message: str) -> int:
    digits = message.removeprefix("msg-")
    if not digits.isdigit():
        raise RefusedError(400, f"{message} is not a message id")
    return int(digits)
