"""`causegraph ingest`: records from a file or a pipe."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from cli.screen import make_console, print_json, styled

_CHUNK_BYTES = 4 * 1024 * 1024


class Kind(StrEnum):
    """What a file holds."""

    logs = "logs"
    changes = "changes"
    events = "events"
    topology = "topology"


def ingest(
    file: Annotated[str, typer.Argument(help="A file, or - for standard input.")],
    kind: Annotated[Kind, typer.Option(help="What the records are.")] = Kind.logs,
    environment: Annotated[
        str, typer.Option("--environment", "-e", help="Environment of records that name none.")
    ] = "",
    service: Annotated[
        str, typer.Option(help="Take plain lines as log lines of this service, with the time of their arrival.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Send log events, changes, orchestrator events or stated edges.

    The file holds a JSON array, one JSON object, or one object a line (NDJSON); docs/api.md lists the fields. With
    --service, lines that are not JSON are taken as log messages. Sending the same again counts as duplicate and
    changes nothing.

    Exit status 1 if a record was rejected.
    """
    from domain.errors import PayloadError

    if service and kind is not Kind.logs:
        raise PayloadError("--service is for plain log lines: leave it out, or send `--kind logs`.")
    counts = asyncio.run(_ingest(file, kind, environment, service))
    if as_json:
        print_json(counts)
    else:
        console = make_console()
        told = ", ".join(f"{counts[name]} {name}" for name in ("accepted", "duplicate", "rejected"))
        console.print(styled(told, "" if not counts["rejected"] else "yellow"))
        for error in counts["errors"]:
            console.print(styled(f"  {error}", "yellow"), soft_wrap=True)
        for found in counts["ids"]:
            console.print(styled(f"  {found}"))
    if counts["rejected"]:
        raise typer.Exit(1)


async def _ingest(file: str, kind: Kind, environment: str, service: str) -> dict[str, Any]:
    from cli.backend import open_backend
    from domain.settings import load_settings

    notes = make_console(stderr=True)
    counts: Counter[str] = Counter()
    errors: list[str] = []
    ids: list[str] = []
    watermark = 0
    with _open(file) as source:
        async with open_backend(load_settings(), lambda line: notes.print(styled(line, "dim"))) as backend:
            with notes.status(styled("sending", "dim")) as status:
                for body, content_type in _bodies(source, service):
                    receipt = await backend.ingest(kind, body, content_type, environment)
                    counts.update({name: receipt[name] for name in ("accepted", "duplicate", "rejected")})
                    errors.extend(receipt["errors"])
                    ids.extend(receipt["ids"])
                    watermark = max(watermark, receipt["watermark"])
                    status.update(styled(f"sent {counts.total()} records", "dim"))
    names = ("accepted", "duplicate", "rejected")
    return {name: counts[name] for name in names} | {"errors": errors[:20], "ids": ids, "watermark": watermark}


def _open(file: str) -> IO[bytes]:
    from domain.errors import PayloadError

    if file == "-":
        return sys.stdin.buffer
    try:
        return Path(file).open("rb")
    except OSError as exc:
        raise PayloadError(f"{file}: {exc.strerror}. Nothing was sent.") from exc


def _bodies(source: IO[bytes], service: str) -> Iterator[tuple[bytes, str]]:
    """Yield bodies and their Content-Type: an array or a single object whole, lines in pieces of a few MB."""
    if service:
        for lines in _pieces(source):
            yield b"\n".join(_log_line(line, service) for line in lines if line.strip()), "application/x-ndjson"
        return
    pieces = _pieces(source)
    first = next(pieces, [])
    if first and _is_object(first[0]):
        yield b"".join(first), "application/x-ndjson"
        for lines in pieces:
            yield b"".join(lines), "application/x-ndjson"
        return
    yield b"".join([*first, *(line for lines in pieces for line in lines)]), "application/json"


def _pieces(source: IO[bytes]) -> Iterator[list[bytes]]:
    while lines := source.readlines(_CHUNK_BYTES):
        yield lines


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _log_line(line: bytes, service: str) -> bytes:
    """Return a line as a log event: a JSON object keeps its fields, anything else is the message."""
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        given = {"message": text, "level": _guess_level(text)}
    return json.dumps({"timestamp": time.time_ns() // 1000, "service": service, **given}).encode()


def _guess_level(text: str) -> str | None:
    for word in text[:200].replace("[", " ").replace("]", " ").replace(":", " ").split()[:8]:
        if word.upper() in ("TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"):
            return word
    return None
