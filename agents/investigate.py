"""One investigation from question to answer: wait for what was sent before, run the team, keep what was cited."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from agents.answers import DECLINED, found_body, look_up
from agents.code_questions import CodeAnswer, answer_body, answer_code_question
from agents.graph import build_graph
from agents.looked_up import Asked, Found
from agents.question import Question, bounds_of
from agents.reading import Reading, read_question
from agents.remedy import Remedy
from agents.remedy_plan import situation_of
from agents.rulings import Rulings
from agents.runbook import kinds_of_changes
from agents.spans import find_stretch
from agents.state import Deps, Plan, State
from agents.telling import Told, tell_update
from domain.errors import CausegraphError, QuestionError
from domain.settings import Settings
from domain.times import MINUTE_US, Window, format_us, to_us
from domain.verdict import Cause, Judgement, Verdict
from graph.topology import TopologyGraph
from indexer.search import CodeSearch
from inference.budget import Budget
from inference.build import ChatModels
from inference.desk import ModelDesk
from inference.guard import Guard
from ingest.topology import TopologyProjection
from retrieval.evidence import EvidenceDesk
from retrieval.lookups import SearchLedger
from runbooks.library import Library
from storage.conversations import ConversationStore, Focus, Turn
from storage.evidence import EvidenceStore
from storage.incidents import Incident, IncidentStore, make_incident_id
from storage.prompt_keeper import PromptKeeper
from storage.spooled import SpooledStore
from storage.telemetry import Telemetry
from tracing.trace import Sink, current_trace, start_trace

logger = logging.getLogger(__name__)

_MAX_QUESTION = 4_000
# What was asked about a time longer ago than this leads to no change of anything.
_RECENT_US = 15 * MINUTE_US
_REMEMBERED = 12  # turns of a thread that a question may refer to


@dataclass(frozen=True, slots=True)
class Progress:
    """An agent has finished; `text` is what it decided last."""

    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer as the JSON contract has it (docs/api.md)."""

    body: dict[str, Any]


class Investigator:
    """Answers questions over one set of stores. Safe to use for many questions at once."""

    def __init__(
        self,
        *,
        settings: Settings,
        telemetry: Telemetry,
        graph: TopologyGraph,
        projection: TopologyProjection,
        spool: SpooledStore,
        library: Library,
        evidence: EvidenceStore,
        incidents: IncidentStore,
        conversations: ConversationStore,
        sink: Sink,
        models: ChatModels,
        guard: Guard,
        code: CodeSearch | None = None,
        remedy: Remedy | None = None,
        prompts: PromptKeeper | None = None,
        rulings: Rulings | None = None,
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._graph = graph
        self._projection = projection
        self._spool = spool
        self._library = library
        self._evidence = evidence
        self._incidents = incidents
        self._conversations = conversations
        self._sink = sink
        self._models = models
        self._guard = guard
        self._code = code
        self._remedy = remedy
        self._keep_prompt = prompts.keep if prompts else None
        self._rulings = rulings
        self._team = build_graph()

    async def ask(self, question: Question) -> dict[str, Any]:
        """Return the answer to a question; raises QuestionError or StorageError."""
        async for part in self.stream(question):
            if isinstance(part, Answer):
                return part.body
        raise CausegraphError("The investigation ended without an answer: see the log.")

    async def stream(
        self, question: Question, *, trace_id: str = "", segment: int = 0
    ) -> AsyncIterator[Progress | Told | Answer]:
        """Yield what each agent decided as it finishes, what else there is to tell, and the answer last.

        `trace_id` and `segment` begin a run again that another process left.
        """
        _check(question)
        began = time.perf_counter()
        async with start_trace(
            question.text,
            question.environment,
            self._sink,
            enabled=self._settings.tracing,
            trace_id=trace_id,
            segment=segment,
        ) as trace:
            behind = await self._wait_for_watermark()
            ledger = SearchLedger()
            telemetry = self._telemetry.as_of(question.at_us)
            desk = EvidenceDesk(telemetry, self._graph, question.environment, self._code)
            models = ModelDesk(self._models, self._guard, Budget(self._settings), self._keep_prompt)
            deps = Deps(
                telemetry=telemetry,
                graph=self._graph,
                desk=desk,
                ledger=ledger,
                library=self._library,
                lookback_us=self._settings.lookback_minutes * MINUTE_US,
                models=models,
                code=self._code,
                runbook_hosts=tuple(host for host in self._settings.runbook_hosts.replace(" ", "").split(",") if host),
                policies=self._rulings,
                opinions=self._rulings.opinions if self._rulings else None,
            )
            about_code = await answer_code_question(question, deps)
            if about_code is not None:
                yield Progress("code", _last_decision("code"))
                yield Answer(await self._keep_reply(question, about_code, deps, trace.id, behind, began))
                return
            turns = await self._conversations.turns(question.environment, question.thread_id, _REMEMBERED)
            reading = await read_question(question, turns, models, telemetry)
            looked_up = await self._look_up(reading, deps)
            if looked_up is not None:
                asked, found = looked_up
                yield Progress("answerer", found.decided or found.headline)
                body = await found_body(asked, found, deps, trace.id, (*behind, *models.lost))
                body = await self._keep_found(asked, body, deps, began)
            else:
                question = reading.question
                state: State = {"question": question, "round": 0, "reports": {}}
                async for mode, chunk in self._team.astream(state, context=deps, stream_mode=["updates", "values"]):
                    if mode == "values":
                        state = chunk  # type: ignore[assignment]
                    elif isinstance(chunk, dict):
                        for agent, update in chunk.items():
                            yield Progress(str(agent), _last_decision(str(agent)))
                            for told in tell_update(str(agent), update):
                                yield told
                body = await self._finish(question, state, deps, trace.id, behind, began)
        yield Answer(body)

    async def _look_up(self, reading: Reading, deps: Deps) -> tuple[Asked, Found] | None:
        """Return the answer to a question that needs no verdict; None for one that has to be investigated."""
        question = reading.question
        window = self._window_of(question)
        stated = question.from_us is not None or find_stretch(question.text, question.at_us) is not None
        services = reading.named or tuple(name for name in question.about if name in reading.known)
        asked = Asked(question, reading.kind, services, reading.known, window, stated)
        if reading.declined:
            return asked, Found(DECLINED, declined=True, decided="declined")
        if reading.clarify:
            return asked, Found(reading.clarify, clarify=True, decided="a question back")
        found = await look_up(asked, deps)
        return None if found is None else (asked, found)

    def _window_of(self, question: Question) -> Window:
        if question.from_us is not None:
            end = min(question.to_us if question.to_us is not None else question.at_us, question.at_us)
            return Window(question.from_us, max(question.from_us, end))
        lookback = self._settings.lookback_minutes * MINUTE_US
        stretch = find_stretch(question.text, question.at_us)
        return stretch or Window(max(0, question.at_us - lookback), question.at_us)

    async def _keep_found(self, asked: Asked, body: dict[str, Any], deps: Deps, began: float) -> dict[str, Any]:
        """Keep what was cited, and the turn of the conversation."""
        question, window = asked.question, asked.window
        await self._keep_cited({i for claim in body["claims"] for i in claim["evidence"]}, deps, body["trace_id"])
        body["budget"] = _budget(deps, began)
        focus = Focus(asked.services, from_us=window.start_us, to_us=window.end_us)
        await self._keep_turn(question, body, focus)
        await self._keep_judged(question, body, asked.services[0] if len(asked.services) == 1 else "")
        return body

    async def _keep_judged(self, question: Question, body: dict[str, Any], service: str = "") -> None:
        """Let an answer that needed no verdict be found and counted among the runs."""
        kind, answer = body["kind"], body["answer"]
        current_trace().note(thread_id=question.thread_id, intent=kind, service=service, answer=answer)
        if self._rulings is not None:
            await self._rulings.keep_looked_up(question, body, "" if kind == "clarify" else service)

    async def _keep_cited(self, cited: set[str], deps: Deps, trace_id: str) -> None:
        desk = deps.desk
        kept = [desk.found[i] for i in sorted(cited) if i in desk.found]
        current_trace().evidence(sorted(desk.found))
        current_trace().evidence([e.id for e in kept], cited=True)
        await self._evidence.save(kept, {e.id: desk.records[e.id] for e in kept}, found_by=trace_id)

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
        body["turn"] = await self._conversations.add(turn)

    async def _wait_for_watermark(self) -> tuple[str, ...]:
        """Let the database and the graph catch up with everything acknowledged so far; say so if they do not in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.watermark_seconds
        if not await self._spool.wait_drained(self._settings.watermark_seconds):
            return ("the newest records: they are safe in the spool, but not in the database yet",)
        head = await self._telemetry.head_seq()
        if await self._projection.wait_for(head, max(0.0, deadline - loop.time())):
            return ()
        return ("the newest records: the topology graph has not caught up with them yet",)

    async def _finish(
        self,
        question: Question,
        state: State,
        deps: Deps,
        trace_id: str,
        behind: tuple[str, ...],
        began: float,
    ) -> dict[str, Any]:
        cited = {i for claim in state["claims"] for i in claim.evidence}
        cited |= {i for cause in state["verdict"].causes for i in cause.evidence}
        cited |= {i for cause in state["verdict"].causes for ids in cause.hop_evidence.values() for i in ids}
        cited |= {i for ruled in state["verdict"].ruled_out for i in ruled.evidence}
        await self._keep_cited(cited, deps, trace_id)
        body = _answer_body(question, state, trace_id, (*behind, *deps.models.lost))
        body["budget"] = _budget(deps, began)
        body["incident_id"] = question.incident_id or make_incident_id(question.run_id)
        body["workflow"] = await self._propose(question, state, deps.desk, body)
        # First, so that the incident's answer is the one that is given, with the number of its turn.
        await self._keep_turn(question, body, _focus_of(state, deps))
        await self._keep_incident(question, body, state["verdict"].outcome, **_bounds(state["plan"]))
        if self._rulings is not None:
            await self._rulings.keep(question, state, body)
        return body

    async def _keep_reply(
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
            "budget": _budget(deps, began),
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
        await self._incidents.save(incident)

    async def _propose(
        self, question: Question, state: State, desk: EvidenceDesk, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Propose the workflow that fits an answer that may be given; never for what is long over."""
        recent = question.at_us > time.time_ns() // 1000 - _RECENT_US
        if self._remedy is None or not recent or body["judge"]["action"] not in ("ALLOW_ANSWER", "ALLOW_WITH_WARNING"):
            return None
        try:
            alerts = await self._telemetry.alerts(question.environment, state["plan"].window)
            changes = [kind for cause in state["verdict"].causes[:1] for kind in kinds_of_changes(cause, desk.found)]
            found = situation_of(body, changes=changes, alerts=[alert.name for alert in alerts])
            return await self._remedy.propose_for(found)
        except CausegraphError as exc:
            logger.warning("no workflow could be proposed", extra={"reason": str(exc)})
            body["verdict"]["not_seen"].append(f"which workflow would help: {exc}")
            return None


def _budget(deps: Deps, began: float) -> dict[str, Any]:
    budget = deps.models.budget
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "tokens": budget.tokens,
        "cost": round(budget.cost, 6),
    }


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


def _check(question: Question) -> None:
    if not question.text.strip():
        raise QuestionError("The question is empty.")
    if len(question.text) > _MAX_QUESTION:
        raise QuestionError(f"The question is longer than {_MAX_QUESTION} characters.")
    if question.from_us is not None and question.from_us > question.at_us:
        raise QuestionError("`from` lies after the moment of asking (`at`, by default now).")
    if question.from_us is not None and question.to_us is not None and question.to_us < question.from_us:
        raise QuestionError("`to` lies before `from`.")
    bounds_of(question)


def _last_decision(agent: str) -> str:
    view = current_trace().view()
    spans = {stage.span_id for stage in view.stages if stage.name == agent}
    return next((d.what for d in reversed(view.decisions) if d.span_id in spans), "")


def _answer_body(question: Question, state: State, trace_id: str, behind: tuple[str, ...]) -> dict[str, Any]:
    verdict, judgement, runbook = state["verdict"], state["judgement"], state.get("runbook")
    return {
        "answer": state["answer"],
        "language": told.language if (told := state.get("told")) and told.headline else "en",
        "kind": "clarify" if state["plan"].clarification else "why",
        "environment": question.environment,
        "thread_id": question.thread_id,
        "incident_id": question.incident_id,
        "trace_id": trace_id,
        "verdict": _verdict_body(verdict, behind),
        "claims": [{"text": claim.text, "evidence": list(claim.evidence)} for claim in state["claims"]],
        "runbook": asdict(runbook) if runbook else None,
        "workflow": None,
        "judge": asdict(judgement),
        "window": {"from": format_us(state["plan"].window.start_us), "to": format_us(state["plan"].window.end_us)},
    }


def _verdict_body(verdict: Verdict, behind: tuple[str, ...]) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "causes": [_cause_body(cause) for cause in verdict.causes],
        "ranking": [asdict(ranked) for ranked in verdict.ranking],
        "ruled_out": [asdict(ruled) for ruled in verdict.ruled_out],
        "not_seen": [*verdict.not_seen, *behind],
    }


def _cause_body(cause: Cause) -> dict[str, Any]:
    body: dict[str, Any] = {
        "service": cause.service,
        "fault_class": cause.fault_class,
        "confidence": cause.confidence,
        "onset": format_us(cause.onset_us),
        "path": list(cause.path),
        "inferred_hops": list(cause.inferred_hops),
        "evidence": list(cause.evidence),
        "hop_evidence": {hop: list(ids) for hop, ids in cause.hop_evidence.items()},
    }
    if cause.component:
        body["component"] = cause.component
    if cause.change_id:
        body["change"] = cause.change_id
    if cause.code:
        body["code"] = asdict(cause.code)
    return body
