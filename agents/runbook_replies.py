"""Runbooks as JSON: which there are, one of them, and what is rotten about them and about the workflows."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from domain.errors import PayloadError
from domain.times import HOUR_US, Window
from runbooks.linked import fetch_runbook, find_named
from runbooks.model import Runbook
from runbooks.rot import Rot, check_runbooks, check_workflows

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
        *[one for place in environments for one in await _check_named(services, place, window, known)],
    ]
    unread = [*services.library.problems, *remedy.workflows.problems]
    return {"services": sorted(known), "rot": [asdict(one) for one in rot], "problems": unread}


async def _check_named(services: Services, environment: str, window: Window, known: Collection[str]) -> list[Rot]:
    """Return what is wrong with the runbooks that alerts have named by a URL."""
    hosts = tuple(host for host in services.settings.runbook_hosts.replace(" ", "").split(",") if host)
    found: list[Rot] = []
    for url, alert, _ in await services.telemetry.runbooks_named(environment, window):
        if find_named(services.library, url) is not None:
            continue
        try:
            found += check_runbooks([await fetch_runbook(url, hosts)], known)
        except PayloadError as exc:
            found.append(Rot("alert", alert, f"its runbook_url leads to no runbook: {exc}"))
    return found


async def fetch_runbooks(services: Services) -> dict[str, Any]:
    """Bring the repositories of runbooks up to date now, and return every runbook as `list_runbooks` does."""
    await services.runbook_sources.fetch()
    return list_runbooks(services)


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
