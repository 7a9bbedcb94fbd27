"""A valve that workflows turn, with everything around it: the operator's file, two workflows, the stores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.remedy import Remedy
from domain.remedy import Actor, RunStatus
from domain.settings import Settings
from domain.times import Window
from runbooks.operator import load_operator
from runbooks.workflow import Workflow, Workflows, load_workflows
from storage.database import Database
from storage.traces import TraceStore
from storage.workflows import WorkflowRun, WorkflowStore

ADMIN = Actor("key-admin", "admin", "api")
OTHER = Actor("key-other", "admin", "api")
READER = Actor("key-reader", "read", "api")

OPERATOR = """
actions:
  turn: {{kind: python, class: "tests.agents.valve:Valve", settings: {{file: "{folder}/valve"}}}}
  jam: {{kind: python, class: "tests.agents.valve:Valve", settings: {{file: "{folder}/valve", jams: true}}}}
policy: {policy}
"""
OPEN = """
id: open-valve
title: Open the valve
when: {fault_classes: [capacity]}
reversible: true
arguments:
  to: {type: integer, min: 0, max: 10, default: 5}
  service: {type: name, from: cause.service}
steps:
  - {name: Open, action: turn, with: {to: "{to}"}, undo: {action: turn, with: {to: 1}}}
  - {name: Open more, action: turn, with: {to: 9}, undo: {action: turn, with: {to: "{to}"}}}
verify:
  - {requests: "{service}", failed_below: 0.1, at_least: 5, over_seconds: 1, within_seconds: 1}
"""
JAM = """
id: jam-valve
title: Open the valve, then jam it
arguments: {service: {type: name}}
steps:
  - {name: Open, action: turn, with: {to: 5}, undo: {action: turn, with: {to: 1}}}
  - {name: Jam, action: jam, with: {to: 9}}
verify:
  - {requests: "{service}", over_seconds: 1, within_seconds: 1}
"""


def _at_once(workflow: Workflow) -> Workflow:
    """The same workflow, which does not wait for telemetry."""
    return replace(workflow, verify=tuple(replace(one, over_seconds=0, within_seconds=0) for one in workflow.verify))


class Scripted(WorkflowStore):
    """A store whose telemetry says what it is told to."""

    failed = 0
    requests = 20

    async def count_requests(self, environment: str, service: str, window: Window) -> tuple[int, int]:
        return self.requests, self.failed


class Bench:
    """One valve and its remedy."""

    def __init__(
        self, database: Database, folder: Path, environment: str, policy: str = "{}", abandoned_seconds: float = 60.0
    ) -> None:
        self.folder, self.environment = folder, environment
        self.told: list[tuple[str, RunStatus]] = []
        (folder / "workflows").mkdir(exist_ok=True)
        (folder / "workflows" / "open.yaml").write_text(OPEN)
        (folder / "workflows" / "jam.yaml").write_text(JAM)
        (folder / "operator.yaml").write_text(OPERATOR.format(folder=folder, policy=policy))
        if not (folder / "valve").exists():
            (folder / "valve").write_text("1 -\n")
        workflows = load_workflows([folder / "workflows"])
        assert not workflows.problems, workflows.problems
        self.traces = TraceStore(database, folder / "traces")
        self.remedy = Remedy(
            settings=Settings(data_dir=folder),
            database=database,
            traces=self.traces,
            workflows=Workflows({workflow.id: _at_once(workflow) for workflow in workflows}),
            operator=load_operator(folder / "operator.yaml"),
            tell=self._tell,
            look_seconds=0.1,
            abandoned_seconds=abandoned_seconds,
        )
        self.store = Scripted(database)
        self.remedy.runs = self.store

    async def _tell(self, run: WorkflowRun, outcome: RunStatus, reason: str) -> None:
        self.told.append((run.id, outcome))

    async def propose(self, workflow: str = "open-valve", actor: Actor = OTHER, **said: object) -> dict[str, Any]:
        """Propose a workflow as a person does, and return the run."""
        proposal = self.remedy.make_proposal(workflow, self.environment, {"service": "payment", **said}, actor)
        return await self.remedy.read_run((await self.remedy.propose(proposal)).id)

    async def approve(self, run: dict[str, Any], actor: Actor = ADMIN) -> None:
        """Approve a run as it was shown."""
        await self.remedy.decide(run["approval_id"], "approve", actor, digest=run["digest"])

    async def see_through(self, run: dict[str, Any]) -> dict[str, Any]:
        """Let the run go on as the worker does, and return it."""
        await self.remedy.resume(run["run_id"])
        return await self.remedy.read_run(run["run_id"])

    def turns(self) -> list[str]:
        """The positions that the valve was in, in order."""
        return [line.split()[0] for line in (self.folder / "valve").read_text().splitlines()]
