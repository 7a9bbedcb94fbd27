"""One investigation from question to answer: wait for what was sent before, run the team, keep what was cited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from agents.answers import DECLINED, found_body, look_up
from agents.code_questions import answer_code_question
from agents.finding import Finder
from agents.gathered import Gathered
from agents.keeping import AnswerKeeper
from agents.looked_up import Asked, Found
from agents.question import Question, bounds_of
from agents.reading import Reading, read_question
from agents.runbook_search import RunbookSearch
from agents.said_line import means_a_line, with_line
from agents.spans import find_stretch
from agents.state import Deps, State
from agents.team import Left, Progress, open_team
from agents.telling import Told, last_decision
from domain.errors import CausegraphError, QuestionError
from domain.settings import Settings
from domain.times import MINUTE_US, Window
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
from storage.conversations import ConversationStore
from storage.database import Database
from storage.prompt_keeper import PromptKeeper
from storage.run_states import RunStates
from storage.spooled import SpooledStore
from storage.telemetry import Telemetry
from tracing.trace import Sink, start_trace

__all__ = ["Answer", "Investigator", "Progress"]

_MAX_QUESTION = 4_000
_REMEMBERED = 12  # turns of a thread that a question may refer to


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer as the JSON contract has it (docs/api.md)."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Reply:
    """An answer that was looked up, by whom, and what they decided."""

    agent: str
    text: str
    body: dict[str, Any]


class Investigator:
    """Answers questions over one set of stores. Safe to use for many questions at once."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        telemetry: Telemetry,
        graph: TopologyGraph,
        projection: TopologyProjection,
        spool: SpooledStore,
        library: Library,
        conversations: ConversationStore,
        keeper: AnswerKeeper,
        sink: Sink,
        models: ChatModels,
        guard: Guard,
        code: CodeSearch | None = None,
        runbook_search: RunbookSearch | None = None,
        finder: Finder | None = None,
        prompts: PromptKeeper | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._telemetry = telemetry
        self._graph = graph
        self._projection = projection
        self._spool = spool
        self._library = library
        self._conversations = conversations
        self._keeper = keeper
        self._sink = sink
        self._models = models
        self._guard = guard
        self._code = code
        self._runbook_search = runbook_search
        self._finder = finder
        self._keep_prompt = prompts.keep if prompts else None

    async def ask(self, question: Question, *, segment: int = 0) -> dict[str, Any]:
        """Return the answer to a question; raises QuestionError or StorageError.

        That of a question with a `run_id` is the answer of a trace of that id; with a `segment` it goes on with it (`stream`).
        """
        async for part in self.stream(question, trace_id=question.run_id, segment=segment):
            if isinstance(part, Answer):
                if question.run_id:
                    await RunStates(self._database).forget(question.run_id)
                return part.body
        raise CausegraphError("The investigation ended without an answer: see the log.")

    async def stream(
        self, question: Question, *, trace_id: str = "", segment: int = 0
    ) -> AsyncIterator[Progress | Told | Answer]:
        """Yield what each agent decided as it finishes, what else there is to tell, and the answer last.

        With a `segment` it goes on with a run that another process left, in the trace of that run.
        """
        _check(question)
        began = time.perf_counter()
        async with (
            start_trace(
                question.text,
                question.environment,
                self._sink,
                enabled=self._settings.tracing,
                trace_id=trace_id,
                segment=segment,
            ) as trace,
            open_team(self._database, question.run_id) as team,
        ):
            begun: State | Left | None = await team.find_left() if segment else None
            # What was asked, and when, is what the run began with.
            deps = self._deps(begun.state["question"] if isinstance(begun, Left) else question)
            if begun is None:
                behind = await self._wait_for_watermark()
                read = await self._read(question, deps, trace.id, behind, began)
                if isinstance(read, _Reply):
                    yield Progress(read.agent, read.text)
                    body = read.body
                else:
                    begun = {"question": read, "behind": behind, "round": 0, "reports": {}, "gathered": Gathered()}
            if begun is not None:
                async for part in team.work(begun, deps):
                    if isinstance(part, Progress | Told):
                        yield part
                    else:
                        body = await self._keeper.keep_verdict(part, deps, trace.id, began)
        # Behind the trace: whoever has the answer reads no further, which would look like a run that broke off.
        yield Answer(body)

    def _deps(self, question: Question) -> Deps:
        telemetry = self._telemetry.as_of(question.at_us)
        return Deps(
            telemetry=telemetry,
            graph=self._graph,
            desk=EvidenceDesk(telemetry, self._graph, question.environment, self._code),
            ledger=SearchLedger(),
            library=self._library,
            lookback_us=self._settings.lookback_minutes * MINUTE_US,
            models=ModelDesk(self._models, self._guard, Budget(self._settings), self._keep_prompt),
            code=self._code,
            runbook_search=self._runbook_search,
            finder=self._finder,
            runbook_hosts=tuple(host for host in self._settings.runbook_hosts.replace(" ", "").split(",") if host),
            policies=self._keeper.rulings,
            opinions=self._keeper.rulings.opinions if self._keeper.rulings else None,
        )

    async def _read(
        self, question: Question, deps: Deps, trace_id: str, behind: tuple[str, ...], began: float
    ) -> Question | _Reply:
        """Return the question as it is to be investigated, or its answer where no verdict is needed."""
        turns = await self._conversations.turns(question.environment, question.thread_id, _REMEMBERED)
        if means_a_line(question.text):
            question = await with_line(question, turns, self._keeper.evidence) or question
        about_code = await answer_code_question(question, deps)
        if about_code is not None:
            body = await self._keeper.keep_reply(question, about_code, deps, trace_id, behind, began)
            return _Reply("code", last_decision("code"), body)
        reading = await read_question(question, turns, deps.models, deps.telemetry)
        looked_up = await self._look_up(reading, deps)
        if looked_up is None:
            return reading.question
        asked, found = looked_up
        body = await found_body(asked, found, deps, trace_id, behind)
        body = await self._keeper.keep_found(asked, body, deps, began)
        return _Reply("answerer", found.decided or found.headline, body)

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
