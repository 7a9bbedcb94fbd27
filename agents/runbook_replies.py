"""Runbooks as JSON: which there are, one of them, and what is rotten about them and about the workflows."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from domain.times import HOUR_US, Window
from runbooks.model import Runbook
from runbooks.rot import check_runbooks, check_workflows

if TYPE_CHECKING:
    from agents.services import Services

_LATELY_US = 7 * 24 * HOUR_US


def list_runbooks(services: Services) -> dict[str, Any]:
    """Return every runbook without its text, and what could not be read."""
    return {
        "runbooks": [_line(runbook) for runbook in services.library],
        "problems": list(services.library.problems),
    }


def read_runbook(services: Services, runbook_id: str) -> dict[str, Any]:
    """Return one runbook with its steps and its text; raises NotFound."""
    runbook = services.library.get(runbook_id)
    steps = [step.to_json() for step in runbook.steps]
    return {**_line(runbook), "symptoms": list(runbook.symptoms), "steps": steps, "text": runbook.text}


async def check_rot(services: Services, environment: str = "") -> dict[str, Any]:
    """Return what runbooks and workflows name that is not there, judged by who sent something in the last seven days.

    Without an environment, a service of any counts.
    """
    now_us = time.time_ns() // 1000
    window = Window(now_us - _LATELY_US, now_us)
    environments = [environment] if environment else await services.telemetry.environments()
    known = {name for place in environments for name in await services.telemetry.services(place, window)}
    remedy = services.remedy
    rot = [
        *check_runbooks(services.library, known),
        *check_workflows(remedy.workflows, remedy.operator, services.library.runbooks.keys(), known),
    ]
    unread = [*services.library.problems, *remedy.workflows.problems]
    return {"services": sorted(known), "rot": [asdict(one) for one in rot], "problems": unread}


def _line(runbook: Runbook) -> dict[str, Any]:
    return {
        "id": runbook.id,
        "title": runbook.title,
        "revision": runbook.revision,
        "services": list(runbook.services),
        "fault_classes": list(runbook.fault_classes),
        "changes": list(runbook.changes),
        "path": runbook.path,
    }
