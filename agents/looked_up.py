"""What an answerer is asked and what it hands back: questions of which the answer is looked up, not inferred."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.models import Intent
from agents.question import Question
from agents.state import Deps
from domain.times import Window, format_us
from domain.verdict import Claim


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of another kind than `why`: the services that it means (of those `known`) and its stretch of time.

    `stated` says that the time was named, and not the last hour for want of one.
    """

    question: Question
    kind: Intent
    services: tuple[str, ...]
    known: tuple[str, ...]
    window: Window
    stated: bool

    @property
    def during(self) -> str:
        """The stretch of time in words."""
        return f"from {format_us(self.window.start_us)} to {format_us(self.window.end_us)}"


@dataclass(frozen=True, slots=True)
class Found:
    """An answer that was looked up. Each claim cites records; `clarify` says that it is a question back instead.

    `runbook` has the form of the answer's field; `not_seen` is what could not be looked at.
    """

    headline: str
    claims: tuple[Claim, ...] = ()
    not_seen: tuple[str, ...] = ()
    clarify: bool = False
    declined: bool = False
    runbook: Mapping[str, Any] | None = None
    decided: str = ""
    notes: tuple[str, ...] = field(default=())


type Answerer = Callable[[Asked, Deps], Awaitable[Found | None]]
"""Answers a question, or returns None where it is not one of its own."""
