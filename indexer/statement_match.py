"""Which log statement wrote a line: its constant words, in their order, are in the message. And the way back."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from domain.code import LogStatement
from indexer.code_index import IndexedFile
from indexer.statements import VARIABLE

_WORD = re.compile(r"[^\W\d_]{2,}")
# The masks of the templates take a unit with its number.
_UNIT = re.compile(
    r"<\*>\s?(?:[kKMGTP]i?[Bb]|[Bb]ytes?|B|[nuµm]s|m?secs?|seconds?|s|minutes?|mins?|hours?|h|%)(?![\w<])"
)
_MAX_MESSAGE = 4_000
_RARE = 12
_MAX_CANDIDATES = 2_000
_MIN_COVERAGE = 0.74
_SAME = 0.02
_SURE = 0.5
_BONUS = {"log": 0.03, "raise": 0.01, "print": 0.0}


@dataclass(frozen=True, slots=True)
class StatementMatch:
    """A statement that may have written a message. `score` is from 0 to 1.

    `tied` is how many others fit as well: with any, none of them is certain. `sure` is True for one statement that
    stands out and whose words make up most of the message.
    """

    file: IndexedFile
    statement: LogStatement
    score: float
    tied: int
    sure: bool


class StatementIndex:
    """The log statements of a code base, found by the words of what they write."""

    def __init__(self, statements: Iterable[tuple[IndexedFile, LogStatement]]) -> None:
        self._statements = list(statements)
        self._words = [_words(statement.template) for _, statement in self._statements]
        self._by_word: defaultdict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._words):
            for word in set(words):
                self._by_word[word].append(number)

    def match(self, message: str, limit: int = 5) -> list[StatementMatch]:
        """Return the statements that may have written a message or a template of messages, the best first."""
        message = message[:_MAX_MESSAGE]
        words = _words(message)
        scored = []
        for number in self._candidates(words):
            score = self._score(number, message, words)
            if score > 0:
                file, statement = self._statements[number]
                scored.append((score + _BONUS[statement.kind], file, statement))
        scored.sort(key=lambda found: (-found[0], found[1].path, found[2].line))
        return [_stated(found, scored) for found in scored[:limit]]

    def _candidates(self, words: Sequence[str]) -> list[int]:
        known = sorted({word for word in words if word in self._by_word}, key=lambda word: len(self._by_word[word]))
        found: Counter[int] = Counter()
        for word in known[:_RARE]:
            found.update(self._by_word[word][:_MAX_CANDIDATES])
        return [number for number, _ in found.most_common(_MAX_CANDIDATES)]

    def _weight(self, word: str) -> float:
        return math.log(1 + len(self._statements) / (1 + len(self._by_word.get(word, ()))))

    def _score(self, number: int, message: str, words: Sequence[str]) -> float:
        """Return how well a statement explains a message: its own words found in order, and the message's words that are its."""
        own = self._words[number]
        found = _in_order(own, words)
        all_own = sum(self._weight(word) for word in own)
        covered = sum(self._weight(word) for word in found) / all_own if all_own else 0.0
        if covered < _MIN_COVERAGE:
            return 0.0
        explained = sum(self._weight(word) for word in found) / max(1e-9, sum(self._weight(word) for word in words))
        exact = _holds_in_order(self._statements[number][1].template, message)
        return min(1.0, 0.35 * exact + 0.25 * covered + 0.4 * min(1.0, explained)) * 0.97


def _stated(
    found: tuple[float, IndexedFile, LogStatement], scored: Sequence[tuple[float, IndexedFile, LogStatement]]
) -> StatementMatch:
    score, file, statement = found
    tied = sum(abs(other[0] - score) <= _SAME for other in scored) - 1
    best = score >= scored[0][0] - _SAME
    return StatementMatch(file, statement, round(score, 4), tied, best and tied == 0 and score >= _SURE)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_UNIT.sub(" ", text).replace(VARIABLE, " "))]


def _in_order(own: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the words of a statement that are found in a message one behind the other."""
    found, place = [], 0
    where: defaultdict[str, list[int]] = defaultdict(list)
    for number, word in enumerate(words):
        where[word].append(number)
    for word in own:
        spot = next((number for number in where.get(word, ()) if number >= place), None)
        if spot is not None:
            found.append(word)
            place = spot + 1
    return found


def _holds_in_order(template: str, message: str) -> bool:
    """Tell whether the constant parts of a template stand in a message one behind the other, letter by letter."""
    text, place = " ".join(message.split()), 0
    for part in _UNIT.sub(VARIABLE, template).split(VARIABLE):
        part = part.strip()
        if not part:
            continue
        spot = text.find(part, place)
        if spot < 0:
            return False
        place = spot + len(part)
    return True
