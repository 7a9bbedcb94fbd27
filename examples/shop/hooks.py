"""Posts changes and orchestrator events, as JSON arrays, to two web hooks. A failing hook never holds up the shop."""

import json
import queue
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

type ChangeKind = Literal["deploy", "config", "flag", "rollback"]


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody changed. The summary is in the words of whoever did it."""

    service: str
    kind: ChangeKind
    summary: str
    actor: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """What the supervisor of the processes saw or did. `kind` is Normal or Warning."""

    kind: Literal["Normal", "Warning"]
    object: str
    service: str
    reason: str
    text: str


class Hooks:
    """Sends in order, from one thread. Without an address nothing is sent."""

    def __init__(self, changes_url: str | None, events_url: str | None, headers: Mapping[str, str]) -> None:
        self._urls: dict[type, str | None] = {Change: changes_url, Event: events_url}
        self._headers = {**headers, "content-type": "application/json"}
        self._queue: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="hooks")
        self.failures = 0
        self._thread.start()

    def report(self, item: Change | Event) -> datetime:
        """Queue `item` for sending, and return the time that it is reported with."""
        now = datetime.now(UTC)
        url = self._urls[type(item)]
        if url:
            values = {"timestamp": now.isoformat(), **{key: value for key, value in asdict(item).items() if value}}
            self._queue.put((url, json.dumps([values]).encode()))
        return now

    def close(self) -> None:
        """Send what is queued, within 3 s."""
        self._queue.put(None)
        self._thread.join(timeout=3.0)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            url, payload = job
            request = urllib.request.Request(url, payload, self._headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=3.0) as response:
                    response.read()
            except (OSError, ValueError) as error:
                self.failures += 1
                if self.failures == 1:
                    print(f"the hook {url} does not take what it is sent: {error}", flush=True)
