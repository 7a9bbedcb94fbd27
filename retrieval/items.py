"""What can be found, whatever store holds it: one shape for log templates, code, incidents and all the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from domain.evidence import EvidenceKind
from domain.terms import read_terms
from domain.times import Window

type ItemKind = Literal[
    "template", "line", "service", "code", "runbook", "incident", "change", "event", "run", "request"
]
type LinkKind = Literal[
    "CALLS", "RUNS_ON", "EMITTED", "CHANGED", "AFFECTS", "RELATED_RUNBOOK", "DEPLOYED_AS", "LOGS", "HAS_LOG"
]

KINDS: tuple[ItemKind, ...] = get_args(ItemKind.__value__)
GRAVE = 2.0
"""The weight of a link to an error: it says more of a trouble than a line that all is well."""


@dataclass(frozen=True, slots=True)
class Link:
    """An edge between two things by their keys; `time_us` is when it was seen last, None where that means nothing.

    `weight` is how much it counts beside others of its kind.
    """

    source: str
    target: str
    kind: LinkKind
    time_us: int | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can be found. `text` is what its words are looked for in, `title` a line for people.

    `record` is the kind and key by which it can be cited as evidence, `opens` the path of the HTTP API that shows it.
    """

    kind: ItemKind
    id: str
    title: str
    text: str
    opens: str
    services: tuple[str, ...] = ()
    time_us: int | None = None
    level: int = 0
    record: tuple[EvidenceKind, Mapping[str, Any]] | None = None
    links: tuple[Link, ...] = ()

    @property
    def key(self) -> str:
        return item_key(self.kind, self.id)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. Nothing after the window is found; `moment_us` is the time that is asked about.

    `named` are the services that the text names, `unwell` those with trouble at that time and how much (0 to 1), `kinds` what
    may be found (empty: everything).
    """

    text: str
    environment: str
    window: Window
    moment_us: int
    kinds: frozenset[ItemKind] = frozenset()
    named: tuple[str, ...] = ()
    unwell: Mapping[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The text without the names of services, which say whose records are wanted and not what they say; all of it, where
        nothing else would be left."""
        left = self.text
        for name in self.named:
            left = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", " ", left, flags=re.IGNORECASE)
        return left if read_terms(left) else self.text

    def wants(self, kind: ItemKind) -> bool:
        """Say whether items of a kind may be found."""
        return not self.kinds or kind in self.kinds


@dataclass(slots=True)
class Candidates:
    """What the sources brought: items, who holds words of the text, who is near in meaning, who is named exactly.

    `notes` say what could not be looked through.
    """

    items: dict[str, Item] = field(default_factory=dict)
    worded: dict[str, None] = field(default_factory=dict)
    near: dict[str, float] = field(default_factory=dict)
    exact: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_worded(self, items: Iterable[Item]) -> None:
        """Add items that hold words of the text."""
        for item in items:
            self.worded[self.add(item)] = None

    def add_near(self, item: Item, distance: float) -> None:
        """Add an item that is near in meaning: 1 - cosine."""
        self.near[self.add(item)] = distance

    def add_exact(self, item: Item, named: str) -> None:
        """Add an item that the text names by `named`: an id, a name, a file."""
        self.exact[self.add(item)] = named

    def add(self, item: Item) -> str:
        """Add an item and return its key."""
        self.items.setdefault(item.key, item)
        return item.key

    def join(self, others: Sequence[Candidates]) -> Candidates:
        """Take in what other sources brought, in their order."""
        for other in others:
            self.items = {**other.items, **self.items}
            self.worded |= other.worded
            self.near |= other.near
            self.exact |= other.exact
            self.notes += other.notes
        return self


def item_key(kind: str, identifier: str) -> str:
    """Return what names a thing among all kinds of things."""
    return f"{kind}:{identifier}"
