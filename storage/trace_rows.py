"""The rows of table `trace`: what a list of traces shows of one, projected from the fold of its events."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any

from storage.database import Row
from tracing.scorecard import walk_stages
from tracing.view import TraceView

_SEARCHED_CHARACTERS = 8_000
_SEARCHED_STAGES = 500


@dataclass(frozen=True, slots=True)
class TraceRow:
    """What a list of traces shows of one. `source` is "causegraph" for our own runs, "ingest" for other programs'."""

    id: str
    environment: str
    question: str
    status: str
    outcome: str
    action: str
    started_us: int
    ended_us: int | None
    decisions: int
    queries: int
    evidence: int
    source: str = "causegraph"
    external_id: str = ""
    name: str = ""
    service: str = ""
    intent: str = ""
    thread_id: str = ""
    user_id: str = ""
    model: str = ""
    tokens: int = 0
    cost: float = 0.0
    spans: int = 0
    open_spans: int = 0
    failed_spans: int = 0

    @property
    def completion_rate(self) -> float:
        """Return which part of the stages that began has ended; 1 where none began."""
        return (self.spans - self.open_spans) / self.spans if self.spans else 1.0

    @property
    def has_open_spans(self) -> bool:
        """Say whether a stage never ended although the run is not at work any more."""
        return self.open_spans > 0 and self.status != "running"

    @classmethod
    def from_row(cls, row: Row) -> TraceRow:
        kinds: tuple[Any, ...] = (*(str,) * 6, int, _time, int, int, int, *(str,) * 8, int, float, int, int, int)
        return cls(*(kind(held) for kind, held in zip(kinds, row, strict=True)))

    def columns(self) -> tuple[Any, ...]:
        """Return the values of the columns after `id`, in their order."""
        return astuple(self)[1:]


def project(view: TraceView) -> TraceRow:
    """Return the row of a folded trace, its texts cut to the columns."""
    facts = view.facts
    models = {call.model: None for call in view.model_calls if call.model}
    return TraceRow(
        id=view.id,
        environment=view.environment[:64],
        question=view.question[:16_000],
        status=view.status,
        outcome=_ascii(view.outcome, 16),
        action=_ascii(view.action, 24),
        started_us=view.started_us,
        ended_us=view.ended_us,
        decisions=len(view.decisions),
        queries=len(view.ledger),
        evidence=len(view.found),
        source=view.source,
        external_id=view.external_id[:191],
        name=view.name[:191],
        service=str(facts.get("service") or "")[:128],
        intent=str(facts.get("intent") or "")[:64],
        thread_id=str(facts.get("thread_id") or "")[:191],
        user_id=str(facts.get("user_id") or "")[:191],
        model=str(facts.get("model") or next(iter(models), ""))[:128],
        tokens=min(view.model.prompt_tokens + view.model.completion_tokens, 2**62),
        cost=view.model.cost,
        spans=view.spans,
        open_spans=view.open_spans,
        failed_spans=view.failed_spans,
    )


def search_text(view: TraceView) -> str:
    """Return the words by which a trace is found: its texts, the names of its stages, and its decisions."""
    words = dict.fromkeys((view.external_id, view.name, view.question[:4_000], view.answer[:2_000], view.error))
    words |= dict.fromkeys(stage.name for _, stage in islice(walk_stages(view), _SEARCHED_STAGES))
    words |= dict.fromkeys(decision.what for decision in view.decisions[:_SEARCHED_STAGES])
    words |= dict.fromkeys(line.text[:200] for line in view.logs[:_SEARCHED_STAGES])
    return "\n".join(word for word in words if word)[:_SEARCHED_CHARACTERS]


def _time(held: Any) -> int | None:
    return None if held is None else int(held)


def _ascii(text: str, length: int) -> str:
    return text.encode("ascii", "replace").decode()[:length]
