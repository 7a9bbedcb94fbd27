"""Every page of a person's browser, on one router."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from api.pages.home import add_home
from api.pages.incidents import add_incidents
from api.pages.login import add_login
from api.pages.render import Pages
from api.pages.runs import add_runs
from api.pages.symptoms import add_symptoms
from api.pages.topology import add_topology


def pages_router(pages: Pages) -> APIRouter:
    """Build the router."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    for add in (add_login, add_home, add_incidents, add_runs, add_symptoms, add_topology):
        add(router, pages)
    return router
