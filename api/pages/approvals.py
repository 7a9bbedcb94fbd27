"""Approvals: what waits for a person, exactly what would be done, and the decision on those bytes."""

from __future__ import annotations

import shlex
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from agents import remedy_replies
from agents.services import Services
from api.auth import Session
from api.pages.facets import Choice, choose
from api.pages.render import Pages
from domain.errors import AccessError, NotFound, QuestionError
from domain.evidence import canonical_bytes
from domain.remedy import Actor, digest_of

_LOOKED_AT = 200
_FACETS: tuple[Choice[dict[str, Any]], ...] = (
    Choice("status", "Status", lambda line: (line["status"],)),
    Choice("workflow", "Workflow", lambda line: (line["workflow"],)),
    Choice("environment", "Environment", lambda line: (line["environment"],)),
)


def add_approvals(router: APIRouter, pages: Pages) -> None:
    """Add the list of approvals, the page of one, the decision, and the list of workflows."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/approvals")
    async def approvals_page(request: Request, session: Session = Depends(gate.page)) -> Response:
        found = await remedy_replies.list_approvals(services.remedy, limit=_LOOKED_AT)
        chosen = choose(found, _FACETS, request.url.path, request.query_params)
        return pages.render("approvals.html", session, chosen=chosen, looked_at=_LOOKED_AT)

    @router.get("/ui/approvals/{approval_id}")
    async def approval_page(approval_id: str, session: Session = Depends(gate.page)) -> Response:
        approval = await remedy_replies.read_approval(services.remedy, approval_id)
        return pages.render(
            "approval.html",
            session,
            approval=approval,
            exact=canonical_bytes(approval["document"]).decode(),
            # What is shown is what is decided on: the digest of these bytes, not one that came with them.
            digest=digest_of(approval["document"]),
            run=await services.remedy.read_run(approval["run_id"]),
        )

    @router.post("/ui/approvals/{approval_id}")
    async def decide(request: Request, approval_id: str, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        decision = _read_decision(fields.get("decision", ""))
        actor = Actor(session.key.id, session.key.role, "web")
        reason = fields.get("reason", "")[:2000]
        await remedy_replies.decide(services, approval_id, decision, actor, fields.get("digest", ""), reason)
        return RedirectResponse(f"/ui/approvals/{quote(approval_id, safe='')}", 303)

    @router.post("/ui/incidents/{incident_id}/workflow")
    async def start_workflow(request: Request, incident_id: str, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        if not session.key.may("ask"):
            raise AccessError(f"Your key has the role {session.key.role!r}, which may not propose workflows.")
        said = fields.get("arguments", "")
        asked = {"workflow": fields.get("workflow", ""), "incident_id": incident_id, "arguments": read_arguments(said)}
        actor, dry = Actor(session.key.id, session.key.role, "web"), fields.get("what") == "dry-run"
        run = await remedy_replies.propose_run(services, asked, actor, dry=dry)
        if dry:
            return pages.render("dry_run.html", session, incident_id=incident_id, run=run, said=said)
        where = f"/ui/approvals/{quote(run['approval_id'], safe='')}" if run["approval_id"] else "/ui/workflows"
        return RedirectResponse(where, 303)

    @router.get("/ui/workflows")
    async def workflows_page(session: Session = Depends(gate.page)) -> Response:
        return pages.render(
            "workflows.html",
            session,
            known=remedy_replies.list_workflows(services.remedy),
            runs=await remedy_replies.list_runs(services.remedy, limit=_LOOKED_AT),
        )


async def read_workflow(services: Services, body: Any) -> dict[str, Any] | None:
    """Return the workflow of an answer as it stands now; as it stood when the answer was given, if its run is gone."""
    proposed: dict[str, Any] | None = body.get("workflow")
    if not proposed or not proposed.get("run_id"):
        return proposed
    try:
        return await services.remedy.read_run(str(proposed["run_id"]))
    except NotFound:
        return proposed


def read_arguments(text: str) -> dict[str, str]:
    """Read `name=value name=value`; a value with blanks has quotes around it. Raises QuestionError."""
    try:
        pairs = [word.partition("=") for word in shlex.split(text[:2000])]
    except ValueError as exc:
        raise QuestionError(f"The arguments cannot be read: {exc}.") from exc
    if bad := [name for name, equals, _ in pairs if not equals or not name]:
        raise QuestionError(f"Write arguments as name=value, not {bad[0][:40]!r}.")
    return {name: value for name, _, value in pairs}


def _read_decision(text: str) -> Literal["approve", "reject"]:
    match text:
        case "approve" | "reject":
            return text
        case _:
            raise QuestionError("`decision` is approve or reject.")
