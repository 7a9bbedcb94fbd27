"""Reads settings and bodies: a value of the expected kind, or an error that names what is wrong."""

from typing import Any, cast

from examples.shop.layout import Json, JsonValue


def read_text(values: Json, key: str) -> str:
    """The text at `key`. Raises KeyError when it is missing, TypeError when it is something else."""
    return str(_expect(values, key, str))


def read_int(values: Json, key: str) -> int:
    return int(_expect(values, key, int))


def read_number(values: Json, key: str) -> float:
    return float(_expect(values, key, int | float))


def read_object(values: Json, key: str) -> Json:
    return cast(Json, _expect(values, key, dict))


def read_list(values: Json, key: str) -> list[JsonValue]:
    return cast(list[JsonValue], _expect(values, key, list))


def read_objects(values: Json, key: str) -> list[Json]:
    """The objects of a list, in order."""
    items = read_list(values, key)
    for item in items:
        if not isinstance(item, dict):
            raise TypeError(f"{key} holds {type(item).__name__}, not objects")
    return cast(list[Json], items)


def _expect(values: Json, key: str, kind: Any) -> Any:
    value = values[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key} is {type(value).__name__}, expected {getattr(kind, '__name__', kind)}")
    return value
