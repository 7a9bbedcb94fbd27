"""What commands ask of policies and cases where no server runs: the same names and values as the HTTP paths have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from agents import case_replies, policy_replies, quality_replies
from agents.replies import read_time
from domain.times import LATEST_US

if TYPE_CHECKING:
    from agents.services import Services

type PolicyCall = Literal["policies", "policy", "check", "save", "activate", "dry-run"]
type CaseCall = Literal["cases", "case", "ack", "resolve", "reopen", "comment"]
type QualityCall = Literal[
    "reviews", "compare", "prefer", "flagged", "settle", "stats", "failures", "patterns", "calibration"
]
type ReviewCall = PolicyCall | CaseCall | QualityCall
_ACTOR = "command line"


async def call_review(services: Services, name: ReviewCall, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the server would reply; `values` holds what its path, query and body would."""
    given = dict(values)
    match name:
        case "policies":
            return await policy_replies.list_policies(services)
        case "policy":
            return await policy_replies.read_policy(services, given["name"], given.get("version"))
        case "check":
            return policy_replies.check_policy(given["text"])
        case "save":
            return await policy_replies.save_policy(services, given["text"], _ACTOR)
        case "activate":
            effective_us = read_time("effective_from", given.get("effective_from"))
            asked = (given["name"], given.get("version"), given.get("environment") or "")
            return await policy_replies.activate_policy(services, *asked, _ACTOR, effective_us)
        case "dry-run":
            policy = await policy_replies.choose_policy(services, given)
            from_us, to_us = read_time("from", given.get("from")), read_time("to", given.get("to"))
            window = (from_us or 0, LATEST_US if to_us is None else to_us)
            return await policy_replies.dry_run(
                services, policy, given.get("environment") or "", *window, int(given.get("limit") or 1000)
            )
        case "cases":
            asked_status = str(given.get("status") or "")
            return await case_replies.list_cases(
                services, given.get("environment") or "", asked_status, int(given.get("limit") or 50)
            )
        case "case":
            return await case_replies.read_case(services, given["id"])
        case "ack":
            return await case_replies.move_case(services, given["id"], "acknowledge", _ACTOR, given.get("text") or "")
        case "resolve" | "reopen":
            return await case_replies.move_case(services, given["id"], name, _ACTOR, given.get("text") or "")
        case "comment":
            return await case_replies.comment_case(services, given["id"], _ACTOR, given.get("text") or "")
        case _:
            return await _call_quality(services, name, given)


async def _call_quality(services: Services, name: QualityCall, given: Mapping[str, Any]) -> dict[str, Any]:
    environment, limit = str(given.get("environment") or ""), int(given.get("limit") or 50)
    from_us, to_us = read_time("from", given.get("from")), read_time("to", given.get("to"))
    window = (from_us or 0, LATEST_US if to_us is None else to_us)
    match name:
        case "reviews":
            return await case_replies.read_reviews(services, given["trace_id"])
        case "compare":
            return await quality_replies.compare_traces(services, given["a"], given["b"])
        case "prefer":
            return await quality_replies.prefer_trace(services, given["a"], given["b"])
        case "flagged":
            return await quality_replies.read_flagged(services, bool(given.get("settled")), limit)
        case "settle":
            return await quality_replies.settle_flags(services, given["trace_id"], _ACTOR)
        case "stats":
            return await quality_replies.read_stats(services, str(given.get("by") or "service"), environment, *window)
        case "failures":
            return await quality_replies.read_failures(services, environment, *window, limit)
        case "patterns":
            return await quality_replies.read_patterns(services, environment, *window, int(given.get("min_runs") or 3))
        case "calibration":
            return await quality_replies.read_calibration(services, environment, float(given.get("days") or 90.0))
