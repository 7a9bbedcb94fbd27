"""A file source that is driven by hand, and restarted from nothing but what it gave to be saved."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ingest.shipping.assembly import Naming
from ingest.shipping.files import FileOptions, FileSource
from ingest.shipping.line import Line


class Follower:
    """Reads as the shipper does; `clock` moves only when it is moved."""

    def __init__(self, *patterns: Path | str, **options: object) -> None:
        self._options = FileOptions(
            patterns=[str(pattern) for pattern in patterns],
            name_file=lambda path: Naming("svc", attributes={"log.file.path": path}),
            **({"from_end": False, "scan_seconds": 0.0} | options),  # type: ignore[arg-type]
        )
        self.clock = 1000.0
        self._runner = asyncio.Runner()
        self.saved: dict[str, bytes] = {}
        self.said: list[str] = []
        self.lines: list[Line] = []
        self._begin()

    def _begin(self) -> None:
        self._source = FileSource("files", self._options, clock=lambda: self.clock)
        self._runner.run(self._source.start(dict(self.saved)))

    def restart(self) -> None:
        """End as kill -9 does: what was not saved is gone."""
        self._runner.run(self._source.close())
        self._begin()

    def poll(self, seconds: float = 0.0) -> list[str]:
        """Let time pass, read and save everything that is there, and return the new messages."""
        self.clock += seconds
        found: list[Line] = []
        while (portion := self._runner.run(self._source.read())) is not None:
            found += portion.lines
            for key, value in portion.cursors.items():
                if value is None:
                    self.saved.pop(key, None)
                else:
                    self.saved[key] = value
        self.said += self._source.describe()
        self.lines += found
        return [line.message for line in found]

    def settle(self) -> list[str]:
        """Read until nothing is held back any more."""
        return [message for _ in range(4) for message in self.poll(2.0)]

    def open_files(self) -> int:
        return len(self._source._open)

    def let_go(self) -> None:
        """Close the files, as the end of the process does."""
        self._runner.run(self._source.close())

    def close(self) -> None:
        self._runner.run(self._source.close())
        self._runner.close()
