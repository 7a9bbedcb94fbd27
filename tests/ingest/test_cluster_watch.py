"""A watched cluster, on an API server that lists, streams, forgets and cuts off as a real one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from domain.errors import SettingsError
from domain.observed import OrchestratorRow
from domain.settings import Settings
from domain.times import HOUR_US, Window
from ingest.cluster_client import open_cluster, read_namespaces
from ingest.cluster_state import ClusterState
from ingest.cluster_watch import ClusterWatch, Pace
from ingest.service import Ingest
from ingest.sources import Source
from storage.database import Database
from storage.ingest import IngestStore
from storage.telemetry import Telemetry
from storage.topology import TopologyStore
from tests.ingest.cluster_api import ClusterApi, serve_cluster

STARTED = "2026-11-20T10:00:00Z"
PACE = Pace(settle=0.05, pause=0.1, longest_pause=0.2)


@pytest.fixture
def cluster() -> Iterator[tuple[ClusterApi, str]]:
    with serve_cluster() as served:
        yield served


def kubeconfig(folder: Path, address: str) -> str:
    file = folder / "kubeconfig"
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    file.write_text(yaml.safe_dump(body))
    return str(file)


class Watching:
    """A watch of a cluster into one environment, and what became of it."""

    def __init__(self, database: Database, environment: str, config: str) -> None:
        self._database = database
        self._environment = environment
        self._config = config
        self.source = Source("kubernetes", "")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ingest = Ingest(IngestStore(self._database), Settings())
        client, store = open_cluster(self._config), TopologyStore(self._database)
        watch = ClusterWatch(client, ["shop"], ingest, store, self._environment, self.source, PACE)
        stop = asyncio.Event()
        task = asyncio.create_task(watch.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def edges(self) -> set[tuple[str, str, bool]]:
        """Who calls what or runs where, and whether that still holds."""
        stated = await TopologyStore(self._database).stated_since(self._environment, 0)
        assert {edge.observed_by for edge in stated} <= {"cluster"}
        ends: dict[tuple[str, str], bool] = {}
        for edge in sorted(stated, key=lambda edge: edge.valid_from_us):
            ends[edge.source, edge.target] = edge.valid_to_us is None
        return {(*pair, open_) for pair, open_ in ends.items()}

    async def events(self) -> list[OrchestratorRow]:
        now_us = time.time_ns() // 1000
        return await Telemetry(self._database).orchestrator_events(self._environment, Window(0, now_us + HOUR_US))

    async def until(self, condition: Callable[[set[tuple[str, str, bool]]], bool]) -> set[tuple[str, str, bool]]:
        deadline = time.monotonic() + 30
        while not condition(found := await self.edges()):
            assert time.monotonic() < deadline, (found, self.source.problem)
            await asyncio.sleep(0.05)
        return found


@pytest.fixture
def watching(database: Database, environment: str, tmp_path: Path, cluster: tuple[ClusterApi, str]) -> Watching:
    return Watching(database, environment, kubeconfig(tmp_path, cluster[1]))


def deploy(api: ClusterApi, name: str, calls: str = "", node: str = "n1") -> None:
    labels = {"app": name}
    env = [{"name": "TARGET_URL", "value": f"http://{calls}:80"}] if calls else []
    spec = {"containers": [{"name": "c", "env": env}]}
    api.put("services", name, spec={"selector": labels})
    api.put("deployments", name, spec={"template": {"metadata": {"labels": labels}, "spec": spec}})
    pod = {
        "labels": {**labels, "pod-template-hash": "7d4"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": f"{name}-7d4"}],
    }
    api.put("pods", f"{name}-7d4-x", metadata=pod, spec={**spec, "nodeName": node}, status={})


async def test_a_cluster_becomes_a_topology_and_its_changes_too(
    cluster: tuple[ClusterApi, str], watching: Watching
) -> None:
    api, _ = cluster
    for name, calls in (("web", "cart"), ("cart", "db"), ("db", "")):
        deploy(api, name, calls)
    async with watching.running():
        found = await watching.until(lambda edges: ("web", "cart", True) in edges)
        assert found >= {("cart", "db", True), ("web", "n1", True), ("web", "pod/shop/web-7d4-x", True)}
        deploy(api, "web", "db", node="n2")
        found = await watching.until(lambda edges: ("web", "n2", True) in edges and ("web", "cart", False) in edges)
        assert found >= {("web", "db", True), ("web", "n1", False), ("cart", "db", True)}
    # What changes while nobody watches is found by the next list.
    api.put("pods", "db-7d4-x", "DELETED")
    async with watching.running():
        await watching.until(lambda edges: ("db", "pod/shop/db-7d4-x", False) in edges)
    assert len(await watching.edges()) == len(found)


async def test_a_watch_goes_on_where_it_was_cut_off_and_lists_again_what_was_forgotten(
    cluster: tuple[ClusterApi, str], watching: Watching
) -> None:
    api, _ = cluster
    deploy(api, "web", "cart")
    deploy(api, "cart")
    async with watching.running():
        await watching.until(lambda edges: ("web", "cart", True) in edges)
        lists = sum(1 for plural, query in api.requests if plural == "pods" and "watch" not in query)
        api.cut()
        deploy(api, "web", "cart", node="n2")
        await watching.until(lambda edges: ("web", "n2", True) in edges)
        assert lists == sum(1 for plural, query in api.requests if plural == "pods" and "watch" not in query)
        with api.changed:
            api.objects["pods"].pop("web-7d4-x")  # its DELETED is never told
        api.cut(forget=True)
        await watching.until(lambda edges: ("web", "n2", False) in edges)
        assert lists < sum(1 for plural, query in api.requests if plural == "pods" and "watch" not in query)


async def test_events_and_states_of_pods_are_told_of_their_service(
    cluster: tuple[ClusterApi, str], watching: Watching
) -> None:
    api, _ = cluster
    deploy(api, "web")
    about = {"kind": "Pod", "namespace": "shop", "name": "web-7d4-x"}
    told = {"type": "Warning", "reason": "BackOff", "message": "Back-off restarting", "lastTimestamp": STARTED}
    api.put("events", "e1", involvedObject=about, **told)
    async with watching.running():
        await watching.until(lambda edges: ("web", "n1", True) in edges)
        ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-20T10:05:00Z"}
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
        status = {"name": "c", "state": {"waiting": waiting}, "lastState": {"terminated": ended}}
        pod = api.objects["pods"]["web-7d4-x"]
        for _ in range(2):  # the same state twice is no news
            api.put(
                "pods", "web-7d4-x", metadata=pod["metadata"], spec=pod["spec"], status={"containerStatuses": [status]}
            )
        deadline = time.monotonic() + 30
        while len(await watching.events()) < 3:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        api.put("services", "last", spec={})
        deploy(api, "late")
        await watching.until(lambda edges: ("late", "n1", True) in edges)
    rows = [(row.object, row.service, row.reason) for row in await watching.events()]
    assert sorted(rows) == [
        ("Pod/web-7d4-x", "web", "BackOff"),
        ("Pod/web-7d4-x", "web", "CrashLoopBackOff"),
        ("Pod/web-7d4-x", "web", "OOMKilled"),
    ]


async def test_what_may_not_be_seen_is_named_and_hides_nothing_else(
    cluster: tuple[ClusterApi, str], watching: Watching
) -> None:
    api, _ = cluster
    api.forbidden = {"configmaps"}
    deploy(api, "web", "cart")
    deploy(api, "cart")
    async with watching.running():
        await watching.until(lambda edges: ("web", "cart", True) in edges)
        assert "ConfigMap" in watching.source.problem
        api.forbidden = set()
        deadline = time.monotonic() + 30
        while watching.source.problem:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def test_a_service_behind_which_nobody_is_ready_is_told_of_once() -> None:
    state = ClusterState()

    def endpoints(*ready: bool) -> dict[str, Any]:
        about = {"name": "cart-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}}
        about["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": STARTED}
        return {"kind": "EndpointSlice", "metadata": about, "endpoints": [{"conditions": {"ready": r}} for r in ready]}

    assert not state.put(endpoints(False))
    assert not state.put(endpoints(True, False))
    (event,) = state.put(endpoints(False, False))
    assert state.describe(event)["text"] == "0 of 2 endpoints of the Service cart are ready"
    assert not state.put(endpoints(False, False))


def test_a_cluster_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CAUSEGRAPH_KUBERNETES"):
        open_cluster(str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="CAUSEGRAPH_KUBERNETES"):
        open_cluster("in-cluster")
    assert list(read_namespaces(" a, b ,")) == ["a", "b"]
    assert list(read_namespaces("")) == [""]
