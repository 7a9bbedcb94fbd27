"""Reads the facts of many files in processes of their own: parsing holds a core for as long as it lasts, and a parser
that hangs or dies on a file must take nothing else with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from domain.code import FileFacts
from domain.errors import IndexingError
from indexer.facts import FACTS_VERSION
from indexer.languages import language_of
from indexer.model import pack_facts, unpack_facts
from indexer.worker import READ
from storage.code import StoredFacts, facts_key

MANY = 300
"""From how many files on it pays to start a process per core."""

_AHEAD = 32
_FILE_SECONDS = 60.0
_START_SECONDS = 60.0
_LARGEST_ANSWER = 256 << 20
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR")  # no keys and no addresses of databases
_CODE = str(Path(__file__).resolve().parent.parent)


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read facts from, and the content that it must have."""

    path: str
    content: bytes

    @property
    def key(self) -> str:
        """The key of its facts."""
        return facts_key(self.content, language_of(self.path), FACTS_VERSION)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What came of a source; `stored` is None if the file has changed or gone meanwhile."""

    source: Source
    stored: StoredFacts | None


async def parse_files(
    root: Path, sources: Sequence[Source], take: Callable[[Parsed], Awaitable[None]], processes: int = 0
) -> None:
    """Read every source and hand over what came of it, in any order; raises IndexingError where no process starts.

    `take` may be called again while it waits. `processes` 0 means: as many as pay.
    """
    waiting = deque(sources)
    count = processes or (min(8, _cores()) if len(sources) > MANY else 1)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(count, len(sources))):
                group.create_task(_Worker(root, waiting, take).run())
    except BaseExceptionGroup as exc:
        raise exc.exceptions[0] from None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """One process after another: a new one is started when a file was too much for the one before."""

    def __init__(self, root: Path, waiting: deque[Source], take: Callable[[Parsed], Awaitable[None]]) -> None:
        self._root = root
        self._waiting = waiting
        self._take = take
        self._asked: deque[Source] = deque()

    async def run(self) -> None:
        while self._waiting:
            process = await _start()
            try:
                await self._feed(process)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                self._waiting.extendleft(reversed(self._asked))
                self._asked.clear()

    async def _feed(self, process: asyncio.subprocess.Process) -> None:
        """Ask and take answers until nothing is left, or the process has failed on a file: it answers in order."""
        while self._ask(process):
            source = self._asked[0]
            try:
                async with asyncio.timeout(_FILE_SECONDS):
                    parsed = await self._read_answer(process, source)
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as exc:
                told = "reading it took too long" if isinstance(exc, TimeoutError) else "the parser failed on it"
                facts = FileFacts(language_of(source.path), problems=(told,))
                packed = zstandard.ZstdCompressor().compress(pack_facts(facts))
                parsed = Parsed(source, _stored(source, facts, packed))
                self._asked.popleft()
                await self._take(parsed)
                return
            self._asked.popleft()
            await self._take(parsed)

    def _ask(self, process: asyncio.subprocess.Process) -> bool:
        while self._waiting and len(self._asked) < _AHEAD:
            source = self._waiting.popleft()
            self._asked.append(source)
            request = {"file": f"{self._root}/{source.path}", "path": source.path, "hash": source.content.hex()}
            _pipe(process.stdin).write(json.dumps(request).encode() + b"\n")
        return bool(self._asked)

    async def _read_answer(self, process: asyncio.subprocess.Process, source: Source) -> Parsed:
        kind, answer = await _read_one(process)
        return Parsed(source, _stored(source, unpack_stored(answer), answer) if kind == READ else None)


def unpack_stored(packed: bytes) -> FileFacts:
    """Return facts as the store keeps them (`StoredFacts.packed`)."""
    return unpack_facts(zstandard.ZstdDecompressor().decompress(packed, max_output_size=_LARGEST_ANSWER))


def _stored(source: Source, facts: FileFacts, packed: bytes) -> StoredFacts:
    return StoredFacts(source.key, source.content.hex(), FACTS_VERSION, facts, packed)


async def _read_one(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    answers = _pipe(process.stdout)
    head = await answers.readexactly(5)
    return head[:1], await answers.readexactly(int.from_bytes(head[1:], "big"))


def _pipe[T](pipe: T | None) -> T:
    if pipe is None:
        raise ConnectionError("the process was started without its pipes")
    return pipe


async def _start() -> asyncio.subprocess.Process:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    search = os.pathsep.join([_CODE, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "indexer.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**kept, "PYTHONPATH": search}, limit=1 << 20,
        )  # fmt: skip
    except OSError as exc:
        raise IndexingError(f"No process could be started to read the files in: {exc.strerror or exc}.") from exc
    try:
        async with asyncio.timeout(_START_SECONDS):
            await _read_one(process)  # its greeting
    except BaseException as exc:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        status = await process.wait()
        if isinstance(exc, TimeoutError | asyncio.IncompleteReadError | ConnectionError):
            raise IndexingError(f"The process to read the files in did not start (exit status {status}).") from exc
        raise
    return process
