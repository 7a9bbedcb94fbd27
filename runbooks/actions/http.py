"""HTTP requests to named connections, also in the forms of n8n, Rundeck, GitHub Actions and Argo Workflows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from domain.errors import ActionError
from domain.remedy import Value
from runbooks.arguments import Argument, as_text, fill
from runbooks.safe_http import Reply, Sent, send

type Form = Literal["json", "n8n", "rundeck", "github", "argo"]

_SHOWN = 2_000


@dataclass(frozen=True, slots=True)
class HttpConnection:
    """A server: the address that paths are put behind, headers (with secrets), whether it may be a private host."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    inner: bool = False


@dataclass(frozen=True, slots=True)
class HttpAction:
    """One request. Places in the path and in the query are percent-encoded; the body holds values as they are.

    `target` is what a form starts: the webhook of n8n, the job of Rundeck, the workflow file of GitHub, the template of
    Argo. `state` and `trial` are paths that are read (GET) for the state and the dry run.
    """

    connection: HttpConnection
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    form: Form = "json"
    method: str = "POST"
    path: str = ""
    target: str = ""
    reference: str = "main"
    namespace: str = "default"
    state: str = ""
    trial: str = ""
    seconds: float = 30.0

    def describe(self, values: Mapping[str, Value]) -> Mapping[str, Any]:
        """See `Action`; the headers of the connection are secrets, and are left out."""
        method, path, body = self._request(values)
        return {"method": method, "url": self.connection.url + path, "body": body}

    async def read_state(self, values: Mapping[str, Value]) -> str:
        """See `Action`: the body behind the path of the state."""
        return _text(await self._get(self.state, values)) if self.state else ""

    async def dry_run(self, values: Mapping[str, Value]) -> str:
        """See `Action`: the body behind the path of the dry run; without one, the request in words."""
        if self.trial:
            return _text(await self._get(self.trial, values))
        method, path, body = self._request(values)
        return f"would send: {method} {self.connection.url}{path} {json.dumps(body, ensure_ascii=False)}"

    async def run(self, values: Mapping[str, Value], key: str) -> str:
        """See `Action`. The key is sent as `Idempotency-Key`."""
        method, path, body = self._request(values)
        content = b"" if method in ("GET", "DELETE") else json.dumps(body).encode()
        headers = {**self.connection.headers, "content-type": "application/json", "idempotency-key": key}
        reply = await send(
            Sent(method, self.connection.url + path, headers, content, self.connection.inner, self.seconds)
        )
        return f"{reply.status} {_text(_accepted(reply, path))}".strip()

    async def _get(self, path: str, values: Mapping[str, Value]) -> Reply:
        url = self.connection.url + _fill_path(path, values)
        sent = Sent("GET", url, self.connection.headers, b"", self.connection.inner, self.seconds)
        return _accepted(await send(sent), path)

    def _request(self, values: Mapping[str, Value]) -> tuple[str, str, Any]:
        texts = {name: as_text(value) for name, value in values.items()}
        match self.form:
            case "json":
                return self.method, _fill_path(self.path, values), dict(values)
            case "n8n":
                return "POST", f"/webhook/{quote(self.target)}", dict(values)
            case "rundeck":
                return "POST", f"/job/{quote(self.target, safe='')}/run", {"options": texts}
            case "github":
                path = f"/actions/workflows/{quote(self.target, safe='')}/dispatches"
                return "POST", path, {"ref": self.reference, "inputs": texts}
            case "argo":
                body = {
                    "resourceKind": "WorkflowTemplate",
                    "resourceName": self.target,
                    "submitOptions": {"parameters": [f"{name}={text}" for name, text in texts.items()]},
                }
                return "POST", f"/api/v1/workflows/{quote(self.namespace, safe='')}/submit", body


def _fill_path(path: str, values: Mapping[str, Value]) -> str:
    return fill(path, {name: quote(as_text(value), safe="") for name, value in values.items()})


def _accepted(reply: Reply, path: str) -> Reply:
    if not 200 <= reply.status < 300:
        raise ActionError(f"{path or 'the server'} replied {reply.status}: {_text(reply)}")
    return reply


def _text(reply: Reply) -> str:
    return reply.body.decode("utf-8", "replace").strip()[:_SHOWN]
