"""What becomes of a log line: kept whole, only counted, or kept and told as an alert that wakes an analysis.

The rules are the operator's, in the YAML file of `CAUSEGRAPH_LOG_RULES`; the first that holds decides, and a line that none
speaks of is kept whole. A line that is only counted still has its template, its place in every statistic, and its
part in what an investigation finds new, gone or bursting; its text is not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import yaml
from blake3 import blake3

from domain.errors import SettingsError
from domain.telemetry import Alert, LogEvent
from ingest.line_rules import LineRule, LineRuleConfig, build_rule

SOURCE = "log-rule"

type Action = Literal["keep", "count", "wake"]


class LogRuleConfig(LineRuleConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule of the file. `severity` and `runbook_url` are those of the alert that `wake` gives."""

    action: Action
    environment: str = ""
    severity: str = "warning"
    runbook_url: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[LogRuleConfig] = []


@dataclass(frozen=True, slots=True)
class SortedLogs:
    """The log events of a delivery: those to store, those only to count, and the alerts that they give."""

    kept: Sequence[LogEvent]
    counted: Sequence[LogEvent] = ()
    alerts: Sequence[Alert] = ()


class LogRules:
    """The rules of a server, in order."""

    def __init__(self, rules: Sequence[tuple[LogRuleConfig, LineRule]] = ()) -> None:
        self._rules = rules

    def sort(self, events: Sequence[LogEvent]) -> SortedLogs:
        """Say what becomes of each event. Matching lines of one service and rule are one alert, as old as the first."""
        if not self._rules:
            return SortedLogs(events)
        kept: list[LogEvent] = []
        counted: list[LogEvent] = []
        woken: dict[tuple[str, str, str], tuple[LogEvent, LogRuleConfig]] = {}
        for event in events:
            rule = self._rule_of(event)
            (counted if rule is not None and rule.action == "count" else kept).append(event)
            if rule is not None and rule.action == "wake":
                key = (event.environment, event.service, rule.name)
                if key not in woken or event.time_us < woken[key][0].time_us:
                    woken[key] = (event, rule)
        return SortedLogs(kept, counted, [_alert(*found) for _, found in sorted(woken.items())])

    def _rule_of(self, event: LogEvent) -> LogRuleConfig | None:
        for given, rule in self._rules:
            if given.environment in ("", event.environment) and rule.holds(event.service, event.level, event.message):
                return given
        return None


def load_log_rules(path: Path | None) -> LogRules:
    """Read the rules; raises SettingsError that says what is wrong. No path: no rules."""
    if path is None:
        return LogRules()
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = msgspec.convert(given if given is not None else {}, _File)
    except OSError as exc:
        raise SettingsError(f"CAUSEGRAPH_LOG_RULES: {path} cannot be read: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise SettingsError(f"CAUSEGRAPH_LOG_RULES: {path} is not YAML: {exc}") from exc
    except msgspec.ValidationError as exc:
        raise SettingsError(f"CAUSEGRAPH_LOG_RULES: {path}: {exc}. docs/sources.md has an example.") from exc
    names = [rule.name for rule in found.rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"CAUSEGRAPH_LOG_RULES: {path}: two rules are called {twice[0]!r}.")
    return LogRules([(rule, build_rule(rule)) for rule in found.rules])


def _alert(event: LogEvent, rule: LogRuleConfig) -> Alert:
    return Alert(
        environment=event.environment,
        time_us=event.time_us,
        source=SOURCE,
        name=rule.name,
        status="firing",
        fingerprint=blake3(f"{rule.name}\n{event.service}".encode()).hexdigest(length=16),
        service=event.service,
        severity=rule.severity,
        summary=f"log lines of {event.service} match the rule {rule.name}",
        runbook_url=rule.runbook_url,
        labels={"rule": rule.name, "template": f"{event.template_id:016x}"},
    )
