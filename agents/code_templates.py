"""Log statements and log templates, both ways: what a line of code writes and how often, and which line writes a template."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.code_places import bounded, load_code, place_of, wanted_text
from agents.log_replies import LogQuery
from domain.errors import QuestionError
from domain.telemetry import Level
from domain.times import Window, format_us

if TYPE_CHECKING:
    from agents.services import Services
    from domain.code import LogStatement
    from domain.observed import TemplateCount
    from indexer.code_index import IndexedFile
    from indexer.search import Loaded
    from indexer.statement_match import StatementMatch

type _Statement = tuple[IndexedFile, LogStatement]

_LINE = re.compile(r"(.+):(\d{1,7})")
_NEAR = 0.02
_TIES = 8


@dataclass(slots=True)
class _Written:
    """What was written by a template in a window and in the one before, and whether that is sure to be of a statement."""

    template_id: int
    sure: bool
    services: set[str] = field(default_factory=set)
    level: int = 0
    lines: int = 0
    before: int = 0
    last_us: int = 0


async def find_templates(services: Services, place: str, query: LogQuery) -> dict[str, Any]:
    """The log statements at a place (`path:line`, or the name of a definition), and the templates that each wrote in the window.

    `sure` is False for a template that other statements fit as well. Raises QuestionError where no statement is there.
    """
    loaded = await load_code(services.code)
    statements = _statements_at(loaded, wanted_text(place, "a place in the code"))[: bounded(query.limit)]
    now, was = await _counts(services, query)
    texts = await services.telemetry.template_texts({count.template_id for count in now})
    matcher = _Matcher(loaded)
    written = _assign(statements, matcher, texts, now)
    _add_before(written, was)
    return {
        "place": place,
        "environment": query.environment,
        "from": format_us(query.window.start_us),
        "to": format_us(query.window.end_us),
        "statements": [
            place_of(loaded, file, statement.line, statement.symbol)
            | {"statement": statement.template, "level": statement.level, "kind": statement.kind}
            | {"templates": [_template_json(one, texts) for one in _ordered(written[number].values())]}
            for number, (file, statement) in enumerate(statements)
        ],
    }


async def add_code(services: Services, families: Sequence[dict[str, Any]]) -> None:
    """Add to families of templates (each with `service` and `templates`) the statement that writes them, as `code`.

    It is None where the code is not indexed, or where no statement or several fit.
    """
    loaded = await services.code.load(linked=False)
    first = {number: int(one["templates"][0]) for number, one in enumerate(families) if one["templates"]}
    texts = await services.telemetry.template_texts(first.values()) if loaded.roots else {}
    matcher = _Matcher(loaded)
    for number, one in enumerate(families):
        text = texts.get(first.get(number, -1), "")
        found = matcher.match(one["service"], text)[:1] if text else []
        one["code"] = None
        if found and found[0].sure:
            match = found[0]
            one["code"] = place_of(loaded, match.file, match.statement.line, match.statement.symbol)


class _Matcher:
    """Matches templates in the code of the service that wrote them, each once."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._found: dict[tuple[str, str], list[StatementMatch]] = {}

    def match(self, service: str, text: str) -> list[StatementMatch]:
        if (service, text) not in self._found:
            self._found[service, text] = self._loaded.written_by(service).match(text, _TIES)
        return self._found[service, text]


def _statements_at(loaded: Loaded, place: str) -> list[_Statement]:
    if line := _LINE.fullmatch(place.strip()):
        return _statements_in_line(loaded, line[1].removeprefix("./"), int(line[2]))
    bare = place.strip().rpartition(".")[2]
    found = [
        (file, statement)
        for file, symbol in loaded.index.by_symbol.get(bare, [])
        if f".{symbol.qualified}".endswith(f".{place.strip()}")
        for statement in file.facts.log_statements
        if symbol.start_line <= statement.line <= symbol.end_line
    ]
    if not found:
        raise QuestionError(f"No log statement is in {place[:200]!r}: give PATH:LINE, or the name of a definition.")
    return found


def _statements_in_line(loaded: Loaded, path: str, line: int) -> list[_Statement]:
    named = loaded.index.by_name.get(path.rpartition("/")[2].lower(), [])
    files = [file for file in named if f"/{file.path}".endswith(f"/{path}") or path.endswith(f"/{file.path}")]
    if not files:
        raise QuestionError(f"{path[:200]} is not in the code index.")
    found = [(f, s) for f in files for s in f.facts.log_statements if s.line <= line <= max(s.line, s.end_line)]
    if not found:
        lines = ", ".join(str(s.line) for f in files for s in f.facts.log_statements[:20]) or "no line"
        raise QuestionError(f"No log statement is in line {line} of {path[:200]}; there is one in {lines}.")
    return found


async def _counts(services: Services, query: LogQuery) -> tuple[list[TemplateCount], list[TemplateCount]]:
    window = query.window
    before = Window(max(0, 2 * window.start_us - window.end_us), window.start_us)
    telemetry = services.telemetry
    now = await telemetry.template_counts(query.environment, window)
    was = await telemetry.template_counts(query.environment, before)
    return [c for c in now if query.service in ("", c.service)], [c for c in was if query.service in ("", c.service)]


def _assign(
    statements: Sequence[_Statement], matcher: _Matcher, texts: Mapping[int, str], counts: Iterable[TemplateCount]
) -> list[dict[int, _Written]]:
    """Return what each statement wrote, by template."""
    numbers = {(f.root, f.path, s.line, s.template): number for number, (f, s) in enumerate(statements)}
    written: list[dict[int, _Written]] = [{} for _ in statements]
    for count in counts:
        found = matcher.match(count.service, texts.get(count.template_id, ""))
        for match in found:
            number = numbers.get((match.file.root, match.file.path, match.statement.line, match.statement.template))
            if number is None or found[0].score - match.score > _NEAR:
                continue
            one = written[number].setdefault(count.template_id, _Written(count.template_id, match.sure))
            one.services.add(count.service)
            one.level = max(one.level, count.level)
            one.lines += count.lines
            one.last_us = max(one.last_us, count.last_us)
    return written


def _add_before(written: Sequence[Mapping[int, _Written]], was: Iterable[TemplateCount]) -> None:
    lines: defaultdict[tuple[int, str], int] = defaultdict(int)
    for count in was:
        lines[count.template_id, count.service] += count.lines
    for templates in written:
        for one in templates.values():
            one.before = sum(lines[one.template_id, service] for service in one.services)


def _ordered(written: Iterable[_Written]) -> list[_Written]:
    return sorted(written, key=lambda one: (-one.lines, one.template_id))


def _template_json(one: _Written, texts: Mapping[int, str]) -> dict[str, Any]:
    return {
        "template": str(one.template_id),
        "text": texts.get(one.template_id, ""),
        "services": sorted(one.services),
        "level": Level(one.level).name,
        "lines": one.lines,
        "before": one.before,
        "last": format_us(one.last_us),
        "sure": one.sure,
    }
