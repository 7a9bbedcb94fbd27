"""What judges and policies made of runs, and what people say of them: the history that policies are tried on."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from domain.times import LATEST_US
from domain.verdict import JudgeAction
from storage.database import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One decision about a run: who judged, the signals, and what the policy made of them.

    `outcome` is the verdict's (or "" for traces of other programs), `confidence` what the run said of itself.
    """

    id: str
    environment: str
    trace_id: str
    created_us: int
    judge: str
    service: str
    intent: str
    outcome: str
    confidence: float | None
    policy: str
    policy_version: int
    rule: str
    action: JudgeAction
    reason: str
    severity: str
    input_hash: str
    signals: Mapping[str, Any]
    gaps: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: Row) -> Evaluation:
        return cls(
            id=str(row[0]),
            environment=str(row[1]),
            trace_id=str(row[2]),
            created_us=int(row[3]),
            judge=str(row[4]),
            service=str(row[5]),
            intent=str(row[6]),
            outcome=str(row[7]),
            confidence=None if row[8] is None else float(row[8]),
            policy=str(row[9]),
            policy_version=int(row[10]),
            rule=str(row[11]),
            action=cast(JudgeAction, row[12]),
            reason=str(row[13]),
            severity=str(row[14]),
            input_hash=str(row[15]),
            signals=json.loads(row[16]),
            gaps=tuple(json.loads(row[17])),
        )

    def to_row(self) -> Row:
        return (
            self.id,
            self.environment[:64],
            self.trace_id,
            self.created_us,
            self.judge[:64],
            self.service[:128],
            self.intent[:64],
            self.outcome[:16],
            self.confidence,
            self.policy,
            self.policy_version,
            self.rule,
            self.action,
            self.reason,
            self.severity,
            self.input_hash,
            json.dumps(self.signals, ensure_ascii=False, default=str),
            json.dumps(self.gaps, ensure_ascii=False),
        )


@dataclass(frozen=True, slots=True)
class TraceReview:
    """What a person says of a run: passed, failed, or (None) deferred; a note; tags."""

    trace_id: str
    reviewer: str
    passed: bool | None
    note: str
    tags: tuple[str, ...]
    created_us: int

    @classmethod
    def from_row(cls, row: Row) -> TraceReview:
        passed = None if row[2] is None else bool(row[2])
        return cls(str(row[0]), str(row[1]), passed, str(row[3]), tuple(json.loads(row[4])), int(row[5]))


def make_evaluation_id() -> str:
    """Return a new id, `evl-` and twelve hex characters."""
    return f"evl-{secrets.token_hex(6)}"


def insert_evaluation(tx: Transaction, evaluation: Evaluation) -> Evaluation:
    """Store an evaluation within a transaction; of the same judge, trace and input the first one is kept and returned."""
    tx.execute("insert_evaluation", evaluation.to_row())
    key = (evaluation.trace_id, evaluation.judge[:64], evaluation.input_hash)
    return Evaluation.from_row(tx.fetch("evaluation_once", key)[0])


class EvaluationStore:
    """The evaluations and reviews of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_input(self, input_hash: str) -> Evaluation | None:
        """Return what was decided first on an input under a version of a policy."""
        rows = await self._database.fetch("evaluation_of_input", (input_hash,))
        return Evaluation.from_row(rows[0]) if rows else None

    async def of_trace(self, trace_id: str) -> Sequence[Evaluation]:
        """Return every evaluation of a trace, oldest first."""
        rows = await self._database.fetch("evaluations_of_trace", (trace_id,)) if trace_id.isascii() else []
        return [Evaluation.from_row(row) for row in rows]

    async def between(
        self, environment: str, from_us: int, to_us: int = LATEST_US, limit: int = 10_000
    ) -> Sequence[Evaluation]:
        """Return the newest evaluations of a time, of one environment or ("") of all."""
        rows = await self._database.fetch("evaluations_between", (environment, environment, from_us, to_us, limit))
        return [Evaluation.from_row(row) for row in rows]

    async def review(self, trace_id: str, reviewer: str, passed: bool | None, note: str, tags: Sequence[str]) -> None:
        """Keep what a person says of a run."""
        row = (trace_id, reviewer[:128], passed, note[:16_000], json.dumps(list(tags)), time.time_ns() // 1000)
        await self._database.execute("insert_trace_review", row)

    async def reviews(self, trace_id: str) -> Sequence[TraceReview]:
        """Return what people said of a run, oldest first."""
        rows = await self._database.fetch("trace_reviews", (trace_id,)) if trace_id.isascii() else []
        return [TraceReview.from_row(row) for row in rows]

    async def reviews_since(self, from_us: int, limit: int = 50_000) -> Sequence[TraceReview]:
        """Return what people said since a moment, oldest first."""
        rows = await self._database.fetch("trace_reviews_since", (from_us, limit))
        return [TraceReview.from_row(row) for row in rows]
