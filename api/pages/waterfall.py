"""A run's stages as the rows of a tree beside a waterfall. Pure, and quick enough for ten thousand of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from agents.plain import show_plain
from api.pages.wording import tell_seconds
from domain.times import SECOND_US
from tracing.scorecard import walk_stages
from tracing.view import EvalView, StageView, TraceView

_WIDTH = 1000.0
_THIN = 2.0
_DEEPEST = 12
_EVALS = 3
_KINDS = frozenset({"model", "tool", "retriever", "reranker", "embedding", "guardrail"})
# A stretch in which nothing ran, longer than this share of the work, is drawn as short as that.
_IDLE_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Scale:
    """From moments to places of the waterfall (0 to 1000). Long stretches in which nothing ran are cut short."""

    stretches: tuple[tuple[int, int, float, float], ...]
    """Begin and end in microseconds, and where that lies."""
    cuts: tuple[tuple[float, float, float], ...]
    """Place, width and seconds of what was cut short."""

    def place(self, moment_us: float) -> float:
        """Return where a moment lies."""
        at = bisect_left(self.stretches, moment_us, key=lambda stretch: stretch[1])
        if at == len(self.stretches):
            return _WIDTH
        begin, end, left, right = self.stretches[at]
        return left + (max(moment_us, begin) - begin) / max(1, end - begin) * (right - left)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the time axis: place and words."""

    place: float
    words: str


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The rows as markup, and the axis above them."""

    rows: Markup
    ticks: Sequence[Tick]
    cuts: Sequence[tuple[float, float, float]]
    count: int
    failed: int
    open: int


def draw_waterfall(view: TraceView, base: str, selected: str = "") -> Waterfall:
    """Return the waterfall of a run; each row leads to `base` with the stage's id."""
    stages = list(walk_stages(view))
    scale = _make_scale(view, [stage for _, stage in stages])
    parents = [bool(stage.stages) for _, stage in stages]
    said = _evaluations(view)
    rows = [
        _row(number, depth, stage, parent, scale, base, said.get(stage.span_id, ""), stage.span_id == selected)
        for number, ((depth, stage), parent) in enumerate(zip(stages, parents, strict=True))
    ]
    return Waterfall(
        rows=Markup("\n".join(rows)),  # noqa: S704 - _row escapes what it is given
        ticks=_ticks(scale),
        cuts=scale.cuts,
        count=len(stages),
        failed=sum(stage.status == "failed" for _, stage in stages),
        open=sum(stage.status == "open" for _, stage in stages),
    )


def find_stage(view: TraceView, span_id: str) -> StageView | None:
    """Return the stage with an id."""
    return next((stage for _, stage in walk_stages(view) if stage.span_id == span_id), None)


def _ends_us(stage: StageView) -> int:
    return stage.start_us + int((stage.seconds or 0.0) * SECOND_US)


def _make_scale(view: TraceView, stages: Sequence[StageView]) -> Scale:
    # Only what has nothing under it: a stage that waits for a person spans the pause, its work does not.
    spans = sorted((stage.start_us, _ends_us(stage)) for stage in stages if not stage.stages)
    begin = min([view.started_us, *(start for start, _ in spans)])
    work = max(1, sum(end - start for start, end in _join([(begin, begin), *spans], 0)))
    return _lay_out(_join([(begin, begin), *spans], int(work * _IDLE_SHARE)), max(1, int(work * _IDLE_SHARE)))


def _join(spans: Sequence[tuple[int, int]], idle_us: int) -> list[tuple[int, int]]:
    """Return spans in order, those joined that are no further apart than that."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] <= idle_us:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _lay_out(busy: Sequence[tuple[int, int]], idle_us: int) -> Scale:
    whole = sum(max(1, end - start) for start, end in busy) + idle_us * (len(busy) - 1)
    stretches: list[tuple[int, int, float, float]] = []
    cuts: list[tuple[float, float, float]] = []
    left = 0.0
    for start, end in busy:
        if stretches:
            before, width = stretches[-1][1], _WIDTH * idle_us / whole
            stretches.append((before, start, left, left + width))
            cuts.append((round(left, 1), round(width, 1), (start - before) / SECOND_US))
            left += width
        width = _WIDTH * max(1, end - start) / whole
        stretches.append((start, end, left, left + width))
        left += width
    return Scale(tuple(stretches), tuple(cuts))


def _ticks(scale: Scale) -> list[Tick]:
    first = scale.stretches[0][0]
    last = scale.stretches[-1][1]
    whole = last - first
    if scale.cuts or whole <= 0:
        return [Tick(0, "0"), Tick(_WIDTH, tell_seconds(whole / SECOND_US))]
    return [Tick(_WIDTH * at / 4, tell_seconds(whole * at / 4 / SECOND_US) if at else "0") for at in range(5)]


def _evaluations(view: TraceView) -> dict[str, str]:
    """Return the badges of what was attached to each stage: what failed first, then the lowest scores, three at most."""
    found: defaultdict[str, list[EvalView]] = defaultdict(list)
    for held in view.evals:
        found[held.span_id].append(held)
    return {span_id: "".join(map(_eval_badge, sorted(held, key=_worst)[:_EVALS])) for span_id, held in found.items()}


def _worst(held: EvalView) -> tuple[bool, float]:
    return (held.passed is not False, 1.0 if held.score is None else held.score)


def _eval_badge(held: EvalView) -> str:
    kind = "" if held.passed is None else ' class="complete"' if held.passed else ' class="failed"'
    score = "" if held.score is None else f" {held.score:.2f}"
    return f'<b{kind} title="evaluation">{escape(show_plain(held.name[:24]))}{score}</b>'


def _row(
    number: int, depth: int, stage: StageView, parent: bool, scale: Scale, base: str, said: str, selected: bool
) -> str:
    left = scale.place(stage.start_us)
    width = max(_THIN, scale.place(_ends_us(stage)) - left)
    left = min(left, _WIDTH - _THIN)
    name = escape(show_plain(stage.name))
    current = ' aria-current="true"' if selected else ""
    twist = '<i class="tw"></i>' if parent else ""
    return (
        f'<a class="r d{min(depth, _DEEPEST)} {stage.status}" id="s{number}" data-d="{depth}" data-item '
        f'href="{base}?stage={escape(stage.span_id)}#stage"{current}>'
        f'<span class="n">{twist}{name}</span><span class="b">{said}{_badges(stage)}</span>'
        f'<svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true"><rect x="{left:.1f}" width="{width:.1f}" height="10"/></svg>'
        f'<span class="t">{tell_seconds(stage.seconds)}</span></a>'
    )


def _badges(stage: StageView) -> str:
    badges = []
    if stage.status != "complete":
        badges.append(f'<b class="{stage.status}">{stage.status}</b>')
    if stage.attempts > 1:
        badges.append(f'<b class="paused" title="it took so many tries">{stage.attempts} tries</b>')
    if stage.kind in _KINDS:
        badges.append(f"<b>{stage.kind}</b>")
    if stage.decisions:
        badges.append(f'<b title="decisions">{stage.decisions} dec</b>')
    if stage.queries:
        badges.append(f'<b title="queries">{stage.queries} q</b>')
    return "".join(badges)
