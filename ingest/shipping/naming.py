"""The names that container runtimes put into paths: Kubernetes pods and Docker containers to service and attributes."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ingest.shipping.line import Attribute

_POD_FOLDER = re.compile(
    r".*/(?P<namespace>[^/_]+)_(?P<pod>[^/_]+)_(?P<uid>[^/_]+)/(?P<container>[^/]+)/(?P<restarts>\d+)\.log[^/]*"
)
_POD_LINK = re.compile(r".*/(?P<pod>[^/_]+)_(?P<namespace>[^/_]+)_(?P<container>[^/]+)-(?P<id>[0-9a-f]{64})\.log")
_DOCKER = re.compile(r".*/(?P<id>[0-9a-f]{64})/[0-9a-f]{64}-json\.log[^/]*")
# What workloads add to their name: a deployment's hash and a random end, a daemon set's end, a stateful set's number.
_POD_ENDS = re.compile(r"(?:-[0-9a-f]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}|-[bcdfghjklmnpqrstvwxz2456789]{5}|-\d+)$")
_CONFIG_BYTES = 1024 * 1024


class _DockerDetails(msgspec.Struct, rename={"labels": "Labels"}):
    labels: dict[str, str] | None = None


class _DockerConfig(msgspec.Struct, rename={"name": "Name", "config": "Config"}):
    name: str = ""
    config: _DockerDetails = msgspec.field(default_factory=_DockerDetails)


def name_container(path: str) -> tuple[str, dict[str, Attribute]]:
    """Return the service and the attributes that a container's log path tells; the service is empty if it tells none.

    A pod's service is the name of its workload: the pod's name without what a deployment, a daemon set or a stateful
    set adds to it. A Docker container's is its Compose service, else its name, from the configuration beside its log.
    """
    found = _POD_FOLDER.fullmatch(path) or _POD_LINK.fullmatch(path)
    if found is not None:
        return _name_pod(found.groupdict())
    found = _DOCKER.fullmatch(path)
    if found is not None:
        return _name_docker(path, found["id"])
    return "", {}


def _name_pod(parts: dict[str, str]) -> tuple[str, dict[str, Attribute]]:
    attributes: dict[str, Attribute] = {
        "k8s.namespace.name": parts["namespace"],
        "k8s.pod.name": parts["pod"],
        "k8s.container.name": parts["container"],
    }
    if "uid" in parts:
        attributes |= {"k8s.pod.uid": parts["uid"], "k8s.container.restart_count": int(parts["restarts"])}
    else:
        attributes["container.id"] = parts["id"]
    return _POD_ENDS.sub("", parts["pod"]) or parts["pod"], attributes


def _name_docker(path: str, container_id: str) -> tuple[str, dict[str, Attribute]]:
    attributes: dict[str, Attribute] = {"container.id": container_id}
    try:
        with Path(path).with_name("config.v2.json").open("rb") as file:
            config = msgspec.json.decode(file.read(_CONFIG_BYTES), type=_DockerConfig)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return container_id[:12], attributes
    name = config.name.strip("/")
    if name:
        attributes["container.name"] = name
    labels = config.config.labels or {}
    service = labels.get("com.docker.compose.service") or labels.get("com.docker.swarm.service.name")
    return service or name or container_id[:12], attributes
