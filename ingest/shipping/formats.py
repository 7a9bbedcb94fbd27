"""How single lines of a file are read: as they stand, or in the forms of container runtimes and of syslog daemons.

Each form turns raw lines into entries. `stream` tells apart what was written side by side into one file; for syslog it
is the program, from which the service is named.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Literal, NamedTuple

import msgspec

from domain.times import LATEST_US, to_us
from ingest.shipping.line import MAX_LINE_BYTES, Attribute
from ingest.shipping.tail import Piece
from ingest.shipping.zones import local_zone
from ingest.timestamps import clock_in, moment_in, read_stamp

type Form = Literal["plain", "cri", "docker", "syslog"]

_CRI = re.compile(r"(\S{19,40}) (stdout|stderr) ([A-Z:]+) (.*)", re.DOTALL)
_SYSLOG = re.compile(
    r"(?:<(?P<priority>\d{1,3})>)?(?:(?P<old>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)|(?P<new>\d{4}-\d\d-\d\dT\S{8,22})) "
    r"(?P<host>\S{1,255}) (?P<program>[^\s:\[]{1,128})(?:\[(?P<pid>[\w.-]{1,32})\])?: ?(?P<text>.*)",
    re.DOTALL,
)
_SEVERITIES = ("fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug")


class Entry(NamedTuple):
    """One line: its time (0: none was written), stream, text, and the bytes left out of it."""

    time_us: int
    stream: str
    text: str
    cut: int = 0


class _DockerLine(msgspec.Struct):
    log: str
    stream: str = ""
    time: str = ""


_docker = msgspec.json.Decoder(_DockerLine)


def read_entries(form: Form, lines: list[str], pieces: dict[str, Piece], zone: tzinfo | None = None) -> Iterator[Entry]:
    """Yield the entries of raw lines; `pieces` keeps the parts of split lines from one call to the next.

    `zone` is that of times of syslog that name none, by default the machine's.
    """
    match form:
        case "plain":
            for text in lines:
                yield Entry(0, "", text)
        case "cri":
            for text in lines:
                yield from _read_cri(text, pieces)
        case "docker":
            for text in lines:
                yield from _read_docker(text, pieces)
        case "syslog":
            for text in lines:
                yield _read_syslog(text, zone or local_zone())


def sniff_form(line: str) -> Form:
    """Return the form that a container's log file is written in, from one line of it."""
    if _CRI.match(line):
        return "cri"
    return "docker" if line.startswith("{") else "plain"


def name_stream(form: Form, stream: str) -> tuple[str, str, str, dict[str, Attribute]]:
    """Return the service, node, level and attributes that a stream stands for; empty where it says nothing of them."""
    if not stream:
        return "", "", "", {}
    if form != "syslog":
        return "", "", "", {"log.iostream": stream}
    program, pid, host, priority = stream.split(" ")
    level = _SEVERITIES[int(priority) % 8] if priority else ""
    return program, host, level, {"process.pid": pid} if pid else {}


def _read_cri(text: str, pieces: dict[str, Piece]) -> Iterator[Entry]:
    found = _CRI.fullmatch(text)
    if found is None:
        if text:
            yield Entry(0, "", text)
        return
    when, stream, tags, rest = found.groups()
    whole = _put_together(stream, rest, pieces, ends=not tags.startswith("P"))
    if whole is not None:
        yield Entry(_parse_time(when), stream, whole.text, whole.cut)


def _read_docker(text: str, pieces: dict[str, Piece]) -> Iterator[Entry]:
    try:
        line = _docker.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        if text:
            yield Entry(0, "", text)
        return
    whole = _put_together(line.stream, line.log.removesuffix("\n"), pieces, ends=line.log.endswith("\n"))
    if whole is not None:
        yield Entry(_parse_time(line.time), line.stream, whole.text, whole.cut)


def _put_together(stream: str, text: str, pieces: dict[str, Piece], *, ends: bool) -> Piece | None:
    piece = pieces.pop(stream, None)
    if piece is None:
        piece = Piece(text)
    elif len(piece.text) + len(text) > MAX_LINE_BYTES:
        piece.cut += len(text.encode("utf-8", "replace"))
    else:
        piece.text += text
    if ends:
        return piece
    pieces[stream] = piece
    return None


def _read_syslog(text: str, zone: tzinfo) -> Entry:
    found = _SYSLOG.fullmatch(text)
    if found is None:
        return Entry(0, "", text)
    moment = _parse_time(found["new"]) if found["new"] else _parse_old_time(found["old"], zone)
    stream = " ".join((found["program"], found["pid"] or "", found["host"], found["priority"] or ""))
    return Entry(moment, stream, found["text"])


def _parse_time(text: str) -> int:
    try:
        moment = to_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return 0
    return moment if 0 < moment <= LATEST_US else 0  # Docker says the year 1 where it knows no time


def _parse_old_time(text: str, zone: tzinfo) -> int:
    """Return the moment of `Nov 21 13:49:40` on a clock of a zone: the latest that does not lie in the future."""
    now_us = time.time_ns() // 1000
    stamp = read_stamp(text, clock_in(zone, now_us))
    return 0 if stamp is None else moment_in(zone, stamp.time_us, now_us)
