"""The calls between services as an SVG picture, callers at the left. Pure: equal edges give equal bytes.

Colours come from `picture.css`, for light and dark; every name is escaped, so that a picture of hostile names is only a
picture of them.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import networkx as nx

from domain.times import format_us
from graph.kinds import ServiceKind, describe_services
from graph.layout import Layout, Pair, Point, lay_out
from graph.ontology import Edge
from graph.view import as_networkx

PICTURE_STYLE = (Path(__file__).parent / "picture.css").read_text(encoding="utf-8")

_MARGIN = 16.0
_BOX_HEIGHT = 32.0
_ROW = 46.0
_MIN_BOX, _PADDING = 76.0, 13.0
_CHARACTER = 7.3  # of 13 px system-ui, on the wide side
_LONGEST = 28
_GAP, _WIDEST_GAP = 58.0, 120.0
_TIP = 7.0
_PORT = 6.5
_WIDE = {"w1": 1_000, "w2": 100_000}  # how many calls make a line wider
_KINDS = {"database": "database", "queue": "queue", "external": "host outside", "ingress": "ingress"}
_FAILING = 0.05  # a call fails often where this share of it does


@dataclass(frozen=True, slots=True)
class _Column:
    left: float
    width: float

    @property
    def right(self) -> float:
        return self.left + self.width


def topology_svg(
    edges: Iterable[Edge],
    highlight: Sequence[str] = (),
    anomalous: Collection[str] = (),
    *,
    notes: Mapping[Pair, str] | None = None,
    styled: bool = True,
) -> str:
    """Return a picture of the CALLS among these edges, as an `<svg>` element that is also a whole file.

    `highlight` is a causal chain, cause first, symptom last; it is drawn even where no edge is known between two of its
    services. `anomalous` services are marked. `notes` are told of a call where one points at it. With `styled` false the colours are left to a page that brings
    `PICTURE_STYLE` itself.
    """
    known = list(edges)
    kinds = {service.name: service.kind for service in describe_services(known)}
    view = as_networkx(edge for edge in known if edge.kind == "CALLS")
    chain = _chain_calls(view, highlight)
    layout = lay_out([*view.nodes, *highlight], [*view.edges, *chain])
    columns = _columns(layout)
    ports = _ports(layout)
    lines = [
        _draw_call(
            pair, layout, columns, ports, view.get_edge_data(*pair), (notes or {}).get(pair, ""), chained=pair in chain
        )
        for pair in sorted(layout.ways, key=lambda pair: (pair in chain, pair))
    ]
    boxes = [
        _draw_service(
            name,
            kinds.get(name, "service"),
            columns[at],
            _y(layout, name),
            _classes(name, kinds.get(name, "service"), view, highlight, anomalous),
        )
        for at, layer in enumerate(layout.layers)
        for name in layer
        if isinstance(name, str)
    ]
    width = (columns[-1].right if columns else 0) + _MARGIN
    height = max((_y(layout, point) for point in layout.heights), default=0) + _BOX_HEIGHT / 2 + _MARGIN
    told = f"{len(boxes)} services and {len(lines)} calls between them"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="topology{" traced" if highlight else ""}" role="img" '
            f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}">',
            f"<title>{told}</title>",
            *([f"<style>{PICTURE_STYLE}</style>"] if styled else []),
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def _chain_calls(view: nx.DiGraph, chain: Sequence[str]) -> set[Pair]:
    """Return the calls along which a chain runs: mostly from the later service to the one before."""
    return {
        (cause, effect) if view.has_edge(cause, effect) and not view.has_edge(effect, cause) else (effect, cause)
        for cause, effect in pairwise(chain)
        if cause != effect
    }


def _columns(layout: Layout) -> list[_Column]:
    columns: list[_Column] = []
    left = _MARGIN
    for layer in layout.layers:
        names = [point for point in layer if isinstance(point, str)]
        width = max(_MIN_BOX, *(2 * _PADDING + _CHARACTER * _width(_shown(name)) for name in names))
        columns.append(_Column(left, width))
        # Many lines side by side need room to bend.
        left += width + min(_WIDEST_GAP, _GAP + 2.2 * len(layer))
    return columns


def _ports(layout: Layout) -> dict[tuple[Pair, Point], float]:
    """Return how far above or below the middle of a box each line meets it, so that lines do not lie on each other."""
    meeting: defaultdict[tuple[Point, bool], list[tuple[float, Pair]]] = defaultdict(list)
    for pair, way in layout.ways.items():
        meeting[way[0], True].append((layout.heights[way[1]], pair))
        meeting[way[-1], False].append((layout.heights[way[-2]], pair))
    ports = {}
    for (point, _), lines in meeting.items():
        apart = min(_PORT, (_BOX_HEIGHT - 10) / max(1, len(lines) - 1))
        for at, (_, pair) in enumerate(sorted(lines)):
            ports[pair, point] = (at - (len(lines) - 1) / 2) * apart
    return ports


def _draw_call(
    pair: Pair,
    layout: Layout,
    columns: Sequence[_Column],
    ports: Mapping[tuple[Pair, Point], float],
    call: Mapping[str, Any] | None,
    note: str,
    *,
    chained: bool,
) -> str:
    way, turned = layout.ways[pair], pair in layout.turned
    first = next(at for at, layer in enumerate(layout.layers) if way[0] in layer)
    start, end = _y(layout, way[0]) + ports[pair, way[0]], _y(layout, way[-1]) + ports[pair, way[-1]]
    x, y = columns[first].right, start
    path = [f"M{_n(x + _TIP if turned else x)} {_n(y)}"]
    for at, point in enumerate(way[1:], start=first + 1):
        left = columns[at].left
        last = point == way[-1]
        to_y = end if last else _y(layout, point)
        bend = (x + left) / 2
        # Every line bends between the same two places, or lines side by side would cross.
        curve = f"{_n(bend)} {_n(y)} {_n(bend)} {_n(to_y)} {_n(left - _TIP)} {_n(to_y)}"
        path.append(f"H{_n(x + _TIP)}C{curve}")
        x, y = columns[at].right, to_y
        if not last:
            path.append(f"H{_n(x)}")
        elif turned:
            path.append(f"H{_n(left)}")
    tip = (columns[first].right, start, _TIP) if turned else (columns[first + len(way) - 1].left, end, -_TIP)
    arrow = f"M{_n(tip[0])} {_n(tip[1])}l{_n(tip[2])} {_n(-_TIP / 2)}v{_n(_TIP)}z"
    return (
        f'<g class="{_call_classes(call, chained=chained)}"><title>{_text(_tell_call(pair, call, note))}</title>'
        f'<path class="call" d="{"".join(path)}"/><path class="tip" d="{arrow}"/></g>'
    )


def _call_classes(call: Mapping[str, Any] | None, *, chained: bool) -> str:
    classes = ["edge"]
    if call is None or call["stated"]:
        classes.append("stated")
    else:
        classes += [name for name, calls in _WIDE.items() if call["count"] >= calls]
        if call["count"] and call["errors"] >= _FAILING * call["count"]:
            classes.append("failing")
    return " ".join([*classes, *(["chain"] if chained else [])])


def _tell_call(pair: Pair, call: Mapping[str, Any] | None, note: str) -> str:
    source, target = map(_plain, pair)
    if call is None:
        return f"{source} calls {target}: inferred"
    since = f", since {format_us(call['valid_from_us'])}" if call["valid_from_us"] else ""
    seen = "stated" if call["stated"] else f"seen {call['count']} times, {call['errors']} failed"
    told = f"{source} calls {target}: {seen}{since} ({', '.join(map(_plain, call['observed_by']))})"
    return f"{told}; {note}" if note else told


def _draw_service(name: str, kind: ServiceKind, column: _Column, y: float, classes: str) -> str:
    radius = {"service": 8, "database": _BOX_HEIGHT / 2, "queue": 0, "external": _BOX_HEIGHT / 2, "ingress": 0}[kind]
    told = name if kind == "service" else f"{name} ({_KINDS[kind]})"
    return (
        f'<g class="{classes}"><title>{_text(_plain(told))}</title>'
        f'<rect x="{_n(column.left)}" y="{_n(y - _BOX_HEIGHT / 2)}" width="{_n(column.width)}" '
        f'height="{_n(_BOX_HEIGHT)}" rx="{_n(radius)}"/>'
        f'<text x="{_n(column.left + column.width / 2)}" y="{_n(y + 4.5)}" text-anchor="middle">'
        f"{_text(_shown(name))}</text></g>"
    )


def _classes(name: str, kind: ServiceKind, view: nx.DiGraph, chain: Sequence[str], anomalous: Collection[str]) -> str:
    classes = ["service", *([kind] if kind != "service" else [])]
    if name in view and not view.out_degree(name) and _is_peer(view, name):
        classes.append("peer")
    if name in anomalous:
        classes.append("anomalous")
    if name in chain:
        classes += ["chain", "cause" if name == chain[0] else "symptom" if name == chain[-1] else "passing"]
    return " ".join(classes)


def _is_peer(view: nx.DiGraph, name: str) -> bool:
    """Say whether a service is only known from those that call it."""
    return all(
        {"client spans", "logs"}.issuperset(call["observed_by"]) for _, _, call in view.in_edges(name, data=True)
    )


def _y(layout: Layout, point: Point) -> float:
    return _MARGIN + _BOX_HEIGHT / 2 + layout.heights[point] * _ROW


def _shown(name: str) -> str:
    """Return a name short enough for its box: the middle of a long one is left out."""
    plain = _plain(name)
    half = _LONGEST // 2
    return plain if len(plain) <= _LONGEST else f"{plain[: half - 1]}…{plain[-half:]}"


def _plain(text: str) -> str:
    """Return text without what an XML file may not hold or what would turn a line around."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _text(text: str) -> str:
    return escape(text, {'"': "&quot;", "'": "&#39;"})


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
