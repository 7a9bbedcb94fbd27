"""Every page of a person's browser, on one router."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from api.pages.approvals import add_approvals
from api.pages.calibration import add_calibration
from api.pages.cases import add_cases
from api.pages.chat import add_chat
from api.pages.code import add_code
from api.pages.home import add_home
from api.pages.incidents import add_incidents
from api.pages.login import add_login
from api.pages.logs import add_logs
from api.pages.policies import add_policies
from api.pages.queue import add_queue
from api.pages.render import Pages
from api.pages.runs import add_runs
from api.pages.symptoms import add_symptoms
from api.pages.topology import add_topology


def pages_router(pages: Pages) -> APIRouter:
    """Build the router."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    for add in (
        add_login,
        add_home,
        add_chat,
        add_incidents,
        add_approvals,
        add_queue,
        add_cases,
        add_policies,
        add_calibration,
        add_symptoms,
        add_runs,
        add_topology,
        add_logs,
        add_code,
    ):
        add(router, pages)
    return router
