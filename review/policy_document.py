"""Policies as people write them: YAML or JSON in, a checked policy out, with an error that says what to mend."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.errors import PayloadError
from domain.verdict import JudgeAction
from review.policy import All, AnyOf, Compare, Condition, Not, Operator, Policy, Rule, Severity

_CHARACTERS = 256_000
_DEPTH = 12
_BUILT_IN = Path(__file__).parent / "policies"
_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"

type _Scalar = bool | int | float | str


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _When(_Strict):
    """One of `all`, `any`, `not`, or a test: `field`, `op`, `value`."""

    all: Annotated[list[_When], Field(min_length=1, max_length=100)] | None = None
    any: Annotated[list[_When], Field(min_length=1, max_length=100)] | None = None
    not_: _When | None = Field(default=None, alias="not")
    field: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_-]+)*$", max_length=200)] | None = None
    op: Operator = "eq"
    value: _Scalar | list[_Scalar] | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> _When:
        given = [name for name in ("all", "any", "not_", "field") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a condition is exactly one of `all`, `any`, `not`, or a `field` with `op` and `value`")
        if self.field is not None and self.value is None:
            raise ValueError(f"the test of `{self.field}` needs a `value`")
        if (self.op == "in") != isinstance(self.value, list) and self.field is not None:
            raise ValueError(f"the test of `{self.field}`: a list of values goes with `in`, and only with it")
        return self

    def build(self, depth: int = 0) -> Condition:
        if depth > _DEPTH:
            raise ValueError(f"conditions are nested deeper than {_DEPTH}")
        if self.all is not None:
            return All(tuple(part.build(depth + 1) for part in self.all))
        if self.any is not None:
            return AnyOf(tuple(part.build(depth + 1) for part in self.any))
        if self.not_ is not None:
            return Not(self.not_.build(depth + 1))
        return Compare(str(self.field), self.op, self.value)


class _Then(_Strict):
    action: JudgeAction
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,62}$")] = "RULE"
    severity: Severity = "medium"


class _RuleDocument(_Strict):
    id: Annotated[str, Field(pattern=_NAME)]
    priority: int = 100
    when: _When
    then: _Then


class PolicyDocument(_Strict):
    """A policy as it is written. Rules are asked by `priority`, lowest first, and in their order where it is equal."""

    name: Annotated[str, Field(pattern=_NAME)]
    description: Annotated[str, Field(max_length=4000)] = ""
    rules: Annotated[list[_RuleDocument], Field(max_length=500)]
    otherwise: JudgeAction = "ESCALATE"

    @model_validator(mode="after")
    def _ids_are_distinct(self) -> PolicyDocument:
        ids = [rule.id for rule in self.rules]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"two rules have the id {', '.join(twice)}")
        return self


def parse_policy(text: str, version: int = 0) -> Policy:
    """Return the policy that a YAML or JSON text describes; raises PayloadError that says where it is wrong."""
    if len(text) > _CHARACTERS:
        raise PayloadError(f"A policy has at most {_CHARACTERS} characters.")
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise PayloadError(f"This is neither YAML nor JSON: {str(exc)[:300]}") from exc
    return build_policy(read, version)


def build_policy(read: Any, version: int = 0) -> Policy:
    """Return the policy of a decoded document; raises PayloadError."""
    try:
        document = PolicyDocument.model_validate(read)
        rules = [
            Rule(rule.id, rule.when.build(), rule.then.action, rule.then.reason, rule.then.severity)
            for rule in sorted(document.rules, key=lambda rule: rule.priority)
        ]
    except ValidationError as exc:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'the policy'}: {e['msg']}" for e in exc.errors()[:8]]
        raise PayloadError("This is no policy. " + "; ".join(lines)) from exc
    except (ValueError, RecursionError) as exc:
        raise PayloadError(f"This is no policy. {exc}") from exc
    return Policy(document.name, version, tuple(rules), document.otherwise, document.description)


def canonical_definition(text: str) -> str:
    """Return the one JSON spelling of a policy's text, checked; raises PayloadError."""
    parse_policy(text)
    return json.dumps(yaml.safe_load(text), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@cache
def built_in_text(name: str = "default") -> str:
    """Return the text of a policy that comes with the program."""
    return (_BUILT_IN / f"{name}.yaml").read_text(encoding="utf-8")


@cache
def built_in_policy(name: str = "default") -> Policy:
    """Return a policy that comes with the program, version 0."""
    return parse_policy(built_in_text(name))
