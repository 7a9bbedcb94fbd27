"""Policies: three-valued logic, what is missing never makes an outcome milder, and the default is what it was."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import PayloadError
from domain.verdict import JudgeAction, Outcome
from review.policy import (
    ACTIONS,
    SIGNAL_MISSING,
    All,
    AnyOf,
    Compare,
    Condition,
    Not,
    Policy,
    Rule,
    decide,
    hash_input,
    is_true,
    strictness,
)
from review.policy_document import built_in_policy, canonical_definition, parse_policy
from tests.review.signals import PROVEN

_FIELDS = ("a", "b", "c.d", "c.e", "model.asked", "model.passed")
_VALUES = st.one_of(st.booleans(), st.integers(-2, 2), st.sampled_from(["x", "y"]), st.just(0.5))
_COMPARES: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Compare, st.sampled_from(_FIELDS), st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]), _VALUES),
    st.builds(Compare, st.sampled_from(_FIELDS), st.just("in"), st.lists(_VALUES, max_size=3)),
    st.builds(Compare, st.sampled_from(_FIELDS), st.just("contains"), _VALUES),
)
_CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    _COMPARES,
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=5,
)
_RULES = st.builds(Rule, st.just("r"), _CONDITIONS, st.sampled_from(ACTIONS), st.just("R"))
_POLICIES = st.builds(
    Policy, st.just("p"), st.just(1), st.lists(_RULES, max_size=6).map(tuple), st.sampled_from(ACTIONS)
)
_SIGNALS = st.dictionaries(st.sampled_from(_FIELDS), st.one_of(_VALUES, st.lists(_VALUES, max_size=2), st.none()))


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *above, name = path.split(".")
        place = nested
        for part in above:
            place = place.setdefault(part, {})
        place[name] = value
    return nested


@given(_POLICIES, _SIGNALS, st.sets(st.sampled_from(_FIELDS)))
def test_no_policy_becomes_more_permissive_without_signals(
    policy: Policy, signals: dict[str, Any], lost: set[str]
) -> None:
    complete = decide(policy, nest(signals))
    partial = decide(policy, nest({name: value for name, value in signals.items() if name not in lost}))
    assert strictness(partial.action) >= strictness(complete.action)


@given(_POLICIES, _SIGNALS, st.booleans() | st.none())
def test_no_policy_becomes_more_permissive_by_what_a_model_says(
    policy: Policy, signals: dict[str, Any], passed: bool | None
) -> None:
    others = nest({name: value for name, value in signals.items() if not name.startswith("model.")})
    unasked = decide(policy, {**others, "model": {"asked": False}})
    asked = decide(policy, {**others, "model": {"asked": True} | ({} if passed is None else {"passed": passed})})
    assert strictness(asked.action) >= strictness(unasked.action)


@given(_CONDITIONS, _SIGNALS, st.sets(st.sampled_from(_FIELDS)))
def test_what_is_settled_without_a_signal_stays_so_with_it(
    condition: Condition, signals: dict[str, Any], lost: set[str]
) -> None:
    less = is_true(condition, nest({name: value for name, value in signals.items() if name not in lost}))
    if less is not None:
        assert is_true(condition, nest(signals)) is less


def test_a_missing_signal_is_named_and_escalates() -> None:
    policy = Policy(
        "p",
        1,
        (
            Rule("pii", Compare("signals.pii", "eq", True), "BLOCK", "PII"),
            Rule("fine", Compare("ok", "eq", True), "ALLOW_ANSWER", "FINE"),
        ),
    )
    assert decide(policy, {"ok": True, "signals": {"pii": False}}).action == "ALLOW_ANSWER"
    ruling = decide(policy, {"ok": True})
    assert (ruling.action, ruling.reason, ruling.missing) == ("BLOCK", SIGNAL_MISSING, ("signals.pii",))
    milder = Policy("p", 1, (Rule("w", Compare("x", "eq", 1), "ALLOW_WITH_WARNING", "W"), policy.rules[1]))
    assert decide(milder, {"ok": True}).action == "ESCALATE"
    # An unknown rule that could only have been milder changes nothing.
    kind = Policy("p", 1, (Rule("a", Compare("x", "eq", 1), "ALLOW_ANSWER", "A"),), "ALLOW_WITH_WARNING")
    assert decide(kind, {}).action == "ALLOW_WITH_WARNING"


@pytest.mark.parametrize("held", [None, float("nan"), "3", [3], {"n": 3}, True])
def test_what_cannot_be_compared_is_unknown(held: object) -> None:
    assert is_true(Compare("n", "gt", 2), {"n": held}) is None
    assert is_true(Compare("n", "ne", 2), {"n": held}) is None


def test_the_default_policy_does_what_the_judge_always_did() -> None:
    outcomes: tuple[Outcome, ...] = get_args(Outcome.__value__)
    for outcome, clarify, complete, symptom, causes, kept, unseen in itertools.product(
        outcomes, (False, True), (False, True), (False, True), (0, 1), (0.0, 0.5, 1.0), (0, 2)
    ):
        signals: dict[str, dict[str, object]] = {
            "answer": {
                **{
                    "outcome": outcome,
                    "clarification": clarify,
                    "symptom": symptom,
                    "causes": causes,
                    "not_seen": unseen,
                },
                "doubted": False,
            },
            "scores": {"claims_kept": kept},
            "checks": {"complete": complete},
            "model": {"asked": False},
        }
        expected = expected_action(outcome, clarify, complete, symptom, causes, kept, unseen)
        assert decide(built_in_policy(), signals).action == expected, signals


def expected_action(
    outcome: Outcome, clarify: bool, complete: bool, symptom: bool, causes: int, kept: float, unseen: int
) -> JudgeAction:
    if clarify:
        return "NEED_CLARIFICATION"
    if not complete:
        return "ESCALATE"
    if causes and not kept:
        return "BLOCK"
    match outcome:
        case "CONFIRMED":
            return "ALLOW_ANSWER" if kept == 1.0 else "ALLOW_WITH_WARNING"
        case "HEALTHY":
            return "ALLOW_WITH_WARNING" if unseen else "ALLOW_ANSWER"
        case "LIKELY":
            return "ALLOW_WITH_WARNING"
        case "INCONCLUSIVE":
            return "ESCALATE" if symptom else "ALLOW_WITH_WARNING"


@pytest.mark.parametrize(
    "field", ["model.passed", "model.asked", "scores.claims_kept", "checks.complete", "answer.outcome"]
)
def test_the_default_policy_never_allows_without_a_signal_that_it_asks_for(field: str) -> None:
    signals = {group: dict(held) for group, held in PROVEN.items()} | {"model": {"asked": True, "passed": True}}
    assert decide(built_in_policy(), signals).action == "ALLOW_ANSWER"
    group, name = field.split(".")
    if field == "model.asked":  # that it passed settles the rule by itself
        del signals[group]
    else:
        del signals[group][name]
    assert strictness(decide(built_in_policy(), signals).action) >= strictness("ESCALATE")


def test_yaml_and_json_say_the_same_and_priorities_order_the_rules() -> None:
    text = """
name: p
rules:
  - {id: later, priority: 20, when: {field: a, value: 1}, then: {action: ALLOW_ANSWER}}
  - {id: first, priority: 10, when: {any: [{field: a, op: in, value: [1, 2]}]}, then: {action: BLOCK, reason: STOP}}
"""
    policy = parse_policy(text)
    assert [rule.id for rule in policy.rules] == ["first", "later"]
    assert parse_policy(canonical_definition(text)) == policy
    assert decide(policy, {"a": 1}).reason == "STOP"
    assert json.loads(canonical_definition(text))["name"] == "p"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [", "neither YAML nor JSON"),
        ("just words", "This is no policy"),
        ("name: p\nrules: [{id: a, when: {}, then: {action: BLOCK}}]", "exactly one of"),
        ("name: p\nrules: [{id: a, when: {field: x}, then: {action: BLOCK}}]", "needs a `value`"),
        ("name: p\nrules: [{id: a, when: {field: x, value: 1}, then: {action: SHRUG}}]", "then.action"),
        ("name: p\nrules: [{id: a, when: {field: x, op: exists, value: 1}, then: {action: BLOCK}}]", "op"),
        ("name: p\nrules: [{id: a, when: {field: x, value: [1]}, then: {action: BLOCK}}]", "`in`"),
        ("name: p\nwho: me\nrules: []", "who"),
        ("name: ../p\nrules: []", "name"),
        ("!!python/object/apply:os.system ['true']", "neither YAML nor JSON"),
        (
            "name: p\nrules: [{id: a, when: {field: x, value: 1}, then: {action: BLOCK}}, "
            "{id: a, when: {field: x, value: 1}, then: {action: BLOCK}}]",
            "two rules",
        ),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(PayloadError, match=told.replace("[", "\\[")):
        parse_policy(text)


def test_a_hostile_document_is_refused_and_not_followed() -> None:
    deep = (
        "name: p\nrules: [{id: a, when: "
        + "{not: " * 60
        + "{field: x, value: 1}"
        + "}" * 60
        + ", then: {action: BLOCK}}]"
    )
    with pytest.raises(PayloadError):
        parse_policy(deep)
    with pytest.raises(PayloadError, match="at most"):
        parse_policy("x" * 300_000)


def test_the_same_input_under_the_same_version_has_one_name() -> None:
    policy = built_in_policy()
    assert hash_input(policy, {"a": 1, "b": 2}) == hash_input(policy, {"b": 2, "a": 1})
    assert hash_input(policy, {"a": 1}) != hash_input(Policy(policy.name, 1, policy.rules), {"a": 1})
