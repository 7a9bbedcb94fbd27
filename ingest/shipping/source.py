"""What the shipper asks of whatever it reads from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ingest.shipping.line import Line


@dataclass(frozen=True, slots=True)
class Portion:
    """Lines that were read, and the cursors that lie behind them. They are saved together or not at all.

    A cursor is opaque bytes under a key of the source's own; None forgets one. `size` is the bytes that were read.
    """

    lines: list[Line] = field(default_factory=list)
    cursors: dict[str, bytes | None] = field(default_factory=dict)
    size: int = 0


class Source(Protocol):
    """Something that lines come from. `name` is unique within a configuration and stays the same over restarts."""

    name: str

    async def start(self, cursors: Mapping[str, bytes]) -> None:
        """Begin behind the saved cursors, or where the configuration says if there are none."""

    async def read(self) -> Portion | None:
        """Return what came in since, at most some hundred kilobytes; None where nothing did."""

    def is_finished(self) -> bool:
        """Say whether nothing more will come: the end of a pipe, or of everything where only what is there was asked."""

    async def close(self) -> None:
        """Let go of files and processes. What was read and not saved will be read again."""

    def describe(self) -> list[str]:
        """Return a line each for what people should know: what is missing, cut, or was lost to rotation."""
