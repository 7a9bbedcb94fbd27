"""Slots of families: a place where many names or texts were seen becomes variable. Depends on what was seen, append-only.

Two families that differ in one word may be two events ("parse header", "parse body") or one with a name in it ("cupsd
startup succeeded", "sshd startup succeeded"). Families that are equal but for names are laid on each other; a place opens
when five different words stood there that are no common English. Then common words may join, but never a word that
says what happened. What is said after a colon or in quotes opens as a whole when eight different texts stood there and
what is around them says what happened. What was merged stays merged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.free_texts import FreeTexts, find_texts, split_words
from ingest.mask_words import VARIABLE
from ingest.words import is_name, says_event, says_event_surely, says_outcome

NAMES_TO_OPEN = 5

# What is left beside the slots must still say something.
_MIN_WORDS = 2
_WORD_CHARS = 4
_MAX_TOKENS = 160
_GENERATION = 50_000
_MOST_WAITING = 200
_MOST_PLACES = 100
_ENCLOSING = frozenset(("()", "[]", "<>", "''", '""', "`'", "``"))
_NAME = "\x01"


@dataclass(frozen=True, slots=True)
class Alias:
    """One family is part of another from now on."""

    text: str
    into: str


@dataclass(slots=True)
class _Waiting:
    """Families that are equal but for names: their words, and which places of these have opened."""

    families: dict[str, list[str]] = field(default_factory=dict)
    opened: frozenset[int] = frozenset()


def resolve(into: Mapping[str, str], text: str) -> str:
    """Return what a family is part of in the end."""
    seen = set()
    while text not in seen and into.get(text, text) != text:
        seen.add(text)
        text = into[text]
    return text


class _Generations[T]:
    """Values by key, in two generations: what was not asked for since the last turn is dropped at the next."""

    def __init__(self) -> None:
        self._young: dict[str, T] = {}
        self._old: dict[str, T] = {}

    def find(self, key: str, make: Callable[[], T]) -> T:
        found = self._young.get(key)
        if found is None:
            old = self._old.pop(key, None)
            found = make() if old is None else old
            if len(self._young) >= _GENERATION:
                self._old, self._young = self._young, {}
            self._young[key] = found
        return found


class FamilySlots:
    """Finds the slots among the families it is shown. Bounded: what was not seen for long is forgotten, not undone."""

    def __init__(self) -> None:
        self._opened: set[str] = set()
        self._places: dict[str, list[tuple[int, ...]]] = {}
        self._open_texts: set[str] = set()
        self._names: _Generations[_Waiting] = _Generations()
        self._texts: _Generations[FreeTexts] = _Generations()

    @property
    def opened(self) -> frozenset[str]:
        """The texts of the slots that are open, by which `reopen` opens them again."""
        return frozenset(self._opened)

    def place(self, texts: Iterable[str]) -> dict[str, str]:
        """Show families; return what each is part of in the end, itself where it is part of nothing."""
        texts, into = [*dict.fromkeys(texts)], dict[str, str]()
        for text in texts:
            into |= {alias.text: alias.into for alias in self.add(text)}
        ends = {resolve(into, text) for text in texts}
        while ends:  # a slot that opened takes in what was shown before
            found = {text: slot for text in ends if (slot := self._find_open(text)) is not None}
            into |= found
            ends = set(found.values())
        return {text: resolve(into, text) for text in texts}

    def add(self, text: str) -> list[Alias]:
        """Show a family; return the aliases that follow: of this family, and of earlier ones of a slot that opens.

        What an alias leads to may have an alias itself: see `resolve`.
        """
        aliases = self._add_texts(text)
        for into in dict.fromkeys(alias.into for alias in aliases) or (text,):
            aliases += self._add_names(into)
        return aliases

    def reopen(self, text: str) -> None:
        """Remember a slot that was opened by an earlier run, by the text of its family."""
        if text in self._opened:
            return
        self._opened.add(text)
        tokens = split_words(text)
        self._open_texts.add(_without_names(tokens))
        places = tuple(at for at, token in enumerate(tokens) if token == VARIABLE)
        known = self._places.setdefault(_frame(tokens), [])
        if places not in known and len(known) < _MOST_PLACES:
            known.append(places)
            known.sort(key=len, reverse=True)

    def _find_open(self, text: str) -> str | None:
        for slot, said in find_texts(text):
            key = _without_names(split_words(slot))
            if key in self._open_texts and self._texts.find(key, FreeTexts).admits(said):
                return slot
        return self._find_pattern(split_words(text))

    def _find_pattern(self, tokens: Sequence[str]) -> str | None:
        """Return the slot that a family is part of; None where there is none, or nothing wider than itself."""
        for places in self._places.get(_frame(tokens), ()):
            slot = "".join(_put(tokens, places, VARIABLE))
            if slot in self._opened and not any(_tells(tokens[at]) for at in places):
                return None if all(tokens[at] == VARIABLE for at in places) else slot
        return None

    def _add_texts(self, text: str) -> list[Alias]:
        for slot, said in find_texts(text):
            key = _without_names(split_words(slot))
            texts = self._texts.find(key, FreeTexts)
            if not texts.admits(said):
                continue
            if key in self._open_texts:
                return [Alias(text, slot)]
            texts.wait(text, slot)
            if texts.are_many:
                aliases = [Alias(*each) for each in texts.waiting.items()]
                texts.waiting = {}
                for alias in aliases:
                    self.reopen(alias.into)
                return aliases
        return []

    def _add_names(self, text: str) -> list[Alias]:
        tokens = split_words(text)
        if len(tokens) > _MAX_TOKENS:
            return []
        if (slot := self._find_pattern(tokens)) is not None:
            return [Alias(text, slot)]
        if text in self._opened:
            return []
        names = [at for at in _find_places(tokens) if is_name(tokens[at])]
        if not names:
            return []
        waiting = self._names.find("".join(_put(tokens, names, _NAME)), _Waiting)
        if len(waiting.families) >= _MOST_WAITING:
            return []
        waiting.families[text] = tokens
        counts = {at: _count_names(waiting, at) for at in names if at not in waiting.opened}
        varying = sum(count > 1 for count in counts.values())
        # Where several places vary at once, each family tells less.
        if len(waiting.families) < NAMES_TO_OPEN * varying:
            return []
        many = [at for at, count in counts.items() if count >= NAMES_TO_OPEN]
        return self._open_names(waiting, many) if many else []

    def _open_names(self, waiting: _Waiting, places: Sequence[int]) -> list[Alias]:
        first = next(iter(waiting.families.values()))
        opened = set(waiting.opened)
        for at in places:
            if _says_enough(first, opened | {at}):
                opened.add(at)
        waiting.opened = frozenset(opened)
        aliases = []
        for text, tokens in waiting.families.items():
            slot = "".join(_put(tokens, opened, VARIABLE))
            if slot != text:
                aliases.append(Alias(text, slot))
        for alias in aliases:
            self.reopen(alias.into)
            waiting.families.pop(alias.text)
        waiting.families |= {alias.into: split_words(alias.into) for alias in aliases}
        return aliases


def _count_names(waiting: _Waiting, at: int) -> int:
    return len({tokens[at] for tokens in waiting.families.values()})


def _put(tokens: Sequence[str], places: Iterable[int], what: str) -> list[str]:
    put = [*tokens]
    for at in places:
        put[at] = what
    return put


def _frame(tokens: Sequence[str]) -> str:
    """Return what families of one slot have in common: everything but words and variables."""
    return "".join(_NAME if token == VARIABLE or token[0].isalnum() else token for token in tokens)


def _without_names(tokens: Sequence[str]) -> str:
    return "".join(_NAME if token == VARIABLE or (token[0].isalnum() and is_name(token)) else token for token in tokens)


def _tells(token: str) -> bool:
    """True for what surely says what happened, `cache.started` and `SCREEN_OFF` too."""
    return says_event_surely(token.rpartition(".")[2]) or says_outcome(token)


def _find_places(tokens: Sequence[str]) -> Iterator[int]:
    """Yield the places of a family that a name could stand in: never that of a word that says what happened."""
    for at, token in enumerate(tokens):
        if token[0].isalnum() and not says_event(token) and not _tells(token) and _says_enough(tokens, (at,)):
            yield at


def _says_enough(tokens: Sequence[str], without: Collection[int]) -> bool:
    telling = [at for at, token in enumerate(tokens) if token[0].isalnum() and len(token) >= _WORD_CHARS]
    least = _MIN_WORDS - all(_is_enclosed(tokens, at) for at in without)
    return sum(at not in without for at in telling) >= least


def _is_enclosed(tokens: Sequence[str], at: int) -> bool:
    """True for a word that stands alone in brackets or quotes, which says that it is a name."""
    around = "".join([*tokens[max(0, at - 1) : at], *tokens[at + 1 : at + 2]])
    return around in _ENCLOSING
