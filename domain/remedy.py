"""The words of remediation: what is proposed, who may allow it, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from blake3 import blake3

from domain.evidence import canonical_bytes

type Value = str | int | float | bool
type StepKind = Literal["reproduce", "check", "remediate", "notify"]
# proposed: waits for its approval; undone: the verification failed and every step was taken back; stuck: a person must
# look, because it is not known what a step did.
type RunStatus = Literal[
    "preparing", "proposed", "rejected", "expired", "refused", "running", "verified", "undone", "failed", "stuck"
]
type ApprovalStatus = Literal["pending", "approved", "rejected", "expired", "used", "void"]
# refused: it was never begun, nothing can have changed.
type StepStatus = Literal["started", "done", "failed", "refused"]
type Part = Literal["do", "undo"]

STEP_KINDS: tuple[StepKind, ...] = get_args(StepKind.__value__)
ENDED: frozenset[RunStatus] = frozenset({"rejected", "expired", "refused", "verified", "undone", "failed", "stuck"})
PROPOSER = "causegraph"  # who proposes what an investigation leads to


def digest_of(document: Mapping[str, Any]) -> str:
    """Return the BLAKE3 of a document's canonical bytes, 64 hex characters."""
    return blake3(canonical_bytes(document)).hexdigest()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: a name (a key's id, a Slack identity), the role that they have, and by which way in."""

    name: str
    role: str
    via: str


@dataclass(frozen=True, slots=True)
class Given:
    """The value of an argument: where it came from, and whether that was telemetry, which strangers write."""

    value: Value
    source: str
    tainted: bool
