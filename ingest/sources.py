"""The ways in that are open in this process, and what came through each: shown by `/info` and `causegraph status`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.service import Receipt


@dataclass(slots=True)
class Source:
    """One way in. `address` is where it listens, or what it reads; `problem` why it does not, or empty."""

    name: str
    address: str
    problem: str = ""
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, receipt: Receipt) -> None:
        """Add what became of a delivery."""
        self.counts["accepted"] += receipt.accepted
        self.counts["duplicate"] += receipt.duplicate
        self.counts["rejected"] += receipt.rejected

    def describe(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name,
            "address": self.address,
            "problem": self.problem,
            "counts": {name: number for name, number in sorted(self.counts.items()) if number},
        }


@dataclass(slots=True)
class Sources:
    """Every way in that this process has opened, or has tried to."""

    opened: list[Source] = field(default_factory=list)

    def add(self, name: str, address: str, problem: str = "") -> Source:
        """Note a way in."""
        source = Source(name, address, problem)
        self.opened.append(source)
        return source

    def remove(self, source: Source) -> None:
        """Forget a way in that was closed."""
        self.opened.remove(source)
