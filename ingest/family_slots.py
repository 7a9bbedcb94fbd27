"""Slots of families: a place where five or more names were seen becomes variable. Depends on what was seen, append-only.

Two families that differ in one word may be two events ("parse header", "parse body") or one with a name in it ("cupsd
startup succeeded", "sshd startup succeeded"). A slot opens when five different words stood there that are no common
English; then common words may join, but never a word that says what happened. What was merged stays merged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest.mask_words import VARIABLE
from ingest.words import is_name, says_event

NAMES_TO_OPEN = 5

_TOKENS = re.compile(r"<\*>|\w+(?:[-.]\w+)*|\s+|[^\w\s]")
# What is left beside the slot must still say something.
_MIN_WORDS = 2
_WORD_CHARS = 4
_MAX_TOKENS = 160
_GENERATION = 50_000


@dataclass(frozen=True, slots=True)
class Alias:
    """One family is part of another from now on."""

    text: str
    into: str


class FamilySlots:
    """Finds the slots among the families it is shown. Bounded: what was not seen for long is forgotten, not undone."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._open_sizes: set[int] = set()
        self._waiting: dict[str, dict[str, str]] = {}
        self._older: dict[str, dict[str, str]] = {}

    @property
    def opened(self) -> frozenset[str]:
        """The texts of the slots that are open, by which `reopen` opens them again."""
        return frozenset(self._open)

    def add(self, text: str) -> list[Alias]:
        """Show a family; return the aliases that follow: of this family, and of earlier ones of a slot that opens."""
        tokens = _TOKENS.findall(text)
        may_be_open = len(tokens) in self._open_sizes
        for at in _find_places(tokens):
            name = is_name(tokens[at])
            if not (name or may_be_open):
                continue
            slot = "".join([*tokens[:at], VARIABLE, *tokens[at + 1 :]])
            if slot in self._open:
                return [Alias(text, self._open[slot])]
            if name:
                waiting = self._wait(slot)
                waiting.setdefault(tokens[at], text)
                if len(waiting) >= NAMES_TO_OPEN:
                    return self._open_slot(slot, waiting)
        return []

    def reopen(self, text: str) -> None:
        """Remember a slot that was opened by an earlier run, by the text of its family."""
        self._open[text] = text
        self._open_sizes.add(len(_TOKENS.findall(text)))

    def _wait(self, slot: str) -> dict[str, str]:
        found = self._waiting.get(slot)
        if found is None:
            found = self._waiting[slot] = self._older.pop(slot, {})
            if len(self._waiting) >= _GENERATION:
                self._older, self._waiting = self._waiting, {slot: found}
        return found

    def _open_slot(self, slot: str, waiting: dict[str, str]) -> list[Alias]:
        self.reopen(slot)
        self._waiting.pop(slot, None)
        return [Alias(text, slot) for text in waiting.values()]


def _find_places(tokens: Sequence[str]) -> Iterator[int]:
    """Yield the places of a family that a name could stand in: never that of a word that says what happened."""
    if len(tokens) > _MAX_TOKENS:
        return
    words = [at for at, token in enumerate(tokens) if token[0].isalnum()]
    telling = [at for at in words if len(tokens[at]) >= _WORD_CHARS]
    for at in words:
        if len(telling) - (at in telling) >= _MIN_WORDS and not says_event(tokens[at]):
            yield at
