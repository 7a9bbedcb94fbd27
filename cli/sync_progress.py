"""How far a sync has come: a bar with rate and remaining time on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from cli.screen import make_console, styled

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from indexer.sync import Step

_WORDS = {"clone": "Fetching", "scan": "Reading", "parse": "Parsing", "link": "Linking"}
_LINE_SECONDS = 10.0


class SyncProgress:
    """Takes the steps of one sync (`OnStep`) and shows them on standard error."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._console = make_console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._step: str = ""
        self._began = self._told = time.monotonic()

    def __enter__(self) -> SyncProgress:
        if self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, step: Step, done: int, total: int) -> None:
        now = time.monotonic()
        if step != self._step:
            self._step, self._began = step, now
            self._begin(step)
        seconds = now - self._began
        rate = f"{done / seconds:,.0f} files/s" if done and seconds > 0.5 else ""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total or None, rate=rate)
        elif now - self._told >= _LINE_SECONDS and done:
            self._told = now
            left = f", about {(total - done) * seconds / done:,.0f} s left" if total else ""
            told = f"{_WORDS[step]} {self._name}: {done:,} of {total:,} files, {rate}{left}"
            self._console.print(styled(told, "dim"), soft_wrap=True)

    def _begin(self, step: Step) -> None:
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            from agents.plain import show_plain

            self._task = self._bar.add_task(f"{_WORDS[step]} {show_plain(self._name)[-40:]}", total=None, rate="")
        elif step == "clone":
            self._console.print(styled(f"Fetching {self._name}", "dim"), soft_wrap=True)
