"""What is kept of an answer: the evidence that it cites, its turn of the conversation, its incident, and what was proposed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agents.answer_json import budget_body, verdict_answer
from agents.code_questions import CodeAnswer, answer_body
from agents.looked_up import Asked
from agents.question import Question
from agents.remedy import Remedy
from agents.remedy_plan import situation_of
from agents.rulings import Rulings
from agents.runbook import kinds_of_changes
from agents.state import Deps, Plan, State
from domain.errors import CausegraphError
from domain.times import MINUTE_US, format_us, to_us
from domain.verdict import Judgement
from retrieval.evidence import EvidenceDesk
from storage.conversations import ConversationStore, Focus, Turn
from storage.evidence import EvidenceStore
from storage.incidents import Incident, IncidentStore, make_incident_id
from storage.telemetry import Telemetry
from tracing.trace import current_trace

logger = logging.getLogger(__name__)

# What was asked about a time longer ago than this leads to no change of anything.
_RECENT_US = 15 * MINUTE_US


@dataclass(frozen=True, slots=True)
class AnswerKeeper:
    """Keeps answers. Kept twice, as after a crash, an answer of the same run is there once."""

    telemetry: Telemetry
    evidence: EvidenceStore
    incidents: IncidentStore
    conversations: ConversationStore
    remedy: Remedy | None = None
    rulings: Rulings | None = None

    async def keep_found(self, asked: Asked, body: dict[str, Any], deps: Deps, began: float) -> dict[str, Any]:
        """Keep what was cited, and the turn of the conversation."""
        question = asked.question
        await self._keep_cited({i for claim in body["claims"] for i in claim["evidence"]}, deps, body["trace_id"])
        body["budget"] = budget_body(deps.models.budget, began)
        # The last hour, for want of a time, is nothing that later questions refer to.
        stretch = (asked.window.start_us, asked.window.end_us) if asked.stated else (None, None)
        focus = Focus(asked.services, from_us=stretch[0], to_us=stretch[1])
        await self._keep_turn(question, body, focus)
        await self._keep_judged(question, body, asked.services[0] if len(asked.services) == 1 else "")
        return body

    async def _keep_judged(self, question: Question, body: dict[str, Any], service: str = "") -> None:
        """Let an answer that needed no verdict be found and counted among the runs."""
        kind, answer = body["kind"], body["answer"]
        current_trace().note(thread_id=question.thread_id, intent=kind, service=service, answer=answer)
        if self.rulings is not None:
            await self.rulings.keep_looked_up(question, body, "" if kind == "clarify" else service)

    async def _keep_cited(self, cited: set[str], deps: Deps, trace_id: str) -> None:
        desk = deps.desk
        kept = [desk.found[i] for i in sorted(cited) if i in desk.found]
        current_trace().evidence(sorted(desk.found))
        current_trace().evidence([e.id for e in kept], cited=True)
        await self.evidence.save(kept, {e.id: desk.records[e.id] for e in kept}, found_by=trace_id)

    async def _keep_turn(self, question: Question, body: dict[str, Any], focus: Focus) -> None:
        turn = Turn(
            environment=question.environment,
            thread_id=question.thread_id,
            trace_id=body["trace_id"],
            incident_id=body["incident_id"],
            kind=body["kind"],
            created_us=to_us(datetime.now(UTC)),
            question=question.text,
            focus=focus,
            answer=body,
        )
        body["turn"] = await self.conversations.add(turn)

    async def keep_verdict(self, state: State, deps: Deps, trace_id: str, began: float) -> dict[str, Any]:
        """Return the answer that a state which came to its end holds, and keep it."""
        question = state["question"]
        cited = {i for claim in state["claims"] for i in claim.evidence}
        cited |= {i for cause in state["verdict"].causes for i in cause.evidence}
        cited |= {i for cause in state["verdict"].causes for ids in cause.hop_evidence.values() for i in ids}
        cited |= {i for ruled in state["verdict"].ruled_out for i in ruled.evidence}
        await self._keep_cited(cited, deps, trace_id)
        body = verdict_answer(question, state, trace_id, (*state["behind"], *deps.models.lost))
        body["budget"] = budget_body(deps.models.budget, began)
        body["incident_id"] = question.incident_id or make_incident_id(question.run_id)
        body["workflow"] = await self._propose(question, state, deps.desk, body)
        # First, so that the incident's answer is the one that is given, with the number of its turn.
        await self._keep_turn(question, body, _focus_of(state, deps))
        await self._keep_incident(question, body, state["verdict"].outcome, **_bounds(state["plan"]))
        if self.rulings is not None:
            await self.rulings.keep(question, state, body)
        return body

    async def keep_reply(
        self, question: Question, told: CodeAnswer, deps: Deps, trace_id: str, behind: tuple[str, ...], began: float
    ) -> dict[str, Any]:
        """Keep an answer for which nothing was investigated; an incident that it was asked in keeps its own answer."""
        await self._keep_cited({i for claim in told.claims for i in claim.evidence}, deps, trace_id)
        current_trace().judge(Judgement(told.action, {}, told.gaps))
        body = {
            "language": "en",
            "kind": "code",
            "environment": question.environment,
            "thread_id": question.thread_id,
            "incident_id": question.incident_id or make_incident_id(question.run_id),
            "trace_id": trace_id,
            **answer_body(told, (*behind, *deps.models.lost)),
            "window": {"from": format_us(told.since_us or question.at_us), "to": format_us(question.at_us)},
            "budget": budget_body(deps.models.budget, began),
        }
        await self._keep_turn(question, body, Focus())
        await self._keep_judged(question, body)
        if not question.incident_id:
            await self._keep_incident(question, body, "")
        return body

    async def _keep_incident(self, question: Question, body: dict[str, Any], outcome: str, **bounds: Any) -> None:
        incident = Incident(
            id=body["incident_id"],
            environment=question.environment,
            thread_id=question.thread_id,
            trace_id=body["trace_id"],
            created_us=to_us(datetime.now(UTC)),
            question=question.text,
            outcome=outcome,
            answer=body,
            **bounds,
        )
        current_trace().note(
            thread_id=question.thread_id,
            incident_id=incident.id,
            intent=body["kind"],
            service=incident.service,
            answer=body["answer"],
        )
        await self.incidents.save(incident)

    async def _propose(
        self, question: Question, state: State, desk: EvidenceDesk, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Propose the workflow that fits an answer that may be given; never for what is long over."""
        recent = question.at_us > time.time_ns() // 1000 - _RECENT_US
        if self.remedy is None or not recent or body["judge"]["action"] not in ("ALLOW_ANSWER", "ALLOW_WITH_WARNING"):
            return None
        try:
            alerts = await self.telemetry.alerts(question.environment, state["plan"].window)
            changes = [kind for cause in state["verdict"].causes[:1] for kind in kinds_of_changes(cause, desk.found)]
            found = situation_of(body, changes=changes, alerts=[alert.name for alert in alerts])
            return await self.remedy.propose_for(found)
        except CausegraphError as exc:
            logger.warning("no workflow could be proposed", extra={"reason": str(exc)})
            body["verdict"]["not_seen"].append(f"which workflow would help: {exc}")
            return None


def _focus_of(state: State, deps: Deps) -> Focus:
    """Return what an investigation was about, for the questions that follow."""
    plan, verdict = state["plan"], state["verdict"]
    cause = verdict.causes[0] if verdict.causes else None
    felt = (plan.symptom.service,) if plan.symptom is not None and plan.symptom.service else ()
    cited = [deps.desk.found[i] for i in (cause.evidence if cause else ()) if i in deps.desk.found]
    changes = [evidence.time_us for evidence in cited if evidence.kind == "change"]
    window = plan.window if plan.symptom is not None else plan.search
    return Focus(
        services=plan.subject.services or felt,
        cause=cause.service if cause else "",
        from_us=window.start_us,
        to_us=window.end_us,
        change_us=max(changes, default=None),
    )


def _bounds(plan: Plan) -> dict[str, Any]:
    if plan.symptom is None:
        return {}
    ended = plan.symptom.end_us if plan.symptom.recovered else None
    return {"service": plan.symptom.service, "started_us": plan.symptom.start_us, "ended_us": ended}
