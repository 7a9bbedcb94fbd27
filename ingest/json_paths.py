"""Reading what a dotted path leads to in JSON that a stranger wrote: `event.data.0.title`. Pure; nothing raises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


def reach(value: Any, path: str) -> Any:
    """Return what a path leads to; None where it leads nowhere. An empty path is the value itself."""
    for step in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isascii() and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def reach_text(value: Any, *paths: str) -> str:
    """Return the first text that one of the paths leads to, '' if none does; numbers count, lists and objects do not."""
    for path in paths:
        found = reach(value, path)
        if isinstance(found, str) and found.strip():
            return found.strip()
        if isinstance(found, int | float) and not isinstance(found, bool):
            return str(found)
    return ""


def reach_map(value: Any, path: str) -> dict[str, Any]:
    """Return the object that a path leads to, {} if it leads to none."""
    found = reach(value, path)
    return found if isinstance(found, dict) else {}


def reach_list(value: Any, path: str) -> list[Any]:
    """Return the list that a path leads to, [] if it leads to none."""
    return as_list(reach(value, path))


def reach_keys(value: Any, *keys: str) -> Any:
    """Return what lies under keys, one after another; None where nothing does. A key may hold dots."""
    for key in keys:
        value = as_mapping(value).get(key)
    return value


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return an object as it is, {} for what is none."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, [] for what is none."""
    return value if isinstance(value, list) else []


def read_tags(found: Any) -> dict[str, str]:
    """Return tags as a mapping, from `["a:b"]`, `"a:b,c:d"`, `[["a", "b"]]`, `[{"key": "a", "value": "b"}]` or an object."""
    if isinstance(found, dict):
        return {str(key): text for key, value in found.items() if (text := _text(value))}
    pieces: Iterable[Any] = found.split(",") if isinstance(found, str) else found if isinstance(found, list) else ()
    tags: dict[str, str] = {}
    for piece in pieces:
        key, value = _pair(piece)
        if key and key not in tags:
            tags[key] = value
    return tags


def _pair(piece: Any) -> tuple[str, str]:
    if isinstance(piece, str):
        key, colon, value = piece.strip().partition(":")
        return key.strip(), value.strip() if colon else "true"
    if isinstance(piece, list) and len(piece) == 2:
        return _text(piece[0]), _text(piece[1])
    if isinstance(piece, dict):
        return reach_text(piece, "key", "name", "tag"), reach_text(piece, "value")
    return "", ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return str(value) if isinstance(value, bool | int | float) else msgspec.json.encode(value).decode()
