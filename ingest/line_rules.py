"""Rules that pick out log lines by keyword, pattern, level and service; the shipper and the server both read them.

Patterns are RE2's: whatever a line holds, matching takes time in proportion to its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
import re2

from domain.errors import SettingsError
from domain.telemetry import Level

type LevelName = Literal["trace", "debug", "info", "warn", "error", "fatal"]


class LineRuleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a rule looks for; everything that it names must hold."""

    name: str
    keyword: str = ""
    regex: str = ""
    below: LevelName | Literal[""] = ""
    level: LevelName | Literal[""] = ""
    service: str = ""


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> object | None:
        """Return something where the pattern is found in the text."""


@dataclass(frozen=True, slots=True)
class LineRule:
    """A rule ready to be applied. `below` holds for lines of a lower level, not for those without one."""

    name: str
    keyword: str = ""
    pattern: Pattern | None = None
    below: Level | None = None
    level: Level | None = None
    service: str = ""

    def holds(self, service: str, level: Level | None, message: str) -> bool:
        """Say whether a line is one that the rule speaks of; `level` is None where the line names none."""
        if self.service and service != self.service:
            return False
        if self.level is not None and level != self.level:
            return False
        if self.below is not None and (level is None or level >= self.below):
            return False
        if self.keyword and self.keyword not in message:
            return False
        return self.pattern is None or self.pattern.search(message) is not None


def build_rule(given: LineRuleConfig) -> LineRule:
    """Return the rule of a configuration. Raises SettingsError for one that says nothing or cannot be read."""
    if not (given.keyword or given.regex or given.below or given.level or given.service):
        raise SettingsError(
            f"The rule {given.name!r} names nothing to look for: give it a keyword, regex, below, level or service."
        )
    return LineRule(
        given.name,
        given.keyword,
        compile_pattern(given.name, given.regex) if given.regex else None,
        level_of(given.below),
        level_of(given.level),
        given.service,
    )


def compile_pattern(name: str, regex: str) -> Pattern:
    """Return a pattern; raises SettingsError that names the rule."""
    options = re2.Options()
    options.log_errors = False
    try:
        pattern: Pattern = re2.compile(regex, options)
    except re2.error as exc:
        reason = exc.args[0].decode(errors="replace") if isinstance(exc.args[0], bytes) else exc
        raise SettingsError(
            f"The rule {name!r} has a regex that cannot be read: {reason} (RE2's syntax, without back-references)"
        ) from exc
    return pattern


def level_of(name: str) -> Level | None:
    """Return the level of a name in lower case; None for none."""
    return Level[name.upper()] if name else None
