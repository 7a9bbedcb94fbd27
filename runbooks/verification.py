"""Seeing in the telemetry that a workflow helped. Silence is not health: without records nothing is verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import Field, model_validator

from domain.errors import PayloadError
from domain.remedy import Value
from domain.times import SECOND_US, Window
from runbooks.arguments import as_text, fill, places_of
from runbooks.yaml_file import StrictFile

type Signal = Literal["requests", "logs"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold over a stretch of `over_seconds`, at the latest `within_seconds` after the last step.

    `requests`: of at least `at_least` requests that a service took in, a smaller share than `failed_below` failed.
    `logs`: a service wrote at most `at_most` lines of level error, and at least one line at all.
    """

    signal: Signal
    service: str
    over_seconds: int
    within_seconds: int
    failed_below: float = 1.0
    at_least: int = 1
    at_most: int = 0

    def tell(self) -> str:
        """Return the condition as a sentence."""
        span = f"over {self.over_seconds} s, within {self.within_seconds} s"
        if self.signal == "requests":
            share = f"{self.failed_below * 100:g} %"
            return f"fewer than {share} of at least {self.at_least} requests of {self.service} fail {span}"
        return f"{self.service} writes, and at most {self.at_most} lines are errors, {span}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at one condition gave."""

    holds: bool
    text: str


class Counts(Protocol):
    """What is asked of the telemetry."""

    async def count_requests(self, environment: str, service: str, window: Window) -> tuple[int, int]:
        """Return the requests that a service took in and finished in a window, and how many of them failed."""
        ...

    async def count_lines(self, environment: str, service: str, window: Window) -> tuple[int, int]:
        """Return the log lines of a service in a window, and how many of them are errors."""
        ...


async def look(counts: Counts, environment: str, condition: Condition, after_us: int, now_us: int) -> Seen:
    """Look at a condition over its stretch before `now_us`, of which nothing before `after_us` counts."""
    window = Window(max(after_us, now_us - condition.over_seconds * SECOND_US), now_us)
    if window.end_us - window.start_us < condition.over_seconds * SECOND_US:
        return Seen(False, f"{condition.service}: too early to tell")
    if condition.signal == "requests":
        requests, failed = await counts.count_requests(environment, condition.service, window)
        holds = requests >= condition.at_least and failed < condition.failed_below * requests
        return Seen(holds, f"{failed} of {requests} requests of {condition.service} failed")
    lines, errors = await counts.count_lines(environment, condition.service, window)
    return Seen(
        lines > 0 and errors <= condition.at_most, f"{errors} of {lines} lines of {condition.service} are errors"
    )


def fill_condition(condition: Condition, values: Mapping[str, Value]) -> Condition:
    """Return a condition with its places filled."""
    service = fill(condition.service, {name: as_text(value) for name, value in values.items()})
    return Condition(
        condition.signal,
        service,
        condition.over_seconds,
        condition.within_seconds,
        condition.failed_below,
        condition.at_least,
        condition.at_most,
    )


class ConditionFile(StrictFile):
    """A condition as files write it."""

    requests: str = ""
    logs: str = ""
    failed_below: float = Field(default=0.05, gt=0, le=1, strict=False)
    at_least: int = Field(default=10, ge=1)
    at_most: int = Field(default=0, ge=0)
    over_seconds: int = Field(default=30, ge=1, le=3600)
    within_seconds: int = Field(default=180, ge=1, le=3600)

    @model_validator(mode="after")
    def _whole(self) -> ConditionFile:
        if bool(self.requests) == bool(self.logs):
            raise ValueError("a condition is about requests or about logs, and names the service")
        if self.within_seconds < self.over_seconds:
            raise ValueError("within_seconds must not be less than over_seconds")
        service = self.requests or self.logs
        if places_of(service) and service != f"{{{places_of(service)[0]}}}":
            raise ValueError("a service is written out, or is one place {name} and nothing else")
        return self

    def places(self) -> set[str]:
        return set(places_of(self.requests or self.logs))

    def to_condition(self) -> Condition:
        return Condition(
            signal="requests" if self.requests else "logs",
            service=self.requests or self.logs,
            over_seconds=self.over_seconds,
            within_seconds=self.within_seconds,
            failed_below=self.failed_below,
            at_least=self.at_least,
            at_most=self.at_most,
        )


def read_condition(held: Mapping[str, object]) -> Condition:
    """Read a condition from a stored plan; raises PayloadError."""
    try:
        return Condition(**held)  # type: ignore[arg-type]  # a stored plan is ours, and its digest was checked
    except TypeError as exc:
        raise PayloadError(f"This is not a condition: {exc}.") from exc
