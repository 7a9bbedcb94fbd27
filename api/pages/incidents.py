"""Incidents: the list, and the answer with each claim's evidence at hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from agents import incident_replies, remedy_replies, replies, topology_replies
from agents.plain import told_claims
from agents.postmortem import draft_postmortem
from agents.services import Services
from api.auth import Session
from api.pages.approvals import read_workflow
from api.pages.facets import Choice, choose
from api.pages.render import Pages
from api.pages.wording import OUTCOMES, tell_value
from domain.errors import AccessError, NotFound
from domain.evidence import Evidence

_LOOKED_AT = 300
_SHOWN_EVIDENCE = 120
_GROUPING = 100
_FACETS: tuple[Choice[dict[str, Any]], ...] = (
    Choice("status", "State", lambda line: (line["status"],)),
    Choice(
        "origin",
        "From",
        lambda line: (line["origin"],),
        {"alert": "alerts", "symptom": "symptoms", "question": "questions"},
    ),
    Choice("severity", "Severity", lambda line: (line["severity"],)),
    Choice("outcome", "Verdict", lambda line: (line["outcome"],), OUTCOMES),
    Choice("cause", "Cause", lambda line: line["causes"]),
    Choice("service", "Symptom", lambda line: (line["service"],)),
    Choice("environment", "Environment", lambda line: (line["environment"],)),
)


@dataclass(frozen=True, slots=True)
class Hop:
    """One box of a causal chain, and how the trouble came to it from the box before."""

    service: str
    role: str
    inferred: bool = False
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: as cited, as it reads now, and whether they differ."""

    name: str
    cited: str
    now: str
    differs: bool


def add_incidents(router: APIRouter, pages: Pages) -> None:
    """Add the list, the page of one incident, and the page of a piece of evidence."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/incidents")
    async def incidents_page(request: Request, session: Session = Depends(gate.page)) -> Response:
        found = await replies.list_incidents(services, limit=_LOOKED_AT)
        chosen = choose(
            found, _FACETS, request.url.path, request.query_params, lambda line: line["title"] + " " + line["question"]
        )
        return pages.render("incidents.html", session, chosen=chosen, looked_at=_LOOKED_AT)

    @router.get("/ui/incidents/{incident_id}")
    async def incident_page(incident_id: str, session: Session = Depends(gate.page)) -> Response:
        incident = await replies.read_incident(services, incident_id)
        body = incident["answer"]
        picture = await topology_replies.draw_answer(services, incident["environment"], body)
        return pages.render(
            "incident.html",
            session,
            incident=incident,
            life=await incident_replies.read_life(services, incident_id),
            grouping=await incident_replies.read_decisions(services, incident_id, _GROUPING),
            may_act=session.key.may("ask"),
            body=body,
            workflow=await read_workflow(services, body),
            workflows=list(services.remedy.workflows),
            runs=await remedy_replies.list_runs(services.remedy, incident_id=incident_id),
            chains=[make_chain(cause) for cause in body.get("verdict", {}).get("causes", [])],
            claims=told_claims(body),
            cited=await load_cited(services, incident["environment"], body),
            picture=Markup(picture),  # noqa: S704 - every name in it is escaped (graph/picture.py)
        )

    @router.get("/ui/incidents/{incident_id}/postmortem")
    async def postmortem_page(incident_id: str, session: Session = Depends(gate.page)) -> Response:
        draft = await draft_postmortem(services, incident_id)
        return pages.render("postmortem.html", session, incident_id=incident_id, draft=draft)

    @router.post("/ui/incidents/{incident_id}/act")
    async def act(request: Request, incident_id: str, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        if not session.key.may("ask"):
            raise AccessError(f"Your key has the role {session.key.role!r}, which may not change incidents.")
        life = await incident_replies.act_on_incident(
            services, incident_id, fields.get("action", ""), fields, session.key.name
        )
        return RedirectResponse(f"/ui/incidents/{quote(life['id'], safe='')}#timeline", 303)

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


def make_chain(cause: Mapping[str, Any]) -> list[Hop]:
    """Return the way from a cause to its symptom, box by box."""
    path = [str(service) for service in cause.get("path", [])] or [str(cause.get("service", ""))]
    inferred = {frozenset(str(hop).split("->")) for hop in cause.get("inferred_hops", [])}
    cited = {frozenset(str(hop).split("->")): tuple(ids) for hop, ids in cause.get("hop_evidence", {}).items()}
    chain = [Hop(path[0], "root cause" if len(path) > 1 else "root cause and symptom")]
    for at, (before, service) in enumerate(pairwise(path), start=2):
        hop = frozenset((before, service))
        ids = cited.get(hop, ())
        chain.append(Hop(service, "symptom" if at == len(path) else "", hop in inferred or not ids, ids))
    return chain


async def load_cited(services: Services, environment: str, body: Mapping[str, Any]) -> dict[str, Evidence]:
    """Return what the answer cites, as it was found; what is no longer known is left out."""
    ids = list(dict.fromkeys(_cited_ids(body)))[:_SHOWN_EVIDENCE]

    async def load(evidence_id: str) -> Evidence | None:
        try:
            return await services.evidence.load(environment, evidence_id)
        except NotFound:
            return None

    found = await asyncio.gather(*(load(evidence_id) for evidence_id in ids))
    return {evidence.id: evidence for evidence in found if evidence is not None}


def _cited_ids(body: Mapping[str, Any]) -> Iterable[str]:
    for claim in body.get("claims", []):
        yield from claim.get("evidence", [])
    for ruled in body.get("verdict", {}).get("ruled_out", []):
        yield from ruled.get("evidence", [])


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
    return "" if record is None or name not in record else tell_value(name, record[name])
