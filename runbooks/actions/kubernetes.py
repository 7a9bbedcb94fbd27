"""Kubernetes deployments: restart, scale, roll back, through the official client (the extra `kubernetes`)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from domain.errors import ActionError, ActionRefused
from domain.remedy import Value
from runbooks.arguments import Argument

type Change = Literal["restart", "scale", "rollback"]

# What Kubernetes takes as a name (RFC 1123): nothing of it can lead to another path of its API.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_REVISION = "deployment.kubernetes.io/revision"
_RESTARTED = "kubectl.kubernetes.io/restartedAt"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster, as the client's configuration knows it, and the namespaces that may be changed there."""

    namespaces: tuple[str, ...]
    kubeconfig: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class KubernetesAction:
    """A change of one deployment. Arguments: `deployment`, `namespace`, and `replicas` to scale, `revision` to roll back."""

    cluster: Cluster
    change: Change
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    seconds: float = 30.0

    def describe(self, values: Mapping[str, Value]) -> Mapping[str, Any]:
        """See `Action`."""
        namespace, name = self._target(values)
        rest = {key: value for key, value in values.items() if key in ("replicas", "revision")}
        return {"context": self.cluster.context, "change": self.change, "deployment": f"{namespace}/{name}", **rest}

    async def read_state(self, values: Mapping[str, Value]) -> str:
        """See `Action`: the deployment's revision, replicas and images."""
        namespace, name = self._target(values)
        found = await self._ask(lambda api: api.read_namespaced_deployment(name, namespace))
        return _describe(found)

    async def dry_run(self, values: Mapping[str, Value]) -> str:
        """See `Action`: the server says what the deployment would become (dryRun=All)."""
        return await self._change(values, dry_run=True)

    async def run(self, values: Mapping[str, Value], key: str) -> str:
        """See `Action`. The key is kept as an annotation of the pods, so that a restart is the same one if it is repeated."""
        return await self._change(values, dry_run=False, key=key)

    async def _change(self, values: Mapping[str, Value], *, dry_run: bool, key: str = "") -> str:
        namespace, name = self._target(values)
        body = await self._body(namespace, name, values, key)
        form = "json-patch" if isinstance(body, list) else "strategic-merge-patch"
        options: dict[str, Any] = {"field_manager": "causegraph", "_content_type": f"application/{form}+json"}
        options |= {"dry_run": "All"} if dry_run else {}
        changed = await self._ask(lambda api: api.patch_namespaced_deployment(name, namespace, body, **options))
        return _describe(changed)

    async def _body(
        self, namespace: str, name: str, values: Mapping[str, Value], key: str
    ) -> dict[str, Any] | list[dict[str, Any]]:
        match self.change:
            case "scale":
                return {"spec": {"replicas": int(values["replicas"])}}
            case "restart":
                moment = datetime.now(UTC).isoformat(timespec="seconds")
                annotations = {_RESTARTED: moment, **({"causegraph.io/step": key} if key else {})}
                return {"spec": {"template": {"metadata": {"annotations": annotations}}}}
            case "rollback":
                template = await self._template(namespace, name, str(values["revision"]))
                # Replaced as a whole: merged, what the newer revision added would stay.
                return [{"op": "replace", "path": "/spec/template", "value": template}]

    async def _template(self, namespace: str, name: str, revision: str) -> dict[str, Any]:
        """Return the pod template of a revision that the cluster still keeps."""
        deployment = await self._ask(lambda api: api.read_namespaced_deployment(name, namespace))
        sets = await self._ask(lambda api: api.list_namespaced_replica_set(namespace))
        for held in sets["items"]:
            owners = [owner["uid"] for owner in held["metadata"].get("ownerReferences", [])]
            annotations = held["metadata"].get("annotations", {})
            if deployment["metadata"]["uid"] in owners and annotations.get(_REVISION) == revision:
                template: dict[str, Any] = held["spec"]["template"]
                template.get("metadata", {}).get("labels", {}).pop("pod-template-hash", None)
                return template
        raise ActionRefused(f"{namespace}/{name} has no revision {revision} any more.")

    def _target(self, values: Mapping[str, Value]) -> tuple[str, str]:
        namespace, name = str(values.get("namespace", "")), str(values.get("deployment", ""))
        for what in (namespace, name):
            if not _NAME.fullmatch(what):
                raise ActionRefused(f"{what!r} is not a name that Kubernetes takes.")
        if namespace not in self.cluster.namespaces:
            raise ActionRefused(f"The namespace {namespace} is not one that may be changed.")
        return namespace, name

    async def _ask(self, call: Callable[[Any], Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.seconds):
                return await asyncio.to_thread(self._call, call)
        except TimeoutError as exc:
            raise ActionError(f"The cluster did not answer within {self.seconds:g} s.") from exc

    def _call(self, call: Callable[[Any], Any]) -> dict[str, Any]:
        try:
            from kubernetes import client, config
        except ImportError as exc:
            raise ActionRefused("This needs the extra `kubernetes`: `pip install 'causegraph[kubernetes]'`.") from exc
        try:
            api_client = config.new_client_from_config(  # type: ignore[no-untyped-call]  # the client has no types there
                config_file=self.cluster.kubeconfig or None, context=self.cluster.context or None
            )
        except (config.ConfigException, OSError) as exc:
            raise ActionRefused(f"There is no configuration of the cluster: {exc}") from exc
        try:
            with api_client:
                held = api_client.sanitize_for_serialization(call(client.AppsV1Api(api_client)))
        except client.ApiException as exc:
            raise ActionRefused(f"The cluster refused: {exc.status} {exc.reason}") from exc
        except Exception as exc:  # urllib3's errors are not part of the client's interface
            raise ActionError(f"The cluster cannot be asked: {type(exc).__name__}: {exc}") from exc
        return dict(held)


def _describe(deployment: Mapping[str, Any]) -> str:
    spec, metadata = deployment["spec"], deployment["metadata"]
    containers = spec["template"]["spec"]["containers"]
    told = {
        "revision": metadata.get("annotations", {}).get(_REVISION, ""),
        "replicas": spec.get("replicas"),
        "images": {container["name"]: container.get("image", "") for container in containers},
    }
    return json.dumps(told, sort_keys=True)
