from __future__ import annotations

import random
from itertools import pairwise

import pytest

from graph.layout import Layout, lay_out


def _columns(layout: Layout) -> dict[str, int]:
    return {name: at for at, layer in enumerate(layout.layers) for name in layer if isinstance(name, str)}


def test_callers_stand_left_of_what_they_call() -> None:
    layout = lay_out([], [("web", "cart"), ("cart", "db"), ("web", "db"), ("job", "db")])
    assert _columns(layout) == {"web": 0, "cart": 1, "job": 1, "db": 2}
    assert layout.ways["web", "db"] == ("web", ("web", "db", 1), "db")
    assert not layout.turned


def test_a_cycle_is_broken_at_one_call() -> None:
    layout = lay_out([], [("a", "b"), ("b", "c"), ("c", "a"), ("entry", "a")])
    assert _columns(layout) == {"entry": 0, "a": 1, "b": 2, "c": 3}
    assert layout.turned == {("c", "a")}
    assert layout.ways["c", "a"][0] == "a"


def test_two_that_call_each_other_have_two_ways() -> None:
    layout = lay_out([], [("a", "b"), ("b", "a"), ("a", "m"), ("m", "b")])
    assert len(layout.turned) == 1
    assert len({*layout.ways["a", "b"], *layout.ways["b", "a"]} - {"a", "b"}) == 2


def test_a_call_of_itself_and_services_alone_do_no_harm() -> None:
    assert lay_out([], []).layers == ()
    layout = lay_out(["alone"], [("a", "a"), ("a", "b")])
    assert _columns(layout) == {"a": 0, "alone": 0, "b": 1}
    assert list(layout.ways) == [("a", "b")]


def _random_calls(seed: int, services: int, calls: int) -> list[tuple[str, str]]:
    chance = random.Random(seed)
    return [(f"s{chance.randrange(services)}", f"s{chance.randrange(services)}") for _ in range(calls)]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_overlaps_and_every_way_leads_rightward(seed: int) -> None:
    calls = _random_calls(seed, 5 + 3 * seed, 6 * (seed + 2))
    layout = lay_out([], calls)
    column = _columns(layout)
    assert set(column) == {end for pair in calls for end in pair if pair[0] != pair[1]}
    for layer in layout.layers:
        services = [layout.heights[point] for point in layer if isinstance(point, str)]
        assert all(below - above >= 0.999 for above, below in pairwise(services))
        assert all(layout.heights[above] < layout.heights[below] for above, below in pairwise(layer))
    for pair, way in layout.ways.items():
        assert {way[0], way[-1]} == set(pair)
        assert (way[0] == pair[1]) == (pair in layout.turned)
        places = [column[point] if isinstance(point, str) else point[2] for point in way]
        assert places == list(range(places[0], places[-1] + 1))
        assert len(places) >= 2
    assert min(layout.heights.values()) == 0


def test_the_order_in_which_calls_are_given_does_not_matter() -> None:
    calls = _random_calls(1, 30, 70)
    layout = lay_out([], calls)
    for seed in range(5):
        random.Random(seed).shuffle(calls)
        assert lay_out([], calls) == layout


def test_lines_that_need_not_cross_do_not() -> None:
    layout = lay_out([], [("root", f"a{n}") for n in range(6)] + [(f"a{n}", f"b{5 - n}") for n in range(6)])
    middle = [str(point)[1:] for point in layout.layers[1]]
    last = [str(5 - int(str(point)[1:])) for point in layout.layers[2]]
    assert middle == last
