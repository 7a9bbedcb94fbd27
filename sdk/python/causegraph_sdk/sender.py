"""The background half: a bounded queue, one thread, batches, and retries with growing pauses."""

from __future__ import annotations

import atexit
import contextlib
import gzip
import json
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import httpx

logger = logging.getLogger("causegraph_sdk")

_GZIP_FROM = 1024
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 30.0
_EXIT_SECONDS = 2.0
_AGAIN = frozenset((408, 409, 425, 429))


@dataclass(frozen=True)
class Stats:
    """What became of the records: sent and taken, dropped here for lack of room, rejected there, and still waiting."""

    sent: int
    dropped: int
    rejected: int
    waiting: int


class Sender:
    """Sends records to the addresses they belong to. `put` never blocks and never raises."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        max_queue: int,
        batch_size: int,
        flush_seconds: float,
        timeout: float,
        max_attempts: int,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"X-API-Key": api_key, "Content-Type": "application/json", "User-Agent": "causegraph-sdk/0.1.0"}
        self._max_queue = max_queue
        self._batch_size = batch_size
        self._flush_seconds = flush_seconds
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._transport = transport
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        self._queue: deque[tuple[str, str]] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._in_hand = 0
        self._sent = self._dropped = self._rejected = 0
        self._closing = False
        self._hurry = False
        self._told = False

    def put(self, path: str, record: str) -> None:
        """Take a record (JSON text) for an address; without room it is dropped and counted."""
        with self._wake:
            if self._closing or len(self._queue) + self._in_hand >= self._max_queue:
                self._dropped += 1
                return
            self._queue.append((path, record))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="causegraph-sdk", daemon=True)
                self._thread.start()
            if len(self._queue) >= self._batch_size:
                self._wake.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until everything put so far was sent or given up; False if that took longer than so many seconds."""
        deadline = time.monotonic() + seconds
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            while self._queue or self._in_hand:
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is None:
                    return False
                self._wake.wait(min(left, 0.5))
            return True

    def close(self, seconds: float) -> bool:
        """Flush, and take nothing from now on."""
        done = self.flush(seconds)
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        return done

    def stats(self) -> Stats:
        """Return the counts so far."""
        with self._wake:
            return Stats(self._sent, self._dropped, self._rejected, len(self._queue) + self._in_hand)

    # The thread

    def _run(self) -> None:
        with httpx.Client(timeout=self._timeout, transport=self._transport) as client:
            while (batch := self._next_batch()) is not None:
                path = batch[0][0]
                try:
                    self._deliver(client, path, [record for _, record in batch])
                except Exception:  # noqa: BLE001 - the thread must outlive whatever a transport raises
                    self._count(dropped=len(batch))
                    self._tell("a batch could not be sent", exc_info=True)
                with self._wake:
                    self._in_hand = 0
                    self._wake.notify_all()

    def _next_batch(self) -> list[tuple[str, str]] | None:
        """Wait for records and return those of one address, in order; None at the end."""
        with self._wake:
            if not self._queue:
                self._hurry = False
            deadline = time.monotonic() + self._flush_seconds
            while len(self._queue) < self._batch_size and not self._closing and not (self._hurry and self._queue):
                left = deadline - time.monotonic()
                if left <= 0 and self._queue:
                    break
                self._wake.wait(left if left > 0 else self._flush_seconds)
            if not self._queue:
                self._thread = None
                return None
            batch = [self._queue.popleft()]
            while self._queue and len(batch) < self._batch_size and self._queue[0][0] == batch[0][0]:
                batch.append(self._queue.popleft())
            self._in_hand = len(batch)
            return batch

    def _deliver(self, client: httpx.Client, path: str, records: list[str]) -> None:
        pause = _FIRST_PAUSE
        for attempt in range(self._max_attempts):
            reply = self._post(client, path, records)
            if reply is not None and reply.status_code == 413 and len(records) > 1:
                half = len(records) // 2
                self._deliver(client, path, records[:half])
                self._deliver(client, path, records[half:])
                return
            if reply is not None and reply.status_code < 500 and reply.status_code not in _AGAIN:
                self._settle(reply, len(records))
                return
            if attempt + 1 < self._max_attempts and not self._closing:
                asked = _read_pause(reply)
                time.sleep(min(_LONGEST_PAUSE, max(asked, pause * random.uniform(0.5, 1.5))))  # noqa: S311 - no secret
                pause *= 2
        self._count(dropped=len(records))
        self._tell("a batch was given up")

    def _post(self, client: httpx.Client, path: str, records: list[str]) -> httpx.Response | None:
        body = ("[" + ",".join(records) + "]").encode("utf-8", "replace")
        headers = dict(self._headers)
        if len(body) >= _GZIP_FROM:
            body = gzip.compress(body, 5)
            headers["Content-Encoding"] = "gzip"
        try:
            return client.post(self._base_url + path, content=body, headers=headers)
        except httpx.HTTPError as exc:
            self._tell(f"the server cannot be reached: {exc}")
            return None

    def _settle(self, reply: httpx.Response, count: int) -> None:
        rejected = 0
        if reply.status_code >= 400:
            rejected = count
        with contextlib.suppress(ValueError, KeyError, TypeError):
            rejected = min(count, int(reply.json()["rejected"]))
        self._count(sent=count - rejected, rejected=rejected)
        if rejected:
            self._tell(f"the server refused {rejected} records: {reply.text[:300]}")

    def _count(self, sent: int = 0, dropped: int = 0, rejected: int = 0) -> None:
        with self._wake:
            self._sent += sent
            self._dropped += dropped
            self._rejected += rejected

    def _tell(self, what: str, **more: Any) -> None:
        """Log a problem: the first one as a warning, the others for those who look closer."""
        logger.log(logging.DEBUG if self._told else logging.WARNING, "causegraph: %s", what, **more)
        self._told = True


def _read_pause(reply: httpx.Response | None) -> float:
    try:
        return float(reply.headers.get("Retry-After", 0)) if reply is not None else 0.0
    except ValueError:
        return 0.0


def encode(record: dict[str, Any], limit: int = 256 * 1024) -> str:
    """Return JSON text for any record, without raising; one that is too long loses its long texts."""
    text = json.dumps(record, default=_describe, ensure_ascii=False)
    if len(text) <= limit:
        return text
    return json.dumps(_shorten(json.loads(text), max(200, limit // 64)), ensure_ascii=False)


def _shorten(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + "..."
    if isinstance(value, list):
        return [_shorten(held, limit) for held in value[:100]]
    if isinstance(value, dict):
        return {str(name)[:limit]: _shorten(held, limit) for name, held in list(value.items())[:100]}
    return value


def _describe(value: object) -> str:
    try:
        return repr(value)[:4000]
    except Exception:  # noqa: BLE001 - a broken __repr__ of the host must not reach it through us
        return f"<{type(value).__name__}>"


_alive: weakref.WeakSet[Sender] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    deadline = time.monotonic() + _EXIT_SECONDS
    for sender in list(_alive):
        sender.close(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    # The thread did not come along, and what is queued is the parent's to send.
    for sender in list(_alive):
        sender._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
