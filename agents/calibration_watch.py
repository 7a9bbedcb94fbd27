"""Looks at how runs do as they come in, raises flags for people, and tells of new ones in the log and in a file."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from domain.errors import StorageError
from domain.times import HOUR_US, format_us
from review.calibration import find_flags
from review.quality import JudgedRun, read_runs
from storage.database import Database
from storage.durable_files import translate_os_error
from storage.evaluations import EvaluationStore
from storage.flags import FlagStore, TraceFlag

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 20.0
_RUNS = 2_000  # looked at each time, the newest
HISTORY_US = 90 * 24 * HOUR_US


class CalibrationWatch:
    """Keeps the flags of one database up to date for as long as `run` runs. What it finds informs and never blocks."""

    def __init__(self, database: Database, file: Path, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._database = database
        self._evaluations = EvaluationStore(database)
        self._flags = FlagStore(database)
        self._file = file
        self._pause = pause_seconds
        self._seen_us = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look whenever something new was judged, until `stop` is set."""
        while not stop.is_set():
            try:
                await self.look()
            except StorageError as exc:
                logger.debug("calibration waits for the database", extra={"reason": str(exc)})
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._pause)

    async def look(self) -> Sequence[TraceFlag]:
        """Raise flags for what stands out now and return the new ones; nothing happens where nothing was judged since."""
        newest = int((await self._database.fetch("newest_evaluation"))[0][0])
        if newest <= self._seen_us:
            return []
        now_us = time.time_ns() // 1000
        history = await self._evaluations.between("", now_us - HISTORY_US, limit=_RUNS)
        reviews = await self._evaluations.reviews_since(now_us - HISTORY_US)
        places: defaultdict[str, list[JudgedRun]] = defaultdict(list)
        for run in read_runs(history, reviews):
            places[run.environment].append(run)
        found = [
            TraceFlag(trace_id, flag.kind, f"{flag.about} in {environment}", flag.text, now_us)
            for environment, runs in places.items()
            for flag in find_flags(runs, now_us)
            for trace_id in (flag.traces or ("",))
        ]
        raised = await self._flags.raise_all(found)
        self._seen_us = newest
        await asyncio.to_thread(self._tell, raised)
        return raised

    def _tell(self, raised: Sequence[TraceFlag]) -> None:
        """Say each new thing once, however many runs it is about."""
        if not raised:
            return
        counts = Counter((flag.kind, flag.about, flag.text) for flag in raised)
        lines = [
            f"- {format_us(raised[0].raised_us)[:19]}Z {kind}, {about}: {_one_line(text)} ({count} run(s))"
            for (kind, about, text), count in counts.items()
        ]
        for line in lines:
            logger.info("calibration: %s", line[2:])
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new = not self._file.exists()
            with self._file.open("a", encoding="utf-8") as file:
                file.write(("# What stood out in how runs do\n\n" if new else "") + "\n".join(lines) + "\n")
        except OSError as exc:
            logger.warning(
                "The calibration file cannot be written", extra={"reason": str(translate_os_error(exc, self._file))}
            )


def _one_line(text: str) -> str:
    return " ".join(text.split())
