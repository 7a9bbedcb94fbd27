"""Rules that say which lines are shipped, which are only counted, and which are left out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from ingest.shipping.line import LEVEL_ORDER, Line

type Action = Literal["keep", "drop", "count"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; everything that it names must hold. `below` holds for lines of a lower level, not for those without one."""

    name: str
    action: Action
    keyword: str = ""
    regex: re.Pattern[str] | None = None
    below: str = ""
    level: str = ""
    service: str = ""

    def holds(self, line: Line) -> bool:
        """Say whether a line is one that the rule speaks of."""
        if self.service and line.service != self.service:
            return False
        if self.level and line.level != self.level:
            return False
        if self.below and (not line.level or LEVEL_ORDER.index(line.level) >= LEVEL_ORDER.index(self.below)):
            return False
        if self.keyword and self.keyword not in line.message:
            return False
        return self.regex is None or self.regex.search(line.message) is not None


class Filter:
    """Applies the first rule that holds; a line that none speaks of is kept.

    `counted` holds the lines that were only counted, by rule and service, until somebody takes them; `dropped` counts by
    rule.
    """

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self.counted: Counter[tuple[str, str]] = Counter()
        self.dropped: Counter[str] = Counter()

    def apply(self, lines: list[Line]) -> list[Line]:
        """Return the lines to ship."""
        if not self._rules:
            return lines
        return [line for line in lines if self._keeps(line)]

    def _keeps(self, line: Line) -> bool:
        for rule in self._rules:
            if rule.holds(line):
                if rule.action == "count":
                    self.counted[rule.name, line.service] += 1
                elif rule.action == "drop":
                    self.dropped[rule.name] += 1
                return rule.action == "keep"
        return True
