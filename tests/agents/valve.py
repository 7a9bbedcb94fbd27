"""An action of our own: a valve in a file, which keeps a line for everything that was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domain.errors import ActionError
from domain.remedy import Value
from runbooks.arguments import Argument


class Valve:
    """`settings` are the valve's file, and whether it jams."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.file = Path(settings["file"])
        self.jams = bool(settings.get("jams"))
        self.arguments = {"to": Argument("integer", least=0, most=10)}

    def describe(self, values: Mapping[str, Value]) -> Mapping[str, Any]:
        return {"valve": self.file.name, "to": values["to"]}

    async def read_state(self, values: Mapping[str, Value]) -> str:
        return self.lines()[-1].split()[0]

    async def dry_run(self, values: Mapping[str, Value]) -> str:
        return f"the valve would go from {await self.read_state(values)} to {values['to']}"

    async def run(self, values: Mapping[str, Value], key: str) -> str:
        if self.jams:
            raise ActionError("the valve is jammed")
        with self.file.open("a") as file:
            file.write(f"{values['to']} {key}\n")
        return f"the valve is at {values['to']}"

    def lines(self) -> list[str]:
        return self.file.read_text().splitlines()
