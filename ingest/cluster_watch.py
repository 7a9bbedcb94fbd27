"""Follows a Kubernetes cluster: what runs where and who is told whose address, as edges with time, and its events.

Each kind is listed once and then watched from the version of that list. A watch that is cut off goes on from the last
version that it has seen; where the cluster no longer knows that version (410) the kind is listed again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from domain.errors import ClusterError, ClusterExpired, PayloadError, StorageError
from domain.times import format_us
from ingest.cluster_client import KINDS, ClusterClient, Kind
from ingest.cluster_state import ClusterState, Edge, Event
from ingest.service import Delivery, Ingest
from ingest.sources import Source
from storage.topology import TopologyStore

logger = logging.getLogger(__name__)

OBSERVED_BY = "cluster"
_WATCH_SECONDS = 300
_MOST_EVENTS = 10_000
_STOP_SECONDS = 5.0

type Watched = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: how long changes are gathered, and how long a failure waits, at first and at most."""

    settle: float = 1.0
    pause: float = 1.0
    longest_pause: float = 30.0


class ClusterWatch:
    """Follows one cluster into one environment. One process at a time should: two would state each edge twice."""

    def __init__(
        self,
        client: ClusterClient,
        namespaces: Sequence[str],
        ingest: Ingest,
        store: TopologyStore,
        environment: str,
        source: Source,
        pace: Pace = Pace(),
    ) -> None:
        self._client = client
        self._ingest = ingest
        self._store = store
        self._environment = environment
        self._source = source
        self._pace = pace
        self._watched: list[Watched] = [(kind, namespace) for kind in KINDS for namespace in namespaces]
        self._unlisted = set(self._watched)
        self._versions: dict[Watched, str] = {}
        self._responses: dict[Watched, Any] = {}
        self._problems: dict[Watched, str] = {}
        self._state = ClusterState()
        self._events: list[Event] = []
        self._changed = asyncio.Event()
        # The moment from which each edge that holds was stated; None until it was read from the database.
        self._stated: dict[Edge, int] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the cluster until `stop` is set. Outlives failures of the cluster and of the database."""
        threads = ThreadPoolExecutor(len(self._watched), thread_name_prefix="cluster")
        tasks = [asyncio.create_task(self._follow(one, threads, stop)) for one in self._watched]
        tasks.append(asyncio.create_task(self._keep(stop)))
        try:
            await stop.wait()
        finally:
            stop.set()
            self._changed.set()
            for response in list(self._responses.values()):
                _cut(response)
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            threads.shutdown(wait=False, cancel_futures=True)

    # -- from the cluster ----------------------------------------------------------------------------------------------

    async def _follow(self, one: Watched, threads: ThreadPoolExecutor, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        pause = self._pace.pause
        while not stop.is_set():
            try:
                if one not in self._versions:
                    listed = await loop.run_in_executor(threads, self._client.list_objects, *one)
                    self._take(self._state.replace(*one, listed.objects))
                    self._unlisted.discard(one)
                    self._versions[one] = listed.version
                self._tell(one, "")
                await loop.run_in_executor(threads, self._watch, one, self._versions[one], loop, stop)
                pause = self._pace.pause
            except ClusterExpired:
                self._versions.pop(one, None)
            except ClusterError as exc:
                if stop.is_set():
                    return
                self._tell(one, str(exc))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
                pause = min(2 * pause, self._pace.longest_pause)

    def _watch(self, one: Watched, version: str, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        """Watch until the cluster ends it, in a thread. What happened is told to the loop before this returns or raises."""

        def began(response: Any) -> None:
            self._responses[one] = response
            if stop.is_set():
                _cut(response)

        for happening, seen in self._client.watch(*one, version, _WATCH_SECONDS, began):
            loop.call_soon_threadsafe(self._happened, one, happening, seen)

    def _happened(self, one: Watched, happening: str, seen: dict[str, Any]) -> None:
        version = str((seen.get("metadata") or {}).get("resourceVersion") or "")
        if version:
            self._versions[one] = version
        match happening:
            case "ADDED" | "MODIFIED":
                self._take(self._state.put(seen))
            case "DELETED":
                self._state.remove(seen)
                self._changed.set()

    def _take(self, events: Iterable[Event]) -> None:
        self._events = [*self._events, *events][-_MOST_EVENTS:]
        self._changed.set()

    def _tell(self, one: Watched, problem: str) -> None:
        """Note what stands in the way of one watch; the first of all of them is the source's problem."""
        if problem and problem != self._problems.get(one):
            logger.warning("A part of the cluster cannot be watched.", extra={"kind": one[0], "reason": problem})
        self._problems[one] = problem
        self._source.problem = next(filter(None, self._problems.values()), "")
        self._changed.set()

    # -- to the ingest -------------------------------------------------------------------------------------------------

    async def _keep(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._changed.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._pace.settle)
            self._changed.clear()
            if any(not self._problems.get(one) for one in self._unlisted):
                continue
            try:
                await self._send_edges()
                await self._send_events()
            except (StorageError, PayloadError) as exc:
                logger.warning("What the cluster says cannot be stored for now.", extra={"reason": str(exc)})
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._pace.pause)
                self._changed.set()

    async def _send_edges(self) -> None:
        now_us = time.time_ns() // 1000
        first = False
        if self._stated is None:
            self._stated, first = await self._read_stated()
        edges = self._state.edges()
        # What is found at the very first look has held for as long as anybody knows.
        new = sorted(edges - self._stated.keys())
        since_us = 0 if first else now_us
        if new:
            await self._state_edges(new, since_us, None)
            self._stated |= dict.fromkeys(new, since_us)
        if self._unlisted:
            return  # what could not be listed may still be there
        gone: defaultdict[int, list[Edge]] = defaultdict(list)
        for edge in sorted(self._stated.keys() - edges):
            gone[self._stated[edge]].append(edge)
        for from_us, ended in gone.items():
            await self._state_edges(ended, from_us, now_us)
            for edge in ended:
                del self._stated[edge]

    async def _read_stated(self) -> tuple[dict[Edge, int], bool]:
        """Return the edges that an earlier run stated and that still hold, and whether there was no earlier run."""
        stated = [s for s in await self._store.stated_since(self._environment, 0) if s.observed_by == OBSERVED_BY]
        return {(s.kind, s.source, s.target): s.valid_from_us for s in stated if s.valid_to_us is None}, not stated

    async def _state_edges(self, edges: Sequence[Edge], from_us: int, to_us: int | None) -> None:
        body: dict[str, Any] = {
            "edges": [{"kind": kind, "source": source, "target": target} for kind, source, target in edges],
            "observed_by": OBSERVED_BY,
        }
        body |= {"valid_from": format_us(from_us)} if from_us else {}
        body |= {"valid_to": format_us(to_us)} if to_us is not None else {}
        self._source.count(await self._ingest.accept_topology(self._delivery(body)))

    async def _send_events(self) -> None:
        sending, self._events = self._events, []
        told = [self._state.describe(event) for event in sending]
        if not told:
            return
        try:
            self._source.count(await self._ingest.accept_events(self._delivery(told)))
        except StorageError:
            self._events = [*sending, *self._events][-_MOST_EVENTS:]
            raise

    def _delivery(self, body: Any) -> Delivery:
        return Delivery(json.dumps(body).encode(), "application/json", environment=self._environment)


def _cut(response: Any) -> None:
    """End a watch from another thread, which waits for its next line."""
    with suppress(Exception):
        response.shutdown()
