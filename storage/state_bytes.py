"""The state of an agent graph as bytes: dataclasses, named tuples, tuples and sets come back as what they were.

Only classes that were named are made again, and only by the version of them that wrote the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeAliasType, get_args, get_type_hints

import ormsgpack
from blake3 import blake3

from domain.errors import StorageError

_TUPLE, _FROZENSET, _PAIRS, _CLASS, _SET = 1, 2, 3, 4, 5
_WRITING = (
    ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_REPLACE_SURROGATES
)


def classes_in(state: type) -> frozenset[type]:
    """Return the classes of ours that a value of an annotated class (such as a TypedDict) may hold, by its annotations."""
    found: set[type] = set()
    waiting = [*get_type_hints(state).values()]
    while waiting:
        hint = waiting.pop()
        for held in _plain_types(hint):
            if held not in found:
                found.add(held)
                waiting += get_type_hints(held).values() if not issubclass(held, Enum) else []
    return frozenset(found)


class StateBytes:
    """A serializer for LangGraph's checkpoints (its `SerializerProtocol`)."""

    def __init__(self, kept: Iterable[type]) -> None:
        self._classes = sorted(set(kept), key=_describe)
        self._numbers = {held: number for number, held in enumerate(self._classes)}
        self._names = [_fields_of(held) for held in self._classes]
        self._form = f"state {blake3('|'.join(map(_describe, self._classes)).encode()).hexdigest()[:16]}"

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return (form, bytes); raises StorageError for what holds an object of a class that was not named."""
        try:
            return self._form, self._pack(_with_pairs(obj))
        except (TypeError, ValueError) as exc:
            raise StorageError(f"A state cannot be kept: {exc}") from exc

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return what was written; raises StorageError for bytes of another version."""
        form, held = data
        if form != self._form:
            raise StorageError("The state was kept by another version of the program.")
        try:
            return self._unpack(held)
        except (TypeError, ValueError) as exc:
            raise StorageError(f"A state that was kept cannot be read: {exc}") from exc

    def _pack(self, value: Any) -> bytes:
        return ormsgpack.packb(value, default=self._write, option=_WRITING)

    def _unpack(self, held: bytes) -> Any:
        return ormsgpack.unpackb(held, ext_hook=self._read)

    def _write(self, value: Any) -> Any:
        number = self._numbers.get(type(value))
        if number is not None:
            parts = [value.value] if isinstance(value, Enum) else [getattr(value, name) for name in self._names[number]]
            return ormsgpack.Ext(_CLASS, self._pack([number, *map(_with_pairs, parts)]))
        match value:
            case _Pairs():
                return ormsgpack.Ext(_PAIRS, self._pack(value.pairs))
            case tuple() if type(value) is tuple:
                return ormsgpack.Ext(_TUPLE, self._pack([_with_pairs(part) for part in value]))
            case frozenset() | set():
                return ormsgpack.Ext(_SET if isinstance(value, set) else _FROZENSET, self._pack(list(value)))
            case Mapping():
                return _with_pairs(dict(value))
            case BaseException():
                return repr(value)
            case float() | int():  # of a class of its own, such as numpy's
                return value.real if type(value.real) in (float, int) else float(value)
        if callable(item := getattr(value, "item", None)):
            return item()
        raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not among the classes that are kept")

    def _read(self, tag: int, held: bytes) -> Any:
        parts = self._unpack(held)
        match tag:
            case 1:
                return tuple(parts)
            case 2:
                return frozenset(parts)
            case 3:
                return dict(parts)
            case 4:
                return self._classes[parts[0]](*parts[1:])
            case 5:
                return set(parts)
        raise ValueError(f"there is no form {tag}")


class _Pairs:
    """A mapping whose keys are not all text."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        self.pairs = pairs


def _with_pairs(value: Any) -> Any:
    if isinstance(value, dict):
        if all(type(key) is str for key in value):
            return {key: _with_pairs(held) for key, held in value.items()}
        return _Pairs([(key, _with_pairs(held)) for key, held in value.items()])
    if isinstance(value, list):
        return [_with_pairs(part) for part in value]
    return value


def _plain_types(hint: Any) -> Iterator[type]:
    if isinstance(hint, TypeAliasType):
        yield from _plain_types(hint.__value__)
    elif isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, Enum) or hasattr(hint, "_fields")):
        yield hint
    else:
        for part in get_args(hint):
            yield from _plain_types(part)


def _fields_of(held: type) -> tuple[str, ...]:
    if is_dataclass(held):
        return tuple(field.name for field in fields(held) if field.init)
    return tuple(getattr(held, "_fields", ()))


def _describe(held: type) -> str:
    return f"{held.__module__}.{held.__qualname__}({','.join(_fields_of(held))})"
