"""What a runbook or a workflow names that is not there (any more). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from domain.errors import PayloadError
from runbooks.arguments import check_all, places_of
from runbooks.model import Runbook
from runbooks.operator import Operator
from runbooks.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Rot:
    """One thing that is wrong: where, and what."""

    kind: str
    id: str
    problem: str


def check_runbooks(runbooks: Iterable[Runbook], services: Collection[str]) -> list[Rot]:
    """Return the runbooks that are for services which nobody has heard of lately, and steps that cannot be followed.

    Without `services` (nothing was sent yet) names are not judged.
    """
    found: list[Rot] = []
    for runbook in runbooks:
        found += [Rot("runbook", runbook.id, problem) for problem in _gone(runbook.services, services)]
        for step in runbook.steps:
            # Words of the command that are written out and name a thing of an orchestrator.
            for word in step.command:
                kind, slash, name = word.partition("/")
                named = slash and kind in ("deployment", "statefulset", "daemonset", "service") and not places_of(name)
                if named and services and name not in services:
                    found.append(
                        Rot("runbook", runbook.id, f"step {step.name!r}: there is no {kind} {name!r} (any more)")
                    )
            if step.command and not step.dry_run and step.rollback:
                found.append(Rot("runbook", runbook.id, f"step {step.name!r}: it has a rollback, and no dry run"))
    return found


def check_workflows(
    workflows: Iterable[Workflow], operator: Operator, runbooks: Collection[str], services: Collection[str]
) -> list[Rot]:
    """Return the workflows that name actions, runbooks or services which are not there, or values that are not allowed."""
    found: list[Rot] = []
    for workflow in workflows:
        problems = [f"there is no runbook {name!r}" for name in workflow.trigger.runbooks if name not in runbooks]
        problems += _gone(workflow.trigger.services, services)
        for use in [use for step in workflow.steps for use in (step.use, step.undo) if use is not None]:
            action = operator.actions.get(use.action)
            if action is None:
                problems.append(f"the operator's file has no action {use.action!r}")
                continue
            unknown = sorted(set(use.values) - set(action.arguments))
            missing = [n for n, a in action.arguments.items() if n not in use.values and a.default is None]
            problems += [f"{use.action} has no argument {name!r}" for name in unknown]
            problems += [f"{use.action} needs the argument {name!r}" for name in missing]
            if not unknown and not missing:
                problems += _fixed_values(use.action, operator, dict(use.values))
        found += [Rot("workflow", workflow.id, problem) for problem in problems]
    return found


def _gone(patterns: Collection[str], services: Collection[str]) -> list[str]:
    here = [pattern for pattern in patterns if any(fnmatchcase(service, pattern) for service in services)]
    return [f"no service is called {pattern!r} (any more)" for pattern in patterns if services and pattern not in here]


def _fixed_values(name: str, operator: Operator, values: dict[str, object]) -> list[str]:
    """Return what is wrong with the values that are written out; places are filled later."""
    action = operator.action(name)
    written = {n: v for n, v in values.items() if not (isinstance(v, str) and places_of(v))}
    try:
        check_all({n: action.arguments[n] for n in written}, written)
    except PayloadError as exc:
        return [f"{name}: {exc}"]
    return []
