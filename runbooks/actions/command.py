"""Commands of the operator's allow-list: lists of words, started without a shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.errors import ActionError, ActionRefused
from domain.remedy import Value
from runbooks.arguments import Argument, as_text, fill

_OUTPUT_BYTES = 64 * 1024
_SHOWN = 4_000
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


@dataclass(frozen=True, slots=True)
class CommandAction:
    """One command. A place `{name}` stays within its word. `environment` is all that it gets beside PATH and HOME."""

    command: tuple[str, ...]
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    trial: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    folder: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 60.0

    def describe(self, values: Mapping[str, Value]) -> Mapping[str, Any]:
        """See `Action`."""
        return {"command": list(fill_words(self.command, values)), "folder": self.folder}

    async def read_state(self, values: Mapping[str, Value]) -> str:
        """See `Action`: what the state command prints."""
        return await self._start(self.state, values, "") if self.state else ""

    async def dry_run(self, values: Mapping[str, Value]) -> str:
        """See `Action`: what the dry-run command prints; without one, the words of the command."""
        if not self.trial:
            return f"would run: {show_words(fill_words(self.command, values))}"
        return await self._start(self.trial, values, "")

    async def run(self, values: Mapping[str, Value], key: str) -> str:
        """See `Action`. The key is in the command's environment as CAUSEGRAPH_IDEMPOTENCY_KEY."""
        return await self._start(self.command, values, key)

    async def _start(self, template: Sequence[str], values: Mapping[str, Value], key: str) -> str:
        words = fill_words(template, values)
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {**self.environment, **({"CAUSEGRAPH_IDEMPOTENCY_KEY": key} if key else {})}
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self.folder or None,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            raise ActionRefused(f"{words[0]} cannot be started: {exc}") from exc
        try:
            async with asyncio.timeout(self.seconds):
                output = await _read(process)
                status = await process.wait()
        except TimeoutError as exc:
            raise ActionError(f"{words[0]} took longer than {self.seconds:g} s and was ended.") from exc
        finally:
            await _end(process)
        text = output.decode("utf-8", "replace").strip()[-_SHOWN:]
        if status != 0:
            raise ActionError(f"{words[0]} ended with status {status}: {text or 'it said nothing'}")
        return text


def fill_words(template: Sequence[str], values: Mapping[str, Value]) -> tuple[str, ...]:
    """Return a command's words with their places filled; raises ActionRefused for one that became an option."""
    texts = {name: as_text(value) for name, value in values.items()}
    words = tuple(fill(word, texts) for word in template)
    for word, written in zip(words, template, strict=True):
        if word.startswith("-") and not written.startswith("-"):
            raise ActionRefused(f"{word!r} would be read as an option.")
    return words


def show_words(words: Sequence[str]) -> str:
    """Return words as a person reads them; quotes show where one begins and ends."""
    return " ".join(f'"{word}"' if " " in word or not word else word for word in words)


async def _read(process: asyncio.subprocess.Process) -> bytes:
    output = bytearray()
    if process.stdout is not None:
        while piece := await process.stdout.read(16 * 1024):
            output += piece
            del output[:-_OUTPUT_BYTES]
    return bytes(output)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
