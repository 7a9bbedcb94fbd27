"""Lists and watches of a Kubernetes API, through the official client. The library is an extra: `pip install causegraph[kubernetes]`.

Its own `Watch` begins anew in silence where it was cut off, so that what happened meanwhile would be lost: here each list
and each watch is one request, and whoever asks decides what comes next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from domain.errors import CausegraphError, ClusterError, ClusterExpired, SettingsError

type Kind = Literal[
    "Pod", "Service", "ConfigMap", "Deployment", "StatefulSet", "DaemonSet", "Ingress", "EndpointSlice", "Event"
]

IN_CLUSTER: Final = "in-cluster"
_PAGE = 500
_CONNECT_SECONDS = 10.0
_LIST_SECONDS = 60.0
_GONE = 410

# The group of the API that serves a kind, and the word in the names of the client's methods.
_METHODS: Final[Mapping[Kind, tuple[str, str]]] = {
    "Pod": ("CoreV1Api", "pod"),
    "Service": ("CoreV1Api", "service"),
    "ConfigMap": ("CoreV1Api", "config_map"),
    "Event": ("CoreV1Api", "event"),
    "Deployment": ("AppsV1Api", "deployment"),
    "StatefulSet": ("AppsV1Api", "stateful_set"),
    "DaemonSet": ("AppsV1Api", "daemon_set"),
    "Ingress": ("NetworkingV1Api", "ingress"),
    "EndpointSlice": ("DiscoveryV1Api", "endpoint_slice"),
}
KINDS: Final[tuple[Kind, ...]] = tuple(_METHODS)


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of a kind, and the version of the cluster from which a watch goes on."""

    objects: tuple[dict[str, Any], ...]
    version: str


class ClusterClient:
    """One cluster. Every method blocks, and raises ClusterError or ClusterExpired; threads may share it."""

    def __init__(self, api: Any) -> None:
        self._api = api

    @property
    def address(self) -> str:
        """Where the API is."""
        return str(self._api.configuration.host)

    def list_objects(self, kind: Kind, namespace: str = "") -> Listed:
        """Return what there is of a kind, in one namespace or in all."""
        objects: list[dict[str, Any]] = []
        more = ""
        while True:
            options = {"limit": _PAGE, "_request_timeout": (_CONNECT_SECONDS, _LIST_SECONDS)}
            response = self._ask(kind, namespace, options | ({"_continue": more} if more else {}))
            body = _read_json(_body_of(response), kind)
            objects += [{"kind": kind, "apiVersion": "v1", **item} for item in body.get("items") or []]
            about = body.get("metadata") or {}
            more = str(about.get("continue") or "")
            if not more:
                return Listed(tuple(objects), str(about.get("resourceVersion") or ""))

    def watch(
        self,
        kind: Kind,
        namespace: str,
        version: str,
        seconds: int,
        began: Callable[[Any], None] = lambda response: None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (type, object) of what happens after a version, for at most so many seconds.

        Types are ADDED, MODIFIED, DELETED and BOOKMARK. `began` is given the response, so that another thread may cut it.
        """
        options = {
            "watch": True,
            "resource_version": version,
            "allow_watch_bookmarks": True,
            "timeout_seconds": seconds,
            "_request_timeout": (_CONNECT_SECONDS, seconds + _CONNECT_SECONDS),
        }
        response = self._ask(kind, namespace, options)
        began(response)
        try:
            for line in _lines(response):
                event = _read_json(line, kind)
                about = event.get("object") or {}
                if event.get("type") == "ERROR":
                    _raise_status(int(about.get("code") or 0), str(about.get("message") or "the watch broke off"))
                yield str(event.get("type") or ""), {"kind": kind, "apiVersion": "v1", **about}
        finally:
            response.close()

    def _ask(self, kind: Kind, namespace: str, options: Mapping[str, Any]) -> Any:
        from kubernetes import client

        group, word = _METHODS[kind]
        api = getattr(client, group)(self._api)
        try:
            if namespace:
                return getattr(api, f"list_namespaced_{word}")(namespace, _preload_content=False, **options)
            return getattr(api, f"list_{word}_for_all_namespaces")(_preload_content=False, **options)
        except client.ApiException as exc:
            _raise_status(int(exc.status or 0), f"{kind}: {exc.reason}")
        except Exception as exc:  # what urllib3 and the loaders of credentials raise has no common base
            raise ClusterError(f"The Kubernetes API at {self.address} cannot be reached: {exc}"[:500]) from exc


def open_cluster(where: str, context: str = "") -> ClusterClient:
    """Return a client of the cluster that runs this process (`in-cluster`) or that a kubeconfig file names.

    Raises SettingsError.
    """
    try:
        from kubernetes import client, config
    except ImportError as exc:
        raise SettingsError(
            "CAUSEGRAPH_KUBERNETES needs the extra `kubernetes`: pip install causegraph[kubernetes]."
        ) from exc
    configuration = client.Configuration()
    try:
        if where == IN_CLUSTER:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # ships no types
        else:
            config.load_kube_config(where, context or None, configuration, persist_config=False)  # type: ignore[no-untyped-call]  # ships no types
    except (config.ConfigException, OSError) as exc:
        raise SettingsError(f"CAUSEGRAPH_KUBERNETES: {where[:200]}: {exc}"[:500]) from exc
    configuration.retries = False
    # Each watch holds a connection for as long as it lasts.
    configuration.connection_pool_maxsize = 64
    return ClusterClient(client.ApiClient(configuration))


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    try:
        for part in response.stream(64 * 1024, decode_content=True):
            *lines, rest = (rest + part).split(b"\n")
            yield from filter(bytes.strip, lines)
    except CausegraphError:
        raise
    except Exception as exc:  # as above; a watch that was cut is taken up again
        raise ClusterError(f"A watch was cut off: {exc}"[:300]) from exc


def _body_of(response: Any) -> bytes:
    try:
        return bytes(response.data)
    except Exception as exc:  # as above
        raise ClusterError(f"A list was cut off: {exc}"[:300]) from exc


def _read_json(text: bytes, kind: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError as exc:
        raise ClusterError(f"The Kubernetes API sent no JSON for {kind}.") from exc
    if not isinstance(read, dict):
        raise ClusterError(f"The Kubernetes API sent no object for {kind}.")
    return read


def _raise_status(code: int, told: str) -> None:
    if code == _GONE:
        raise ClusterExpired
    raise ClusterError(f"The Kubernetes API refused a request ({code}): {told}"[:500])


def read_namespaces(text: str) -> Sequence[str]:
    """Return the namespaces of a setting, [""] for all of them."""
    return [name.strip() for name in text.split(",") if name.strip()] or [""]
