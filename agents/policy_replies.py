"""What every way in replies with about policies: lists, versions, checks, activation, and a dry run over history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from domain.errors import PayloadError, QuestionError
from domain.times import LATEST_US, format_us
from review.policy import Policy, Rule, Ruling, decide, fields_of, strictness
from review.policy_document import built_in_policy, built_in_text, canonical_definition, parse_policy
from storage.evaluations import Evaluation
from storage.policies import Activation, PolicyVersion

if TYPE_CHECKING:
    from agents.services import Services

_CHANGES_SHOWN = 200


async def list_policies(services: Services) -> dict[str, Any]:
    """Return every policy with its newest version, what is active where, and the newest activations."""
    store = services.rulings.policies
    found = [_version_line(held) for held in await store.newest()]
    activations = [_activation_line(held) for held in await store.activations()]
    current: dict[str, Any] = {}
    for held in activations:  # the newest first
        current.setdefault(held["environment"], held)
    built_in = {"name": "default", "version": 0, "description": built_in_policy().description, "created_by": "built in"}
    return {"policies": [built_in, *found], "active": list(current.values()), "activations": activations}


async def read_policy(services: Services, name: str, version: int | None = None) -> dict[str, Any]:
    """Return one version of a policy (the newest) as written, with the numbers of all; raises NotFound."""
    if name == "default" and version == 0:
        text = built_in_text()
        return _document("default", 0, text) | {"versions": [0], "created": None, "created_by": "built in"}
    versions = await services.rulings.policies.versions(name)
    held = versions[0] if version is None else await services.rulings.policies.get(name, version)
    text = yaml.safe_dump(json.loads(held.definition), sort_keys=False, allow_unicode=True, width=110)
    return {
        **_document(held.name, held.version, text),
        "versions": [other.version for other in versions],
        "created": format_us(held.created_us),
        "created_by": held.created_by,
    }


def check_policy(text: str) -> dict[str, Any]:
    """Return what a policy's text amounts to; raises PayloadError that says where it is wrong."""
    policy = parse_policy(text)
    return {"name": policy.name, "rules": [_rule_line(rule) for rule in policy.rules], "signals": signals_of(policy)}


def signals_of(policy: Policy) -> list[str]:
    """Return the signals that a policy asks for."""
    return sorted({name for rule in policy.rules for name in fields_of(rule.when)})


async def save_policy(services: Services, text: str, by: str) -> dict[str, Any]:
    """Store a policy as the next version of its name, not active; raises PayloadError."""
    policy = parse_policy(text)
    if policy.name == "default":
        raise PayloadError("The name `default` is that of the built-in policy: choose another.")
    held = await services.rulings.policies.add(policy.name, canonical_definition(text), policy.description, by)
    return _version_line(held)


async def activate_policy(
    services: Services, name: str, version: int | None, environment: str, by: str, effective_us: int | None = None
) -> dict[str, Any]:
    """Let a version (the newest) hold, in one environment or in all; raises NotFound, and StorageError if it is not read."""
    if name == "default":
        if version:
            raise QuestionError("Of the built-in policy there is only version 0.")
        number = 0
    else:
        number = (await services.rulings.load(name, version)).version
    await services.rulings.policies.activate(name, number, environment, by, effective_us)
    return {"name": name, "version": number, "environment": environment}


async def dry_run(
    services: Services,
    policy: Policy,
    environment: str = "",
    from_us: int = 0,
    to_us: int = LATEST_US,
    limit: int = 1000,
) -> dict[str, Any]:
    """Return what a policy would have decided on the newest decisions of a time, and where that differs. Changes nothing."""
    decided = await services.rulings.evaluations.between(environment, from_us, to_us, limit)
    history = [held for held in decided if held.policy]  # what was looked up is no policy's to decide
    rulings = [(held, decide(policy, held.signals)) for held in history]
    changed = [(held, ruling) for held, ruling in rulings if held.action != ruling.action]
    return {
        "policy": policy.name,
        "version": policy.version,
        "looked_at": len(history),
        "changed": len(changed),
        "stricter": sum(strictness(ruling.action) > strictness(held.action) for held, ruling in changed),
        "milder": sum(strictness(ruling.action) < strictness(held.action) for held, ruling in changed),
        "before": dict(Counter(held.action for held in history)),
        "after": dict(Counter(ruling.action for _, ruling in rulings)),
        "changes": [_change_line(held, ruling) for held, ruling in changed[:_CHANGES_SHOWN]],
    }


async def choose_policy(services: Services, asked: Mapping[str, Any]) -> Policy:
    """Return the policy that a dry run asks for: `text`, or `name` with or without `version`."""
    if text := str(asked.get("text") or ""):
        return parse_policy(text)
    if name := str(asked.get("name") or ""):
        version = asked.get("version")
        return await services.rulings.load(name, int(version) if version is not None else None)
    raise QuestionError("Give the `text` of a policy, or the `name` of a stored one.")


def _document(name: str, version: int, text: str) -> dict[str, Any]:
    policy = parse_policy(text, version)
    return {
        "name": name,
        "version": version,
        "description": policy.description,
        "otherwise": policy.otherwise,
        "rules": [_rule_line(rule) for rule in policy.rules],
        "signals": signals_of(policy),
        "text": text,
    }


def _rule_line(rule: Rule) -> dict[str, Any]:
    return {"id": rule.id, "action": rule.action, "reason": rule.reason, "severity": rule.severity}


def _version_line(held: PolicyVersion) -> dict[str, Any]:
    return {
        "name": held.name,
        "version": held.version,
        "description": held.description,
        "created": format_us(held.created_us),
        "created_by": held.created_by,
    }


def _activation_line(held: Activation) -> dict[str, Any]:
    return {
        "environment": held.environment,
        "name": held.name,
        "version": held.version,
        "effective": format_us(held.effective_us),
        "activated": format_us(held.activated_us),
        "activated_by": held.activated_by,
    }


def _change_line(held: Evaluation, ruling: Ruling) -> dict[str, Any]:
    return {
        "trace_id": held.trace_id,
        "environment": held.environment,
        "created": format_us(held.created_us),
        "outcome": held.outcome,
        "service": held.service,
        "before": {"action": held.action, "rule": held.rule, "reason": held.reason},
        "after": {"action": ruling.action, "rule": ruling.rule, "reason": ruling.reason},
        "missing": list(ruling.missing),
    }
