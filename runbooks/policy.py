"""Who approves, what needs nobody, how much may happen at once, and when. Pure: the moment is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from domain.remedy import PROPOSER, Actor, Given
from domain.times import from_us, parse_time_us
from runbooks.yaml_file import StrictFile, one_of

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Automatic:
    """A workflow that may run unasked in some environments (patterns), while every argument is untainted."""

    workflow: str
    environments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """When things may be changed: days and hours of a time zone; an end before the start lies on the next day."""

    days: tuple[str, ...]
    start: time
    end: time
    zone: str = "UTC"

    def holds(self, now: datetime) -> bool:
        """Say whether a moment lies in the window."""
        local = now.astimezone(ZoneInfo(self.zone))
        day, clock = DAYS[local.weekday()], local.time().replace(tzinfo=None)
        if self.start < self.end:
            return day in self.days and self.start <= clock < self.end
        before = DAYS[(local.weekday() - 1) % 7]
        return (day in self.days and clock >= self.start) or (before in self.days and clock < self.end)


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which nothing is changed, and why."""

    start_us: int
    end_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of remediation. `approvers` are roles; without windows any time will do."""

    approvers: tuple[str, ...] = ("admin",)
    approvals: int = 1
    not_the_proposer: bool = True
    expires_minutes: float = 60.0
    automatic: tuple[Automatic, ...] = ()
    running: int = 1
    per_hour: int = 6
    windows: tuple[MaintenanceWindow, ...] = ()
    freezes: tuple[Freeze, ...] = ()

    def why_not_now(self, now_us: int) -> str:
        """Return why nothing may be changed at a moment; "" if it may."""
        for freeze in self.freezes:
            if freeze.start_us <= now_us < freeze.end_us:
                return f"changes are frozen: {freeze.reason}"
        if self.windows and not any(window.holds(from_us(now_us)) for window in self.windows):
            return "this is outside of every maintenance window"
        return ""

    def why_not_by(self, actor: Actor, proposer: str) -> str:
        """Return why somebody may not approve what somebody proposed; "" if they may."""
        if actor.role not in self.approvers:
            return f"the role {actor.role!r} may not approve: {', '.join(self.approvers)} may"
        if self.not_the_proposer and actor.name == proposer and proposer != PROPOSER:
            return "whoever proposed this may not approve it (`not_the_proposer` in the operator's file)"
        return ""

    def why_not_alone(
        self, workflow_id: str, environment: str, *, reversible: bool, arguments: Mapping[str, Given]
    ) -> str:
        """Return why a workflow may not run without a person's approval; "" if it may."""
        named = [rule for rule in self.automatic if rule.workflow == workflow_id]
        if not any(fnmatchcase(environment, pattern) for rule in named for pattern in rule.environments):
            return "no policy names this workflow for this environment"
        if not reversible:
            return "the workflow is not reversible"
        if tainted := sorted(name for name, given in arguments.items() if given.tainted):
            return f"{tainted[0]} was taken from telemetry"
        return ""


class _AutomaticFile(StrictFile):
    workflow: str = Field(min_length=1)
    environments: list[str] = Field(min_length=1)


class _WindowFile(StrictFile):
    days: list[str] = Field(default=list(DAYS))
    start: str = Field(alias="from")
    end: str = Field(alias="to")
    zone: str = "UTC"

    @field_validator("days")
    @classmethod
    def _known_days(cls, days: list[str]) -> list[str]:
        return [one_of(day, DAYS) for day in days]

    @model_validator(mode="after")
    def _readable(self) -> _WindowFile:
        try:
            ZoneInfo(self.zone)
            self.to_window()
        except (ZoneInfoNotFoundError, ValueError) as exc:
            raise ValueError(f"not a window: {exc}") from exc
        return self

    def to_window(self) -> MaintenanceWindow:
        return MaintenanceWindow(
            tuple(self.days), time.fromisoformat(self.start), time.fromisoformat(self.end), self.zone
        )


class _FreezeFile(StrictFile):
    start: str | datetime = Field(alias="from")
    end: str | datetime = Field(alias="to")
    reason: str = Field(min_length=1)

    @field_validator("start", "end")
    @classmethod
    def _readable(cls, moment: str | datetime) -> str | datetime:
        _moment_us(moment)
        return moment

    def to_freeze(self) -> Freeze:
        return Freeze(_moment_us(self.start), _moment_us(self.end), self.reason)


class PolicyFile(StrictFile):
    """The rules as the operator's file writes them."""

    approvers: list[str] = Field(default=["admin"], min_length=1)
    approvals: int = Field(default=1, ge=1, le=5)
    not_the_proposer: bool = True
    expires_minutes: float = Field(default=60.0, gt=0, le=24 * 60, strict=False)
    automatic: list[_AutomaticFile] = Field(default=[])
    running: int = Field(default=1, ge=1, le=100)
    per_hour: int = Field(default=6, ge=1, le=1000)
    windows: list[_WindowFile] = Field(default=[])
    freezes: list[_FreezeFile] = Field(default=[])

    def to_policy(self) -> Policy:
        """Return the rules."""
        return Policy(
            approvers=tuple(self.approvers),
            approvals=self.approvals,
            not_the_proposer=self.not_the_proposer,
            expires_minutes=self.expires_minutes,
            automatic=tuple(Automatic(rule.workflow, tuple(rule.environments)) for rule in self.automatic),
            running=self.running,
            per_hour=self.per_hour,
            windows=tuple(window.to_window() for window in self.windows),
            freezes=tuple(freeze.to_freeze() for freeze in self.freezes),
        )


def _moment_us(moment: str | datetime) -> int:
    if isinstance(moment, datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    return parse_time_us(moment)
