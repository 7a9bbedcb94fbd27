"""The interface of an action. Your own is a class like this, named in the operator's file (docs/remediation.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from domain.remedy import Value
from runbooks.arguments import Argument


class Action(Protocol):
    """Something that can be done, always the same way: only the values of its arguments differ.

    Values are checked against `arguments` before any method gets them. Methods raise ActionRefused if nothing was
    begun, ActionError if it failed or if it is not known what happened; anything else counts as ActionError.
    """

    @property
    def arguments(self) -> Mapping[str, Argument]:
        """What it needs to know, and within which bounds."""
        ...

    def describe(self, values: Mapping[str, Value]) -> Mapping[str, Any]:
        """Return exactly what `run` would do, as JSON without secrets. Its digest is what is approved."""
        ...

    async def read_state(self, values: Mapping[str, Value]) -> str:
        """Return what the target is like now, without what changes by itself; "" if it cannot be read.

        It is read before the approval and again before running: a difference needs a new approval.
        """
        ...

    async def dry_run(self, values: Mapping[str, Value]) -> str:
        """Return what `run` would change, as a text for people; changes nothing."""
        ...

    async def run(self, values: Mapping[str, Value], key: str) -> str:
        """Do it, and return what is worth keeping. `key` is the same for the same step of the same run, for ever."""
        ...
