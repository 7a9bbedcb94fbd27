"""The runs: a list with facets, one run as tree and waterfall, its stages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from agents import case_replies, replies
from agents.services import Services
from api.auth import Session
from api.pages.compare import tell_facts
from api.pages.facets import Chosen, Facet, Offer, make_address, make_facet
from api.pages.prompts import read_steps, steps_of
from api.pages.queue import VERDICTS
from api.pages.render import Pages
from api.pages.waterfall import draw_waterfall, find_stage
from api.pages.wording import ACTION_NAMES, OUTCOMES
from domain.times import HOUR_US
from review.comparison import compare_runs
from storage.trace_search import TraceFilter

_PAGE = 100
_OTHERS = 100
_FACETS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "outcome": ("Verdict", OUTCOMES),
    "action": ("Judge", ACTION_NAMES),
    "service": ("Service", {}),
    "intent": ("Intent", {}),
    "status": ("Status", {}),
    "source": ("Sent by", {"causegraph": "our agents", "ingest": "other programs"}),
    "model": ("Model", {}),
    "environment": ("Environment", {}),
}
_SINCE: Mapping[str, tuple[str, int]] = {
    "1h": ("the last hour", HOUR_US),
    "24h": ("the last day", 24 * HOUR_US),
    "7d": ("the last week", 7 * 24 * HOUR_US),
}
_FLAGS: Mapping[str, str] = {"1": "a stage never ended"}


def add_runs(router: APIRouter, pages: Pages) -> None:
    """Add the list of runs and the page of one run."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/traces")
    async def runs_page(
        request: Request, page: int = 1, live: str = "1", session: Session = Depends(gate.page)
    ) -> Response:
        names = ("q", "since", "open", *_FACETS)
        state = {name: value[:191] for name in names if (value := request.query_params.get(name, "").strip())}
        page = min(max(page, 1), 10_000)
        chosen = await _find_runs(services, state, page)
        more = len(chosen.lines) > _PAGE
        return pages.render(
            "runs.html",
            session,
            chosen=replace(chosen, lines=chosen.lines[:_PAGE]),
            totals=await services.traces.search.totals(_make_filter(state)),
            live=live == "1" and page == 1,
            page=page,
            older=make_address("/ui/traces", state | {"page": str(page + 1)}) if more else "",
        )

    @router.get("/ui/compare")
    async def compare_page(a: str, b: str = "", session: Session = Depends(gate.page)) -> Response:
        left = await services.traces.load(a)
        right = await services.traces.load(b) if b else None
        recent = [] if right else await replies.list_traces(services, "", _OTHERS)
        others = sorted((run for run in recent if run["id"] != a), key=lambda run: run["question"] != left.question)
        found = compare_runs(left, right) if right else None
        apart = found.first_prompt if found else None
        keeper = services.prompts
        return pages.render(
            "compare.html",
            session,
            left=left,
            right=right,
            comparison=found,
            facts=tell_facts(left, right, found) if right and found else [],
            prompt_at=await keeper.first_difference(apart.a, apart.b) if keeper and apart else None,
            others=others,
        )

    @router.get("/ui/traces/{trace_id}")
    async def run_page(
        request: Request, trace_id: str, stage: str = "", session: Session = Depends(gate.page)
    ) -> Response:
        view = await services.traces.load(trace_id)
        selected = find_stage(view, stage) if stage else None
        steps = await read_steps(view, services.prompts)
        own = steps_of(steps, selected.span_id) if selected else []
        if request.headers.get("hx-target") == "stage":
            return pages.render("stage.html", session, trace=view, stage=selected, steps=own)
        base = f"/ui/traces/{quote(trace_id, safe='')}"
        return pages.render(
            "run.html",
            session,
            trace=view,
            stage=selected,
            steps=own,
            prompts=steps,
            waterfall=draw_waterfall(view, base, stage),
            names=_stage_names(view.stages),
            reviews=await case_replies.read_reviews(services, view.id),
            verdicts=VERDICTS,
            may_judge=session.key.may("ask"),
        )


async def _find_runs(services: Services, state: Mapping[str, str], page: int) -> Chosen[dict[str, Any]]:
    """Return a page of runs, one more than fits where there are more, and the facets around them."""
    path, search = "/ui/traces", services.traces.search
    wanted = _make_filter(state)
    found = await replies.search_traces(services, wanted, _PAGE + 1, (page - 1) * _PAGE)
    counts = await search.facets(wanted)
    facets = []
    for name, (label, words) in _FACETS.items():
        # What else could be chosen in place of it does not fit what is chosen.
        own = await search.facets(_make_filter(state, name)) if name in state else counts
        facets.append(make_facet(name, label, own.get(name, {}), path, state, words))
    facets.append(_make_fixed("since", "Began in", {key: told for key, (told, _) in _SINCE.items()}, path, state))
    facets.append(_make_fixed("open", "Flagged", _FLAGS, path, state))
    bare = make_address(path, state)
    return Chosen(found["traces"], facets, state.get("q", ""), path, bare, bool(state))


def _make_fixed(name: str, label: str, words: Mapping[str, str], path: str, state: Mapping[str, str]) -> Facet:
    offers = []
    for value, told in words.items():
        chosen = state.get(name) == value
        after = {**state, name: "" if chosen else value}
        offers.append(Offer(value, told, None, chosen, make_address(path, after)))
    return Facet(name, label, tuple(offers), always=True)


def _make_filter(state: Mapping[str, str], but: str = "") -> TraceFilter:
    """Return the filter of what is chosen, but for one facet."""
    chosen = {name: "" if name == but else state.get(name, "") for name in (*_FACETS, "q", "since", "open")}
    since = _SINCE.get(chosen["since"])
    return TraceFilter(
        environment=chosen["environment"],
        source=chosen["source"],
        status=chosen["status"],
        outcome=chosen["outcome"],
        action=chosen["action"],
        service=chosen["service"],
        intent=chosen["intent"],
        model=chosen["model"],
        search=chosen["q"],
        open_spans=chosen["open"] == "1",
        from_us=time.time_ns() // 1000 - since[1] if since else 0,
    )


def _stage_names(stages: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    waiting = list(stages)
    while waiting:
        stage = waiting.pop()
        names[stage.span_id] = stage.name
        waiting.extend(stage.stages)
    return names
