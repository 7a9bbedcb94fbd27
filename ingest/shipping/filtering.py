"""Rules that say which lines are shipped, which are only counted, and which are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ingest.line_rules import LineRule, level_of
from ingest.shipping.line import Line

type Action = Literal["keep", "drop", "count"]


class Filter:
    """Applies the first rule that holds; a line that none speaks of is kept.

    `counted` holds the lines that were only counted, by rule and service, until somebody takes them; `dropped` counts by
    rule.
    """

    def __init__(self, rules: Sequence[tuple[LineRule, Action]]) -> None:
        self._rules = rules
        self.counted: Counter[tuple[str, str]] = Counter()
        self.dropped: Counter[str] = Counter()

    def apply(self, lines: list[Line]) -> list[Line]:
        """Return the lines to ship."""
        if not self._rules:
            return lines
        return [line for line in lines if self._keeps(line)]

    def _keeps(self, line: Line) -> bool:
        level = level_of(line.level)
        for rule, action in self._rules:
            if rule.holds(line.service, level, line.message):
                if action == "count":
                    self.counted[rule.name, line.service] += 1
                elif action == "drop":
                    self.dropped[rule.name] += 1
                return action == "keep"
        return True
