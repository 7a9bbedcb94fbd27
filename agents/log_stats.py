"""How many lines were written: by service and level, of one template if asked, and step by step."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from agents.log_replies import LogQuery, frame_json, wanted_counts
from domain.errors import QuestionError
from domain.telemetry import Level
from domain.times import SECOND_US, SLOT_US, format_us
from storage.log_counts import LogCounts

if TYPE_CHECKING:
    from agents.services import Services

_MOST_STEPS = 1_500
_LARGEST_ID = 2**63 - 1


async def read_log_stats(services: Services, query: LogQuery, step_s: int = 0, template: str = "") -> dict[str, Any]:
    """Return how many lines each service wrote at each level, and by how many templates.

    With a step (in seconds) also the lines of each step in which there were any; with the id of a template only its
    lines. Raises QuestionError for what makes no sense.
    """
    step_us, number = _read_step(query, step_s), _read_template(template)
    counts = wanted_counts(await services.telemetry.template_counts(query.environment, query.window), query)
    counts = [count for count in counts if number in (0, count.template_id)]
    levels: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    templates: dict[str, set[int]] = defaultdict(set)
    for count in counts:
        levels[count.service][Level(count.level).name] += count.lines
        templates[count.service].add(count.template_id)
    rows = [
        {"service": name, "lines": sum(by.values()), "levels": dict(by), "templates": len(templates[name])}
        for name, by in levels.items()
    ]
    rows.sort(key=lambda row: (-int(str(row["lines"])), str(row["service"])))
    body = {
        **frame_json(query),
        "lines": sum(count.lines for count in counts),
        "templates": len({count.template_id for count in counts}),
        "services": rows[: query.limit],
        "left_out": max(0, len(rows) - query.limit),
    }
    return body | {"step": step_s, "steps": await _read_steps(services, query, step_us, number)} if step_us else body


async def _read_steps(services: Services, query: LogQuery, step_us: int, template_id: int) -> list[dict[str, Any]]:
    found = await LogCounts(services.database).by_step(
        query.environment, query.window, step_us, query.service, query.level, template_id
    )
    steps: dict[int, dict[str, int]] = defaultdict(dict)
    for count in found:
        steps[count.start_us][Level(count.level).name] = count.lines
    return [{"time": format_us(at), "lines": sum(by.values()), "levels": by} for at, by in sorted(steps.items())]


def _read_step(query: LogQuery, step_s: int) -> int:
    step_us = step_s * SECOND_US
    if step_us % SLOT_US or step_us < 0:
        raise QuestionError("`step` is a number of seconds that can be divided by ten: 60 counts by minute.")
    if step_us and (query.window.end_us - query.window.start_us) // step_us > _MOST_STEPS:
        raise QuestionError(f"`step`: that is more than {_MOST_STEPS:,} steps. Ask for longer ones, or for less time.")
    return step_us


def _read_template(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= _LARGEST_ID):
        raise QuestionError("`template` is the id of a log template, a number, as lines and families name it.")
    return int(text or 0)
