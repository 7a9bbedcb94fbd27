"""Conversations: the turns of each thread, with what each was about, so that the next one may refer to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.errors import NotFound
from domain.times import LATEST_US
from storage.database import Database, Row, Transaction

_TURNS = 50


@dataclass(frozen=True, slots=True)
class Focus:
    """What a turn was about: services, the cause that was found, the stretch of time, the last change in it (us)."""

    services: tuple[str, ...] = ()
    cause: str = ""
    from_us: int | None = None
    to_us: int | None = None
    change_us: int | None = None

    @classmethod
    def from_json(cls, text: str) -> Focus:
        held = json.loads(text or "{}")
        services = tuple(str(name) for name in held.get("services", ()))
        times = {name: held.get(name) for name in ("from_us", "to_us", "change_us")}
        return cls(services, str(held.get("cause", "")), **times)

    def to_json(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer. `kind` is what was asked for (`why`, `count` ...); `number` counts from 1."""

    environment: str
    thread_id: str
    trace_id: str
    incident_id: str
    kind: str
    created_us: int
    question: str
    focus: Focus
    answer: Mapping[str, Any]
    number: int = 0
    feedback: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Row) -> Turn:
        return cls(
            environment=str(row[0]),
            thread_id=str(row[1]),
            number=int(row[2]),
            trace_id=str(row[3]),
            incident_id=str(row[4]),
            kind=str(row[5]),
            created_us=int(row[6]),
            question=str(row[7]),
            focus=Focus.from_json(row[8]),
            answer=json.loads(row[9]),
            feedback=json.loads(row[10] or "{}"),
        )


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation: its first question, how many turns it has, and when the first and the last were."""

    id: str
    question: str
    turns: int
    began_us: int
    last_us: int


class ConversationStore:
    """Keeps the turns of threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, turn: Turn) -> int:
        """Store a turn at the end of its thread and return its number; that of a trace is stored once."""

        def store(tx: Transaction) -> int:
            held = tx.fetch("turn_of_trace", (turn.environment, turn.thread_id, turn.trace_id)) if turn.trace_id else []
            if held:  # its run was begun again after it had been stored
                return int(held[0][0])
            number = int(tx.fetch("lock_thread", (turn.environment, turn.thread_id))[0][0]) + 1
            row = (
                *(
                    turn.environment,
                    turn.thread_id,
                    number,
                    turn.trace_id,
                    turn.incident_id,
                    turn.kind,
                    turn.created_us,
                ),
                turn.question[:16_000],
                turn.focus.to_json(),
                json.dumps(turn.answer, ensure_ascii=False, separators=(",", ":")),
            )
            tx.execute("store_turn", row)
            return number

        return await self._database.transaction(store)

    async def turns(self, environment: str, thread_id: str, limit: int = _TURNS) -> Sequence[Turn]:
        """Return the last turns of a thread, oldest first."""
        if not thread_id or not thread_id.isascii():
            return []
        rows = await self._database.fetch("turns_of_thread", (environment, thread_id, limit))
        return [Turn.from_row(row) for row in reversed(rows)]

    async def threads(self, environment: str, limit: int = 50, before_us: int = LATEST_US) -> Sequence[Thread]:
        """Return the threads of an environment, those with the newest turns first."""
        rows = await self._database.fetch("threads_of_environment", (environment, before_us, limit))
        return [Thread(str(row[0]), str(row[1]), int(row[2]), int(row[3]), int(row[4])) for row in rows]

    async def rate(self, environment: str, thread_id: str, number: int, feedback: Mapping[str, Any]) -> None:
        """Store what the asker thought of an answer; raises NotFound."""
        if not any(turn.number == number for turn in await self.turns(environment, thread_id, 10_000)):
            raise NotFound(f"The thread {thread_id!r} has no turn {number}.")
        text = json.dumps(feedback, ensure_ascii=False)
        await self._database.execute("store_feedback", (text, environment, thread_id, number))
