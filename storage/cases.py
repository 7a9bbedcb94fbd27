"""Cases: what a person has to look at. Opened with the decision that asks for one, in one transaction with its notification."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from blake3 import blake3

from domain.errors import NotFound, QuestionError
from domain.evidence import canonical_bytes
from domain.times import LATEST_US
from storage.database import Database, Row, Transaction
from storage.evaluations import Evaluation, insert_evaluation
from storage.jobs import JobQueue

type CaseStatus = Literal["open", "acknowledged", "resolved"]
type CaseMove = Literal["acknowledge", "resolve", "reopen"]

NOTIFICATIONS: Final = "case"  # the queue of notifications that wait to be sent
_ATTEMPTS = 12
# What may follow on what; a move that changes nothing is refused, so that two people see that they met.
_MOVES: Mapping[CaseMove, tuple[tuple[CaseStatus, ...], CaseStatus, str]] = {
    "acknowledge": (("open",), "acknowledged", "acknowledged"),
    "resolve": (("open", "acknowledged"), "resolved", "resolved"),
    "reopen": (("resolved",), "open", "reopened"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `title` is the question or the input of the run that it is about."""

    id: str
    environment: str
    trace_id: str
    evaluation_id: str
    incident_id: str
    status: CaseStatus
    severity: str
    reason: str
    service: str
    title: str
    opened_us: int
    changed_us: int

    @classmethod
    def from_row(cls, row: Row) -> Case:
        return cls(
            id=str(row[0]),
            environment=str(row[1]),
            trace_id=str(row[2]),
            evaluation_id=str(row[3]),
            incident_id=str(row[4]),
            status=cast(CaseStatus, row[5]),
            severity=str(row[6]),
            reason=str(row[7]),
            service=str(row[8]),
            title=str(row[9]),
            opened_us=int(row[10]),
            changed_us=int(row[11]),
        )


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """Something that happened to a case: opened, acknowledged, resolved, reopened, comment, notified, unreachable."""

    time_us: int
    kind: str
    actor: str
    text: str

    @classmethod
    def from_row(cls, row: Row) -> CaseEvent:
        return cls(int(row[1]), str(row[2]), str(row[3]), str(row[4]))


def notification_queue(database: Database) -> JobQueue:
    """Return the queue of notifications that wait to be sent."""
    return JobQueue(database, NOTIFICATIONS, max_attempts=_ATTEMPTS)


class CaseStore:
    """The cases of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, evaluation: Evaluation, title: str, incident_id: str = "") -> tuple[Evaluation, Case | None]:
        """Store a decision; one that escalates opens a case with a job that tells of it. The same again changes nothing."""

        def work(tx: Transaction) -> tuple[Evaluation, Case | None]:
            stored = insert_evaluation(tx, evaluation)
            return stored, _open(tx, stored, title, incident_id) if stored.action == "ESCALATE" else None

        return await self._database.transaction(work)

    async def page(
        self, environment: str = "", status: str = "", limit: int = 50, before_us: int = LATEST_US
    ) -> Sequence[Case]:
        """Return the newest cases, of one environment or of all, of one status or of any."""
        asked = (environment, environment, status, status, before_us, limit)
        return [Case.from_row(row) for row in await self._database.fetch("list_cases", asked)]

    async def counts(self, environment: str = "") -> Mapping[str, int]:
        """Return how many cases there are of each status."""
        rows = await self._database.fetch("count_cases", (environment, environment))
        return {str(row[0]): int(row[1]) for row in rows}

    async def get(self, case_id: str) -> Case:
        """Return a case; raises NotFound."""
        rows = await self._database.fetch("one_case", (case_id,)) if case_id.isascii() else []
        if not rows:
            raise NotFound(f"There is no case {case_id[:40]!r}: see `causegraph cases list`.")
        return Case.from_row(rows[0])

    async def of_trace(self, trace_id: str) -> Sequence[Case]:
        """Return the cases of a trace."""
        rows = await self._database.fetch("cases_of_trace", (trace_id,)) if trace_id.isascii() else []
        return [Case.from_row(row) for row in rows]

    async def events(self, case_id: str) -> Sequence[CaseEvent]:
        """Return what happened to a case, oldest first."""
        rows = await self._database.fetch("case_events", (case_id,)) if case_id.isascii() else []
        return [CaseEvent.from_row(row) for row in rows]

    async def move(self, case_id: str, move: CaseMove, actor: str, text: str = "") -> Case:
        """Acknowledge, resolve or reopen a case; raises NotFound, or QuestionError if its status does not allow it."""
        allowed, status, kind = _MOVES[move]

        def work(tx: Transaction) -> Case:
            case = _locked(tx, case_id)
            if case.status not in allowed:
                raise QuestionError(f"Case {case_id} is {case.status}: only {' or '.join(allowed)} ones can be {kind}.")
            now_us = time.time_ns() // 1000
            tx.execute("move_case", (status, now_us, case_id))
            tx.execute("insert_case_event", (case_id, now_us, kind, actor[:128], text[:16_000]))
            return Case.from_row(tx.fetch("one_case", (case_id,))[0])

        return await self._database.transaction(work)

    async def add_event(self, case_id: str, kind: str, actor: str, text: str) -> None:
        """Add a comment or what became of a notification; raises NotFound."""

        def work(tx: Transaction) -> None:
            _locked(tx, case_id)
            tx.execute("insert_case_event", (case_id, time.time_ns() // 1000, kind, actor[:128], text[:16_000]))

        await self._database.transaction(work)


def _locked(tx: Transaction, case_id: str) -> Case:
    rows = tx.fetch("lock_case", (case_id,)) if case_id.isascii() else []
    if not rows:
        raise NotFound(f"There is no case {case_id[:40]!r}: see `causegraph cases list`.")
    return Case.from_row(rows[0])


def _open(tx: Transaction, evaluation: Evaluation, title: str, incident_id: str) -> Case:
    now_us = time.time_ns() // 1000
    case_id = f"cas-{secrets.token_hex(6)}"
    row = (case_id, evaluation.environment, evaluation.trace_id, evaluation.id, incident_id, evaluation.severity)
    made = tx.execute("insert_case", (*row, evaluation.reason, evaluation.service, title[:4000], now_us, now_us))
    case = Case.from_row(tx.fetch("case_once", (evaluation.trace_id, evaluation.reason))[0])
    if made:
        tx.execute("insert_case_event", (case.id, now_us, "opened", evaluation.judge, evaluation.reason))
        now = int(tx.fetch("database_now")[0][0])
        payload = canonical_bytes({"case_id": case.id}).decode()
        tx.execute("insert_job", (NOTIFICATIONS, blake3(case.id.encode()).hexdigest(), payload, now, now))
    return case
