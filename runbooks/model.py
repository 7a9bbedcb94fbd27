"""A runbook as a contract, read from Markdown with YAML front matter and checked at the border.

A step says when it may be done (precondition), what should have been seen (expected evidence), how to try it without
effect (dry run), what to run, how to see that it worked (verify) and how to undo it (rollback). Commands are lists of
words with named places (`{service}`), never shell text: a value can fill a place but not add a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from blake3 import blake3
from pydantic import Field, field_validator, model_validator

from domain.errors import PayloadError
from domain.evidence import EvidenceKind
from domain.telemetry import ChangeKind
from domain.verdict import FaultClass
from runbooks.yaml_file import StrictFile, one_of, read_yaml

LARGEST_FILE = 256 * 1024

_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
# What may fill a place: nothing that a shell, SQL or a pattern on the other side could read as more than a name.
_VALUE = re.compile(r"[A-Za-z0-9_.:/@%+=,-]{1,256}")
# `ssh` joins its words and hands them to a shell on the other side.
SHELLS = frozenset("ssh sh bash dash zsh ksh fish csh tcsh cmd cmd.exe powershell pwsh eval exec".split())
SHELL_WORDS = frozenset("| || & && ; > >> < << 2>&1 2>".split())
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Expected:
    """A kind of record, and in words what it should show; `within_minutes` is how long to wait for it (0: at once)."""

    kind: EvidenceKind
    what: str
    within_minutes: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `arguments` names each place in the commands and says what fills it; an empty command is a person's."""

    name: str
    precondition: str
    expected_evidence: tuple[Expected, ...]
    dry_run: tuple[str, ...]
    command: tuple[str, ...]
    verify: Expected
    rollback: tuple[str, ...]
    arguments: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Runbook:
    """One runbook. No services means any; `changes` are the kinds of change that it undoes; `path` is its file.

    `revision` is the BLAKE3 of the file's text: an answer and an approval name exactly what they speak of.
    """

    id: str
    title: str
    services: tuple[str, ...]
    fault_classes: tuple[FaultClass, ...]
    changes: tuple[ChangeKind, ...]
    words: tuple[str, ...]
    symptoms: tuple[str, ...]
    steps: tuple[Step, ...]
    text: str
    path: str
    revision: str


def fill_command(command: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Return a command's words with every place filled; each word stays one word.

    Raises ValueError for a place without a value, a value with other characters than letters, digits and
    `_ . : / @ % + = , -`, or one that would turn a whole word into an option.
    """

    def fill(word: str) -> str:
        filled = _PLACE.sub(lambda place: _value(values, place[1]), word)
        if filled.startswith("-") and not word.startswith("-"):
            raise ValueError(f"the value of {word} must not start with '-'")
        return filled

    return tuple(map(fill, command))


def _value(values: Mapping[str, str], name: str) -> str:
    if name not in values:
        raise ValueError(f"there is no value for {{{name}}}")
    if not _VALUE.fullmatch(values[name]):
        raise ValueError(f"the value of {{{name}}} may only have letters, digits and _ . : / @ % + = , -")
    return values[name]


def parse_runbook(text: str, path: str) -> Runbook:
    """Read a runbook's file; raises PayloadError with a line for each problem: file, line, field, what is wrong."""
    if len(text) > LARGEST_FILE:
        raise PayloadError(f"{path}: a runbook may have {LARGEST_FILE} characters, this has {len(text)}")
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    found = _FRONT_MATTER.match(text)
    if found is None:
        raise PayloadError(f"{path}:1: a runbook starts with YAML front matter between two lines '---'")
    read = read_yaml(found[1], path, _RunbookFile, above=1)
    return read.to_runbook(text[found.end() :].strip(), path, blake3(text.encode()).hexdigest())


class _ExpectedFile(StrictFile):
    kind: str
    what: str = Field(min_length=1)
    within_minutes: int = Field(default=0, ge=0, le=24 * 60)

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        return one_of(kind, get_args(EvidenceKind.__value__))

    def to_expected(self) -> Expected:
        return Expected(self.kind, self.what, self.within_minutes)  # type: ignore[arg-type]  # checked above


class _StepFile(StrictFile):
    name: str = Field(min_length=1)
    precondition: str = Field(min_length=1)
    expected_evidence: list[_ExpectedFile] = Field(min_length=1)
    arguments: dict[str, str] = Field(default={})
    dry_run: list[str] = Field(default=[])
    command: list[str] = Field(default=[])
    verify: _ExpectedFile
    rollback: list[str] = Field(default=[])

    @field_validator("dry_run", "command", "rollback")
    @classmethod
    def _no_shell(cls, words: list[str]) -> list[str]:
        if words and words[0].rsplit("/", 1)[-1] in SHELLS:
            raise ValueError(f"{words[0]} is a shell: write the command itself, as a list of words")
        for word in words:
            if word in SHELL_WORDS or "$(" in word or "`" in word:
                raise ValueError(f"{word!r} is shell syntax: there is no shell here, one command per step")
            if "{" in _PLACE.sub("", word) or "}" in _PLACE.sub("", word):
                raise ValueError(f"{word!r}: a place is written {{name}}, in small letters, and other braces are not")
        return words

    @model_validator(mode="after")
    def _whole(self) -> _StepFile:
        used = {name for word in (*self.dry_run, *self.command, *self.rollback) for name in _PLACE.findall(word)}
        if unnamed := sorted(used - set(self.arguments)):
            raise ValueError(f"{{{unnamed[0]}}} is used and not explained under 'arguments'")
        if unused := sorted(set(self.arguments) - used):
            raise ValueError(f"argument {unused[0]!r} is explained and not used")
        if not self.command and (self.dry_run or self.rollback):
            raise ValueError("a step with a dry run or a rollback needs a command")
        return self

    def to_step(self) -> Step:
        return Step(
            name=self.name,
            precondition=self.precondition,
            expected_evidence=tuple(expected.to_expected() for expected in self.expected_evidence),
            dry_run=tuple(self.dry_run),
            command=tuple(self.command),
            verify=self.verify.to_expected(),
            rollback=tuple(self.rollback),
            arguments=dict(self.arguments),
        )


class _RunbookFile(StrictFile):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")
    title: str = Field(min_length=1, max_length=200)
    services: list[str] = Field(default=[])
    fault_classes: list[str] = Field(min_length=1)
    changes: list[str] = Field(default=[])
    words: list[str] = Field(default=[])
    symptoms: list[str] = Field(min_length=1)
    steps: list[_StepFile] = Field(min_length=1)

    @field_validator("fault_classes")
    @classmethod
    def _known_classes(cls, names: list[str]) -> list[str]:
        return [one_of(name, get_args(FaultClass.__value__)) for name in names]

    @field_validator("changes")
    @classmethod
    def _known_changes(cls, names: list[str]) -> list[str]:
        return [one_of(name, get_args(ChangeKind.__value__)) for name in names]

    @field_validator("words")
    @classmethod
    def _no_empty_words(cls, words: list[str]) -> list[str]:
        if any(not re.search(r"\w", word) for word in words):
            raise ValueError("an empty word would match everything")
        return words

    def to_runbook(self, text: str, path: str, revision: str) -> Runbook:
        return Runbook(
            id=self.id,
            title=self.title,
            services=tuple(self.services),
            fault_classes=tuple(self.fault_classes),  # type: ignore[arg-type]  # checked above
            changes=tuple(self.changes),  # type: ignore[arg-type]  # checked above
            words=tuple(self.words),
            symptoms=tuple(self.symptoms),
            steps=tuple(step.to_step() for step in self.steps),
            text=text,
            path=path,
            revision=revision,
        )
