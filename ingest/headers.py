"""The header of raw log lines (timestamp, level, host, program, thread), learned per source from its first lines.

A line's head is cut into columns: times, levels, numbers, brackets, tags that end in a colon, words. A header is the
longest run of columns that ends in an anchor: a time, a level, a tag, a bracket or a padded word that nearly every line
has in that place. What one line alone seems to say in the place of a header is believed only until enough were seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import msgspec

from domain.telemetry import Level
from ingest.fields import parse_level
from ingest.timestamps import read_stamp

SAMPLE_LINES = 100
MIN_LINES = 10

_COLUMNS = 14
_SPARE = 2
_HEAD_CHARS = 400
_NEARLY_ALL = 0.9
_ALL = 0.97


class Kind(Enum):
    """What a column of a header is."""

    TIME = "time"
    LEVEL = "level"
    NUMBER = "number"
    BRACKET = "bracket"
    TAG = "tag"
    MARK = "mark"
    WORD = "word"


class Column(msgspec.Struct, frozen=True, gc=False):
    """One column of one line: its kind, its text without brackets and marks, and where it and the blanks after it end.

    `zoned` is False for a time that names no zone, and so was read as if it were UTC.
    """

    kind: Kind
    text: str
    end: int
    next: int
    time_us: int = 0
    zoned: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """The header of a source: the kinds of its columns, and whether they stand between bars (`a|b|c`)."""

    kinds: tuple[Kind, ...] = ()
    bars: bool = False
    to_dash: bool = False


_NUMBER = re.compile(r"[0-9]{1,20}(?=[\s|]|$)")
_TAG = re.compile(r"[^\s\[\]|]*(?:\[[^\]\s]*\])?(?:\([^)\s]*\))?:(?=\s|$)|[\w./-]{1,120}:[0-9]{1,7}\](?=\s|$)")
_MARK = re.compile(r"[-|:*=>]{1,3}(?=[\s|]|$)")
# Syslog's priority, and the level and logger of Python's basicConfig, stand close to what follows.
_PRIORITY = re.compile(r"<(?P<number>[0-9]{1,3})>(?:1 )?")
_PYTHON = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?=[\w.]{1,100}:)")
_PYTHON_LOGGER = re.compile(r"(?P<logger>[\w.]{1,100}):")
_WORD = re.compile(r"\S+")
_FIELD = re.compile(r"[^|]*")
_LEVEL = re.compile(
    r"[\[<(]?(?:TRACE|FINE(?:R|ST)?|CONFIG|DEBUG|DBG|INFO(?:RMATION)?|INF|NOTICE|WARN(?:ING)?|WRN|ERROR|ERR|SEVERE|FAILURE"
    r"|CRIT(?:ICAL)?|FATAL|FTL|ALERT|EMERG(?:ENCY)?|PANIC|"
    r"[Tt]race|[Dd]ebug|[Ii]nfo|[Nn]otice|[Ww]arn(?:ing)?|[Ee]rror|[Cc]rit(?:ical)?|[Aa]lert|[Ee]merg|[Ff]atal|[Pp]anic)[\])>]?:?(?=[\s|]|$)"
    r"|[VDIWEF](?=\s|/)"
)


def read_columns(line: str, now_us: int, bars: bool = False, limit: int = _COLUMNS) -> list[Column]:
    """Cut the head of a line into columns; at most `limit`, within the first 400 characters."""
    columns: list[Column] = []
    at, stop = len(line[:64]) - len(line[:64].lstrip()), min(len(line), _HEAD_CHARS)
    while at < stop and len(columns) < limit:
        column = _read_column(line, at, now_us, bars)
        if column.next <= at:
            break
        columns.append(column)
        at = column.next
    return columns


def _read_column(line: str, at: int, now_us: int, bars: bool) -> Column:
    if at == 0 and (found := _PRIORITY.match(line)) is not None:
        return _column(Kind.LEVEL, str(int(found["number"]) & 7), line, found.end())
    if at == 0 and (found := _PYTHON.match(line)) is not None:
        return _column(Kind.LEVEL, found["level"], line, found.end())
    if 0 < at <= 9 and line[at - 1] == ":" and (found := _PYTHON_LOGGER.match(line, at)) is not None:
        return _column(Kind.TAG, found["logger"], line, found.end())
    opened = line[at] in "[<("
    stamp = read_stamp(line, now_us, at + opened)
    if stamp is not None:
        end = stamp.end
        while end < len(line) and line[end] in "],>):Z":
            end += 1
        if end == len(line) or line[end] in " \t|":
            zoned = stamp.zoned or "Z" in line[stamp.end : end]
            return Column(Kind.TIME, line[at:end], end, _skip(line, end), stamp.time_us, zoned)
    if (found := _LEVEL.match(line, at)) is not None:
        return _column(Kind.LEVEL, found[0].strip("[]<>():"), line, found.end())
    if line[at] == "[" and (end := _closing(line, at)):
        text = line[at + 1 : end - 1]
        end += line[end : end + 1] == ":"
        return _column(Kind.BRACKET, text, line, end)
    for kind, pattern in ((Kind.NUMBER, _NUMBER), (Kind.MARK, _MARK)):
        if (found := pattern.match(line, at)) is not None:
            return _column(kind, found[0], line, found.end())
    if bars:
        found = _FIELD.match(line, at, _HEAD_CHARS)
        return _column(Kind.WORD, found[0] if found else "", line, found.end() if found else at)
    if (found := _TAG.match(line, at, _HEAD_CHARS)) is not None:
        return _column(Kind.TAG, found[0][:-1], line, found.end())
    found = _WORD.match(line, at)
    return _column(Kind.WORD, found[0] if found else "", line, found.end() if found else at)


def _column(kind: Kind, text: str, line: str, end: int) -> Column:
    return Column(kind, text, end, _skip(line, end))


def _skip(line: str, end: int) -> int:
    stop = min(len(line), end + 64)
    while end < stop and line[end] in " \t|":
        end += 1
    return end


def _closing(line: str, at: int) -> int:
    """Return the place after the bracket that closes the one at `at`, or 0; looks at 200 characters."""
    depth = 0
    for place in range(at, min(len(line), at + 200)):
        if line[place] == "[":
            depth += 1
        elif line[place] == "]":
            depth -= 1
            if not depth:
                return place + 1
    return 0


# -- learning ----------------------------------------------------------------------------------------------------------


def learn_layout(lines: Sequence[str], now_us: int) -> Layout:
    """Return the layout that nearly all lines of a source share; an empty one where they share none."""
    lines = [line for line in lines if line[:1].strip()][:SAMPLE_LINES]
    if len(lines) < 2:
        return guess_layout(lines[0], now_us) if lines else Layout()
    bars = sum(line[:_HEAD_CHARS].count("|") >= 2 for line in lines) >= _NEARLY_ALL * len(lines)
    rows = [read_columns(line, now_us, bars) for line in lines]
    kinds = _shared_kinds(rows)
    ends = [at for at in range(len(kinds)) if _is_anchor(rows, lines, kinds, at)]
    if not ends:
        return Layout()
    last = ends[-1] + 1
    return Layout(tuple(kinds[:last]), bars, not bars and _dash_follows(rows, last))


def guess_layout(line: str, now_us: int) -> Layout:
    """Return what one line alone seems to have for a header: up to its last time, level or `program[pid]:`."""
    columns = read_columns(line, now_us)
    last = 0
    for at, column in enumerate(columns[:8]):
        tag = column.kind is Kind.TAG and (_names_program(column.text) or _is_syslog(columns[:at]))
        sure = column.kind in (Kind.TIME, Kind.LEVEL) or tag
        if sure and (last or column.kind is not Kind.TAG) and at - last <= 3:
            last = at + 1
    if not any(column.kind is Kind.TIME for column in columns[:last]):
        last = 0 if not columns or columns[0].kind is not Kind.LEVEL else 1 + (_PYTHON.match(line) is not None)
    while last and last < len(columns) and columns[last].kind is Kind.MARK:
        last += 1
    return Layout(tuple(column.kind for column in columns[:last]))


def _is_syslog(before: Sequence[Column]) -> bool:
    """True for what stands before the program in syslog: a time and a host, perhaps a priority."""
    return [column.kind for column in before if column.kind is not Kind.LEVEL] == [Kind.TIME, Kind.WORD]


def _shared_kinds(rows: Sequence[Sequence[Column]]) -> list[Kind]:
    """Return the commonest kind of each column, as far as nearly all of the lines that agree so far have one."""
    kinds: list[Kind] = []
    for at in range(_COLUMNS):
        here = Counter(row[at].kind for row in rows if len(row) > at)
        if here.total() < _NEARLY_ALL * len(rows):
            break
        kind, count = here.most_common(1)[0]
        kinds.append(kind if count >= _NEARLY_ALL * len(rows) else Kind.WORD)
    return kinds


def _is_anchor(rows: Sequence[Sequence[Column]], lines: Sequence[str], kinds: Sequence[Kind], at: int) -> bool:
    """True where a header may end with this column: every column up to it can be told apart in nearly all lines."""
    columns = [row[at] for row in rows if len(row) > at]
    share = sum(column.kind is kinds[at] for column in columns) / len(rows)
    before = kinds[:at]
    dated = Kind.TIME in before
    match kinds[at]:
        case Kind.TIME | Kind.LEVEL:
            return share >= _NEARLY_ALL
        case Kind.TAG:
            texts = {column.text for column in columns if column.kind is Kind.TAG}
            return dated and share >= _NEARLY_ALL and (len(texts) > 1 or at < 3 or any(map(_names_program, texts)))
        case Kind.MARK | Kind.NUMBER:
            return dated and share >= _ALL and _is_anchor_run(rows, lines, kinds, at)
        case Kind.BRACKET:
            return dated and share >= _ALL
        case Kind.WORD:
            return dated and _is_column_of_names(rows, lines, at)
    return False


def _is_anchor_run(rows: Sequence[Sequence[Column]], lines: Sequence[str], kinds: Sequence[Kind], at: int) -> bool:
    """True where all columns since the last sure anchor are of one kind in all lines, so that none is a free word."""
    start = at
    while start and kinds[start - 1] in (Kind.MARK, Kind.NUMBER):
        start -= 1
    return start > 0 and _is_anchor(rows, lines, kinds, start - 1)


def _is_column_of_names(rows: Sequence[Sequence[Column]], lines: Sequence[str], at: int) -> bool:
    """True for loggers (`nova.compute.manager`) and for words that are padded to a width or stand between bars."""
    named = padded = 0
    for row, line in zip(rows, lines, strict=True):
        if len(row) <= at or row[at].kind is not Kind.WORD:
            continue
        column = row[at]
        named += _names_logger(column.text)
        gap = line[column.end : column.next]
        padded += len(gap) >= 2 or "|" in gap
    return named >= _ALL * len(rows) or padded >= _ALL * len(rows)


_LOGGER = re.compile(r"[A-Za-z_][\w$]*(?:\.[A-Za-z_][\w$]*)+")
_PROGRAM = re.compile(r"[\w./()$-]+\[[^\]\s]+\]|(?:[A-Za-z_$][\w$]*\.)+[A-Za-z_$][\w$]*|[0-9]+#[0-9]+|[\w./-]+:[0-9]+")


def _names_logger(text: str) -> bool:
    return _LOGGER.fullmatch(text) is not None


def _names_program(text: str) -> bool:
    return _PROGRAM.fullmatch(text) is not None


def _dash_follows(rows: Sequence[Sequence[Column]], last: int) -> bool:
    """True where a lone dash follows within a few words in nearly all lines: `program.exe *64 - message`."""
    near = sum(any(c.kind is Kind.MARK and c.text == "-" for c in row[last : last + 4]) for row in rows)
    return near >= _ALL * len(rows)


# -- cutting -----------------------------------------------------------------------------------------------------------


def cut_header(line: str, layout: Layout, now_us: int) -> list[Column] | None:
    """Return the columns of a line's header, or None where the line does not have that layout.

    Up to two words more than the layout has may stand before a column that can be told apart from words.
    """
    size = len(layout.kinds)
    columns = read_columns(line, now_us, layout.bars, size)
    if len(columns) < size or not all(map(_fits, columns, layout.kinds)):
        columns = read_columns(line, now_us, layout.bars, size + _SPARE)
        size = _align(columns, layout.kinds)
        if not size:
            return None
    if layout.to_dash:
        columns = read_columns(line, now_us, layout.bars, size + 4)
        size = next((at + 1 for at in range(size, len(columns)) if columns[at].text == "-"), size)
    return columns[:size]


def _align(columns: Sequence[Column], kinds: Sequence[Kind]) -> int:
    """Return how many columns hold all the kinds in their order, with spare words between; 0 where they do not."""
    at = spare = 0
    for kind in kinds:
        while at < len(columns) and not _fits(columns[at], kind):
            if kind is Kind.MARK and columns[at].kind is Kind.WORD and at == 0:
                break  # a flag in the place of a dash
            if columns[at].kind not in (Kind.WORD, Kind.NUMBER, Kind.MARK) or spare == _SPARE or not at:
                return 0
            at, spare = at + 1, spare + 1
        at += 1
    return at if at <= len(columns) else 0


def _fits(column: Column, kind: Kind) -> bool:
    return column.kind is kind or (kind is Kind.WORD and column.kind is not Kind.TIME)


def level_of(columns: Sequence[Column]) -> Level | None:
    """Return the level that a header says, or None."""
    for column in columns:
        if column.kind is Kind.LEVEL:
            return _read_level(column.text)
        if column.kind is Kind.TIME and (letter := _LETTERS.get(column.text[:1])):  # Kubernetes' klog
            return parse_level(letter)
    return None


@lru_cache(256)
def _read_level(text: str) -> Level | None:
    return parse_level(_LETTERS.get(text, text))


_LETTERS = {"V": "trace", "D": "debug", "I": "info", "W": "warn", "E": "error", "F": "fatal"}
