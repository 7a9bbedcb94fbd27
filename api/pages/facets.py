"""Lists narrowed by facets, with the state in the address. Pure.

A facet offers the values that are in the list as the other facets leave it, with how many lines have each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

_OFFERED = 12


@dataclass(frozen=True, slots=True)
class Choice[T]:
    """A facet as a page declares it: the name in the address, the label, and the values that a line has."""

    name: str
    label: str
    values_of: Callable[[T], Iterable[str]]
    words: Mapping[str, str] | None = None

    def has(self, line: T, value: str) -> bool:
        """Say whether a line has a value."""
        return value in self.values_of(line)


@dataclass(frozen=True, slots=True)
class Offer:
    """A value of a facet: its words, how many lines have it, whether it is chosen, and the address that (un)chooses it."""

    value: str
    words: str
    count: int | None
    chosen: bool
    url: str


@dataclass(frozen=True, slots=True)
class Facet:
    """A facet with what it offers now; `hidden` values more exist. One that is shown `always` may have a single value."""

    name: str
    label: str
    offers: tuple[Offer, ...]
    hidden: int = 0
    always: bool = False

    @property
    def chosen(self) -> bool:
        return any(offer.chosen for offer in self.offers)


@dataclass(frozen=True, slots=True)
class Chosen[T]:
    """The lines that are left, the facets around them, the words looked for, and the address without any choice."""

    lines: Sequence[T]
    facets: Sequence[Facet]
    words: str
    bare_url: str
    url: str
    narrowed: bool


def choose[T](
    lines: Sequence[T],
    choices: Sequence[Choice[T]],
    path: str,
    query: Mapping[str, str],
    text_of: Callable[[T], str] | None = None,
) -> Chosen[T]:
    """Return the lines that have every chosen value and hold every word of `q`."""
    asked = {choice.name: query[choice.name] for choice in choices if query.get(choice.name)}
    words = query.get("q", "").strip()
    if text_of is not None and words:
        wanted = words.casefold().split()
        lines = [line for line in lines if all(word in text_of(line).casefold() for word in wanted)]
    state = {**({"q": words} if words else {}), **asked}
    left = [
        line
        for line in lines
        if all(choice.has(line, asked[choice.name]) for choice in choices if choice.name in asked)
    ]
    facets = [_facet(choice, _others(lines, choices, asked, choice), path, state) for choice in choices]
    return Chosen(left, facets, words, path, make_address(path, state), bool(state))


def _others[T](lines: Sequence[T], choices: Sequence[Choice[T]], asked: Mapping[str, str], own: Choice[T]) -> list[T]:
    held = [choice for choice in choices if choice.name in asked and choice.name != own.name]
    return [line for line in lines if all(choice.has(line, asked[choice.name]) for choice in held)]


def _facet(choice: Choice[Any], lines: Sequence[Any], path: str, state: Mapping[str, str]) -> Facet:
    counts = Counter(value for line in lines for value in set(choice.values_of(line)))
    return make_facet(choice.name, choice.label, counts, path, state, choice.words)


def make_facet(
    name: str,
    label: str,
    counts: Mapping[str, int],
    path: str,
    state: Mapping[str, str],
    words: Mapping[str, str] | None = None,
) -> Facet:
    """Return a facet of values that were counted already; `state` is what is chosen, by the names in the address."""
    asked = state.get(name, "")
    held = {value: count for value, count in counts.items() if value} | ({asked: counts.get(asked, 0)} if asked else {})
    ordered = sorted(held.items(), key=lambda pair: (pair[0] != asked, -pair[1], pair[0]))
    offers = []
    for value, count in ordered[:_OFFERED]:
        after = {key: kept for key, kept in state.items() if key != name} | ({} if value == asked else {name: value})
        offers.append(Offer(value, (words or {}).get(value, value), count, value == asked, make_address(path, after)))
    return Facet(name, label, tuple(offers), max(0, len(ordered) - _OFFERED))


def make_address(path: str, state: Mapping[str, str]) -> str:
    """Return an address with what is chosen in it; what is empty is left out."""
    kept = {name: value for name, value in state.items() if value}
    return f"{path}?{urlencode(kept)}" if kept else path
