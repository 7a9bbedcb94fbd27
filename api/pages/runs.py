"""The runs: a list with facets, one run as tree and waterfall, its stages."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from agents import replies
from api.auth import Session
from api.pages.compare import compare_runs
from api.pages.facets import Choice, choose
from api.pages.render import Pages
from api.pages.waterfall import draw_waterfall, find_stage
from api.pages.wording import ACTION_NAMES, OUTCOMES
from domain.times import LATEST_US

_LOOKED_AT = 500
_OTHERS = 100
_FACETS: tuple[Choice[dict[str, Any]], ...] = (
    Choice("outcome", "Verdict", lambda line: (line["outcome"],), OUTCOMES),
    Choice("action", "Judge", lambda line: (line["action"],), ACTION_NAMES),
    Choice("status", "Status", lambda line: (line["status"],)),
    Choice("environment", "Environment", lambda line: (line["environment"],)),
)


def add_runs(router: APIRouter, pages: Pages) -> None:
    """Add the list of runs and the page of one run."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/traces")
    async def runs_page(
        request: Request, before: str = "", live: str = "1", session: Session = Depends(gate.page)
    ) -> Response:
        before_us = replies.read_time("before", before)
        found = await replies.list_traces(services, "", _LOOKED_AT, LATEST_US if before_us is None else before_us)
        chosen = choose(found, _FACETS, request.url.path, request.query_params, lambda line: line["question"])
        older = found[-1]["started"] if len(found) == _LOOKED_AT else ""
        return pages.render(
            "runs.html", session, chosen=chosen, live=live == "1" and not before, looked_at=_LOOKED_AT, older=older
        )

    @router.get("/ui/compare")
    async def compare_page(a: str, b: str = "", session: Session = Depends(gate.page)) -> Response:
        left = await services.traces.load(a)
        right = await services.traces.load(b) if b else None
        recent = [] if right else await replies.list_traces(services, "", _OTHERS)
        others = sorted((run for run in recent if run["id"] != a), key=lambda run: run["question"] != left.question)
        return pages.render(
            "compare.html",
            session,
            left=left,
            right=right,
            comparison=compare_runs(left, right) if right else None,
            others=others,
        )

    @router.get("/ui/traces/{trace_id}")
    async def run_page(
        request: Request, trace_id: str, stage: str = "", session: Session = Depends(gate.page)
    ) -> Response:
        view = await services.traces.load(trace_id)
        selected = find_stage(view, stage) if stage else None
        if request.headers.get("hx-target") == "stage":
            return pages.render("stage.html", session, trace=view, stage=selected)
        base = f"/ui/traces/{quote(trace_id, safe='')}"
        return pages.render(
            "run.html",
            session,
            trace=view,
            stage=selected,
            waterfall=draw_waterfall(view, base, stage),
            names=_stage_names(view.stages),
        )


def _stage_names(stages: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        names[stage.span_id] = stage.name
        waiting.extend(stage.stages)
    return names
