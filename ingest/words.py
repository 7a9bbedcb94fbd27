"""Words that templates and families never hide, and what tells a name from a word. The lists are text files beside."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import resources

# Participles, and adjectives of what can be done: `mounted`, `rebalancing`, `unreachable`.
_HAPPENED = re.compile(r"[a-z]{4,}(?:ed|ing|able|ible)")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_WORD_CHARS = 80
_OUTCOMES = frozenset(
    "up down on off start stop begin end open close ready unready lost success failure error ok timeout add remove create delete".split()
)
_NEGATED = ("n't", "n’t", "N'T")


@cache
def read_words(name: str) -> frozenset[str]:
    """Return the words of a list that comes with the program: `event_words` or `common_words`, lower-case."""
    text = resources.files("ingest").joinpath(f"{name}.txt").read_text("utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


@lru_cache(50_000)
def says_event(word: str) -> bool:
    """True for a word, or a compound of nothing but such words (`NOT_FOUND`), that says what happened."""
    if len(word) > _WORD_CHARS or "." in word or "/" in word:
        return False
    if word.endswith(_NEGATED):
        return True
    parts = [part.lower() for part in _PARTS.findall(word)]
    known = read_words("event_words")
    return bool(parts) and (
        all(part in known for part in parts) or (len(parts) == 1 and _HAPPENED.fullmatch(parts[0]) is not None)
    )


@lru_cache(50_000)
def says_event_surely(word: str) -> bool:
    """True for a word that says what happened, but not for its ending alone: `billing` may be a name."""
    return says_event(word) and not (word.lower().endswith("ing") and word.lower() not in read_words("event_words"))


@lru_cache(50_000)
def says_outcome(word: str) -> bool:
    """True for a compound that ends in what happened: `ContainerStarted`, `NodeNotReady`, `SCREEN_OFF`."""
    parts = [part.lower() for part in _PARTS.findall(word[:_WORD_CHARS])]
    return len(parts) > 1 and says_event(parts[-1]) and (parts[-1].endswith("ed") or parts[-1] in _OUTCOMES)


@lru_cache(50_000)
def is_name(word: str) -> bool:
    """True for what is no common English: names, acronyms, compounds with digits, dots or dashes."""
    common, word = read_words("common_words"), word.lower()
    inflected = word.endswith("s") and (word[:-1] in common or word[:-2] in common)
    return not inflected and word not in common and not says_event(word)
