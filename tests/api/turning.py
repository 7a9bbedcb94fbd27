"""A workflow that turns a valve back, with the operator's file that allows it, and services that have both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agents.services import Services
from cli.services import build_services
from domain.settings import Settings
from graph.topology import TopologyGraph
from storage.database import Database

_OPERATOR = """
actions:
  turn: {{kind: python, class: "tests.agents.valve:Valve", settings: {{file: "{folder}/valve"}}}}
"""
_WORKFLOW = """
id: turn-back
title: {title}
when: {{services: [payment], outcomes: [CONFIRMED, LIKELY]}}
reversible: true
arguments:
  service: {{type: name, from: symptom.service}}
steps:
  - {{name: "{step}", action: turn, with: {{to: 3}}, undo: {{action: turn, with: {{to: 1}}}}}}
verify:
  - {{requests: "{{service}}", failed_below: 0.5, at_least: 3, over_seconds: 1, within_seconds: 60}}
"""


@asynccontextmanager
async def turning_services(
    database: Database,
    topology: TopologyGraph,
    data_dir: Path,
    folder: Path,
    title: str = "Turn back what was deployed",
    step: str = "Turn back",
) -> AsyncIterator[Services]:
    """Lay the files out in a folder, and run services that use them."""
    (folder / "workflows").mkdir()
    (folder / "workflows" / "turn.yaml").write_text(_WORKFLOW.format(title=title, step=step))
    (folder / "operator.yaml").write_text(_OPERATOR.format(folder=folder))
    (folder / "valve").write_text("1 -\n")
    settings = Settings(
        data_dir=data_dir,
        embedder="none",
        workflow_dir=folder / "workflows",
        remediation_file=folder / "operator.yaml",
    )
    built = build_services(settings, database, topology)
    async with built.projecting():
        yield built
