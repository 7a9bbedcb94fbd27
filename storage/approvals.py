"""Approvals: one durable record each, of which Slack, pages, commands and the API show views. Used once, or not at all."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from domain.errors import ApprovalError, NotFound
from domain.evidence import canonical_bytes
from domain.remedy import Actor, ApprovalStatus, digest_of
from domain.times import SECOND_US
from storage.database import Database, Row, Transaction

type Decision = Literal["approve", "reject"]

SYSTEM = Actor("causegraph", "system", "workflow")


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval. `document` is everything that it allows; it holds only while its BLAKE3 is `digest`."""

    id: str
    run_id: str
    environment: str
    digest: str
    document: Mapping[str, Any]
    proposed_by: str
    needed: int
    status: ApprovalStatus
    created_us: int
    expires_us: int
    decided_us: int | None

    @classmethod
    def from_row(cls, row: Row) -> Approval:
        return cls(
            id=str(row[0]),
            run_id=str(row[1]),
            environment=str(row[2]),
            digest=str(row[3]),
            document=json.loads(row[4]),
            proposed_by=str(row[5]),
            needed=int(row[6]),
            status=cast(ApprovalStatus, row[7]),
            created_us=int(row[8]),
            expires_us=int(row[9]),
            decided_us=None if row[10] is None else int(row[10]),
        )

    def status_at(self, now_us: int) -> ApprovalStatus:
        """Return the status at a moment: what nobody used in time has expired."""
        return "expired" if self.status in ("pending", "approved") and now_us >= self.expires_us else self.status


@dataclass(frozen=True, slots=True)
class ApprovalEvent:
    """One attempt to do something with an approval; `accepted` says whether it counted, `detail` why not."""

    time_us: int
    actor: str
    role: str
    via: str
    what: str
    accepted: bool
    digest: str
    detail: str

    @classmethod
    def from_row(cls, row: Row) -> ApprovalEvent:
        return cls(
            int(row[0]), str(row[1]), str(row[2]), str(row[3]), str(row[4]), bool(row[5]), str(row[6]), str(row[7])
        )


class ApprovalStore:
    """Opens, decides and reads approvals. Every attempt leaves an event, also one that is refused."""

    def __init__(self, database: Database, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._database = database
        self._clock = clock

    async def open(
        self,
        run_id: str,
        environment: str,
        document: Mapping[str, Any],
        *,
        proposed_by: str,
        needed: int,
        seconds: float,
    ) -> Approval:
        """Ask for an approval of a document; earlier ones of the same run that were not used become void."""
        approval_id, now_us = f"apr-{secrets.token_hex(8)}", self._clock()
        expires_us = now_us + round(seconds * SECOND_US)
        bound = {**document, "expires_us": expires_us}
        digest, text = digest_of(bound), canonical_bytes(bound).decode()

        def work(tx: Transaction) -> Approval:
            tx.execute("void_approvals", (now_us, run_id))
            row = (approval_id, run_id, environment, digest, text, proposed_by[:128], needed, now_us, expires_us)
            tx.execute("open_approval", row)
            _note(tx, approval_id, now_us, Actor(proposed_by, "proposer", "workflow"), "propose", True, digest, "")
            return Approval.from_row(tx.fetch("approval_by_id", (approval_id,))[0])

        return await self._database.transaction(work)

    async def get(self, approval_id: str) -> Approval:
        """Return an approval; raises NotFound."""
        rows = await self._database.fetch("approval_by_id", (approval_id,)) if approval_id.isascii() else []
        if not rows:
            raise NotFound(f"There is no approval {approval_id[:40]!r}: see `causegraph approvals`.")
        return Approval.from_row(rows[0])

    async def of_run(self, run_id: str) -> Sequence[Approval]:
        """Return the approvals of a run, the newest first."""
        return [Approval.from_row(row) for row in await self._database.fetch("approvals_of_run", (run_id,))]

    async def list(
        self, environment: str = "", status: ApprovalStatus | Literal[""] = "", limit: int = 50
    ) -> Sequence[Approval]:
        """Return the newest approvals, of one environment or of all, of one stored status or of all."""
        rows = await self._database.fetch("list_approvals", (environment, environment, status, status, limit))
        return [Approval.from_row(row) for row in rows]

    async def events(self, approval_id: str) -> Sequence[ApprovalEvent]:
        """Return everything that was tried with an approval, in order."""
        return [ApprovalEvent.from_row(row) for row in await self._database.fetch("approval_events", (approval_id,))]

    async def refused(self, limit: int = 50) -> Sequence[tuple[str, ApprovalEvent]]:
        """Return the newest attempts that were refused, each with its approval's id; '' where it had none."""
        rows = await self._database.fetch("refused_attempts", (limit,))
        return [(str(row[8]), ApprovalEvent.from_row(row)) for row in rows]

    async def decide(
        self,
        approval_id: str,
        decision: Decision,
        actor: Actor,
        *,
        digest: str,
        why_not: Callable[[Approval], str],
        reason: str = "",
    ) -> Approval:
        """Record a decision on exactly the bytes of `digest`, and return the approval as it is then.

        `why_not` says why this actor may not decide on it ("" if they may). The approval is given when as many
        different people as it needs have approved; one rejection ends it. Raises NotFound, ApprovalError.
        """
        try:
            await self.get(approval_id)
        except NotFound as exc:
            await self.note("", decision, False, str(exc), actor)
            raise
        now_us = self._clock()

        def work(tx: Transaction) -> tuple[Approval, str]:
            approval = Approval.from_row(tx.fetch("lock_approval", (approval_id,))[0])
            problem = _problem(approval, digest, now_us) or why_not(approval)
            _note(tx, approval_id, now_us, actor, decision, not problem, digest, problem or reason)
            if problem:
                return approval, problem
            if decision == "reject":
                tx.execute("settle_approval", ("rejected", now_us, approval_id))
            elif int(tx.fetch("count_approvers", (approval_id,))[0][0]) >= approval.needed:
                tx.execute("settle_approval", ("approved", now_us, approval_id))
            return Approval.from_row(tx.fetch("approval_by_id", (approval_id,))[0]), ""

        approval, problem = await self._database.transaction(work)
        if problem:
            raise ApprovalError(f"{approval_id}: {problem}.")
        return approval

    async def note(self, approval_id: str, what: str, accepted: bool, detail: str, actor: Actor = SYSTEM) -> None:
        """Add to what was tried with an approval."""
        now_us = self._clock()
        await self._database.transaction(lambda tx: _note(tx, approval_id, now_us, actor, what, accepted, "", detail))


def use_approval(tx: Transaction, approval_id: str, run_id: str, digest: str, now_us: int) -> str:
    """Use an approval up, within a transaction; return why it cannot be used, "" if it was."""
    rows = tx.fetch("lock_approval", (approval_id,))
    approval = Approval.from_row(rows[0]) if rows else None
    if approval is None or approval.run_id != run_id:
        return "there is no such approval of this run"
    if approval.status != "approved":
        problem = f"the approval is {approval.status}, not approved"
    elif now_us >= approval.expires_us:
        problem = "the approval has expired"
    elif approval.digest != digest or digest_of(approval.document) != digest:
        problem = "what is to be done is not what was approved"
    else:
        problem = ""
        tx.execute("settle_approval", ("used", now_us, approval_id))
    _note(tx, approval_id, now_us, SYSTEM, "use", not problem, digest, problem)
    return problem


def _problem(approval: Approval, digest: str, now_us: int) -> str:
    status = approval.status_at(now_us)
    if status != "pending":
        return f"it is {status} already" if status != "expired" else "it has expired: propose the workflow again"
    if digest_of(approval.document) != approval.digest:
        return "its document was changed after it was proposed"
    return "" if digest == approval.digest else "what was seen is not what would be done: read it again"


def _note(
    tx: Transaction, approval_id: str, now_us: int, actor: Actor, what: str, accepted: bool, digest: str, detail: str
) -> None:
    row = (
        approval_id,
        now_us,
        actor.name[:128],
        actor.role[:32],
        actor.via[:16],
        what,
        accepted,
        digest[:64],
        detail[:4000],
    )
    tx.execute("add_approval_event", row)
