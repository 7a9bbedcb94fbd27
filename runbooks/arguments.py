"""Arguments of workflows and actions: typed, bounded, and never more than one value in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field, model_validator

from domain.errors import PayloadError
from domain.remedy import Value
from runbooks.yaml_file import StrictFile, one_of

type ArgumentType = Literal["name", "text", "integer", "number", "flag"]

# What an argument may be taken from, and whether strangers write it.
SOURCES: Mapping[str, bool] = {
    "cause.service": True,
    "cause.component": True,
    "cause.change": True,
    "symptom.service": True,
    "environment": True,
    "incident.id": False,
}
# Nothing that a shell, a URL, SQL or an option parser could read as more than a name.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_LONGEST_TEXT = 1000
_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Argument:
    """What an argument may be. `least` and `most` bound numbers; `choices` are all there is, where there are any."""

    type: ArgumentType = "name"
    about: str = ""
    source: str = ""
    default: Value | None = None
    choices: tuple[Value, ...] = ()
    least: float | None = None
    most: float | None = None

    def check(self, name: str, value: object) -> Value:
        """Return the value if it is allowed; raises PayloadError. A number may come as its text."""
        checked = _read(self.type, name, value)
        if self.choices and checked not in self.choices:
            raise PayloadError(f"{name} must be one of {', '.join(map(str, self.choices))}.")
        if isinstance(checked, int | float) and not isinstance(checked, bool):
            if self.least is not None and checked < self.least:
                raise PayloadError(f"{name} must be at least {self.least:g}.")
            if self.most is not None and checked > self.most:
                raise PayloadError(f"{name} must be at most {self.most:g}.")
        return checked


class ArgumentFile(StrictFile):
    """An argument as files write it."""

    type: str = "name"
    about: str = ""
    source: str = Field(default="", alias="from")
    default: str | int | float | bool | None = None
    choices: list[str | int | float | bool] = Field(default=[])
    least: float | None = Field(default=None, alias="min", strict=False)
    most: float | None = Field(default=None, alias="max", strict=False)

    @model_validator(mode="after")
    def _whole(self) -> ArgumentFile:
        one_of(self.type, get_args(ArgumentType.__value__))
        if self.source:
            one_of(self.source, tuple(SOURCES))
        if self.type in ("integer", "number") and not self.choices and (self.least is None or self.most is None):
            raise ValueError("a number needs a min and a max, or choices")
        argument = self.to_argument()
        for value in (*self.choices, *(() if self.default is None else (self.default,))):
            try:
                argument.check("this", value)
            except PayloadError as exc:
                raise ValueError(str(exc)) from exc
        return self

    def to_argument(self) -> Argument:
        return Argument(
            type=self.type,  # type: ignore[arg-type]  # checked above
            about=self.about,
            source=self.source,
            default=self.default,
            choices=tuple(self.choices),
            least=self.least,
            most=self.most,
        )


def check_all(arguments: Mapping[str, Argument], values: Mapping[str, object]) -> dict[str, Value]:
    """Return checked values for every argument, defaults filled in; raises PayloadError for one too many or too few."""
    if unknown := sorted(set(values) - set(arguments)):
        raise PayloadError(f"There is no argument {unknown[0]!r}; there are {', '.join(arguments) or 'none'}.")
    checked: dict[str, Value] = {}
    for name, argument in arguments.items():
        value = values.get(name, argument.default)
        if value is None:
            raise PayloadError(f"The argument {name!r} has no value: {argument.about or argument.type}.")
        checked[name] = argument.check(name, value)
    return checked


def places_of(text: str) -> list[str]:
    """Return the names of the places `{name}` in a text."""
    return _PLACE.findall(text)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its places filled; raises KeyError for one without a value."""
    return _PLACE.sub(lambda place: values[place[1]], text)


def as_text(value: Value) -> str:
    """Return a value as programs write it: `true`, `3`, `0.5`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(kind: ArgumentType, name: str, value: object) -> Value:
    match kind:
        case "name":
            if isinstance(value, str) and _NAME.fullmatch(value):
                return value
            raise PayloadError(
                f"{name} must be a name: letters, digits, '.', '_' and '-', and neither '-' nor '.' first."
            )
        case "text":
            if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and value.isprintable():
                if value.startswith("-"):
                    raise PayloadError(f"{name} must not start with '-'.")
                return value
            raise PayloadError(f"{name} must be a line of 1 to {_LONGEST_TEXT} printable characters.")
        case "integer":
            return _integer(name, value)
        case "number":
            return _number(name, value)
        case "flag":
            if isinstance(value, bool):
                return value
            if value in ("true", "false"):
                return value == "true"
            raise PayloadError(f"{name} must be true or false.")


def _integer(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}", value):
        return int(value)
    raise PayloadError(f"{name} must be a whole number.")


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?", value):
        return float(value)
    raise PayloadError(f"{name} must be a number.")
