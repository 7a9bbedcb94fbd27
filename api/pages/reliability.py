"""The reliability curve as a picture: what was stated beside what was right, and how far chance alone would carry it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

_SIDE = 300.0
_LEFT, _TOP = 46.0, 12.0
_SIGMAS = 1.96
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw_reliability(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """Return an SVG of bins of {stated, right, runs}: a point for each, and the band in which a true statement would lie.

    The band is where 95 % of such shares would fall if what is stated were true, by the normal approximation.
    """
    parts = [_grid(), _band(bins), _diagonal()]
    places = [(_x(one["stated"]), _y(one["right"]), one) for one in bins]
    if len(places) > 1:
        parts.append(f'<polyline class="curve" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)}"/>')
    for x, y, one in places:
        told = f"stated {one['stated']:.2f}, right {one['right']:.2f}, {one['runs']} runs"
        size = min(9.0, 2.5 + math.sqrt(one["runs"]) / 2)
        parts.append(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"><title>{told}</title></circle>')
    words = "; ".join(f"stated {one['stated']:.2f}, right {one['right']:.2f}" for one in bins)
    box = f"0 0 {_LEFT + _SIDE + 14:.0f} {_TOP + _SIDE + 44:.0f}"
    head = f'<svg class="reliability" viewBox="{box}" role="img" aria-label="Reliability curve. {words}">'
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 - made of numbers alone


def _grid() -> str:
    lines = []
    for at in _TICKS:
        x, y = _x(at), _y(at)
        lines.append(f'<path class="grid" d="M{_LEFT} {y:.1f}h{_SIDE}M{x:.1f} {_TOP}v{_SIDE}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{at:g}</text>')
        lines.append(f'<text x="{x:.1f}" y="{_TOP + _SIDE + 18}" text-anchor="middle">{at:g}</text>')
    lines.append(f'<text x="{_LEFT + _SIDE / 2}" y="{_TOP + _SIDE + 38}" text-anchor="middle">stated confidence</text>')
    middle = _TOP + _SIDE / 2
    lines.append(
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">share right</text>'
    )
    return "".join(lines)


def _band(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draw what chance allows around the diagonal, at the places of the bins."""
    if not bins:
        return ""
    spread = [
        (one["stated"], _SIGMAS * math.sqrt(max(0.0, one["stated"] * (1 - one["stated"])) / one["runs"]))
        for one in bins
    ]
    if len(spread) == 1:
        at, wide = spread[0]
        return f'<path class="band" d="M{_x(at) - 6:.1f} {_y(at + wide):.1f}h12V{_y(at - wide):.1f}h-12z"/>'
    upper = [f"{_x(at):.1f} {_y(at + wide):.1f}" for at, wide in spread]
    lower = [f"{_x(at):.1f} {_y(at - wide):.1f}" for at, wide in reversed(spread)]
    return f'<path class="band" d="M{" L".join([*upper, *lower])}z"/>'


def _diagonal() -> str:
    return f'<path class="diagonal" d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}"/>'


def _x(share: float) -> float:
    return _LEFT + _SIDE * min(1.0, max(0.0, share))


def _y(share: float) -> float:
    return _TOP + _SIDE * (1 - min(1.0, max(0.0, share)))
