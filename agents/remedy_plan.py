"""Which workflow fits an answer, with which arguments, and what exactly it would do. Only reads, never changes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from domain.errors import ActionError, ActionRefused, PayloadError
from domain.remedy import Given, Value
from runbooks.actions.interface import Action
from runbooks.arguments import SOURCES, check_all, places_of
from runbooks.operator import Operator
from runbooks.verification import fill_condition
from runbooks.workflow import Use, Workflow

DRY_RUN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What an investigation found, as far as workflows ask for it."""

    environment: str
    incident_id: str
    outcome: str
    service: str = ""
    symptom: str = ""
    fault_class: str = ""
    component: str = ""
    change_id: str = ""
    change_kind: str = ""
    runbook: Mapping[str, Any] | None = None
    texts: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fit:
    """A workflow that fits, and by what."""

    workflow: Workflow
    reasons: tuple[str, ...]


def situation_of(body: Mapping[str, Any], *, changes: Sequence[str] = (), alerts: Sequence[str] = ()) -> Situation:
    """Read a situation from an answer's JSON. `changes` are the kinds of the changes that the cause cites."""
    causes = body["verdict"]["causes"]
    cause: Mapping[str, Any] = causes[0] if causes else {}
    runbook = body.get("runbook")
    return Situation(
        environment=body["environment"],
        incident_id=body["incident_id"],
        outcome=body["verdict"]["outcome"],
        service=cause.get("service", ""),
        symptom=(cause.get("path") or [""])[-1],
        fault_class=cause.get("fault_class", ""),
        component=cause.get("component", ""),
        change_id=cause.get("change", ""),
        change_kind=next(iter(changes), ""),
        runbook=None if runbook is None else {"id": runbook["id"], "revision": runbook.get("revision", "")},
        texts=tuple(claim["text"] for claim in body["claims"]),
        alerts=tuple(alerts),
        evidence=tuple(cause.get("evidence", ())),
    )


def match_workflows(workflows: Iterable[Workflow], found: Situation) -> list[Fit]:
    """Return the workflows that fit a situation, the most particular first."""
    fits = [Fit(workflow, reasons) for workflow in workflows if (reasons := _reasons(workflow, found))]
    return sorted(fits, key=lambda fit: (-len(fit.reasons), fit.workflow.id))


def _reasons(workflow: Workflow, found: Situation) -> tuple[str, ...]:
    """Return by what a workflow fits; nothing where any of its conditions does not hold, or where it has none."""
    trigger = workflow.trigger
    text = _words(" ".join(found.texts))
    checks: list[tuple[Sequence[str], Iterable[str], str]] = [
        (trigger.outcomes, [found.outcome], f"the verdict is {found.outcome}"),
        (trigger.fault_classes, [found.fault_class], f"the fault is of class {found.fault_class}"),
        (
            trigger.services,
            [p for p in trigger.services if fnmatchcase(found.service, p)],
            f"it is for {found.service}",
        ),
        (trigger.changes, [found.change_kind], f"a {found.change_kind} change is blamed"),
        (
            trigger.templates,
            [t for t in trigger.templates if _words(t).strip() and _words(t) in text],
            "its words were logged",
        ),
        (
            trigger.alerts,
            [p for p in trigger.alerts if any(fnmatchcase(a, p) for a in found.alerts)],
            "its alert fires",
        ),
        (trigger.runbooks, [str((found.runbook or {}).get("id", ""))], "it belongs to the runbook"),
    ]
    reasons: list[str] = []
    for wanted, have, reason in checks:
        if wanted and not set(wanted) & set(have):
            return ()
        reasons += [reason] if wanted else []
    return tuple(reasons) if len(reasons) > 1 else ()  # a verdict alone says nothing of what would help


def _words(text: str) -> str:
    return f" {' '.join(re.findall(r'[^\W_]+', text.casefold()))} "


def give_arguments(
    workflow: Workflow, found: Situation | None, said: Mapping[str, object], tainted: bool = False
) -> tuple[dict[str, Given], list[str]]:
    """Return the arguments of a workflow, and the names of those without a value.

    What a person said counts first (`tainted`: it was copied from telemetry for them), then what was found. Raises
    PayloadError for a value that is not allowed.
    """
    given: dict[str, Given] = {}
    missing: list[str] = []
    for name, argument in workflow.arguments.items():
        if name in said:
            given[name] = Given(argument.check(name, said[name]), "said", tainted)
        elif argument.source and found is not None and (value := _source(found, argument.source)):
            given[name] = Given(argument.check(name, value), argument.source, SOURCES[argument.source])
        elif argument.default is not None:
            given[name] = Given(argument.default, "default", False)
        else:
            missing.append(name)
    if unknown := sorted(set(said) - set(workflow.arguments)):
        raise PayloadError(f"{workflow.id} has no argument {unknown[0]!r}.")
    return given, missing


def _source(found: Situation, source: str) -> str:
    match source:
        case "cause.service":
            return found.service
        case "cause.component":
            return found.component
        case "cause.change":
            return found.change_id
        case "symptom.service":
            return found.symptom
        case "environment":
            return found.environment
        case _:
            return found.incident_id


def fill_steps(workflow: Workflow, operator: Operator, given: Mapping[str, Given]) -> list[dict[str, Any]]:
    """Return each step with exactly what its action would do, and what taking it back would do.

    Raises ActionRefused for an action that the operator does not allow, PayloadError for a value out of its bounds.
    """
    values = {name: held.value for name, held in given.items()}
    return [
        {
            "name": step.name,
            "kind": step.kind,
            **_fill_use(step.use, operator, values),
            "undo": None if step.undo is None else _fill_use(step.undo, operator, values),
        }
        for step in workflow.steps
    ]


def _fill_use(use: Use, operator: Operator, values: Mapping[str, Value]) -> dict[str, Any]:
    action = operator.action(use.action)
    filled = {name: _fill_value(value, values) for name, value in use.values.items()}
    try:
        checked = check_all(action.arguments, filled)
    except PayloadError as exc:
        raise PayloadError(f"{use.action}: {exc}") from exc
    return {"action": use.action, "values": checked, "does": dict(action.describe(checked))}


def _fill_value(value: Value, values: Mapping[str, Value]) -> Value:
    places = places_of(value) if isinstance(value, str) else []
    return values[places[0]] if places else value


async def make_plan(
    workflow: Workflow, operator: Operator, given: Mapping[str, Given], found: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that an approval is bound to, but for its expiry: actions, arguments, target, evidence, state.

    Every action is tried dry. Raises ActionRefused, ActionError or PayloadError.
    """
    steps = fill_steps(workflow, operator, given)
    for step in steps:
        step["state"], step["dry_run"] = await _look_ahead(operator.action(step["action"]), step)
    values = {name: held.value for name, held in given.items()}
    return {
        "workflow": workflow.id,
        "title": workflow.title,
        "revision": workflow.revision,
        "reversible": workflow.reversible,
        "environment": found["environment"],
        "incident_id": found["incident_id"],
        "runbook": found.get("runbook"),
        "evidence": list(found.get("evidence", ())),
        "why": list(found.get("why", ())),
        "arguments": {name: asdict(held) for name, held in given.items()},
        "steps": steps,
        "verify": [asdict(fill_condition(condition, values)) for condition in workflow.verify],
    }


async def _look_ahead(action: Action, step: Mapping[str, Any]) -> tuple[str, str]:
    try:
        async with asyncio.timeout(DRY_RUN_SECONDS):
            return await action.read_state(step["values"]), await action.dry_run(step["values"])
    except TimeoutError as exc:
        raise ActionError(f"The dry run of {step['action']} took longer than {DRY_RUN_SECONDS:g} s.") from exc


async def what_changed(plan: Mapping[str, Any], workflow: Workflow, operator: Operator) -> str:
    """Return what is no longer as it was when a plan was made; "" if nothing is."""
    if workflow.revision != plan["revision"]:
        return "the workflow's file was edited"
    given = {name: Given(**held) for name, held in plan["arguments"].items()}
    try:
        steps = fill_steps(workflow, operator, given)
    except (ActionRefused, PayloadError) as exc:
        return str(exc)
    for step, planned in zip(steps, plan["steps"], strict=True):
        if any(step[part] != planned[part] for part in ("action", "values", "does", "undo")):
            return f"{planned['name']}: what it would do was changed"
        try:
            async with asyncio.timeout(DRY_RUN_SECONDS):
                state = await operator.action(planned["action"]).read_state(planned["values"])
        except TimeoutError:
            return f"{planned['name']}: its state cannot be read"
        except ActionError as exc:
            return f"{planned['name']}: its state cannot be read: {exc}"
        if state != planned["state"]:
            return f"{planned['name']}: its target has changed since"
    return ""
