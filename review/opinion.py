"""What a model judge says of an answer, and what of it counts. Pure: no model is asked here.

Each criterion is answered yes or no with a quotation. A quotation that is not there voids the answer: nothing is then known
of that criterion, and what is unknown is never taken for a yes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from review.wording import squeeze

# What a criterion says where it holds.
QUESTIONS: Mapping[str, str] = {
    "answers_question": "it answers what was asked",
    "cause_shown": "the records show the trouble of the cause",
    "nothing_beyond": "no claim says more than its records",
    "no_contradiction": "nothing in it contradicts something else",
    "sure_enough": "it is no surer than its outcome",
    "grounded": "it states nothing that no step returned",
}
type Preference = Literal["a", "b", "same", "inconsistent", "unsettled"]

_MARKDOWN = re.compile(r"[*_`#>|]+|^\s*(?:[-+•]|\d{1,3}[.)])\s+|\[([^\]]*)\]\([^)]*\)", re.MULTILINE)
_QUOTE_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model said of one criterion: whether it holds, and the words that it quotes for that."""

    holds: bool
    quote: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a model judge said, as far as it counts. `passed` is None where something was left open; `void` says what."""

    passed: bool | None
    criteria: Mapping[str, bool]
    gaps: tuple[str, ...] = ()
    void: tuple[str, ...] = ()

    def as_signals(self) -> dict[str, Any]:
        """Return the signals that a policy may ask for: what is unknown is left out."""
        known = {} if self.passed is None else {"passed": self.passed}
        return {**known, "criteria": dict(self.criteria)}


NO_OPINION = Opinion(None, {}, void=("no answer of the model could be used",))


def settle_opinion(said: Mapping[str, Answered], shown: Sequence[tuple[str, str]]) -> Opinion:
    """Return what counts of what a model said of each criterion; `shown` is what it read, each line a label and a text."""
    criteria: dict[str, bool] = {}
    gaps, void = [], []
    for name, answered in said.items():
        quote = squeeze(answered.quote)
        if not any(_is_quoted(quote, label, text) for label, text in shown):
            void.append(f"{name}: it quotes what is not there")
            continue
        criteria[name] = answered.holds
        if not answered.holds:
            gaps.append(f'a model judge denies that {QUESTIONS[name]}: "{quote[:_QUOTE_SHOWN]}"')
    passed = False if gaps else None if void else True
    return Opinion(passed, criteria, tuple(gaps), tuple(void))


def settle_preference(forward: str, backward: str) -> Preference:
    """Return which of two answers is better, asked in both orders: `first`, `second`, `same`, or "" for no answer.

    In `backward` the second answer was shown first. An opinion that goes with the place is none.
    """
    if not forward or not backward:
        return "unsettled"
    if forward == backward == "same":
        return "same"
    turned = {"first": "second", "second": "first", "same": "same"}[backward]
    return "inconsistent" if forward != turned else "a" if forward == "first" else "b"


def _is_quoted(quote: str, label: str, text: str) -> bool:
    """Say whether a quotation stands in a line; the label alone says nothing."""
    return bool(quote) and quote in squeeze(f"{label}: {text}") and quote not in f"{label}:"


def level(a: str, b: str, characters: int) -> tuple[str, str]:
    """Return two texts without markdown and about equally long: form and length sway judges more than what is said."""
    left, right = (squeeze(_MARKDOWN.sub(r"\1", text)) for text in (a, b))
    length = min(characters, max(200, round(1.2 * min(len(left), len(right)))))
    return _cut(left, length), _cut(right, length)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: text.rfind(" ", 0, length) if " " in text[:length] else length]
