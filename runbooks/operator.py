"""The operator's file: what workflows may do, with which connections, who approves, how much at once, and when.

Workflows and runbooks may come from anybody who can write to their folders; this file is the one that allows.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import Field, field_validator, model_validator

from domain.errors import ActionRefused, PayloadError, SettingsError
from runbooks.actions.command import CommandAction
from runbooks.actions.http import Form, HttpAction, HttpConnection
from runbooks.actions.interface import Action
from runbooks.actions.kubernetes import Change, Cluster, KubernetesAction
from runbooks.actions.sql import SqlAction, Statement
from runbooks.arguments import Argument, ArgumentFile, places_of
from runbooks.model import SHELLS
from runbooks.policy import Automatic, Policy, PolicyFile
from runbooks.yaml_file import StrictFile, one_of, read_yaml

LARGEST_FILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Operator:
    """What the operator allows. The default allows nothing."""

    actions: Mapping[str, Action] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    path: str = ""

    def action(self, name: str) -> Action:
        """Return an action by its name; raises ActionRefused."""
        if name not in self.actions:
            told = f"The operator's file {self.path}" if self.path else "No operator's file is set, and none"
            raise ActionRefused(f"{told} allows no action {name!r}.")
        return self.actions[name]


def load_operator(path: Path | None) -> Operator:
    """Read the operator's file; without one nothing is allowed. Raises SettingsError with a line for each problem."""
    if path is None:
        return Operator()
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > LARGEST_FILE:
            raise SettingsError(f"{path}: the operator's file may have {LARGEST_FILE} characters.")
        return read_yaml(text, str(path), _OperatorFile).to_operator(path)
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} (CAUSEGRAPH_REMEDIATION_FILE) cannot be read: {exc}") from exc
    except PayloadError as exc:
        raise SettingsError(f"The operator's file has problems:\n  {exc}".replace("\n", "\n  ")) from exc


class _Secret(StrictFile):
    """A value kept elsewhere: in an environment variable or in a file."""

    env: str = ""
    file: str = ""

    @model_validator(mode="after")
    def _one(self) -> _Secret:
        if bool(self.env) == bool(self.file):
            raise ValueError("a secret is named by `env` or by `file`")
        return self

    def read(self) -> str:
        if self.env:
            if self.env not in os.environ:
                raise SettingsError(
                    f"The environment variable {self.env}, which the operator's file names, is not set."
                )
            return os.environ[self.env]
        try:
            return Path(self.file).read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise SettingsError(f"{self.file}, which the operator's file names, cannot be read: {exc}") from exc


class _ConnectionFile(StrictFile):
    kind: Literal["http", "sql", "kubernetes"]
    url: str | _Secret = ""
    headers: dict[str, str | _Secret] = Field(default={})
    inner: bool = False
    namespaces: list[str] = Field(default=[])
    kubeconfig: str = ""
    context: str = ""

    @model_validator(mode="after")
    def _whole(self) -> _ConnectionFile:
        if (self.kind == "kubernetes") == bool(self.url):
            raise ValueError("http and sql connections have a url, kubernetes has namespaces")
        if self.kind == "kubernetes" and not self.namespaces:
            raise ValueError("a kubernetes connection names the namespaces that may be changed")
        return self

    def read_url(self) -> str:
        return self.url if isinstance(self.url, str) else self.url.read()

    def read_headers(self) -> dict[str, str]:
        return {name: held if isinstance(held, str) else held.read() for name, held in self.headers.items()}


class _StatementFile(StrictFile):
    sql: str = Field(min_length=1)
    order: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _whole(self) -> _StatementFile:
        if self.sql.count("?") != len(self.order):
            raise ValueError("`order` names the argument of each `?`")
        return self

    def to_statement(self) -> Statement:
        return Statement(self.sql, tuple(self.order))


class _ActionFile(StrictFile):
    kind: Literal["command", "http", "sql", "kubernetes", "python"]
    connection: str = ""
    arguments: dict[str, ArgumentFile] = Field(default={})
    seconds: float = Field(default=60.0, gt=0, le=3600, strict=False)
    # command
    run: list[str] = Field(default=[])
    dry_run: list[str] | str | _StatementFile = ""
    state: list[str] | str | _StatementFile = ""
    folder: str = ""
    environment: dict[str, str | _Secret] = Field(default={})
    # http
    form: str = "json"
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    path: str = ""
    target: str = ""
    reference: str = "main"
    namespace: str = "default"
    # sql
    statement: _StatementFile | None = None
    most_rows: int = Field(default=1, ge=1, le=100_000)
    # kubernetes
    change: str = ""
    # python
    class_: str = Field(default="", alias="class")
    settings: dict[str, Any] = Field(default={})

    @field_validator("run", "dry_run", "state")
    @classmethod
    def _no_shell(cls, words: list[str] | str | _StatementFile) -> list[str] | str | _StatementFile:
        if isinstance(words, list) and words and (words[0].rsplit("/", 1)[-1] in SHELLS or places_of(words[0])):
            raise ValueError(f"{words[0]!r}: the first word is a program, and no shell")
        return words

    @model_validator(mode="after")
    def _whole(self) -> _ActionFile:
        needed = {"command": self.run, "sql": self.statement, "kubernetes": self.change, "python": self.class_}
        if self.kind in needed and not needed[self.kind]:
            field_name = {"command": "run", "sql": "statement", "kubernetes": "change", "python": "class"}[self.kind]
            raise ValueError(f"an action of kind {self.kind} needs `{field_name}`")
        one_of(self.form, get_args(Form.__value__))
        if self.kind == "kubernetes":
            one_of(self.change, get_args(Change.__value__))
        forms = {"command": list, "http": str, "sql": _StatementFile}
        for name in ("dry_run", "state"):
            held = getattr(self, name)
            if held and not isinstance(held, forms.get(self.kind, type(None))):
                raise ValueError(f"`{name}` of an action of kind {self.kind} is a {_FORMS.get(self.kind, 'mistake')}")
        used = {place for form in (self.run, self.path, self.dry_run, self.state) for place in _places(form)}
        used |= set(self.statement.order) if self.statement else set()
        if unnamed := sorted(used - set(self.arguments)):
            raise ValueError(f"{{{unnamed[0]}}} is used and not named under 'arguments'")
        return self

    def to_action(self, connections: Mapping[str, _ConnectionFile]) -> Action:
        arguments = {name: held.to_argument() for name, held in self.arguments.items()}
        if self.kind == "command":
            return self._command(arguments)
        if self.kind == "python":
            return _own_action(self.class_, self.settings)
        connection = connections.get(self.connection)
        if connection is None or connection.kind != self.kind:
            raise PayloadError(f"there is no {self.kind} connection {self.connection!r}")
        if self.kind == "http":
            return self._http(connection, arguments)
        if self.kind == "sql":
            return self._sql(connection, arguments)
        cluster = Cluster(tuple(connection.namespaces), connection.kubeconfig, connection.context)
        return KubernetesAction(cluster, cast(Change, self.change), arguments, self.seconds)

    def _command(self, arguments: Mapping[str, Argument]) -> Action:
        environment = {name: held if isinstance(held, str) else held.read() for name, held in self.environment.items()}
        trial, state = (tuple(held) if isinstance(held, list) else () for held in (self.dry_run, self.state))
        return CommandAction(tuple(self.run), arguments, trial, state, self.folder, environment, self.seconds)

    def _http(self, connection: _ConnectionFile, arguments: Mapping[str, Argument]) -> Action:
        return HttpAction(
            connection=HttpConnection(connection.read_url().rstrip("/"), connection.read_headers(), connection.inner),
            arguments=arguments,
            form=cast(Form, self.form),
            method=self.method,
            path=self.path,
            target=self.target,
            reference=self.reference,
            namespace=self.namespace,
            state=self.state if isinstance(self.state, str) else "",
            trial=self.dry_run if isinstance(self.dry_run, str) else "",
            seconds=self.seconds,
        )

    def _sql(self, connection: _ConnectionFile, arguments: Mapping[str, Argument]) -> Action:
        if self.statement is None:
            raise PayloadError("an action of kind sql needs `statement`")
        return SqlAction(
            url=connection.read_url(),
            statement=self.statement.to_statement(),
            arguments=arguments,
            trial=self.dry_run.to_statement() if isinstance(self.dry_run, _StatementFile) else None,
            state=self.state.to_statement() if isinstance(self.state, _StatementFile) else None,
            most_rows=self.most_rows,
            seconds=self.seconds,
        )


_FORMS = {"command": "list of words", "http": "path", "sql": "statement"}


def _places(form: list[str] | str | _StatementFile) -> list[str]:
    if isinstance(form, _StatementFile):
        return form.order
    return [place for word in ([form] if isinstance(form, str) else form) for place in places_of(word)]


class _OperatorFile(StrictFile):
    connections: dict[str, _ConnectionFile] = Field(default={})
    actions: dict[str, _ActionFile] = Field(default={})
    policy: PolicyFile = Field(default_factory=lambda: PolicyFile())

    def to_operator(self, path: Path) -> Operator:
        actions: dict[str, Action] = {}
        for name, held in self.actions.items():
            try:
                actions[name] = held.to_action(self.connections)
            except (PayloadError, SettingsError) as exc:
                raise PayloadError(f"{path}: actions.{name}: {exc}") from exc
        return Operator(actions, self.policy.to_policy(), str(path))


def _own_action(place: str, settings: Mapping[str, Any]) -> Action:
    """Make an action of the operator's own: `module:Class`, called with its settings."""
    module, _, name = place.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(settings)
    except (ImportError, AttributeError, TypeError, ValueError) as exc:
        raise PayloadError(f"{place} cannot be used: {type(exc).__name__}: {exc}") from exc
    missing = [part for part in ("arguments", "describe", "read_state", "dry_run", "run") if not hasattr(made, part)]
    if missing:
        raise PayloadError(f"{place} lacks {', '.join(missing)}: see docs/remediation.md")
    return cast(Action, made)


__all__ = ["Automatic", "Operator", "Policy", "load_operator"]
