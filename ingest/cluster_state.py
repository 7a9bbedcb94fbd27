"""What a watched Kubernetes cluster says: its objects as a topology, and what happens to pods as orchestrator events. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ingest.json_paths import as_list, as_mapping, reach_keys
from ingest.manifests import read_manifests

# What a container waits for that is no trouble.
_ORDINARY = frozenset({"ContainerCreating", "PodInitializing", ""})
_KEPT_OF_METADATA = (
    "name",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "creationTimestamp",
    "resourceVersion",
)

type Edge = tuple[str, str, str]
type Event = Mapping[str, Any]


class ClusterState:
    """The objects of a cluster as a watch has last seen them; `describe` makes a body of `/ingest/events` of an event."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}

    def replace(self, kind: str, namespace: str, objects: Iterable[Mapping[str, Any]]) -> list[Event]:
        """Put what a list returned in the place of what was known of a kind; returns what that tells of."""
        new = {_key(one): one for one in objects}
        gone = [
            key for key in self._objects if key[0] == kind and (not namespace or key[1] == namespace) and key not in new
        ]
        for key in gone:
            del self._objects[key]
        return [event for one in new.values() for event in self.put(one)]

    def put(self, one: Mapping[str, Any]) -> list[Event]:
        """Take an object that was added or changed; returns what that tells of."""
        kind = str(one.get("kind"))
        if kind == "Event":
            return list(_event(one))
        key = _key(one)
        before = self._objects.get(key)
        self._objects[key] = _slim(one)
        match kind:
            case "Pod":
                return list(_pod_events(one, before or {}))
            case "EndpointSlice":
                return list(_endpoint_events(one, before))
        return []

    def remove(self, one: Mapping[str, Any]) -> None:
        """Take an object that was deleted."""
        self._objects.pop(_key(one), None)

    def edges(self) -> set[Edge]:
        """Return the (kind, source, target) that the objects state."""
        return {(edge["kind"], edge["source"], edge["target"]) for edge in read_manifests(self._objects.values())}

    def describe(self, event: Event) -> dict[str, Any]:
        """Return an event with the service that it is about, as far as that is known by now."""
        kind, _, rest = str(event["object"]).partition("/")
        namespace, _, name = rest.partition("/")
        service = event.get("service") or (self.service_of_pod(namespace, name) if kind == "Pod" else "")
        return {**event, "object": f"{kind}/{name}", "service": service}

    def service_of_pod(self, namespace: str, name: str) -> str:
        """Return the service that a pod belongs to, as far as its labels and its owner say; "" for an unknown pod."""
        pod = self._objects.get(("Pod", namespace, name))
        if pod is None:
            return ""
        owner = as_mapping(next(iter(as_list(reach_keys(pod, "metadata", "ownerReferences"))), None))
        hashed = str(reach_keys(pod, "metadata", "labels", "pod-template-hash") or "")
        workload = str(owner.get("name") or "").removesuffix(f"-{hashed}") if owner else ""
        for kind in ("Deployment", "StatefulSet", "DaemonSet"):
            if (found := self._objects.get((kind, namespace, workload))) is not None:
                stated = read_manifests([found, {**pod, "spec": {**as_mapping(pod.get("spec")), "nodeName": "-"}}])
                return next((edge["source"] for edge in stated if edge["target"] == "-"), workload)
        return workload or str(reach_keys(pod, "metadata", "labels", "app.kubernetes.io/name") or name)


def _event(one: Mapping[str, Any]) -> Iterator[Event]:
    about = as_mapping(one.get("involvedObject") or one.get("regarding"))
    moment = (
        one.get("lastTimestamp")
        or reach_keys(one, "series", "lastObservedTime")
        or one.get("eventTime")
        or one.get("firstTimestamp")
        or reach_keys(one, "metadata", "creationTimestamp")
    )
    name = str(about.get("name") or "")
    if moment and name:
        place = f"{about.get('kind') or 'Object'}/{about.get('namespace') or 'default'}/{name}"
        text = str(one.get("message") or one.get("note") or "")
        yield _said(moment, str(one.get("type") or "Normal"), place, "", str(one.get("reason") or ""), text)


def _pod_events(pod: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[Event]:
    """Tell of a container that waits in trouble or was ended by force, once for each time."""
    _, namespace, name = _key(pod)
    place = f"Pod/{namespace}/{name}"
    known = {str(status.get("name")): status for status in _statuses(before)}
    for status in _statuses(pod):
        was = known.get(str(status.get("name")), {})
        container = f"container {status.get('name')} of pod {name}"
        waiting = as_mapping(reach_keys(status, "state", "waiting"))
        reason = str(waiting.get("reason") or "")
        if reason not in _ORDINARY and reason != str(reach_keys(was, "state", "waiting", "reason") or ""):
            text = f"{container} is waiting: {reason} {waiting.get('message') or ''}".strip()
            yield _said(_moment_of(pod, status), "Warning", place, "", reason, text)
        ended = as_mapping(reach_keys(status, "lastState", "terminated"))
        news = ended.get("finishedAt") and ended["finishedAt"] != reach_keys(
            was, "lastState", "terminated", "finishedAt"
        )
        if news and ended.get("exitCode"):
            why = str(ended.get("reason") or "Terminated")
            text = f"{container} was terminated: {why}, exit code {ended['exitCode']}"
            yield _said(ended["finishedAt"], "Warning", place, "", why, text)


def _endpoint_events(one: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[Event]:
    """Tell of a Service behind which nobody is ready any more."""
    ready, total = _count_ready(one)
    moment = reach_keys(one, "metadata", "annotations", "endpoints.kubernetes.io/last-change-trigger-time")
    if before is not None and moment and total and not ready and _count_ready(before)[0]:
        name = str(reach_keys(one, "metadata", "labels", "kubernetes.io/service-name") or _key(one)[2])
        text = f"0 of {total} endpoints of the Service {name} are ready"
        yield _said(moment, "Warning", f"Service/{_key(one)[1]}/{name}", name, "NotReady", text)


def _count_ready(one: Mapping[str, Any]) -> tuple[int, int]:
    endpoints = [as_mapping(each) for each in as_list(one.get("endpoints"))]
    return sum(1 for each in endpoints if reach_keys(each, "conditions", "ready") is not False), len(endpoints)


def _moment_of(pod: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Return when a container began to wait: when it ended before, else when the pod was last said to be unready."""
    conditions = [as_mapping(each) for each in as_list(reach_keys(pod, "status", "conditions"))]
    unready = [str(c.get("lastTransitionTime") or "") for c in conditions if c.get("status") == "False"]
    ended = str(reach_keys(status, "lastState", "terminated", "finishedAt") or "")
    return max([ended, *unready]) or str(reach_keys(pod, "metadata", "creationTimestamp") or "")


def _statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    status = as_mapping(pod.get("status"))
    return [as_mapping(c) for key in ("initContainerStatuses", "containerStatuses") for c in as_list(status.get(key))]


def _said(moment: Any, kind: str, about: str, service: str, reason: str, text: str) -> Event:
    return {
        "timestamp": moment,
        "kind": kind,
        "object": about,
        "service": service,
        "reason": reason,
        "text": text or reason,
    }


def _slim(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without what is never looked at: a cluster may hold tens of thousands of pods."""
    about = as_mapping(one.get("metadata"))
    status = as_mapping(one.get("status"))
    kept = {key: status[key] for key in ("conditions", "containerStatuses", "initContainerStatuses") if key in status}
    metadata = {key: about[key] for key in _KEPT_OF_METADATA if key in about}
    return {**one, "metadata": metadata, "status": kept}


def _key(one: Mapping[str, Any]) -> tuple[str, str, str]:
    about = as_mapping(one.get("metadata"))
    return str(one.get("kind")), str(about.get("namespace") or "default"), str(about.get("name") or "")
