"""What a model wrote of an answer and code let through."""

from __future__ import annotations

from dataclasses import dataclass

from domain.verdict import Claim


@dataclass(frozen=True, slots=True)
class Told:
    """What a model wrote and code let through. `language` is that of the words, `cut` what was left out and why."""

    headline: str
    sentences: tuple[Claim, ...]
    language: str
    cut: tuple[str, ...] = ()
