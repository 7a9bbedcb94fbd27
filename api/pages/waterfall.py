"""A run's stages as the rows of a tree beside a waterfall. Pure, and quick enough for ten thousand of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from agents.plain import show_plain
from api.pages.wording import tell_seconds
from domain.times import SECOND_US
from tracing.fold import StageView, TraceView
from tracing.scorecard import walk_stages

_WIDTH = 1000.0
_THIN = 2.0
_DEEPEST = 12
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
        for begin, end, left, right in self.stretches:
            if moment_us <= end:
                share = (max(moment_us, begin) - begin) / max(1, end - begin)
                return left + share * (right - left)
        return _WIDTH


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
    rows = [
        _row(number, depth, stage, parent, scale, base, stage.span_id == selected)
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
    busy: list[tuple[int, int]] = []
    for start, end in [(begin, begin), *spans]:
        if busy and start <= busy[-1][1]:
            busy[-1] = (busy[-1][0], max(busy[-1][1], end))
        else:
            busy.append((start, end))
    work = max(1, sum(end - start for start, end in busy))
    return _lay_out(busy, max(1, int(work * _IDLE_SHARE)))


def _lay_out(busy: Sequence[tuple[int, int]], longest_idle: int) -> Scale:
    pieces: list[tuple[int, int, float]] = []
    for at, (start, end) in enumerate(busy):
        pieces.append((start, end, float(max(1, end - start))))
        if at + 1 < len(busy):
            idle = busy[at + 1][0] - end
            pieces.append((end, busy[at + 1][0], float(min(idle, longest_idle))))
    whole = sum(weight for _, _, weight in pieces)
    stretches, cuts, left = [], [], 0.0
    for begin, end, weight in pieces:
        width = _WIDTH * weight / whole
        stretches.append((begin, end, left, left + width))
        if end - begin > weight * 1.5 and weight == longest_idle:
            cuts.append((round(left, 1), round(width, 1), (end - begin) / SECOND_US))
        left += width
    return Scale(tuple(stretches), tuple(cuts))


def _ticks(scale: Scale) -> list[Tick]:
    first = scale.stretches[0][0]
    last = scale.stretches[-1][1]
    whole = last - first
    if scale.cuts or whole <= 0:
        return [Tick(0, "0"), Tick(_WIDTH, tell_seconds(whole / SECOND_US))]
    return [Tick(_WIDTH * at / 4, tell_seconds(whole * at / 4 / SECOND_US) if at else "0") for at in range(5)]


def _row(number: int, depth: int, stage: StageView, parent: bool, scale: Scale, base: str, selected: bool) -> str:
    left = scale.place(stage.start_us)
    width = max(_THIN, scale.place(_ends_us(stage)) - left)
    left = min(left, _WIDTH - _THIN)
    name = escape(show_plain(stage.name))
    current = ' aria-current="true"' if selected else ""
    twist = '<i class="tw"></i>' if parent else ""
    return (
        f'<a class="r d{min(depth, _DEEPEST)} {stage.status}" id="s{number}" data-d="{depth}" data-item '
        f'href="{base}?stage={escape(stage.span_id)}#stage"{current}>'
        f'<span class="n">{twist}{name}</span><span class="b">{_badges(stage)}</span>'
        f'<svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true"><rect x="{left:.1f}" width="{width:.1f}" height="10"/></svg>'
        f'<span class="t">{tell_seconds(stage.seconds)}</span></a>'
    )


def _badges(stage: StageView) -> str:
    badges = []
    if stage.status != "complete":
        badges.append(f'<b class="tag {stage.status}">{stage.status}</b>')
    if stage.decisions:
        badges.append(f'<b title="decisions">{stage.decisions} dec</b>')
    if stage.queries:
        badges.append(f'<b title="queries">{stage.queries} q</b>')
    return "".join(badges)
