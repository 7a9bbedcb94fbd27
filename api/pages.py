"""The web pages: rendered here, without a script. Everything that comes from telemetry is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agents import replies, topology_replies
from agents.plain import read_step, show_plain, told_claims
from agents.services import Services
from api.auth import COOKIE, Gate, LoginNeeded, Session
from api.chat import Desk
from domain.errors import AccessError, QuestionError
from domain.times import format_us, from_us, parse_time_us
from graph.picture import PICTURE_STYLE
from tracing.fold import StageView, TraceView
from tracing.scorecard import walk_stages

_RECENT = 20
_PAGES = ("/ui/", "/login", "/logout", "/ask")

OUTCOMES: Mapping[str, str] = {
    "CONFIRMED": "Cause confirmed",
    "LIKELY": "Likely cause",
    "INCONCLUSIVE": "Not enough evidence",
    "HEALTHY": "Healthy",
}
ACTIONS: Mapping[str, str] = {
    "ALLOW_ANSWER": "The answer may be used as it stands.",
    "ALLOW_WITH_WARNING": "The answer may be used, with what is missing in mind.",
    "NEED_CLARIFICATION": "The question has to be made clearer first.",
    "ESCALATE": "A person should look at this.",
    "BLOCK": "The answer must not be used.",
}
STATES: Mapping[str, str] = {
    "unchanged": "The record reads exactly as it was cited.",
    "changed": "The record has changed since it was cited.",
    "gone": "The record is no longer stored.",
}


def is_page(request: Request) -> bool:
    """Say whether a request is one of a person's browser."""
    return request.url.path == "/" or request.url.path.startswith(_PAGES)


class Pages:
    """Renders the pages of one application."""

    def __init__(self, services: Services, gate: Gate, desk: Desk) -> None:
        self.services = services
        self.gate = gate
        self.desk = desk
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_finalize,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "when": _when,
            "clock": _clock,
            "seconds": _seconds,
            "step": read_step,
            "us": _from_us,
            "tojson_plain": _indented,
        }
        self._templates.globals |= {"outcomes": OUTCOMES, "actions": ACTIONS, "states": STATES}

    def render(self, template: str, session: Session | None, code: int = 200, **values: object) -> HTMLResponse:
        """Return a page."""
        page = self._templates.get_template(template).render(session=session, **values)
        return HTMLResponse(page, code, {"Cache-Control": "no-store"})

    def render_error(self, request: Request, status: int, body: Mapping[str, str]) -> Response:
        """Return an error as a page."""
        return self.render("error.html", None, status, status=status, **body)

    def install_login_redirect(self, app: FastAPI) -> None:
        """Send whoever has no session to the login page, and back afterwards."""

        @app.exception_handler(LoginNeeded)
        async def login_needed(request: Request, exc: LoginNeeded) -> Response:
            wanted = request.url.path if request.method == "GET" else "/"
            return RedirectResponse(f"/login?next={quote(wanted)}", 303)


def pages_router(pages: Pages) -> APIRouter:
    """Build the router."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    _add_login(router, pages)
    _add_views(router, pages)
    return router


def _add_login(router: APIRouter, pages: Pages) -> None:
    gate = pages.gate

    @router.get("/login")
    async def login_page(request: Request, token: str = "", next: str = "/") -> Response:  # noqa: A002
        if not token:
            return pages.render("login.html", None, next=_own_path(next), wrong="", signed_in=False)
        key = await gate.redeem_link_token(token)
        if key is None or key.revoked_us is not None:
            wrong = "This link was used already or is too old: log in with a key, or have a new link made."
            return pages.render("login.html", None, 401, next="/", wrong=wrong, signed_in=False)
        # A page of our own that moves on by itself: a strict cookie would not follow a redirect from elsewhere.
        response = pages.render("login.html", None, next=_own_path(next), wrong="", signed_in=True)
        gate.open_session(request, response, key.id)
        return response

    @router.post("/login")
    async def login(request: Request) -> Response:
        fields = await gate.form(request, None)
        wanted = _own_path(fields.get("next", "/"))
        key = await gate.login(fields.get("key", ""))
        if key is None:
            wrong = "This is no key that may read: keys look like cg_..., and `causegraph keys list` shows their roles."
            return pages.render("login.html", None, 401, next=wanted, wrong=wrong, signed_in=False)
        response = RedirectResponse(wanted, 303)
        gate.open_session(request, response, key.id)
        return response

    @router.post("/session-links")
    async def make_link(request: Request) -> JSONResponse:
        """Return an address that logs a browser in once, for the holder of a key."""
        key = await gate.check_key(request, "read")
        return JSONResponse({"url": f"{request.base_url}login?token={gate.make_link_token(key)}"})

    @router.post("/logout")
    async def logout(request: Request, session: Session = Depends(gate.page)) -> Response:
        await gate.form(request, session)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response


def _add_views(router: APIRouter, pages: Pages) -> None:
    services, gate = pages.services, pages.gate

    async def home(
        session: Session, status: int = 200, wrong: str = "", asked: Mapping[str, str] | None = None
    ) -> Response:
        environments = await services.telemetry.environments()
        incidents = await replies.list_incidents(services, limit=_RECENT)
        return pages.render(
            "home.html",
            session,
            status,
            environments=environments,
            incidents=incidents,
            usual=_usual_environment(environments, incidents),
            wrong=wrong,
            asked=asked or {},
            may_ask=session.key.may("ask"),
        )

    @router.get("/")
    async def home_page(session: Session = Depends(gate.page)) -> Response:
        return await home(session)

    @router.post("/ask")
    async def ask(request: Request, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        if not session.key.may("ask"):
            raise AccessError(f"Your key has the role {session.key.role!r}, which may not ask.")
        try:
            question = replies.make_question(
                fields.get("question", ""),
                fields.get("environment", "").strip(),
                at_us=replies.read_time("at", fields.get("at", "").strip()),
                from_us=replies.read_time("from", fields.get("from", "").strip()),
                to_us=replies.read_time("to", fields.get("to", "").strip()),
            )
            answer = await pages.desk.ask(question)
        except QuestionError as exc:
            return await home(session, 422, str(exc), fields)
        return RedirectResponse(f"/ui/incidents/{quote(str(answer['incident_id']))}", 303)

    @router.get("/ui/incidents/{incident_id}")
    async def incident_page(incident_id: str, session: Session = Depends(gate.page)) -> Response:
        incident = await replies.read_incident(services, incident_id)
        body = incident["answer"]
        chains = [_chain(cause) for cause in body.get("verdict", {}).get("causes", [])]
        picture = await topology_replies.draw_answer(services, incident["environment"], body)
        return pages.render(
            "incident.html",
            session,
            incident=incident,
            body=body,
            chains=chains,
            claims=told_claims(body),
            picture=Markup(picture),  # noqa: S704 - every name in it is escaped (graph/picture.py)
        )

    @router.get("/ui/topology")
    async def topology_page(environment: str = "", at: str = "", session: Session = Depends(gate.page)) -> Response:
        environments = await services.telemetry.environments()
        asked = environment or _usual_environment(environments, await replies.list_incidents(services, limit=1))
        wrong, found, picture = "", None, ""
        try:
            at_us = replies.read_time("at", at.strip())
            found = await topology_replies.read_topology(services, asked.strip(), at_us)
            picture = await topology_replies.draw_topology(services, asked.strip(), at_us, styled=False)
        except QuestionError as exc:
            wrong = str(exc)
        return pages.render(
            "topology.html",
            session,
            422 if wrong else 200,
            environments=environments,
            environment=asked,
            at=at,
            wrong=wrong,
            topology=found,
            picture=Markup(picture),  # noqa: S704 - as above
        )

    @router.get("/static/topology.css")
    async def picture_style() -> Response:
        return Response(PICTURE_STYLE, media_type="text/css")

    @router.get("/ui/evidence/{evidence_id}")
    async def evidence_page(evidence_id: str, session: Session = Depends(gate.page)) -> Response:
        evidence = await replies.reread_evidence(services, evidence_id)
        return pages.render(
            "evidence.html",
            session,
            evidence=evidence,
            rows=_compare(evidence["cited_record"], evidence["record"]),
            key=json.dumps(evidence["key"], ensure_ascii=False),
        )

    @router.get("/ui/traces/{trace_id}")
    async def trace_page(trace_id: str, session: Session = Depends(gate.page)) -> Response:
        view = await services.traces.load(trace_id)
        names = {stage.span_id: stage.name for _, stage in walk_stages(view)}
        return pages.render("trace.html", session, trace=view, bars=_bars(view), names=names)


# -- what the templates show -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hop:
    """One box of a causal chain, and how the trouble came to it from the box before."""

    service: str
    role: str
    inferred: bool = False
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """One stage of a trace as a bar; `left` and `width` in percent of the whole run."""

    stage: StageView
    depth: int
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: as cited, as it reads now, and whether they differ."""

    name: str
    cited: str
    now: str
    differs: bool


def _usual_environment(environments: Sequence[str], incidents: Sequence[Mapping[str, Any]]) -> str:
    """Return what to offer first: the environment asked about last, or the only one."""
    if incidents:
        return str(incidents[0]["environment"])
    return environments[0] if len(environments) == 1 else ""


def _chain(cause: Mapping[str, Any]) -> list[Hop]:
    path = [str(service) for service in cause.get("path", [])] or [str(cause.get("service", ""))]
    inferred = {frozenset(str(hop).split("->")) for hop in cause.get("inferred_hops", [])}
    cited = {frozenset(str(hop).split("->")): tuple(ids) for hop, ids in cause.get("hop_evidence", {}).items()}
    chain = [Hop(path[0], "root cause" if len(path) > 1 else "root cause and symptom")]
    for at, (before, service) in enumerate(pairwise(path), start=2):
        hop = frozenset((before, service))
        chain.append(Hop(service, "symptom" if at == len(path) else "", hop in inferred, cited.get(hop, ())))
    return chain


def _bars(view: TraceView) -> list[Bar]:
    stages = list(walk_stages(view))
    ends = [stage.start_us + (stage.seconds or 0.0) * 1e6 for _, stage in stages]
    whole = max([1.0, *(end - view.started_us for end in ends)])
    bars = []
    for depth, stage in stages:
        left = min(99.0, max(0.0, 100 * (stage.start_us - view.started_us) / whole))
        width = max(0.6, min(100 - left, 100 * (stage.seconds or 0.0) * 1e6 / whole))
        bars.append(Bar(stage, depth, round(left, 2), round(width, 2)))
    return bars


def _compare(cited: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[Field]:
    names = list(dict.fromkeys([*(cited or {}), *(now or {})]))
    return [
        Field(
            name, _value(name, cited), _value(name, now), bool(cited and now) and _get(cited, name) != _get(now, name)
        )
        for name in names
    ]


def _get(record: Mapping[str, Any] | None, name: str) -> Any:
    return (record or {}).get(name)


def _value(name: str, record: Mapping[str, Any] | None) -> str:
    if record is None or name not in record:
        return ""
    value = record[name]
    if name.endswith("_us") and isinstance(value, int) and value > 10**14 and name != "duration_us":
        return f"{format_us(value)}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str, indent=1)


def _own_path(path: str) -> str:
    """Return a path of this site; anything that could lead elsewhere becomes the home page."""
    own = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if own else "/"


def _finalize(value: object) -> object:
    return show_plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _when(text: str | None) -> str:
    """Return a time for people: to the second, in UTC."""
    return f"{from_us(parse_time_us(text)):%Y-%m-%d %H:%M:%S} UTC" if text else ""


def _clock(microseconds: int) -> str:
    return f"{from_us(microseconds):%H:%M:%S.%f}"[:-3]


def _from_us(microseconds: int) -> str:
    return f"{from_us(microseconds):%Y-%m-%d %H:%M:%S}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "open"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _indented(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str, indent=2)
