"""Policies: rules that map signals to what may be done with an answer, in three-valued logic. Pure.

The first rule that is true decides. A signal that is missing makes a condition neither true nor false but unknown, and an
unknown rule may never make the outcome milder: if it is stricter than another outcome that is still possible, the
outcome is at least ESCALATE. So no policy, whatever is missing, becomes more permissive without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

from blake3 import blake3

from domain.evidence import canonical_bytes
from domain.verdict import JudgeAction

type Signals = Mapping[str, Any]
type Operator = Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "contains"]
type Severity = Literal["low", "medium", "high", "critical"]
type Truth = bool | None  # None is unknown

ACTIONS: tuple[JudgeAction, ...] = get_args(JudgeAction.__value__)  # from the mildest to the strictest
SIGNAL_MISSING = "SIGNAL_MISSING"
NO_RULE = "NO_RULE"


@dataclass(frozen=True, slots=True)
class Compare:
    """Compares the signal at a dotted path, such as `scores.claims_kept`, with a value."""

    field: str
    op: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class All:
    """True where every part is."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True where some part is."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where its part is false."""

    part: Condition


type Condition = Compare | All | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `reason` is a code for programs, `severity` is for the case that an escalation opens."""

    id: str
    when: Condition
    action: JudgeAction
    reason: str
    severity: Severity = "medium"


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in the order in which they are asked, and what holds where none is true. Version 0 is built in."""

    name: str
    version: int
    rules: tuple[Rule, ...]
    otherwise: JudgeAction = "ESCALATE"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy decided: the action, the rule ("" where none was true), why, and which signals were missing."""

    action: JudgeAction
    rule: str
    reason: str
    severity: Severity
    missing: tuple[str, ...] = ()


def decide(policy: Policy, signals: Signals) -> Ruling:
    """Return what a policy makes of signals. What a model judge said can only make that stricter, whatever the rules say."""
    ruling = _decide(policy, signals)
    if not isinstance(signals.get("model"), Mapping):
        return ruling
    unasked = _decide(policy, {**signals, "model": {"asked": False}})
    return unasked if strictness(unasked.action) > strictness(ruling.action) else ruling


def _decide(policy: Policy, signals: Signals) -> Ruling:
    unknown: list[Rule] = []
    match: Rule | None = None
    for rule in policy.rules:
        truth = is_true(rule.when, signals)
        if truth:
            match = rule
            break
        if truth is None:
            unknown.append(rule)
    action = match.action if match else policy.otherwise
    possible = [strictness(action), *(strictness(rule.action) for rule in unknown)]
    feared = [rule for rule in unknown if strictness(rule.action) > min(possible)]
    if not feared:
        if match:
            return Ruling(action, match.id, match.reason, match.severity)
        return Ruling(action, "", NO_RULE, "medium")
    worst = max(feared, key=lambda rule: strictness(rule.action))
    strictest = max(strictness(worst.action), strictness(action), strictness("ESCALATE"))
    missing = dict.fromkeys(name for rule in feared for name in missing_in(rule.when, signals))
    return Ruling(ACTIONS[strictest], worst.id, SIGNAL_MISSING, worst.severity, tuple(missing))


def strictness(action: JudgeAction) -> int:
    """Return how strict an action is: 0 for ALLOW_ANSWER, 4 for BLOCK."""
    return ACTIONS.index(action)


def is_true(condition: Condition, signals: Signals) -> Truth:
    """Return whether a condition holds: True, False, or None where a missing signal leaves it open (Kleene's logic)."""
    match condition:
        case Compare():
            return _compare(condition, read_signal(signals, condition.field))
        case All(parts):
            truths = [is_true(part, signals) for part in parts]
            return False if False in truths else None if None in truths else True
        case AnyOf(parts):
            truths = [is_true(part, signals) for part in parts]
            return True if True in truths else None if None in truths else False
        case Not(part):
            truth = is_true(part, signals)
            return None if truth is None else not truth
    assert_never(condition)


def read_signal(signals: Signals, path: str) -> Any:
    """Return the signal at a dotted path, None where there is none."""
    held: Any = signals
    for name in path.split("."):
        if not isinstance(held, Mapping):
            return None
        held = held.get(name)
    return None if isinstance(held, float) and not math.isfinite(held) else held


def fields_of(condition: Condition) -> list[str]:
    """Return the signals that a condition asks for."""
    match condition:
        case Compare(field):
            return [field]
        case All(parts) | AnyOf(parts):
            return [name for part in parts for name in fields_of(part)]
        case Not(part):
            return fields_of(part)
    assert_never(condition)


def missing_in(condition: Condition, signals: Signals) -> list[str]:
    """Return the signals that a condition asks for and does not get."""
    return [name for name in fields_of(condition) if read_signal(signals, name) is None]


def hash_input(policy: Policy, signals: object) -> str:
    """Return what names a decision: the same input under the same version of a policy is decided once."""
    return blake3(canonical_bytes([policy.name, policy.version, signals])).hexdigest()


def _compare(test: Compare, held: Any) -> Truth:
    if held is None:
        return None
    match test.op:
        case "eq":
            return _same(held, test.value)
        case "ne":
            return None if (same := _same(held, test.value)) is None else not same
        case "in":
            return _any(_same(held, value) for value in test.value)
        case "contains":
            if isinstance(held, str):
                return str(test.value).casefold() in held.casefold() if isinstance(test.value, str) else None
            return _any(_same(one, test.value) for one in held) if isinstance(held, list | tuple) else None
        case "lt" | "le" | "gt" | "ge":
            return _order(test.op, held, test.value)
    assert_never(test.op)


def _any(truths: Any) -> Truth:
    found: Sequence[Truth] = list(truths)
    return True if True in found else None if None in found else False


def _same(held: Any, value: Any) -> Truth:
    """Compare two values; what cannot be compared is unknown, not different: a count sent as text is not "not 0"."""
    if _is_number(held) and _is_number(value):
        return bool(held == value)
    return bool(held == value) if type(held) is type(value) else None


def _order(op: Literal["lt", "le", "gt", "ge"], held: Any, value: Any) -> Truth:
    if not (_is_number(held) and _is_number(value)):
        return None
    return bool({"lt": held < value, "le": held <= value, "gt": held > value, "ge": held >= value}[op])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
