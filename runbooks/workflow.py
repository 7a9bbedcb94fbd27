"""A workflow: when it fits, what it does in which order, how it is seen that it helped, and how it is taken back.

A workflow names actions of the operator's file and gives them values; it holds no command, address or statement itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from blake3 import blake3
from pydantic import Field, field_validator, model_validator

from domain.errors import NotFound, PayloadError
from domain.remedy import STEP_KINDS, StepKind, Value
from domain.telemetry import ChangeKind
from domain.verdict import FaultClass, Outcome
from runbooks.arguments import Argument, ArgumentFile, places_of
from runbooks.verification import Condition, ConditionFile
from runbooks.yaml_file import StrictFile, one_of, read_yaml

LARGEST_FILE = 64 * 1024
_MOST_STEPS = 20


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a workflow is proposed: everything that is named must fit, each by one of its alternatives.

    `services` are patterns as file names have them; `templates` are words of log lines that the evidence holds.
    """

    outcomes: tuple[Outcome, ...] = ("CONFIRMED",)
    fault_classes: tuple[FaultClass, ...] = ()
    services: tuple[str, ...] = ()
    changes: tuple[ChangeKind, ...] = ()
    templates: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    runbooks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    """An action by its name in the operator's file, and what fills its arguments: a value, or `{argument}`."""

    action: str
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class WorkflowStep:
    """One step. `undo` is what takes it back; one without has nothing to take back."""

    name: str
    kind: StepKind
    use: Use
    undo: Use | None = None


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow. `revision` is the BLAKE3 of its file: what was approved is exactly that."""

    id: str
    title: str
    trigger: Trigger
    reversible: bool
    arguments: Mapping[str, Argument]
    steps: tuple[WorkflowStep, ...]
    verify: tuple[Condition, ...]
    about: str
    path: str
    revision: str


@dataclass(frozen=True, slots=True)
class Workflows:
    """The workflows that loaded, by id, and one text per file that did not."""

    by_id: Mapping[str, Workflow]
    problems: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Workflow]:
        return iter(self.by_id.values())

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, workflow_id: str) -> Workflow:
        """Return a workflow by its id; raises NotFound."""
        if workflow_id not in self.by_id:
            raise NotFound(f"There is no workflow {workflow_id[:64]!r}: see `causegraph workflow list`.")
        return self.by_id[workflow_id]


def parse_workflow(text: str, path: str) -> Workflow:
    """Read a workflow's file; raises PayloadError with a line for each problem."""
    if len(text) > LARGEST_FILE:
        raise PayloadError(f"{path}: a workflow may have {LARGEST_FILE} characters, this has {len(text)}")
    read = read_yaml(text, path, _WorkflowFile)
    return read.to_workflow(path, blake3(text.encode()).hexdigest())


def load_workflows(folders: Iterable[Path]) -> Workflows:
    """Read every `*.yaml` and `*.yml` of the folders. Never raises: what cannot be read is in `problems`."""
    loaded: dict[str, Workflow] = {}
    problems: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            problems.append(f"{folder}: there is no such folder")
            continue
        for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
            try:
                workflow = parse_workflow(path.read_text(encoding="utf-8"), str(path))
                if workflow.id in loaded:
                    raise PayloadError(f"{path}: id {workflow.id!r} is that of {loaded[workflow.id].path} already")
                loaded[workflow.id] = workflow
            except (OSError, UnicodeDecodeError) as exc:
                problems.append(f"{path}: cannot be read: {exc}")
            except PayloadError as exc:
                problems.append(str(exc))
    return Workflows(dict(sorted(loaded.items())), tuple(problems))


class _TriggerFile(StrictFile):
    outcomes: list[str] = Field(default=["CONFIRMED"])
    fault_classes: list[str] = Field(default=[])
    services: list[str] = Field(default=[])
    changes: list[str] = Field(default=[])
    templates: list[str] = Field(default=[])
    alerts: list[str] = Field(default=[])
    runbooks: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _known(self) -> _TriggerFile:
        for names, known in (
            (self.outcomes, ("CONFIRMED", "LIKELY")),
            (self.fault_classes, get_args(FaultClass.__value__)),
            (self.changes, get_args(ChangeKind.__value__)),
        ):
            for name in names:
                one_of(name, known)
        return self

    def to_trigger(self) -> Trigger:
        return Trigger(**{name: tuple(value) for name, value in self.model_dump().items()})


class _UseFile(StrictFile):
    action: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    values: dict[str, str | int | float | bool] = Field(default={}, alias="with")

    @field_validator("values")
    @classmethod
    def _one_place_or_none(cls, values: dict[str, Value]) -> dict[str, Value]:
        for name, value in values.items():
            if isinstance(value, str) and places_of(value) and value != f"{{{places_of(value)[0]}}}":
                raise ValueError(f"{name}: a value is written out, or is one place {{name}} and nothing else")
        return values

    def places(self) -> set[str]:
        return {place for value in self.values.values() if isinstance(value, str) for place in places_of(value)}

    def to_use(self) -> Use:
        return Use(self.action, dict(self.values))


class _StepFile(_UseFile):
    name: str = Field(min_length=1, max_length=200)
    kind: str = "remediate"
    undo: _UseFile | None = None

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        return one_of(kind, STEP_KINDS)

    def to_step(self) -> WorkflowStep:
        undo = self.undo.to_use() if self.undo else None
        return WorkflowStep(self.name, self.kind, self.to_use(), undo)  # type: ignore[arg-type]  # checked above


class _WorkflowFile(StrictFile):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")
    title: str = Field(min_length=1, max_length=200)
    about: str = ""
    when: _TriggerFile = Field(default_factory=lambda: _TriggerFile())
    reversible: bool = False
    arguments: dict[str, ArgumentFile] = Field(default={})
    steps: list[_StepFile] = Field(min_length=1, max_length=_MOST_STEPS)
    verify: list[ConditionFile] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> _WorkflowFile:
        used = {place for step in self.steps for use in (step, step.undo) if use for place in use.places()}
        used |= {place for condition in self.verify for place in condition.places()}
        if unnamed := sorted(used - set(self.arguments)):
            raise ValueError(f"{{{unnamed[0]}}} is used and not named under 'arguments'")
        if unused := sorted(set(self.arguments) - used):
            raise ValueError(f"argument {unused[0]!r} is named and not used")
        if not any(step.kind == "remediate" for step in self.steps):
            raise ValueError("a workflow needs a step of kind remediate")
        if self.reversible and any(step.kind == "remediate" and step.undo is None for step in self.steps):
            raise ValueError("a reversible workflow needs an undo for each step of kind remediate")
        return self

    def to_workflow(self, path: str, revision: str) -> Workflow:
        return Workflow(
            id=self.id,
            title=self.title,
            trigger=self.when.to_trigger(),
            reversible=self.reversible,
            arguments={name: argument.to_argument() for name, argument in self.arguments.items()},
            steps=tuple(step.to_step() for step in self.steps),
            verify=tuple(condition.to_condition() for condition in self.verify),
            about=self.about.strip(),
            path=path,
            revision=revision,
        )


def describe_workflow(workflow: Workflow) -> dict[str, Any]:
    """Return a workflow as JSON, as lists show it."""
    trigger = workflow.trigger
    return {
        "id": workflow.id,
        "title": workflow.title,
        "about": workflow.about,
        "revision": workflow.revision,
        "reversible": workflow.reversible,
        "when": {name: list(getattr(trigger, name)) for name in Trigger.__slots__ if getattr(trigger, name)},
        "arguments": {
            name: {"type": argument.type, "about": argument.about, "from": argument.source, "default": argument.default}
            for name, argument in workflow.arguments.items()
        },
        "steps": [
            {
                "name": step.name,
                "kind": step.kind,
                "action": step.use.action,
                "with": dict(step.use.values),
                "undo": step.undo.action if step.undo else None,
            }
            for step in workflow.steps
        ],
        "verify": [condition.tell() for condition in workflow.verify],
    }
