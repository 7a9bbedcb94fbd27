"""Which log statement wrote a line: its constant words, in their order, are in the message. And the way back."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
_MAX_CANDIDATES = 2_000
_MIN_COVERAGE = 0.74
_SAME = 0.02
_ROUNDING = 1e-9
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


@dataclass(frozen=True, slots=True)
class _Message:
    """What a message is read for once: its words, where each stands, and its text with single blanks."""

    words: list[str]
    places: Mapping[str, list[int]]
    text: str

    @classmethod
    def read(cls, text: str) -> _Message:
        words = _words(text)
        places: defaultdict[str, list[int]] = defaultdict(list)
        for number, word in enumerate(words):
            places[word].append(number)
        return cls(words, dict(places), " ".join(text.split()))


class StatementIndex:
    """The log statements of a code base, found by the words of what they write."""

    def __init__(self, statements: Iterable[tuple[IndexedFile, LogStatement]]) -> None:
        self._statements = list(statements)
        self._words = [_words(statement.template) for _, statement in self._statements]
        self._holding = Counter(word for words in self._words for word in set(words))
        self._weights = {
            word: math.log(1 + len(self._statements) / (1 + count)) for word, count in self._holding.items()
        }
        self._unknown = math.log(1 + len(self._statements))
        self._by_key: defaultdict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._words):
            for word in self._key_words(words):
                self._by_key[word].append(number)

    def match(self, message: str, limit: int = 5) -> list[StatementMatch]:
        """Return the statements that may have written a message or a template of messages, the best first."""
        read = _Message.read(message[:_MAX_MESSAGE])
        said = sum(self._weights.get(word, self._unknown) for word in read.words)
        scored = []
        for number in self._candidates(read):
            score = self._score(number, read, said)
            if score > 0:
                file, statement = self._statements[number]
                scored.append((score + _BONUS[statement.kind], file, statement))
        scored.sort(key=lambda found: (-found[0], found[1].path, found[2].line))
        return [_stated(found, scored) for found in scored[:limit]]

    def _key_words(self, words: Sequence[str]) -> list[str]:
        """Return the heaviest words of a statement, of which a message must hold one to be explained by it."""
        weights = {word: count * self._weights[word] for word, count in Counter(words).items()}
        left, keys = (1 - _MIN_COVERAGE) * sum(weights.values()), []
        for word in sorted(weights, key=lambda word: (-weights[word], word)):
            if left < -_ROUNDING:
                break
            keys.append(word)
            left -= weights[word]
        return keys

    def _candidates(self, message: _Message) -> list[int]:
        known = sorted((word for word in message.places if word in self._by_key), key=lambda w: len(self._by_key[w]))
        found: dict[int, None] = {}
        for word in known:
            found |= dict.fromkeys(self._by_key[word][: _MAX_CANDIDATES - len(found)])
        return list(found)

    def _score(self, number: int, message: _Message, said: float) -> float:
        """Return how well a statement explains a message: its own words found in order, and the message's words that are its."""
        own = self._words[number]
        found = sum(self._weights[word] for word in _in_order(own, message.places))
        all_own = sum(self._weights[word] for word in own)
        covered = found / all_own if all_own else 0.0
        if covered < _MIN_COVERAGE:
            return 0.0
        explained = found / max(1e-9, said)
        exact = _holds_in_order(self._statements[number][1].template, message.text)
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


def _in_order(own: Sequence[str], places: Mapping[str, Sequence[int]]) -> list[str]:
    """Return the words of a statement that are found in a message one behind the other."""
    found, place = [], 0
    for word in own:
        spots = places.get(word, ())
        at = bisect_left(spots, place)
        if at < len(spots):
            found.append(word)
            place = spots[at] + 1
    return found


def _holds_in_order(template: str, text: str) -> bool:
    """Tell whether the constant parts of a template stand in a message one behind the other, letter by letter."""
    place = 0
    for part in _UNIT.sub(VARIABLE, template).split(VARIABLE):
        part = part.strip()
        if not part:
            continue
        spot = text.find(part, place)
        if spot < 0:
            return False
        place = spot + len(part)
    return True
