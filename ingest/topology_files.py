"""Files that state who calls whom: our own form as JSON or YAML, compose files, Kubernetes manifests. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import yaml

from domain.errors import PayloadError
from domain.telemetry import StatedEdge
from ingest.json_records import decode_topology
from ingest.manifests import is_manifest, read_manifests
from ingest.payload import Decoded

_MAX_VALUES = 500_000


def _count_values(value: Any, so_far: int = 0) -> int:
    """Return how many values there are, aliases written out, but no more than just too many."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        if so_far > _MAX_VALUES:
            break
        so_far = _count_values(each, so_far + 1)
    return so_far


def read_topology_file(text: str) -> dict[str, Any]:
    """Return a file as a body of `/ingest/topology`; raises PayloadError for what is neither form.

    A service of a compose file calls what it depends on (`depends_on`, in both its forms) or links to; for those of
    Kubernetes see `ingest.manifests`.
    """
    try:
        documents = list(yaml.safe_load_all(text))  # JSON is YAML
        if _count_values(documents) > _MAX_VALUES:
            raise PayloadError(f"The file holds more than {_MAX_VALUES:,} values. Nothing was stored.")
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise PayloadError(f"The file is neither JSON nor YAML{where}. Nothing was stored.") from exc
    if any(map(is_manifest, documents)):
        return _read_cluster(documents)
    if len(documents) > 1:
        raise PayloadError(
            "The file holds several YAML documents that are no Kubernetes manifests. Nothing was stored."
        )
    given = documents[0] if documents else None
    if isinstance(given, list):
        given = {"edges": given}
    if not isinstance(given, Mapping) or not ("edges" in given or "services" in given):
        raise PayloadError(
            "The file states no topology: it needs `edges` (docs/api.md), or is a compose file or Kubernetes manifests."
        )
    body = _plain(given) if "edges" in given else {"edges": list(_compose_edges(given["services"]))}
    if "edges" not in given:
        body["observed_by"] = "compose"
    if not isinstance(body["edges"], list) or not body["edges"]:
        raise PayloadError("The file states no edges: `edges` must be a list, or some service must depend on another.")
    return body


def decode_topology_file(body: bytes, content_type: str, environment: str) -> Decoded[StatedEdge]:
    """Make stated edges of a file's bytes in any of these forms, UTF-8; raises PayloadError."""
    try:
        stated = read_topology_file(body.decode())
    except UnicodeDecodeError as exc:
        raise PayloadError("The file is not a text in UTF-8. Nothing was stored.") from exc
    content = json.dumps(stated, ensure_ascii=False, default=str).encode("utf-8", "replace")
    return decode_topology(content, "application/json", environment)


def _read_cluster(documents: Sequence[Any]) -> dict[str, Any]:
    edges = read_manifests(documents)
    if not edges:
        raise PayloadError(
            "The manifests state no edges: no workload is told the address of a Service among them, or runs on a node."
        )
    return {"edges": edges, "observed_by": "kubernetes"}


def _compose_edges(services: Any) -> Iterator[dict[str, str]]:
    if not isinstance(services, Mapping):
        raise PayloadError("The compose file's `services` must be a mapping.")
    for name, service in services.items():
        given = service if isinstance(service, Mapping) else {}
        needed = [*_names(given.get("depends_on")), *(link.partition(":")[0] for link in _names(given.get("links")))]
        for target in dict.fromkeys(needed):
            yield {"source": str(name), "target": target}


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list | Mapping) else []


def _plain(value: Any) -> Any:
    """Return a value of YAML as one of JSON: times as RFC 3339."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value
