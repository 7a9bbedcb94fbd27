"""From the spans of a trace to the tree of its stages, whatever their parents are said to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracing.events import StageStatus
from tracing.reading import merge_patch, read_mapping, read_optional, read_stage_status, read_text
from tracing.view import StageView

DEFAULT_KIND = "stage"


@dataclass(slots=True)
class Span:
    """A stage while its events are put together."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    start_us: int
    segment: int
    cached: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    status: StageStatus = "open"
    ended_us: int | None = None
    seconds: float | None = None
    error: str = ""
    decisions: int = 0
    queries: int = 0
    retries: int = 0

    def __post_init__(self) -> None:
        if self.cached:
            self.status, self.ended_us, self.seconds = "cached", self.start_us, 0.0

    def end(self, time_us: int, data: Mapping[str, Any]) -> None:
        """Take what the end of the stage says."""
        self.status = read_stage_status(data.get("status"))
        measured = read_optional(data.get("seconds"))
        self.ended_us = time_us
        self.seconds = max(0.0, (time_us - self.start_us) / 1e6) if measured is None else measured
        self.error = read_text(data.get("error"))
        self.facts |= read_mapping(data.get("facts"))

    def amend(self, patch: Mapping[str, Any]) -> None:
        """Change the reading of the stage by an amendment: its name, status, error, and facts (or attributes)."""
        self.name = read_text(patch.get("name")) or self.name
        self.error = read_text(patch["error"]) if "error" in patch else self.error
        if "status" in patch:
            self.status = read_stage_status(patch["status"])
        for name in ("facts", "attributes"):
            self.facts = merge_patch(self.facts, read_mapping(patch.get(name)))


def build_tree(spans: Mapping[str, Span], *, in_time: bool) -> tuple[StageView, ...]:
    """Return the stages at the top, each with those under it.

    A stage whose parent is not there, or is itself, stands at the top; a circle of parents is cut. `in_time` sorts
    siblings by their start, for spans that came in any order.
    """
    ordered = sorted(spans.values(), key=lambda span: (span.start_us, span.span_id)) if in_time else [*spans.values()]
    children: dict[str, list[str]] = {}
    for span in ordered:
        parent = span.parent_id if span.parent_id in spans and span.parent_id != span.span_id else ""
        children.setdefault(parent, []).append(span.span_id)
    tops = children.pop("", [])
    downward, inside = _walk(tops, children)
    for span in ordered:
        if span.span_id not in inside:
            tops.append(span.span_id)
            more, inside_more = _walk([span.span_id], children, inside)
            downward += more
            inside |= inside_more
    built: dict[str, StageView] = {}
    for span_id in reversed(downward):
        under = (built.pop(child) for child in children.get(span_id, ()) if child in built)
        built[span_id] = _view(spans[span_id], tuple(under))
    return tuple(built[span_id] for span_id in tops if span_id in built)


def _walk(
    tops: list[str], children: Mapping[str, list[str]], seen: frozenset[str] | set[str] = frozenset()
) -> tuple[list[str], set[str]]:
    """Return the ids below some stages, parents before children, without recursion and without walking in a circle."""
    inside = set(seen)
    downward: list[str] = []
    waiting = list(reversed(tops))
    while waiting:
        span_id = waiting.pop()
        if span_id in inside:
            continue
        inside.add(span_id)
        downward.append(span_id)
        waiting.extend(reversed(children.get(span_id, ())))
    return downward, inside


def _view(span: Span, stages: tuple[StageView, ...]) -> StageView:
    return StageView(
        span_id=span.span_id,
        name=span.name,
        status=span.status,
        start_us=span.start_us,
        seconds=span.seconds,
        error=span.error,
        facts=span.facts,
        decisions=span.decisions,
        queries=span.queries,
        stages=stages,
        kind=span.kind,
        attempts=1 + span.retries,
        segment=span.segment,
    )
