"""SQL statements of the operator's on named connections. Values are parameters, never part of the statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.remedy import Value
from runbooks.arguments import Argument
from storage.statements import run_statement


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with `?` places, and the arguments that fill them, in order."""

    sql: str
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SqlAction:
    """One statement. The dry run and the state are statements that read; without one, the dry run is its EXPLAIN."""

    url: str = field(repr=False)
    statement: Statement
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    trial: Statement | None = None
    state: Statement | None = None
    most_rows: int = 1
    seconds: float = 30.0

    def describe(self, values: Mapping[str, Value]) -> Mapping[str, Any]:
        """See `Action`."""
        parameters = [values[name] for name in self.statement.order]
        return {"sql": self.statement.sql, "parameters": parameters, "most_rows": self.most_rows}

    async def read_state(self, values: Mapping[str, Value]) -> str:
        """See `Action`: the rows of the state statement."""
        return await self._read(self.state, values) if self.state else ""

    async def dry_run(self, values: Mapping[str, Value]) -> str:
        """See `Action`: the rows of the dry-run statement, or the plan of the statement."""
        trial = self.trial or Statement(f"EXPLAIN {self.statement.sql}", self.statement.order)
        return await self._read(trial, values)

    async def run(self, values: Mapping[str, Value], key: str) -> str:
        """See `Action`."""
        touched, rows = await self._execute(self.statement, values)
        return f"{touched} rows changed" if not rows else _show(rows)

    async def _read(self, statement: Statement, values: Mapping[str, Value]) -> str:
        _, rows = await self._execute(statement, values)
        return _show(rows)

    async def _execute(
        self, statement: Statement, values: Mapping[str, Value]
    ) -> tuple[int, Sequence[tuple[Any, ...]]]:
        parameters = [values[name] for name in statement.order]
        return await run_statement(self.url, statement.sql, parameters, most_rows=self.most_rows, seconds=self.seconds)


def _show(rows: Sequence[tuple[Any, ...]]) -> str:
    return "\n".join(" | ".join(str(value) for value in row) for row in rows) or "no rows"
