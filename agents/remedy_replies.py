"""Runs and approvals as JSON, the same for the API, the command line, Slack and the pages."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents import runbook_replies
from domain.errors import CausegraphError
from domain.remedy import Actor
from domain.telemetry import DEFAULT_ENVIRONMENT
from domain.times import format_us
from runbooks.verification import read_condition
from runbooks.workflow import describe_workflow
from storage.approvals import Approval, ApprovalEvent, Decision
from storage.workflows import StepRecord, WorkflowRun

if TYPE_CHECKING:
    from agents.remedy import Remedy
    from agents.services import Services


def run_body(run: WorkflowRun, approvals: Sequence[Approval], steps: Sequence[StepRecord]) -> dict[str, Any]:
    """Return a run as JSON. `approval_id` and `digest` are what a decision names; `steps` say what would be done."""
    now_us = time.time_ns() // 1000
    newest = approvals[0] if approvals else None
    plan = run.plan
    return {
        "run_id": run.id,
        "id": run.workflow_id,
        "title": plan.get("title", ""),
        "revision": run.revision,
        "reversible": plan.get("reversible", False),
        "environment": run.environment,
        "incident_id": run.incident_id,
        "trace_id": run.trace_id,
        "proposed_by": run.proposed_by,
        "status": run.status,
        "reason": run.reason,
        "created": format_us(run.created_us),
        "started": _time(run.started_us),
        "ended": _time(run.ended_us),
        "why": list(run.request.get("why", ())),
        "runbook": plan.get("runbook"),
        "evidence": plan.get("evidence", []),
        "arguments": plan.get("arguments", run.request.get("arguments", {})),
        "tainted": sorted(name for name, given in plan.get("arguments", {}).items() if given["tainted"]),
        "steps": [_planned_step(step) for step in plan.get("steps", ())],
        "dry_run": "\n".join(f"{step['name']}: {step['dry_run']}" for step in plan.get("steps", ())),
        "verify": [read_condition(held).tell() for held in plan.get("verify", ())],
        "approval_id": newest.id if newest else None,
        "approval_status": newest.status_at(now_us) if newest else None,
        "digest": newest.digest if newest else None,
        "expires": format_us(newest.expires_us) if newest else None,
        "done": [_step_line(step) for step in steps],
    }


def _planned_step(step: Mapping[str, Any]) -> dict[str, Any]:
    undo = step["undo"]
    return {
        "name": step["name"],
        "kind": step["kind"],
        "action": step["action"],
        "values": step["values"],
        "does": step["does"],
        "dry_run": step["dry_run"],
        "state": step["state"],
        "undo": None if undo is None else {"action": undo["action"], "does": undo["does"]},
    }


def _step_line(step: StepRecord) -> dict[str, Any]:
    return {
        "number": step.number,
        "part": step.part,
        "name": step.name,
        "status": step.status,
        "started": format_us(step.started_us),
        "ended": _time(step.ended_us),
        "result": step.result,
    }


def approval_body(approval: Approval, events: Sequence[ApprovalEvent] | None = None) -> dict[str, Any]:
    """Return an approval as JSON; with `events`, also its document (exactly what is approved) and all that was tried."""
    body: dict[str, Any] = {
        "id": approval.id,
        "run_id": approval.run_id,
        "environment": approval.environment,
        "workflow": approval.document.get("workflow", ""),
        "title": approval.document.get("title", ""),
        "incident_id": approval.document.get("incident_id", ""),
        "digest": approval.digest,
        "status": approval.status_at(time.time_ns() // 1000),
        "proposed_by": approval.proposed_by,
        "needed": approval.needed,
        "created": format_us(approval.created_us),
        "expires": format_us(approval.expires_us),
        "decided": _time(approval.decided_us),
    }
    if events is not None:
        body["document"] = dict(approval.document)
        body["events"] = [event_line(event) for event in events]
    return body


def event_line(event: ApprovalEvent) -> dict[str, Any]:
    """Return one attempt to do something with an approval as JSON."""
    return {
        "time": format_us(event.time_us),
        "actor": event.actor,
        "role": event.role,
        "via": event.via,
        "what": event.what,
        "accepted": event.accepted,
        "digest": event.digest,
        "detail": event.detail,
    }


async def list_runs(
    remedy: Remedy, environment: str = "", incident_id: str = "", workflow_id: str = "", limit: int = 50
) -> list[dict[str, Any]]:
    """Return the newest runs with what became of them, without what they would do in detail."""
    kept = ("run_id", "id", "title", "environment", "incident_id", "trace_id", "proposed_by", "status", "reason")
    times = ("created", "started", "ended", "approval_id", "approval_status")
    bodies = [
        run_body(run, await remedy.approvals.of_run(run.id), ())
        for run in await remedy.runs.list(environment, incident_id, workflow_id, limit)
    ]
    return [{name: body[name] for name in (*kept, *times)} for body in bodies]


async def read_approval(remedy: Remedy, approval_id: str) -> dict[str, Any]:
    """Return an approval with everything; raises NotFound."""
    approval = await remedy.approvals.get(approval_id)
    return approval_body(approval, await remedy.approvals.events(approval_id))


async def list_approvals(
    remedy: Remedy, environment: str = "", status: str = "", limit: int = 50
) -> list[dict[str, Any]]:
    """Return the newest approvals; `status` is the one that they have now."""
    bodies = [approval_body(approval) for approval in await remedy.approvals.list(environment, "", limit)]
    return [body for body in bodies if status in ("", body["status"])]


async def list_refused(remedy: Remedy, limit: int = 50) -> list[dict[str, Any]]:
    """Return the newest attempts that were refused: proposals, decisions, uses of approvals and steps, by whom and why."""
    return [{"approval_id": name, **event_line(event)} for name, event in await remedy.approvals.refused(limit)]


def list_workflows(remedy: Remedy) -> dict[str, Any]:
    """Return the workflows, what could not be read of them, and the names of the actions that are allowed."""
    return {
        "workflows": [describe_workflow(workflow) for workflow in remedy.workflows],
        "problems": list(remedy.workflows.problems),
        "actions": sorted(remedy.operator.actions),
    }


def _time(moment_us: int | None) -> str | None:
    return None if moment_us is None else format_us(moment_us)


# -- what people ask for -----------------------------------------------------------------------------------------------


async def propose_run(services: Services, asked: Mapping[str, Any], actor: Actor, *, dry: bool) -> dict[str, Any]:
    """Propose the run that somebody asks for, or with `dry` only say what it would do.

    `asked` holds `workflow`, and may hold `environment`, `incident_id` (whose answer gives what is not said) and
    `arguments`. Raises NotFound, PayloadError, ActionError.
    """
    incident_id = str(asked.get("incident_id") or "")
    incident = dict((await services.incidents.get(incident_id)).answer) if incident_id else None
    environment = str(asked.get("environment") or (incident or {}).get("environment") or DEFAULT_ENVIRONMENT)
    said = dict(asked.get("arguments") or {})
    try:
        proposal = services.remedy.make_proposal(str(asked["workflow"]), environment, said, actor, incident=incident)
    except CausegraphError as exc:
        await services.remedy.note_refusal(str(asked["workflow"])[:64], environment, actor, str(exc))
        raise
    if dry:
        plan = await services.remedy.try_dry(proposal)
        return {
            **{name: plan[name] for name in ("workflow", "title", "revision", "environment", "arguments")},
            "steps": [_planned_step(step) for step in plan["steps"]],
            "verify": [read_condition(held).tell() for held in plan["verify"]],
        }
    return await services.remedy.read_run((await services.remedy.propose(proposal)).id)


async def decide(
    services: Services, approval_id: str, decision: Decision, actor: Actor, digest: str, reason: str = ""
) -> dict[str, Any]:
    """Approve or reject exactly what `digest` names; return the run. Raises NotFound, ApprovalError."""
    approval = await services.remedy.decide(approval_id, decision, actor, digest=digest, reason=reason)
    return await services.remedy.read_run(approval.run_id)


async def ask_remedy(services: Services, what: str, asked: Mapping[str, Any], actor: Actor) -> dict[str, Any]:
    """Answer what a command asks in this process, as the API answers it over HTTP."""
    remedy = services.remedy
    match what:
        case "runbooks":
            return runbook_replies.list_runbooks(services)
        case "runbook":
            return runbook_replies.read_runbook(services, str(asked["id"]))
        case "fetch-runbooks":
            return await runbook_replies.fetch_runbooks(services)
        case "rot":
            return await runbook_replies.check_rot(services, str(asked.get("environment") or ""))
        case "workflows":
            return list_workflows(remedy)
        case "workflow":
            return describe_workflow(remedy.workflows.get(str(asked["id"])))
        case "propose" | "dry-run":
            return await propose_run(services, asked, actor, dry=what == "dry-run")
        case "runs":
            where, incident, workflow = (str(asked.get(n) or "") for n in ("environment", "incident_id", "workflow"))
            return {"runs": await list_runs(remedy, where, incident, workflow, int(asked["limit"]))}
        case "run":
            return await remedy.read_run(str(asked["id"]))
        case "approvals":
            where, status = (str(asked.get(name) or "") for name in ("environment", "status"))
            return {"approvals": await list_approvals(remedy, where, status, int(asked["limit"]))}
        case "refused":
            return {"refused": await list_refused(remedy, int(asked["limit"]))}
        case "approval":
            return await read_approval(remedy, str(asked["id"]))
        case _:
            decision: Decision = "approve" if what == "approve" else "reject"
            reason = str(asked.get("reason") or "")
            return await decide(services, str(asked["id"]), decision, actor, str(asked["digest"]), reason)
