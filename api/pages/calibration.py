"""How runs do, as a page: whether stated confidence is true, which principles fail, and what stands out."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from agents import quality_replies
from api.auth import Session
from api.pages.facets import Chosen, Facet, Offer, make_address
from api.pages.reliability import draw_reliability
from api.pages.render import Pages
from domain.errors import AccessError
from domain.times import HOUR_US

_DAYS = {"7": "the last week", "30": "the last month", "90": "three months", "365": "a year"}
_GROUPS = ("service", "intent", "outcome", "action", "policy", "week")
_FLAGS = 60


def add_calibration(router: APIRouter, pages: Pages) -> None:
    """Add the page, and the form that settles the flags of a run."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/calibration")
    async def calibration_page(request: Request, session: Session = Depends(gate.page)) -> Response:
        asked = {name: request.query_params.get(name, "").strip()[:64] for name in ("environment", "days", "by")}
        days = asked["days"] if asked["days"] in _DAYS else "90"
        by = asked["by"] if asked["by"] in _GROUPS else "service"
        found = await quality_replies.read_calibration(services, asked["environment"], float(days))
        since_us = time.time_ns() // 1000 - int(days) * 24 * HOUR_US
        stats = await quality_replies.read_stats(services, by, asked["environment"], since_us)
        said = found["reliability"]
        return pages.render(
            "calibration.html",
            session,
            said=said,
            picture=draw_reliability(said["bins"]) if said else "",
            flags=found["flags"],
            stats=stats,
            flagged=(await quality_replies.read_flagged(services, False, _FLAGS))["flagged"],
            chosen=_choose({**asked, "days": days, "by": by}, await services.telemetry.environments()),
            may_settle=session.key.may("ask"),
        )

    @router.post("/ui/calibration/settle")
    async def settle(request: Request, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        if not session.key.may("ask"):
            raise AccessError(f"Your key has the role {session.key.role!r}, which may not settle flags.")
        await quality_replies.settle_flags(services, fields.get("trace", ""), session.key.name)
        return RedirectResponse("/ui/calibration#flagged", 303)


def _choose(state: dict[str, str], environments: list[str] | tuple[str, ...]) -> Chosen[str]:
    path = "/ui/calibration"
    offered = {
        "environment": ("Environment", {name: name for name in environments}),
        "days": ("Runs of", _DAYS),
        "by": ("In groups by", {name: name for name in _GROUPS}),
    }
    facets = []
    for name, (label, words) in offered.items():
        offers = [
            Offer(
                value, told, None, state[name] == value, make_address(path, {**state, name: _other(state, name, value)})
            )
            for value, told in words.items()
        ]
        facets.append(Facet(name, label, tuple(offers), always=True))
    return Chosen([], facets, "", path, make_address(path, state), False)


def _other(state: dict[str, str], name: str, value: str) -> str:
    return "" if state[name] == value else value
