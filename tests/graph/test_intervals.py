from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from graph.intervals import Interval, unite

LIFETIME = 100

_observation = st.builds(
    lambda first, length, count, level: Interval(first, first + length, count, count // 2, level),
    st.integers(0, 2_000),
    st.integers(0, 150),
    st.integers(1, 9),
    st.sampled_from((0, 9, 17)),
)
_observations = st.lists(_observation, max_size=12)


def covered(intervals: list[Interval] | tuple[Interval, ...]) -> set[int]:
    return {moment for seen in intervals for moment in range(seen.first_us, seen.valid_to_us(LIFETIME))}


@given(_observations, st.randoms())
def test_the_order_of_observations_does_not_matter(observations: list[Interval], random: object) -> None:
    shuffled = list(observations)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert unite(shuffled, LIFETIME) == unite(observations, LIFETIME)


@given(_observations, _observations)
def test_the_grouping_of_observations_does_not_matter(one: list[Interval], other: list[Interval]) -> None:
    at_once = unite([*one, *other], LIFETIME)
    assert unite([*unite(one, LIFETIME), *other], LIFETIME) == at_once
    assert unite([*unite(one, LIFETIME), *unite(other, LIFETIME)], LIFETIME) == at_once


@given(_observations)
def test_intervals_cover_what_was_observed_and_nothing_else(observations: list[Interval]) -> None:
    united = unite(observations, LIFETIME)
    assert covered(united) == covered(observations)
    assert sum(seen.count for seen in united) == sum(seen.count for seen in observations)
    assert all(one.valid_to_us(LIFETIME) < other.first_us for one, other in pairwise(united))


def test_a_longer_silence_than_a_lifetime_opens_a_new_interval() -> None:
    first, close, far = Interval(0, 10, 1, 0), Interval(110, 110, 2, 1), Interval(211, 211, 4, 0)
    assert unite([first, close, far], LIFETIME) == (Interval(0, 110, 3, 1), far)


def test_a_late_observation_joins_what_lies_on_both_sides_of_it() -> None:
    assert unite([Interval(0, 0, 1, 0, 9), Interval(150, 150, 1, 0, 17)], LIFETIME) == (
        Interval(0, 0, 1, 0, 9),
        Interval(150, 150, 1, 0, 17),
    )
    assert unite([Interval(0, 0, 1, 0, 9), Interval(150, 150, 1, 0, 17), Interval(80, 80, 1, 1, 5)], LIFETIME) == (
        Interval(0, 150, 3, 1, 17),
    )
