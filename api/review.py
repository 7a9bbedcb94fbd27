"""Policies, cases, decisions and reviews as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from agents import case_replies, policy_replies
from agents.replies import read_time
from agents.services import Services
from api.auth import Gate
from domain.times import LATEST_US

type _Environment = Annotated[str, Query(max_length=64, description="Only of this environment.")]
type _Limit = Annotated[int, Query(ge=1, le=500)]
type _CaseStatus = Literal["", "open", "acknowledged", "resolved"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PolicyText(_Body):
    """A policy as YAML or JSON text."""

    text: str = Field(max_length=300_000)


class ActivationBody(_Body):
    """Which version is to hold, where, and since when."""

    version: int | None = Field(default=None, ge=0, description="Default: the newest.")
    environment: str = Field(default="", max_length=64, description="Empty: everywhere without one of its own.")
    effective_from: str | float | None = Field(default=None, description="Default: now.")


class DryRunBody(_Body):
    """The policy to try: its text, or the name (and version) of a stored one; and the history to try it on."""

    text: str = Field(default="", max_length=300_000)
    name: str = Field(default="", max_length=64)
    version: int | None = Field(default=None, ge=0)
    environment: str = Field(default="", max_length=64)
    since: str | float | None = Field(default=None, alias="from")
    to: str | float | None = None
    limit: int = Field(default=1000, ge=1, le=10_000)


class NoteBody(_Body):
    """What a person says with a step."""

    text: str = Field(default="", max_length=16_000)


class DecideBody(_Body):
    """A trace, and what its sender says of the request and the response."""

    trace_id: str = Field(max_length=191)
    request_payload: dict[str, Any] = {}
    response_payload: dict[str, Any] = {}
    idempotency_key: str = Field(default="", max_length=191, description="The same input is decided once in any case.")


class ReviewBody(_Body):
    """Whether a run passed (null: deferred), a note, and tags."""

    passed: bool | None = None
    note: str = Field(default="", max_length=16_000)
    tags: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=20)


def policies_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router of policies: reading needs the role read, changing admin."""
    router = APIRouter(prefix="/policies", tags=["review"])
    may_read, admin = [Depends(gate.require("read"))], [Depends(gate.require("admin"))]

    @router.get("", dependencies=may_read)
    async def policies() -> dict[str, Any]:
        """Every policy, which is active where, and the newest activations."""
        return await policy_replies.list_policies(services)

    @router.post("", dependencies=admin)
    async def save(body: PolicyText, request: Request) -> dict[str, Any]:
        """Store a policy as the next version of its name; it is not active yet."""
        return await policy_replies.save_policy(services, body.text, _caller(request))

    @router.post("/check", dependencies=may_read)
    async def check(body: PolicyText) -> dict[str, Any]:
        """Say what a policy amounts to, or where it is wrong; stores nothing."""
        return policy_replies.check_policy(body.text)

    @router.post("/dry-run", dependencies=may_read)
    async def dry_run(body: DryRunBody) -> dict[str, Any]:
        """What a policy would have decided on past runs, and where that differs from what was decided."""
        policy = await policy_replies.choose_policy(services, body.model_dump())
        since, until = read_time("from", body.since), read_time("to", body.to)
        return await policy_replies.dry_run(
            services, policy, body.environment, since or 0, LATEST_US if until is None else until, body.limit
        )

    @router.get("/{name}", dependencies=may_read)
    async def policy(name: str, version: Annotated[int | None, Query(ge=0)] = None) -> dict[str, Any]:
        """One policy as written, its newest version unless one is given."""
        return await policy_replies.read_policy(services, name, version)

    @router.post("/{name}/activate", dependencies=admin)
    async def activate(name: str, body: ActivationBody, request: Request) -> dict[str, Any]:
        """Let a version hold; `default` brings the built-in policy back."""
        effective_us = read_time("effective_from", body.effective_from)
        return await policy_replies.activate_policy(
            services, name, body.version, body.environment, _caller(request), effective_us
        )

    return router


def cases_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router of cases, decisions and reviews: reading needs the role read, the rest ask."""
    router = APIRouter(tags=["review"])
    may_read, may_ask = [Depends(gate.require("read"))], [Depends(gate.require("ask"))]

    @router.get("/cases", dependencies=may_read)
    async def cases(
        environment: _Environment = "",
        status: _CaseStatus = "",
        limit: _Limit = 50,
        before: Annotated[str, Query(max_length=40)] = "",
    ) -> dict[str, Any]:
        """The newest cases."""
        before_us = read_time("before", before)
        return await case_replies.list_cases(
            services, environment, status, limit, LATEST_US if before_us is None else before_us
        )

    @router.get("/cases/{case_id}", dependencies=may_read)
    async def case(case_id: str) -> dict[str, Any]:
        """One case, what happened to it, and the decision that opened it."""
        return await case_replies.read_case(services, case_id)

    @router.post("/cases/{case_id}/ack", dependencies=may_ask)
    async def acknowledge(case_id: str, body: NoteBody, request: Request) -> dict[str, Any]:
        """Say that somebody looks at it."""
        return await case_replies.move_case(services, case_id, "acknowledge", _caller(request), body.text)

    @router.post("/cases/{case_id}/resolve", dependencies=may_ask)
    async def resolve(case_id: str, body: NoteBody, request: Request) -> dict[str, Any]:
        """Close it, with what came of it."""
        return await case_replies.move_case(services, case_id, "resolve", _caller(request), body.text)

    @router.post("/cases/{case_id}/reopen", dependencies=may_ask)
    async def reopen(case_id: str, body: NoteBody, request: Request) -> dict[str, Any]:
        """Open it again."""
        return await case_replies.move_case(services, case_id, "reopen", _caller(request), body.text)

    @router.post("/cases/{case_id}/comment", dependencies=may_ask)
    async def comment(case_id: str, body: NoteBody, request: Request) -> dict[str, Any]:
        """Add a comment."""
        return await case_replies.comment_case(services, case_id, _caller(request), body.text)

    @router.post("/decide", dependencies=may_ask)
    async def decide(body: DecideBody) -> dict[str, Any]:
        """Let the policy that holds decide about a trace, of our own or of another program."""
        return await case_replies.decide_trace(services, body.trace_id, body.request_payload, body.response_payload)

    @router.get("/traces/{trace_id}/reviews", dependencies=may_read)
    async def reviews(trace_id: str) -> dict[str, Any]:
        """What judges, policies and people made of a run."""
        return await case_replies.read_reviews(services, trace_id)

    @router.post("/traces/{trace_id}/reviews", dependencies=may_ask)
    async def review(trace_id: str, body: ReviewBody, request: Request) -> dict[str, Any]:
        """Say whether a run passed."""
        return await case_replies.review_trace(services, trace_id, body.passed, body.note, body.tags, _caller(request))

    return router


def _caller(request: Request) -> str:
    """Return the name of the key that the gate has let in."""
    return str(request.state.key.name)
