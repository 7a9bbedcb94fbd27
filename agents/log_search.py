"""Logs found by what they say: lines by text, and templates by text and by meaning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.log_replies import LogQuery, search_lines, wanted_counts
from domain.errors import EmbeddingError, StorageError
from domain.observed import TemplateCount
from domain.telemetry import Level
from domain.times import format_us
from retrieval.embedding import FARTHEST, find_near

if TYPE_CHECKING:
    from agents.services import Services

_MOST_BY_TEXT = 20
_MOST_BY_MEANING = 10


async def search_logs(services: Services, query: LogQuery, text: str, before: str = "") -> dict[str, Any]:
    """Return lines that hold a text as `search_lines` does, and on the first page `templates` as well.

    Those hold the text (`match` is `text`), or are near in meaning (`meaning`, with their `distance`); all were written in
    the window. `note` says why nothing was looked for, or found, by meaning.
    """
    reply = await search_lines(services, query, text, before)
    if before:
        return {**reply, "templates": [], "note": ""}
    counts = wanted_counts(await services.telemetry.template_counts(query.environment, query.window), query)
    written = _sum_counts(counts)
    texts = await services.telemetry.template_texts(written)
    on_page = {int(line["template"]) for line in reply["lines"]}
    folded = text.casefold()
    holding = [number for number in written if number in on_page or folded in texts.get(number, "").casefold()]
    holding.sort(key=lambda number: (-written[number].lines, number))
    held = set(holding)
    near, note = await _near(services, text, [number for number in written if number not in held])
    found = [(number, None) for number in holding[:_MOST_BY_TEXT]] + near
    templates = [_template_json(number, texts.get(number, ""), written[number], far) for number, far in found]
    return {**reply, "templates": templates, "note": note}


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written by a template in a window, whoever wrote it."""

    lines: int
    services: list[str]
    level: int
    last_us: int


def _sum_counts(counts: Sequence[TemplateCount]) -> Mapping[int, _Written]:
    held: dict[int, list[TemplateCount]] = defaultdict(list)
    for count in counts:
        held[count.template_id].append(count)
    return {
        number: _Written(
            lines=sum(each.lines for each in own),
            services=sorted({each.service for each in own}),
            level=max(each.level for each in own),
            last_us=max(each.last_us for each in own),
        )
        for number, own in held.items()
    }


async def _near(services: Services, text: str, among: Sequence[int]) -> tuple[list[tuple[int, float | None]], str]:
    """Return the (id, distance) of templates near in meaning, nearest first, and what the reader should know of it."""
    if services.embedder is None or services.vectors is None:
        return [], "Searched by text only: CAUSEGRAPH_EMBEDDER is `none`."
    if not among:
        return [], ""
    ids = [str(number) for number in among]
    try:
        near = await find_near(services.vectors, "template", services.embedder, text, _MOST_BY_MEANING, ids)
    except (EmbeddingError, StorageError) as exc:
        return [], f"Searched by text only: {exc}"
    if not near:
        return [], (
            "Searched by text only: no other template of this window has a vector of this embedder yet. "
            "A running server gives them within seconds; `causegraph backfill` does it now."
        )
    return [(int(each.id), each.distance) for each in near if each.distance < FARTHEST], ""


def _template_json(number: int, text: str, written: _Written, distance: float | None) -> dict[str, Any]:
    return {
        "template": str(number),
        "text": text,
        "match": "text" if distance is None else "meaning",
        "distance": None if distance is None else round(distance, 3),
        "lines": written.lines,
        "services": written.services,
        "level": Level(written.level).name,
        "last": format_us(written.last_us),
    }
