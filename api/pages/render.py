"""Renders templates: which words the screens use, what a person may see in the menu, and what stays text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agents.plain import read_step, show_plain
from agents.services import Services
from api.auth import Gate, LoginNeeded, Session
from api.chat import Desk
from api.pages import wording

_FOLDER = Path(__file__).parent.parent
_PAGES = ("/ui/", "/login", "/logout", "/ask")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the menu: its address, its name, the key that leads there after `g`, and its icon."""

    path: str
    name: str
    key: str
    icon: str


MENU: Sequence[Place] = (
    Place("/", "Ask", "a", "M4 5h16v11H9l-5 4z"),
    Place("/ui/chat", "Chat", "c", "M3 5h12v8H8l-5 4zM9 16h7l5 3V9h-3"),
    Place("/ui/incidents", "Incidents", "i", "M12 4 21 20H3zM12 10v5M12 17.5v.5"),
    Place("/ui/approvals", "Approvals", "p", "M5 12l4 4L19 6M4 20h16"),
    Place("/ui/symptoms", "Symptoms", "s", "M3 12h4l3-8 4 16 3-8h4"),
    Place("/ui/traces", "Runs", "r", "M4 6h9M7 12h9M10 18h10"),
    Place("/ui/queue", "Queue", "q", "M4 6h16M4 12h10M4 18h6M16 17l2 2 4-5"),
    Place("/ui/cases", "Cases", "k", "M4 8h16v11H4zM9 8V5h6v3"),
    Place("/ui/policies", "Policies", "y", "M12 3l8 3v6c0 5-4 8-8 9-4-1-8-4-8-9V6z"),
    Place("/ui/calibration", "Calibration", "b", "M4 20V4M4 20h16M7 16l4-5 3 2 5-8"),
    Place(
        "/ui/topology",
        "Topology",
        "t",
        "M5 18a2.5 2.5 0 1 0 0-.1M12 6a2.5 2.5 0 1 0 0-.1M19 18a2.5 2.5 0 1 0 0-.1M6 16l5-8M13 8l5 8",
    ),
    Place("/ui/logs", "Logs", "l", "M5 5h14M5 10h14M5 15h9M5 20h6"),
    Place("/ui/code", "Code", "o", "M8 7l-5 5 5 5M16 7l5 5-5 5M13 5l-2 14"),
)


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
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_finalize,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {**wording.FILTERS, "step": read_step}
        self._templates.globals |= {**wording.WORDS, "menu": MENU}

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
            if "hx-request" in request.headers:  # a part of a page that is open: the whole of it has to log in
                return Response(status_code=401, headers={"HX-Refresh": "true"})
            query = f"?{request.url.query}" if request.url.query else ""
            wanted = f"{request.url.path}{query}" if request.method == "GET" else "/"
            return RedirectResponse(f"/login?next={quote(wanted)}", 303)


def usual_environment(environments: Sequence[str], incidents: Sequence[Mapping[str, Any]]) -> str:
    """Return what to offer first: the environment asked about last, or the only one."""
    if incidents:
        return str(incidents[0]["environment"])
    return environments[0] if len(environments) == 1 else ""


def _finalize(value: object) -> object:
    return show_plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
