"""Where the services of a picture stand: layers from left to right, from callers to callees. Pure and deterministic.

The method is Sugiyama's, in its usual steps: cycles are broken by turning edges around (Eades, Lin and Smyth 1993),
layers are longest paths, the order within layers comes from barycentre sweeps, and heights from the least squares of
the distances to neighbours under minimal gaps (isotonic regression).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

type Pair = tuple[str, str]
# A service, or a place that a long edge passes: (source, target, layer).
type Point = str | tuple[str, str, int]

_SWEEPS = 12
_SETTLING = 16
_SERVICE_SIZE = 1.0
_PASSING_SIZE = 0.35


@dataclass(frozen=True, slots=True)
class Layout:
    """The layers from left to right, each from top to bottom, and the height of the middle of everything in them.

    Heights are in rows: two services that stand one above the other are at least 1 apart. `ways` holds what each edge
    passes, itself left out: (source, ..., target) from left to right; those in `turned` run from right to left.
    """

    layers: tuple[tuple[Point, ...], ...]
    heights: Mapping[Point, float]
    ways: Mapping[Pair, tuple[Point, ...]]
    turned: frozenset[Pair]


def lay_out(services: Iterable[str], calls: Iterable[Pair]) -> Layout:
    """Return where services stand that call each other; a call of itself is left out."""
    pairs = sorted({pair for pair in calls if pair[0] != pair[1]})
    names = sorted({*services, *(end for pair in pairs for end in pair)})
    rank = {name: at for at, name in enumerate(_order_against_cycles(names, pairs))}
    turned = frozenset(pair for pair in pairs if rank[pair[0]] > rank[pair[1]])
    forward = {pair: pair[::-1] if pair in turned else pair for pair in pairs}
    layer = _assign_layers(sorted(names, key=rank.__getitem__), set(forward.values()))
    ways = {pair: _way(pair, *ends, layer) for pair, ends in forward.items()}
    layers = _order_layers(names, layer, ways.values())
    return Layout(tuple(map(tuple, layers)), _assign_heights(layers, ways.values()), ways, turned)


def _order_against_cycles(names: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """Return the services in an order against which few calls run: callers first."""
    callees: dict[str, set[str]] = {name: set() for name in names}
    callers: dict[str, set[str]] = {name: set() for name in names}
    for source, target in pairs:
        callees[source].add(target)
        callers[target].add(source)
    called = {name: len(others) for name, others in callers.items()}
    first: list[str] = []
    last: list[str] = []
    left = list(names)
    while left:
        ends = [name for name in left if not callees[name]]
        starts = [name for name in left if callees[name] and not callers[name]]
        taken = ends or starts or [min(left, key=lambda name: _reluctance(name, callees, callers, called))]
        (last if ends else first).extend(taken)
        for name in taken:
            for other in callees.pop(name):
                callers[other].discard(name)
            for other in callers.pop(name):
                callees[other].discard(name)
        left = [name for name in left if name in callees]
    # What was taken from the end later stands further left.
    return [*first, *reversed(last)]


def _reluctance(
    name: str, callees: Mapping[str, set[str]], callers: Mapping[str, set[str]], called: Mapping[str, int]
) -> tuple[int, int, str]:
    """Return how badly a service of a cycle suits as its start: best is one that calls many and that others lead to."""
    return (len(callers[name]) - len(callees[name]), len(callers[name]) - called[name], name)


def _assign_layers(order: Sequence[str], pairs: set[Pair]) -> dict[str, int]:
    """Return each service's layer: the longest way to it; one that nobody calls stands next to what it calls."""
    callees: defaultdict[str, list[str]] = defaultdict(list)
    called = {target for _, target in pairs}
    for source, target in pairs:
        callees[source].append(target)
    layer = dict.fromkeys(order, 0)
    for name in order:
        for callee in callees[name]:
            layer[callee] = max(layer[callee], layer[name] + 1)
    for name in order:
        if name not in called and callees[name]:
            layer[name] = min(layer[callee] for callee in callees[name]) - 1
    return layer


def _way(pair: Pair, left: str, right: str, layer: Mapping[str, int]) -> tuple[Point, ...]:
    return (left, *((*pair, at) for at in range(layer[left] + 1, layer[right])), right)


def _order_layers(
    names: Sequence[str], layer: Mapping[str, int], ways: Iterable[tuple[Point, ...]]
) -> list[list[Point]]:
    """Return the layers, each in an order in which few edges cross."""
    steps = [step for way in ways for step in pairwise(way)]
    left, right = _neighbours(steps)
    layers: list[list[Point]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for point in _by_walks(names, layer, right):
        layers[point[2] if isinstance(point, tuple) else layer[point]].append(point)
    best, fewest = [list(each) for each in layers], _count_crossings(layers, right)
    for sweep in range(_SWEEPS):
        rightward = sweep % 2 == 0
        for at in range(1, len(layers)) if rightward else range(len(layers) - 2, -1, -1):
            beside = {point: row for row, point in enumerate(layers[at - 1 if rightward else at + 1])}
            near = left if rightward else right
            # What has no neighbour on that side keeps its place.
            centre = {
                point: fmean(beside[other] for other in near[point]) if near[point] else float(row)
                for row, point in enumerate(layers[at])
            }
            layers[at].sort(key=centre.__getitem__)
        crossings = _count_crossings(layers, right)
        if crossings < fewest:
            best, fewest = [list(each) for each in layers], crossings
    return best


def _neighbours(steps: Iterable[tuple[Point, Point]]) -> tuple[dict[Point, list[Point]], dict[Point, list[Point]]]:
    left: defaultdict[Point, list[Point]] = defaultdict(list)
    right: defaultdict[Point, list[Point]] = defaultdict(list)
    for source, target in steps:
        left[target].append(source)
        right[source].append(target)
    return left, right


def _by_walks(names: Sequence[str], layer: Mapping[str, int], right: Mapping[Point, list[Point]]) -> list[Point]:
    """Return everything in the order of walks from the callers: what belongs together starts close together."""
    seen: dict[Point, None] = {}
    for name in sorted(names, key=lambda name: (layer[name], name)):
        waiting: list[Point] = [name]
        while waiting:
            point = waiting.pop()
            if point not in seen:
                seen[point] = None
                waiting.extend(reversed(right.get(point, [])))
    return list(seen)


def _count_crossings(layers: Sequence[Sequence[Point]], right: Mapping[Point, list[Point]]) -> int:
    crossings = 0
    for here, there in pairwise(layers):
        row = {point: at for at, point in enumerate(there)}
        passed: list[int] = []
        for point in here:
            ends = sorted(row[other] for other in right.get(point, []))
            crossings += sum(len(passed) - bisect_right(passed, end) for end in ends)
            for end in ends:
                insort(passed, end)
    return crossings


def _assign_heights(layers: Sequence[Sequence[Point]], ways: Iterable[tuple[Point, ...]]) -> dict[Point, float]:
    steps = [step for way in ways for step in pairwise(way)]
    left, right = _neighbours(steps)
    heights: dict[Point, float] = {}
    for layer in layers:
        heights |= zip(layer, _spread([0.0] * len(layer), layer), strict=True)
    for turn in range(_SETTLING):
        rightward = turn % 2 == 0
        for layer in layers if rightward else reversed(layers):
            last = turn >= _SETTLING - 2
            wanted = [
                fmean(heights[other] for other in near) if near else heights[point]
                for point in layer
                for near in [
                    [*left.get(point, []), *right.get(point, [])]
                    if last
                    else (left if rightward else right).get(point, [])
                ]
            ]
            heights |= zip(layer, _spread(wanted, layer), strict=True)
    top = min(heights.values(), default=0.0)
    return {point: round(height - top, 3) for point, height in heights.items()}


def _spread(wanted: Sequence[float], layer: Sequence[Point]) -> list[float]:
    """Return the heights nearest to the wanted ones (least squares) that keep the order and the gaps of a layer."""
    offsets = [0.0]
    for above, below in pairwise(layer):
        offsets.append(offsets[-1] + (_size(above) + _size(below)) / 2)
    blocks: list[tuple[float, int]] = []  # mean, how many
    for height, offset in zip(wanted, offsets, strict=False):
        mean, size = height - offset, 1
        while blocks and blocks[-1][0] >= mean:
            before, many = blocks.pop()
            mean, size = (before * many + mean * size) / (many + size), many + size
        blocks.append((mean, size))
    means = [mean for mean, size in blocks for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]


def _size(point: Point) -> float:
    return _SERVICE_SIZE if isinstance(point, str) else _PASSING_SIZE
