"""One run of a workflow as a LangGraph graph: it pauses for its approval and goes on, also in another process.

prepare -> approve (pause) -> check -> step, step ... -> verify -> end
                ^-- prepare <-'           `-> undo ----------^

What was begun is in the tables, not in the graph's memory: a node that is run again after a crash finds it there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from agents.remedy_plan import make_plan, what_changed
from domain.errors import ActionError, ActionRefused, ApprovalError, CausegraphError, PayloadError, StorageError
from domain.remedy import Actor, Given, Part, RunStatus, StepStatus, digest_of
from domain.times import SECOND_US
from runbooks.operator import Operator
from runbooks.verification import look, read_condition
from runbooks.workflow import Workflows
from storage.approvals import Approval, ApprovalStore
from storage.workflows import StepRecord, WorkflowRun, WorkflowStore
from tracing.trace import current_trace

logger = logging.getLogger(__name__)

_MOST_PLANS = 3  # a target that changes again and again is not approved for ever
_POLICY = Actor("policy", "policy", "workflow")
_AGAIN = 100  # the number from which steps that reproduce the trouble are counted when they are run once more

type Next = Literal["approve", "prepare", "check", "step", "verify", "undo", "end"]
type Tell = Callable[[WorkflowRun, RunStatus, str], Awaitable[None]]


class RunState(TypedDict, total=False):
    """Where a run is. Plain values only: everything else is read from the tables."""

    run_id: str
    approval_id: str
    plans: int
    number: int
    changed_us: int
    next: Next
    outcome: RunStatus
    reason: str


@dataclass(frozen=True, slots=True)
class RunDeps:
    """What a run works with. `tell` is told how a run ended, and when it needs another approval (`proposed`)."""

    runs: WorkflowStore
    approvals: ApprovalStore
    workflows: Workflows
    operator: Operator
    tell: Tell
    look_seconds: float = 1.0


type Node = Callable[[RunState, RunDeps], Awaitable[RunState]]


def build_run_graph(
    saver: BaseCheckpointSaver[str] | None,
) -> CompiledStateGraph[RunState, RunDeps, RunState, RunState]:
    """Return the compiled graph of one run; its thread is the run's id."""
    graph: StateGraph[RunState, RunDeps, RunState, RunState] = StateGraph(RunState, context_schema=RunDeps)
    nodes: dict[str, Node] = {
        "prepare": _prepare,
        "approve": _approve,
        "check": _check,
        "step": _step,
        "verify": _verify,
        "undo": _undo,
        "end": _end,
    }
    for name, node in nodes.items():
        graph.add_node(name, _staged(name, node))
    graph.add_edge(START, "prepare")
    for name in nodes:
        if name != "end":
            graph.add_conditional_edges(name, lambda state: state["next"], list(nodes))
    graph.add_edge("end", END)
    return graph.compile(checkpointer=saver)


def _staged(name: str, work: Node) -> Callable[..., Awaitable[Any]]:
    async def node(state: RunState, runtime: Runtime[RunDeps]) -> RunState:
        with current_trace().stage(f"workflow {name}"):
            try:
                return await work(state, runtime.context)
            except ApprovalError as exc:
                await runtime.context.approvals.note(state["approval_id"], name, False, str(exc))
                return _stop("stuck", str(exc))

    return node


# -- before anything is changed ----------------------------------------------------------------------------------------


async def _prepare(state: RunState, deps: RunDeps) -> RunState:
    """Try everything dry, write down what would be done, and ask for its approval."""
    run = await deps.runs.get(state["run_id"])
    plans = state.get("plans", 0) + 1
    if plans > _MOST_PLANS:
        return _stop("refused", "what it is to change kept changing while it waited")
    given = {name: Given(**held) for name, held in run.request["arguments"].items()}
    try:
        plan = await make_plan(deps.workflows.get(run.workflow_id), deps.operator, given, run.request)
    except (ActionError, PayloadError, CausegraphError) as exc:
        if isinstance(exc, StorageError):
            raise
        actor = Actor(run.proposed_by, "proposer", "workflow")
        told = f"{run.workflow_id} in {run.environment} ({run.id}): {exc}"
        await deps.approvals.note("", "propose", False, told, actor)
        return _stop("refused", f"the dry run failed: {exc}")
    await deps.runs.set_plan(run.id, plan)
    policy = deps.operator.policy
    approval = await deps.approvals.open(
        run.id,
        run.environment,
        plan,
        proposed_by=run.proposed_by,
        needed=policy.approvals,
        seconds=policy.expires_minutes * 60,
    )
    if plans > 1:
        await deps.tell(run, "proposed", state.get("reason", ""))
    tainted = sorted(name for name, held in given.items() if held.tainted)
    current_trace().decide(
        f"propose workflow {run.workflow_id}",
        "; ".join(run.request.get("why", ())) or "it was asked for",
        1.0,
        inputs={"run": run.id, "approval": approval.id, "digest": approval.digest, "tainted": tainted},
    )
    alone = policy.why_not_alone(run.workflow_id, run.environment, reversible=plan["reversible"], arguments=given)
    if not alone:
        await deps.approvals.decide(
            approval.id, "approve", _POLICY, digest=approval.digest, why_not=lambda _: "", reason="by policy"
        )
    return {"approval_id": approval.id, "plans": plans, "next": "approve", "reason": ""}


async def _approve(state: RunState, deps: RunDeps) -> RunState:
    """Wait until somebody has decided. Whoever wakes the run decides nothing: the stored approval does."""
    approval = await deps.approvals.get(state["approval_id"])
    while True:
        interrupt({"approval_id": approval.id, "digest": approval.digest})
        approval = await deps.approvals.get(state["approval_id"])
        match approval.status_at(_now_us()):
            case "pending":
                continue
            case "approved" | "used":
                return {"next": "check"}
            case "rejected":
                return _stop("rejected", "somebody rejected it")
            case "expired":
                return _stop("expired", "nobody approved it in time")
            case "void":
                return _stop("refused", "its approval became void")


async def _check(state: RunState, deps: RunDeps) -> RunState:
    """Begin only if everything is still as it was approved; something else needs a new approval."""
    run = await deps.runs.get(state["run_id"])
    approval = await deps.approvals.get(state["approval_id"])
    if run.status != "running":
        if why := deps.operator.policy.why_not_now(_now_us()):
            await deps.approvals.note(approval.id, "check", False, why)
            return _stop("refused", why)
        changed = await what_changed(approval.document, deps.workflows.get(run.workflow_id), deps.operator)
        if changed:
            await deps.approvals.note(approval.id, "check", False, changed)
            current_trace().decide("ask for a new approval", changed, 1.0, inputs={"run": run.id})
            return {"next": "prepare", "reason": changed}
    policy = deps.operator.policy
    problem = await deps.runs.begin(
        run.id, approval.id, approval.digest, most_running=policy.running, most_per_hour=policy.per_hour
    )
    if problem:
        await deps.approvals.note(approval.id, "begin", False, problem)
        return _stop("refused", problem)
    return {"number": 0, "changed_us": _now_us(), "next": "step"}


# -- changing things ---------------------------------------------------------------------------------------------------


async def _step(state: RunState, deps: RunDeps) -> RunState:
    """Do one step, unless it was begun before: then take up what is known of it."""
    plan = (await _approved(state, deps)).document
    number = state["number"]
    step = plan["steps"][number]
    done, told = await _do(deps, state["run_id"], number, "do", step["name"], step)
    current_trace().decide(f"step {step['name']}: {'done' if done else 'failed'}", told[:500], 1.0)
    if not done:
        await deps.approvals.note(state["approval_id"], "step", False, f"{step['name']}: {told}")
    if step["kind"] == "reproduce" and done:
        return _stop("refused", f"the trouble is gone already: {step['name']} succeeded")
    needed = step["kind"] in ("check", "remediate")
    if needed and done is None:
        # It is not known what it did: what can be taken back is taken back, else the telemetry decides.
        return {"next": "undo", "reason": f"{step['name']} was interrupted", "changed_us": _now_us()}
    if needed and not done:
        return {"next": "undo", "reason": f"{step['name']}: {told}"}
    last = number + 1 >= len(plan["steps"])
    changed = {"changed_us": _now_us()} if step["kind"] == "remediate" else {}
    return {"number": number + 1, "next": "verify" if last else "step", **changed}  # type: ignore[typeddict-item]


async def _verify(state: RunState, deps: RunDeps) -> RunState:
    """Watch the symptom until every condition holds, or time is up."""
    plan = (await _approved(state, deps)).document
    run = await deps.runs.get(state["run_id"])
    conditions = [read_condition(held) for held in plan["verify"]]
    since_us = state["changed_us"]
    until_us = since_us + max(condition.within_seconds for condition in conditions) * SECOND_US
    while True:
        now_us = _now_us()
        seen = [await look(deps.runs, run.environment, condition, since_us, now_us) for condition in conditions]
        told = "; ".join(one.text for one in seen)
        if all(one.holds for one in seen):
            break
        if now_us >= until_us:
            current_trace().decide("not verified", told, 1.0, inputs={"run": run.id})
            return {"next": "undo", "reason": f"it did not help: {told}"}
        await asyncio.sleep(deps.look_seconds)
    for number, step in enumerate(plan["steps"]):
        if step["kind"] == "reproduce":
            gone, why = await _do(deps, run.id, _AGAIN + number, "do", f"{step['name']}, once more", step)
            if not gone:
                return {"next": "undo", "reason": f"the trouble can still be reproduced: {why}"}
    current_trace().decide("verified", told, 1.0, inputs={"run": run.id})
    return _stop("verified", told)


async def _undo(state: RunState, deps: RunDeps) -> RunState:
    """Take back what was done, the last step first. What cannot be taken back is left, and a person is told."""
    plan = (await _approved(state, deps)).document
    records = {record.number: record for record in await deps.runs.steps(state["run_id"]) if record.part == "do"}
    reason, taken = state.get("reason", ""), 0
    for number in reversed(range(len(plan["steps"]))):
        step, record = plan["steps"][number], records.get(number)
        if record is None or step["kind"] != "remediate" or record.status == "refused":
            continue
        if step["undo"] is None:
            if record.status != "done":
                return _stop("stuck", f"{reason}; it is not known what {step['name']} did, and it has no undo")
            continue
        done, told = await _do(deps, state["run_id"], number, "undo", f"undo: {step['name']}", step["undo"])
        if not done:
            return _stop("stuck", f"{reason}; taking back {step['name']} failed: {told}")
        taken += 1
    left = [plan["steps"][n]["name"] for n, r in records.items() if n < _AGAIN and _left(plan["steps"][n], r)]
    if not taken:
        return _stop("failed", f"{reason}; {f'left as it is: {", ".join(left)}' if left else 'nothing was changed'}")
    current_trace().decide("taken back", reason, 1.0, inputs={"steps": taken, "left": left})
    return _stop("undone", f"{reason}; taken back" + (f", but for {', '.join(left)}" if left else ""))


async def _end(state: RunState, deps: RunDeps) -> RunState:
    """Record how it ended, and let the incident know."""
    run = await deps.runs.get(state["run_id"])
    outcome, reason = state["outcome"], state.get("reason", "")
    await deps.tell(run, outcome, reason)
    await deps.runs.end(run.id, outcome, reason)
    current_trace().decide(f"the run ends: {outcome}", reason, 1.0, inputs={"run": run.id})
    return {}


# -- one action --------------------------------------------------------------------------------------------------------


async def _do(
    deps: RunDeps, run_id: str, number: int, part: Part, name: str, use: Mapping[str, Any]
) -> tuple[bool | None, str]:
    """Do an action that was never begun before. Return whether it succeeded (None: nobody knows), and what it said."""
    if not await deps.runs.start_step(run_id, number, part, name):
        return _known(await deps.runs.steps(run_id), number, part)
    try:
        action = deps.operator.action(use["action"])
        if dict(action.describe(use["values"])) != use["does"]:
            raise ActionRefused("what it would do is not what was approved")
        told = await action.run(use["values"], digest_of({"run": run_id, "step": number, "part": part})[:32])
    except Exception as exc:  # an action of the operator's own may raise anything, and the step must be written down
        if isinstance(exc, StorageError):
            raise
        logger.warning("A step of a workflow failed", extra={"run": run_id, "step": name, "reason": str(exc)})
        told = str(exc) if isinstance(exc, CausegraphError) else f"{type(exc).__name__}: {exc}"
        status: StepStatus = "refused" if isinstance(exc, ActionRefused) else "failed"
        await deps.runs.end_step(run_id, number, part, status, told)
        return False, told
    await deps.runs.end_step(run_id, number, part, "done", told)
    return True, told


def _known(records: Sequence[StepRecord], number: int, part: Part) -> tuple[bool | None, str]:
    record = next(record for record in records if (record.number, record.part) == (number, part))
    if record.status == "started":
        return None, "it was begun before, and its end is not known"
    return record.status == "done", record.result


def _left(step: Mapping[str, Any], record: StepRecord) -> bool:
    return step["kind"] == "remediate" and step["undo"] is None and record.status == "done"


async def _approved(state: RunState, deps: RunDeps) -> Approval:
    """Return the approval under which this run works; raises ApprovalError if it is not the one that was used."""
    approval = await deps.approvals.get(state["approval_id"])
    if approval.status != "used" or digest_of(approval.document) != approval.digest:
        raise ApprovalError(f"{approval.id} is not an approval that this run may work under.")
    return approval


def _stop(outcome: RunStatus, reason: str) -> RunState:
    return {"next": "end", "outcome": outcome, "reason": reason}


def _now_us() -> int:
    return time.time_ns() // 1000
