"""Kubernetes manifests as a topology: who is told the address of whom, and which node runs what. Pure.

A workload (Deployment, StatefulSet, DaemonSet, Job, CronJob, or a Pod of its own) is a service: under OTEL_SERVICE_NAME or the
annotation `resource.opentelemetry.io/service.name` if it has one, else under its own name. It calls another where one of
its variables or arguments, or a ConfigMap that it takes variables from, holds the address of a Service that leads there.
What merely looks like an address is left out: a Service of that name must be among the manifests. An Ingress calls the
services that it routes to, as `ingress/NAME`; behind a Service of type ExternalName is the host that it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.telemetry import INGRESS_PREFIX, POD_PREFIX
from ingest.json_paths import as_list, as_mapping, reach_keys

_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"}) | {
    "ReplicationController",
    "Rollout",
}
_NAMED_BY = "resource.opentelemetry.io/service.name"
# A host in a URL, or with a port; a bare name counts only where the variable says that it is a host.
_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://(?:[^\s/@,]*@)?)([a-z0-9][a-z0-9.-]*)|(?<![\w.@-])([a-z0-9][a-z0-9.-]*):\d{1,5}(?!\d)"
)
_SAYS_HOST = re.compile(r"(^|_)(HOST|HOSTNAME|ADDR|ADDRESS|ENDPOINT|SERVER|URL|URI|UPSTREAM)S?$")
_BARE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class _Workload:
    name: str
    namespace: str
    labels: Mapping[str, str]
    texts: tuple[tuple[str, str], ...]
    node: str = ""
    pod: str = ""
    owned: bool = False


@dataclass(slots=True)
class _Cluster:
    workloads: list[_Workload] = field(default_factory=list)
    services: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    outside: dict[tuple[str, str], str] = field(default_factory=dict)
    configs: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    ingresses: list[Mapping[str, Any]] = field(default_factory=list)


def is_manifest(document: Any) -> bool:
    """Say whether a document of a file is an object of Kubernetes."""
    return isinstance(document, Mapping) and {"apiVersion", "kind"} <= document.keys()


def read_manifests(documents: Iterable[Any]) -> list[dict[str, str]]:
    """Return the edges that some manifests state, sorted: CALLS between services, RUNS_ON from services to nodes."""
    objects = [each for document in documents for each in _objects(document)]
    cluster = _Cluster()
    for one in objects:
        _take_settings(one, cluster)
    for one in objects:
        if one["kind"] in _WORKLOADS:
            cluster.workloads.append(_read_workload(one, cluster))
    edges = {edge for workload in cluster.workloads for edge in _edges_of(workload, cluster)}
    edges |= {edge for ingress in cluster.ingresses for edge in _routes_of(ingress, cluster)}
    return [{"source": source, "target": target, "kind": kind} for kind, source, target in sorted(edges)]


def _objects(document: Any) -> Iterator[Mapping[str, Any]]:
    if not is_manifest(document):
        return
    if str(document["kind"]).endswith("List"):
        for item in as_list(document.get("items")):
            # `kubectl get -o yaml` leaves both out of the items of a typed list.
            kind = str(document["kind"]).removesuffix("List")
            yield from _objects({"apiVersion": "v1", "kind": kind, **as_mapping(item)})
    else:
        yield document


def _take_settings(one: Mapping[str, Any], cluster: _Cluster) -> None:
    key = _key(one)
    match one["kind"]:
        case "Service":
            cluster.services[key] = _strings(reach_keys(one, "spec", "selector"))
            if reach_keys(one, "spec", "type") == "ExternalName":
                cluster.outside[key] = str(reach_keys(one, "spec", "externalName") or "").rstrip(".").lower()
        case "Ingress":
            cluster.ingresses.append(one)
        case "ConfigMap":
            cluster.configs[key] = _strings(one.get("data"))


def _read_workload(one: Mapping[str, Any], cluster: _Cluster) -> _Workload:
    namespace, name = _key(one)
    template = one
    if one["kind"] == "CronJob":
        template = as_mapping(reach_keys(one, "spec", "jobTemplate", "spec", "template"))
    elif one["kind"] != "Pod":
        template = as_mapping(reach_keys(one, "spec", "template"))
    spec = as_mapping(template.get("spec"))
    texts = tuple(_texts(spec, namespace, cluster))
    annotations = _strings(reach_keys(template, "metadata", "annotations"))
    said = next((value for key, value in texts if key == "OTEL_SERVICE_NAME" and value), "")
    return _Workload(
        name=said or annotations.get(_NAMED_BY, "") or name,
        namespace=namespace,
        labels=_strings(reach_keys(template, "metadata", "labels")),
        texts=texts,
        node=str(spec.get("nodeName") or ""),
        pod=f"{namespace}/{name}" if one["kind"] == "Pod" and name else "",
        owned=bool(as_list(reach_keys(one, "metadata", "ownerReferences"))),
    )


def _texts(spec: Mapping[str, Any], namespace: str, cluster: _Cluster) -> Iterator[tuple[str, str]]:
    """Yield (variable, value) of all containers, and their arguments under no name. Secrets are not looked into."""
    for container in map(as_mapping, [*as_list(spec.get("initContainers")), *as_list(spec.get("containers"))]):
        for source in map(as_mapping, as_list(container.get("envFrom"))):
            name = str(reach_keys(source, "configMapRef", "name") or "")
            prefix = str(source.get("prefix") or "")
            yield from ((prefix + key, value) for key, value in cluster.configs.get((namespace, name), {}).items())
        for variable in map(as_mapping, as_list(container.get("env"))):
            reference = as_mapping(reach_keys(variable, "valueFrom", "configMapKeyRef"))
            taken = cluster.configs.get((namespace, str(reference.get("name") or "")), {})
            value = variable.get("value", taken.get(str(reference.get("key") or "")))
            yield str(variable.get("name") or ""), "" if value is None else str(value)
        for argument in [*as_list(container.get("command")), *as_list(container.get("args"))]:
            yield "", str(argument)


def _edges_of(workload: _Workload, cluster: _Cluster) -> Iterator[tuple[str, str, str]]:
    name = _owner_name(workload, cluster) if workload.owned else workload.name
    if workload.node:
        yield ("RUNS_ON", name, workload.node)
    if workload.pod and name:
        yield ("RUNS_ON", name, POD_PREFIX + workload.pod)
    for variable, text in workload.texts:
        for host in _hosts(variable, text):
            for target in _behind(host, workload.namespace, cluster):
                if target != name:
                    yield ("CALLS", name, target)


def _routes_of(ingress: Mapping[str, Any], cluster: _Cluster) -> Iterator[tuple[str, str, str]]:
    namespace, name = _key(ingress)
    spec = as_mapping(ingress.get("spec"))
    rules = [as_list(reach_keys(rule, "http", "paths")) for rule in as_list(spec.get("rules"))]
    backends = [spec.get("defaultBackend"), *(reach_keys(path, "backend") for paths in rules for path in paths)]
    for backend in backends:
        if service := str(reach_keys(backend, "service", "name") or reach_keys(backend, "serviceName") or ""):
            yield from (("CALLS", INGRESS_PREFIX + name, target) for target in _behind(service, namespace, cluster))


def _hosts(variable: str, text: str) -> Iterator[str]:
    for url_host, host in _ADDRESS.findall(text[:4000].lower()):
        yield url_host or host
    if _SAYS_HOST.search(variable.upper()) and _BARE.fullmatch(text.lower()):
        yield text.lower()


def _behind(host: str, namespace: str, cluster: _Cluster) -> list[str]:
    """Return the services behind a host, if it is the name of a Service: `name`, `name.namespace`, `name.namespace.svc...`."""
    name, _, rest = host.rstrip(".").partition(".")
    place, _, suffix = rest.partition(".")
    if suffix and suffix != "svc" and not suffix.startswith("svc."):
        return []
    selector = cluster.services.get((place or namespace, name))
    if selector is None:
        return []
    if outside := cluster.outside.get((place or namespace, name)):
        return [outside]
    found = sorted({w.name for w in cluster.workloads if not w.owned and _selects(selector, w, place or namespace)})
    return found or [name]


def _owner_name(pod: _Workload, cluster: _Cluster) -> str:
    """Return the service of the workload that made a pod: the one whose pods have the same labels, but those of its own."""
    for workload in cluster.workloads:
        if not workload.owned and workload.labels and _selects(workload.labels, pod, workload.namespace):
            return workload.name
    return pod.labels.get("app.kubernetes.io/name") or pod.labels.get("app") or pod.name


def _selects(selector: Mapping[str, str], workload: _Workload, namespace: str) -> bool:
    return bool(selector) and workload.namespace == namespace and selector.items() <= workload.labels.items()


def _key(one: Mapping[str, Any]) -> tuple[str, str]:
    about = as_mapping(one.get("metadata"))
    return str(about.get("namespace") or "default"), str(about.get("name") or "")


def _strings(value: Any) -> Mapping[str, str]:
    return {str(key): str(item) for key, item in as_mapping(value).items() if item is not None}
