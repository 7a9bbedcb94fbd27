"""What commands ask: the running server of the data folder over HTTP, or the same services in this process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cli.server import find_server, read_local_key
from domain import errors
from domain.errors import CausegraphError, PayloadError, ServerUnreachable
from domain.local import Progress

if TYPE_CHECKING:
    import httpx

    from agents.review_calls import ReviewCall
    from agents.services import Services
    from domain.settings import Settings

_ASK_SECONDS = 300.0
_FOLLOW_SECONDS = 10.0
_REMEDY = {
    "runbooks": ("GET", "/runbooks"),
    "runbook": ("GET", "/runbooks/{id}"),
    "fetch-runbooks": ("POST", "/runbooks/fetch"),
    "rot": ("GET", "/runbooks/check"),
    "workflows": ("GET", "/workflows"),
    "workflow": ("GET", "/workflows/{id}"),
    "propose": ("POST", "/workflows/runs"),
    "dry-run": ("POST", "/workflows/dry-run"),
    "runs": ("GET", "/workflows/runs"),
    "run": ("GET", "/workflows/runs/{id}"),
    "approvals": ("GET", "/approvals"),
    "refused": ("GET", "/approvals/refused"),
    "approval": ("GET", "/approvals/{id}"),
    "approve": ("POST", "/approvals/{id}/approve"),
    "reject": ("POST", "/approvals/{id}/reject"),
}
INGEST_KINDS = ("logs", "changes", "events", "topology")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as typed; times are microseconds since 1970."""

    text: str
    environment: str = ""
    at_us: int | None = None
    from_us: int | None = None
    to_us: int | None = None
    thread_id: str = ""


class Backend(Protocol):
    """What both give. Every method raises CausegraphError."""

    address: str

    def ask(self, asked: Asked) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield (`progress`, {agent, text}) as agents finish, and (`answer`, body) last."""

    async def ingest(self, kind: str, body: bytes, content_type: str, environment: str) -> dict[str, Any]:
        """Send records of a kind and return the receipt."""

    async def info(self) -> dict[str, Any]: ...

    async def incidents(
        self, environment: str, limit: int, status: str = "", origin: str = ""
    ) -> list[dict[str, Any]]: ...

    async def incident_life(self, incident_id: str) -> dict[str, Any]: ...

    async def act_on_incident(self, incident_id: str, action: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Do something to an incident and return its life: see agents/incident_replies.py."""

    async def postmortem(self, incident_id: str) -> str: ...

    async def follow_up(self, incident_id: str, title: str, text: str) -> dict[str, Any]: ...

    async def incident(self, incident_id: str) -> dict[str, Any]: ...

    async def symptoms(self, environment: str, status: str, limit: int) -> list[dict[str, Any]]: ...

    async def evidence(self, evidence_id: str, environment: str) -> dict[str, Any]: ...

    async def traces(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the traces that `GET /traces` replies to a query."""

    async def trace(self, trace_id: str) -> dict[str, Any]: ...

    async def logs(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `/query/logs`, `/search/logs` or `/stats` replies to a query."""

    async def search(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `/search` replies to a query."""

    async def topology(self, environment: str, at_us: int | None) -> dict[str, Any]: ...

    async def topology_paths(self, cause: str, symptom: str, environment: str, at_us: int | None) -> dict[str, Any]: ...

    async def topology_diff(self, earlier_us: int, later_us: int, environment: str) -> dict[str, Any]: ...

    async def topology_calls(
        self, caller: str, callee: str, environment: str, from_us: int | None, to_us: int | None
    ) -> dict[str, Any]: ...

    async def topology_picture(self, environment: str, at_us: int | None) -> str: ...

    async def remedy(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Ask about workflows and approvals: `what` is one of those that `agents.remedy_replies.ask_remedy` knows."""

    async def code(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the code index: `what` is search, symbol, trace, log, templates, diff or status, `values` as for `/code/...`."""

    async def review(self, name: ReviewCall, values: Mapping[str, Any]) -> dict[str, Any]:
        """Ask about policies and cases: `values` as for the HTTP paths of docs/api.md."""


@asynccontextmanager
async def open_backend(settings: Settings, progress: Progress, *, investigate: bool = False) -> AsyncIterator[Backend]:
    """Provide whichever backend there is: the running server, else this process (with the local stack started).

    `investigate` says that a question will be asked, so that the graph is kept up to date meanwhile.
    """
    server = find_server(settings.data_dir)
    if server is not None:
        import httpx

        key = settings.api_key or read_local_key(settings.data_dir)
        timeout = httpx.Timeout(30.0, read=_ASK_SECONDS)
        async with httpx.AsyncClient(base_url=server.address, headers={"X-API-Key": key}, timeout=timeout) as client:
            yield ServerBackend(client, server.address)
        return
    from cli.services import open_services

    async with open_services(settings, progress) as services:
        if not investigate:
            yield LocalBackend(services)
            return
        async with services.projecting():
            yield LocalBackend(services)


_REVIEW_PATHS: Mapping[ReviewCall, tuple[str, str]] = {
    "policies": ("GET", "/policies"),
    "policy": ("GET", "/policies/{name}"),
    "check": ("POST", "/policies/check"),
    "save": ("POST", "/policies"),
    "activate": ("POST", "/policies/{name}/activate"),
    "dry-run": ("POST", "/policies/dry-run"),
    "cases": ("GET", "/cases"),
    "case": ("GET", "/cases/{id}"),
    "ack": ("POST", "/cases/{id}/ack"),
    "resolve": ("POST", "/cases/{id}/resolve"),
    "reopen": ("POST", "/cases/{id}/reopen"),
    "comment": ("POST", "/cases/{id}/comment"),
    "reviews": ("GET", "/traces/{trace_id}/reviews"),
    "compare": ("GET", "/review/compare"),
    "prefer": ("POST", "/review/compare"),
    "flagged": ("GET", "/review/flagged"),
    "settle": ("POST", "/review/flagged/{trace_id}/settle"),
    "stats": ("GET", "/review/stats"),
    "failures": ("GET", "/review/failures"),
    "patterns": ("GET", "/review/patterns"),
    "calibration": ("GET", "/review/calibration"),
}


class LocalBackend:
    """The services of this process."""

    address = ""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask(self, asked: Asked) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        from agents.investigate import Answer
        from agents.investigate import Progress as AgentProgress
        from agents.replies import make_question

        question = make_question(
            asked.text,
            asked.environment,
            at_us=asked.at_us,
            from_us=asked.from_us,
            to_us=asked.to_us,
            thread_id=asked.thread_id,
        )
        async for part in self._services.investigator.stream(question):
            if isinstance(part, AgentProgress):
                yield "progress", {"agent": part.agent, "text": part.text}
            elif isinstance(part, Answer):
                yield "answer", part.body

    async def ingest(self, kind: str, body: bytes, content_type: str, environment: str) -> dict[str, Any]:
        from ingest.service import Delivery

        ingest = self._services.ingest
        accept = {
            "logs": ingest.accept_logs,
            "changes": ingest.accept_changes,
            "events": ingest.accept_events,
            "topology": ingest.accept_topology,
        }[kind]
        receipt = await accept(Delivery(body=body, content_type=content_type, environment=environment))
        return asdict(receipt)

    async def info(self) -> dict[str, Any]:
        from agents import replies

        return await replies.read_info(self._services)

    async def incidents(self, environment: str, limit: int, status: str = "", origin: str = "") -> list[dict[str, Any]]:
        from agents import replies

        return await replies.list_incidents(self._services, environment, limit, status=status, origin=origin)

    async def incident_life(self, incident_id: str) -> dict[str, Any]:
        from agents import incident_replies

        return await incident_replies.read_life(self._services, incident_id)

    async def act_on_incident(self, incident_id: str, action: str, values: Mapping[str, Any]) -> dict[str, Any]:
        from agents import incident_replies

        return await incident_replies.act_on_incident(self._services, incident_id, action, values, "local")

    async def postmortem(self, incident_id: str) -> str:
        from agents.postmortem import draft_postmortem

        return await draft_postmortem(self._services, incident_id)

    async def follow_up(self, incident_id: str, title: str, text: str) -> dict[str, Any]:
        from agents.follow_up import send_follow_up

        return await send_follow_up(self._services, incident_id, title, text, "local", time.time_ns() // 1000)

    async def incident(self, incident_id: str) -> dict[str, Any]:
        from agents import replies

        return await replies.read_incident(self._services, incident_id)

    async def symptoms(self, environment: str, status: str, limit: int) -> list[dict[str, Any]]:
        from agents import watch

        return await watch.list_symptoms(self._services, environment, status, limit)

    async def evidence(self, evidence_id: str, environment: str) -> dict[str, Any]:
        from agents import replies

        return await replies.reread_evidence(self._services, evidence_id, environment or None)

    async def traces(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        from agents import replies

        return await replies.find_traces(self._services, query)

    async def trace(self, trace_id: str) -> dict[str, Any]:
        from agents import replies

        return await replies.read_trace(self._services, trace_id)

    async def logs(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        from agents import log_replies, log_search, log_stats
        from agents.replies import read_time

        asked = log_replies.make_log_query(
            query["environment"],
            read_time("from", query["from"]),
            read_time("to", query["to"]),
            query["service"],
            query["level"],
            query["limit"],
        )
        if path == "/stats":
            return await log_stats.read_log_stats(self._services, asked, query["step"], query["template"])
        if path == "/search/logs":
            return await log_search.search_logs(self._services, asked, query["q"], query["before"])
        if "order" in query:
            body = await log_replies.read_families(self._services, asked, query["order"])
            if query.get("code"):
                from agents.code_templates import add_code

                await add_code(self._services, body["families"])
            return body
        if "after" in query:
            after = query["after"]
            return await log_replies.follow_lines(self._services, asked, None if after < 0 else after)
        return await log_replies.search_lines(self._services, asked)

    async def search(self, query: Mapping[str, Any]) -> dict[str, Any]:
        from agents.replies import read_time
        from agents.search_replies import search_everything

        with suppress(TimeoutError, CausegraphError):  # the reply says what is missing
            async with asyncio.timeout(_FOLLOW_SECONDS):
                await self._follow_topology()
        bounds = {f"{name}_us": read_time(name, query[name]) for name in ("at", "from", "to")}
        kinds, limit = query["kind"], query["limit"]
        return await search_everything(
            self._services, query["q"], query["environment"], kinds=kinds, limit=limit, **bounds
        )

    async def _follow_topology(self) -> None:
        """Bring the topology up to date: without a server nobody else does."""
        while await self._services.projection.advance() < await self._services.telemetry.head_seq():
            pass

    async def topology(self, environment: str, at_us: int | None) -> dict[str, Any]:
        from agents import topology_replies

        return await topology_replies.read_topology(self._services, environment, at_us)

    async def topology_paths(self, cause: str, symptom: str, environment: str, at_us: int | None) -> dict[str, Any]:
        from agents import topology_replies

        return await topology_replies.read_paths(self._services, cause, symptom, environment, at_us)

    async def topology_diff(self, earlier_us: int, later_us: int, environment: str) -> dict[str, Any]:
        from agents import topology_replies

        return await topology_replies.read_diff(self._services, earlier_us, later_us, environment)

    async def topology_calls(
        self, caller: str, callee: str, environment: str, from_us: int | None, to_us: int | None
    ) -> dict[str, Any]:
        from agents import topology_replies

        return await topology_replies.read_calls(self._services, caller, callee, environment, from_us, to_us)

    async def topology_picture(self, environment: str, at_us: int | None) -> str:
        from agents import topology_replies

        return await topology_replies.draw_topology(self._services, environment, at_us)

    async def remedy(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
        from agents.remedy_replies import ask_remedy
        from domain.remedy import Actor

        return await ask_remedy(self._services, what, values, Actor("local", "admin", "cli"))

    async def code(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
        from agents.code_replies import ask_code

        return await ask_code(self._services, what, values)

    async def review(self, name: ReviewCall, values: Mapping[str, Any]) -> dict[str, Any]:
        from agents.review_calls import call_review

        return await call_review(self._services, name, values)


class ServerBackend:
    """A running server."""

    def __init__(self, client: httpx.AsyncClient, address: str) -> None:
        self._client = client
        self.address = address

    async def ask(self, asked: Asked) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        import httpx

        given = {
            "question": asked.text,
            "environment": asked.environment,
            "at": asked.at_us,
            "from": asked.from_us,
            "to": asked.to_us,
            "thread_id": asked.thread_id,
        }
        # As text: an epoch number of the year 1970 in microseconds would be read as seconds.
        body = {
            name: _time_text(value) if isinstance(value, int) else value
            for name, value in given.items()
            if value not in (None, "") or name == "question"
        }
        try:
            async with self._client.stream("POST", "/chat", json=body | {"stream": True}) as response:
                if response.status_code != 200:
                    raise _error_of(await response.aread())
                async for name, data in _read_events(response):
                    if name == "error":
                        raise _error_of(json.dumps(data).encode())
                    yield name, data
        except httpx.TransportError as exc:
            raise _unreachable(self.address, exc) from exc

    async def ingest(self, kind: str, body: bytes, content_type: str, environment: str) -> dict[str, Any]:
        query = {"environment": environment} if environment else {}
        headers = {"Content-Type": content_type} if content_type else {}
        reply = await self._call("POST", f"/ingest/{kind}", query, content=body, headers=headers)
        return {"ids": [], **reply}

    async def info(self) -> dict[str, Any]:
        return await self._call("GET", "/info", {})

    async def incidents(self, environment: str, limit: int, status: str = "", origin: str = "") -> list[dict[str, Any]]:
        query = {"environment": environment, "limit": limit, "status": status, "origin": origin}
        return list((await self._call("GET", "/incidents", query))["incidents"])

    async def incident_life(self, incident_id: str) -> dict[str, Any]:
        return await self._call("GET", f"/incidents/{_segment(incident_id)}/life", {})

    async def act_on_incident(self, incident_id: str, action: str, values: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("POST", f"/incidents/{_segment(incident_id)}/{action}", {}, json=dict(values))

    async def postmortem(self, incident_id: str) -> str:
        response = await self._request("GET", f"/incidents/{_segment(incident_id)}/postmortem", {})
        if response.status_code != 200:
            raise _error_of(response.content)
        return response.text

    async def follow_up(self, incident_id: str, title: str, text: str) -> dict[str, Any]:
        path = f"/incidents/{_segment(incident_id)}/follow-up"
        return await self._call("POST", path, {}, json={"title": title, "text": text})

    async def incident(self, incident_id: str) -> dict[str, Any]:
        return await self._call("GET", f"/incidents/{_segment(incident_id)}", {})

    async def symptoms(self, environment: str, status: str, limit: int) -> list[dict[str, Any]]:
        query = {"environment": environment, "status": status, "limit": limit}
        return list((await self._call("GET", "/symptoms", query))["symptoms"])

    async def evidence(self, evidence_id: str, environment: str) -> dict[str, Any]:
        return await self._call("GET", f"/evidence/{_segment(evidence_id)}", {"environment": environment})

    async def traces(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        kept = {name: value for name, value in query.items() if value not in ("", None, False)}
        reply = await self._call("GET", "/traces", kept)
        return list(reply["traces"])

    async def trace(self, trace_id: str) -> dict[str, Any]:
        return await self._call("GET", f"/traces/{_segment(trace_id)}", {})

    async def logs(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("GET", path, {name: value for name, value in query.items() if value != ""})

    async def search(self, query: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("GET", "/search", {name: value for name, value in query.items() if value != ""})

    async def topology(self, environment: str, at_us: int | None) -> dict[str, Any]:
        return await self._call("GET", "/topology", {"environment": environment, **_at(at_us)})

    async def topology_paths(self, cause: str, symptom: str, environment: str, at_us: int | None) -> dict[str, Any]:
        query = {"cause": cause, "symptom": symptom, "environment": environment, **_at(at_us)}
        return await self._call("GET", "/topology/path", query)

    async def topology_diff(self, earlier_us: int, later_us: int, environment: str) -> dict[str, Any]:
        query = {"from": _time_text(earlier_us), "to": _time_text(later_us), "environment": environment}
        return await self._call("GET", "/topology/diff", query)

    async def topology_calls(
        self, caller: str, callee: str, environment: str, from_us: int | None, to_us: int | None
    ) -> dict[str, Any]:
        times = {name: _time_text(at) for name, at in (("from", from_us), ("to", to_us)) if at is not None}
        query = {"caller": caller, "callee": callee, "environment": environment, **times}
        return await self._call("GET", "/topology/calls", query)

    async def topology_picture(self, environment: str, at_us: int | None) -> str:
        response = await self._request("GET", "/topology.svg", {"environment": environment, **_at(at_us)})
        if response.status_code != 200:
            raise _error_of(response.content)
        return response.text

    async def remedy(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
        method, path = _REMEDY[what]
        rest = {name: value for name, value in values.items() if name != "id" and value not in (None, "")}
        path = path.format(id=_segment(str(values.get("id", ""))))
        if method == "POST":
            return await self._call("POST", path, {}, json=rest)
        return await self._call("GET", path, rest)

    async def code(self, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
        if what in ("trace", "log"):
            return await self._call("POST", f"/code/{what}", {}, json=dict(values))
        return await self._call("GET", f"/code/{what}", values)

    async def review(self, name: ReviewCall, values: Mapping[str, Any]) -> dict[str, Any]:
        method, path = _REVIEW_PATHS[name]
        rest = {key: value for key, value in values.items() if value not in (None, "")}
        for part in ("name", "id", "trace_id"):
            if f"{{{part}}}" in path:
                path = path.replace(f"{{{part}}}", _segment(str(rest.pop(part))))
        return await self._call(
            method, path, rest if method == "GET" else {}, **({"json": rest} if method == "POST" else {})
        )

    async def _call(self, method: str, path: str, query: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        response = await self._request(method, path, query, **rest)
        receipt = path.startswith("/ingest/") and response.status_code == 400 and b'"accepted"' in response.content
        if response.status_code != 200 and not receipt:
            raise _error_of(response.content)
        return dict(response.json())

    async def _request(self, method: str, path: str, query: Mapping[str, Any], **rest: Any) -> httpx.Response:
        import httpx

        try:
            return await self._client.request(method, path, params=query, **rest)
        except httpx.TransportError as exc:
            raise _unreachable(self.address, exc) from exc


async def _read_events(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def _error_of(body: bytes) -> CausegraphError:
    """Return the error that a server replied with."""
    try:
        read = json.loads(body)
        kind = getattr(errors, str(read["error"]), None)
        if isinstance(kind, type) and issubclass(kind, CausegraphError):
            return kind(str(read["message"]))
        message = str(read.get("message") or read["error"])
        return PayloadError(message) if "message" not in read else CausegraphError(message)
    except (ValueError, KeyError, TypeError, AttributeError):
        return CausegraphError("The server replied with something that is not understood: see its log.")


def _unreachable(address: str, exc: Exception) -> ServerUnreachable:
    return ServerUnreachable(
        f"The server at {address} broke off: {exc or type(exc).__name__}. Run `causegraph status`."
    )


def _segment(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _at(at_us: int | None) -> dict[str, str]:
    return {} if at_us is None else {"at": _time_text(at_us)}


def _time_text(microseconds: int) -> str:
    from domain.times import format_us

    return format_us(microseconds)
