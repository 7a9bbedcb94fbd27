"""YAML that people write, checked at the border: each problem is told with file, line and field."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from domain.errors import PayloadError


class StrictFile(BaseModel):
    """The base of what a file may hold: no other fields, no values that merely look right."""

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)


def read_yaml[T: BaseModel](text: str, path: str, model: type[T], above: int = 0) -> T:
    """Read YAML into a model; raises PayloadError with a line for each problem: file, line, field, what is wrong.

    `above` is how many lines of the file stand before the text.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise PayloadError(f"{path}: aliases (*name) are not read here")
        held = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 + above if exc.problem_mark else 1
        raise PayloadError(f"{path}:{line}: this is not YAML: {exc.problem}") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise PayloadError(f"{path}: this is not YAML: {exc}") from exc
    try:
        return model.model_validate(held)
    except ValidationError as exc:
        told = [_tell(error["loc"], error["msg"], node, path, above) for error in exc.errors()]
        raise PayloadError("\n".join(told)) from exc


def one_of(name: str, known: Sequence[str]) -> str:
    """Return a name that must be one of those known; raises ValueError, for validators."""
    if name not in known:
        raise ValueError(f"{name!r} is none of {', '.join(known)}")
    return name


def _tell(loc: Sequence[int | str], message: str, node: yaml.Node | None, path: str, above: int) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    told = message.removeprefix("Value error, ")
    return f"{path}:{_line_of(node, loc) + above}: {name or ('front matter' if above else 'file')}: {told}"


def _line_of(node: yaml.Node | None, loc: Sequence[int | str]) -> int:
    """The line in the text of the innermost part of a field's place that exists."""
    for part in loc:
        inner: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            inner = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            inner = node.value[part]
        if inner is None:
            break
        node = inner
    return node.start_mark.line + 1 if node is not None else 1
