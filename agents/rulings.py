"""Which policy holds, what it decides, and what becomes of a decision: kept, and a case opened where a person must look."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from agents.question import Question
from agents.state import State
from domain.errors import CausegraphError, PayloadError, StorageError
from review.policy import Policy, Ruling, decide, hash_input
from review.policy_document import built_in_policy, parse_policy
from storage.cases import Case, CaseStore
from storage.evaluations import Evaluation, EvaluationStore, make_evaluation_id
from storage.opinions import OpinionStore
from storage.policies import PolicyStore

logger = logging.getLogger(__name__)

LOOKED_UP = "LOOKED_UP"  # the reason that stands for no policy's
_NO_POLICY = Policy("", 0, ())


class Rulings:
    """The policies and decisions of one database."""

    def __init__(
        self, policies: PolicyStore, evaluations: EvaluationStore, cases: CaseStore, opinions: OpinionStore
    ) -> None:
        self.policies = policies
        self.evaluations = evaluations
        self.cases = cases
        self.opinions = opinions

    async def active_policy(self, environment: str) -> Policy:
        """Return the policy that holds: what was activated last for an environment, or for all, or what is built in.

        Raises StorageError; also where the policy that was activated cannot be read, for no other may stand in for it.
        """
        active = await self.policies.active(environment)
        if active is None or active[1] == 0:
            return built_in_policy()
        name, version, definition = active
        if definition is None:
            raise StorageError(f"Policy {name} version {version} is active and not stored: activate another.")
        return read_policy(name, version, definition)

    async def load(self, name: str, version: int | None) -> Policy:
        """Return a stored policy, its newest version if none is given; raises NotFound."""
        if version == 0:
            return built_in_policy()
        held = await self.policies.get(name, version) if version else (await self.policies.versions(name))[0]
        return read_policy(held.name, held.version, held.definition)

    async def keep(self, question: Question, state: State, body: Mapping[str, Any]) -> None:
        """Keep what was decided about an answer, with a case where a person must look. The answer stands without it."""
        decided, causes, symptom = state["decided"], state["verdict"].causes, state["plan"].symptom
        about = {
            "service": symptom.service if symptom else "",
            "outcome": state["verdict"].outcome,
            "intent": "why",
            "confidence": causes[0].confidence if causes else None,
        }
        try:
            await self.record(
                decided.policy,
                decided.signals,
                ruling=decided.ruling,
                environment=question.environment,
                trace_id=str(body["trace_id"]),
                judge="checks",
                title=question.text,
                about=about,
                incident_id=str(body["incident_id"]),
                gaps=state["judgement"].gaps,
            )
        except CausegraphError as exc:
            logger.warning("A decision could not be kept", extra={"trace_id": body["trace_id"], "reason": str(exc)})

    async def keep_looked_up(self, question: Question, body: Mapping[str, Any], service: str = "") -> None:
        """Keep what was made of an answer that needed no verdict: its records were read again, and no policy was asked."""
        judged = body["judge"]
        kept = judged["scores"].get("claims_kept")
        scores = {**judged["scores"], **({"unchanged": kept} if body["claims"] or kept == 0 else {})}
        signals = {
            "answer": {
                "kind": body["kind"],
                "claims": len(body["claims"]),
                "not_seen": len(body["verdict"]["not_seen"]),
            },
            "scores": scores,
            "environment": question.environment,
            "service": service,
        }
        try:
            await self.record(
                _NO_POLICY,
                signals,
                ruling=Ruling(judged["action"], "", LOOKED_UP, "low"),
                environment=question.environment,
                trace_id=str(body["trace_id"]),
                judge="checks",
                title=question.text,
                about={"service": service, "intent": body["kind"]},
                gaps=tuple(judged["gaps"]),
            )
        except CausegraphError as exc:
            logger.warning("A judgement could not be kept", extra={"trace_id": body["trace_id"], "reason": str(exc)})

    async def record(
        self,
        policy: Policy,
        signals: Mapping[str, Any],
        *,
        environment: str,
        trace_id: str,
        judge: str,
        title: str,
        about: Mapping[str, Any],
        ruling: Ruling | None = None,
        incident_id: str = "",
        gaps: tuple[str, ...] = (),
    ) -> tuple[Evaluation, Case | None]:
        """Keep a decision, made here unless it is given; `about` has service, intent, outcome and confidence, as far as known."""
        ruling = ruling or decide(policy, signals)
        evaluation = Evaluation(
            id=make_evaluation_id(),
            environment=environment,
            trace_id=trace_id,
            created_us=time.time_ns() // 1000,
            judge=judge,
            service=str(about.get("service") or ""),
            intent=str(about.get("intent") or ""),
            outcome=str(about.get("outcome") or ""),
            confidence=about.get("confidence"),
            policy=policy.name,
            policy_version=policy.version,
            rule=ruling.rule,
            action=ruling.action,
            reason=ruling.reason,
            severity=ruling.severity,
            input_hash=hash_input(policy, signals),
            signals=signals,
            gaps=gaps,
        )
        return await self.cases.record(evaluation, title, incident_id)


def read_policy(name: str, version: int, definition: str) -> Policy:
    """Return a stored policy; raises StorageError where this program does not understand it."""
    try:
        return parse_policy(definition, version)
    except PayloadError as exc:
        raise StorageError(f"Policy {name} version {version} cannot be read: {exc}") from exc
