"""Free text within families: what may be one, after a colon or in quotes, and what was said in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from ingest.mask_words import VARIABLE
from ingest.words import says_event

TEXTS_TO_OPEN = 8

_FIRST_WORDS = 6
_MOST_TEXTS = 2000
_MOST_PLACES = 6
_MIN_WORDS = 2
_WORD_CHARS = 4
_EVENT = "\x01"
_LEVELS = frozenset("error errors warning fatal critical info debug".split())
_TOKENS = re.compile(r"<\*>|\w+(?:[-.'’]\w+)*|\s+|[^\w\s]")
_PART = re.compile(r"[A-Z]+(?![a-z])(?:'T)?|[A-Z]?[a-z]+(?:['’]t)?")
_TAIL = re.compile(r":\s+(?=\S)")
_QUOTED = re.compile(r"(?<![\w\\])(?P<quote>[\x22'])(?P<said>(?=\S)(?:(?!(?P=quote)).){5,1000}?)(?P=quote)(?!\w|:)")
_SEVERAL_WORDS = re.compile(r"(?=.*[^\W\d_]{2})\S+\s+\S")
# Keys whose texts are what a line says, not why.
_SAYS = re.compile(r"(?:msg|message|event|status|state|action|text|log)[\x22']?\s?[=:]\s?\Z", re.IGNORECASE)


@dataclass(slots=True)
class FreeTexts:
    """What was said in one place: by what it is without the words that say what happened, and the families with it."""

    said: dict[str, str] = field(default_factory=dict)
    firsts: set[str] = field(default_factory=set)
    waiting: dict[str, str] = field(default_factory=dict)

    @property
    def are_many(self) -> bool:
        """True where so many different texts were said, with different first words, that it is no list of statements."""
        return len(self.said) >= TEXTS_TO_OPEN and len(self.firsts) >= _FIRST_WORDS

    def wait(self, text: str, slot: str) -> None:
        """Keep a family until the place opens, if it does."""
        if len(self.waiting) < _MOST_TEXTS:
            self.waiting[text] = slot

    def admits(self, said: str) -> bool:
        """False for a text that differs from another in what happened alone: these two must stay apart."""
        bare = _PART.sub(lambda part: _EVENT if says_event(part[0]) else part[0], said)
        if bare not in self.said and len(self.said) >= _MOST_TEXTS:
            return False
        if len(self.firsts) < _FIRST_WORDS:
            self.firsts.add(said.split(None, 1)[0])
        return self.said.setdefault(bare, said) == said


def split_words(text: str) -> list[str]:
    """Return the words, variables, blanks and signs of a family; together they are its text."""
    return _TOKENS.findall(text)


def find_texts(text: str) -> Iterator[tuple[str, str]]:
    """Yield what may be free text, as the family with a variable there, and the text: what follows a colon or is quoted."""
    for match in islice(_TAIL.finditer(text), _MOST_PLACES):
        said = text[match.end() :]
        if _SEVERAL_WORDS.match(said) and _says_what_happened(text[: match.start()]):
            yield f"{text[: match.end()]}{VARIABLE}", said
            break
    for match in islice(_QUOTED.finditer(text), _MOST_PLACES):
        before, after = text[: match.start("said")], text[match.end("said") :]
        if (
            _SEVERAL_WORDS.match(match["said"])
            and not _SAYS.search(before[:-1][-40:])
            and _says_what_happened(f"{before}{after}")
        ):
            yield f"{before}{VARIABLE}{after}", match["said"]


def _says_what_happened(text: str) -> bool:
    words = [token for token in split_words(text) if token[0].isalnum()]
    telling = sum(len(word) >= _WORD_CHARS for word in words)
    return telling + (VARIABLE in text) > _MIN_WORDS and any(
        says_event(word) and word.lower() not in _LEVELS for word in words
    )
