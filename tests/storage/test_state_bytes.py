"""What an agent graph holds comes back from bytes as it was; nothing else is made of them."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.state import State
from domain.errors import StorageError
from storage.state_bytes import StateBytes, classes_in


class Colour(enum.IntEnum):
    RED = 1


class Row(NamedTuple):
    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Key:
    kind: str
    parts: tuple[tuple[str, Any], ...]


type Either = Literal["a", "b"] | Key


@dataclass(slots=True)
class Held:
    rows: list[Row]
    by_key: Mapping[Key, str]
    calls: Mapping[tuple[str, str], frozenset[str]]
    either: Either | None = None
    colour: Colour = Colour.RED
    within: tuple[Held, ...] = ()
    rest: dict[str, Any] = field(default_factory=dict)


class Kept(TypedDict, total=False):
    held: Held


@dataclass(frozen=True, slots=True)
class Stranger:
    name: str


BYTES = StateBytes(classes_in(Kept))


def again(value: Any) -> Any:
    return BYTES.loads_typed(BYTES.dumps_typed(value))


texts = st.text(max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=8)
)
keys = st.builds(Key, texts, st.lists(st.tuples(texts, leaves), max_size=2).map(tuple))
helds = st.builds(
    Held,
    st.lists(st.builds(Row, texts, st.integers(-9, 9)), max_size=3),
    st.dictionaries(keys, texts, max_size=3),
    st.dictionaries(st.tuples(texts, texts), st.frozensets(texts, max_size=3), max_size=3),
    st.none() | keys | st.just("a"),
)
values = st.recursive(
    leaves | keys | helds,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=3)
        | st.dictionaries(st.integers(0, 9) | keys, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
def test_everything_comes_back_as_it_was(value: Any) -> None:
    back = again(value)
    assert back == value
    assert type(back) is type(value)


def test_classes_are_told_apart() -> None:
    back = again([Row("a", 1), ("a", 1), Colour.RED, {1, 2}, frozenset({3})])
    assert [type(part) for part in back] == [Row, tuple, Colour, set, frozenset]
    assert again({"n": np.float64(0.5), "i": np.int64(3), "b": np.bool_(True)}) == {"n": 0.5, "i": 3, "b": True}
    assert again(Counter("aab")) == {"a": 2, "b": 1}
    assert math.isnan(again(math.nan))


def test_only_named_classes_are_kept_or_made() -> None:
    with pytest.raises(StorageError, match="cannot be kept"):
        BYTES.dumps_typed({"x": [Stranger("?")]})
    form, held = StateBytes([Stranger]).dumps_typed(Stranger("?"))
    with pytest.raises(StorageError, match="another version"):
        BYTES.loads_typed((form, held))
    form, _ = BYTES.dumps_typed(1)
    for wrong in (b"", b"\xc1", held[:3], b"\xc7\x01\x09\xc0"):
        with pytest.raises(StorageError, match="cannot be read"):
            BYTES.loads_typed((form, wrong))


def test_the_state_of_the_team_names_its_classes() -> None:
    names = {held.__name__ for held in classes_in(State)}
    assert {"Plan", "Window", "SpanRow", "Ref", "Evidence", "Verdict", "Gathered", "LedgerEntry"} <= names
