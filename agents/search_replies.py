"""What `GET /search` and `causegraph search` reply: everything that fits a text, and a record by its key."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, get_args

from domain.errors import NotFound, QuestionError
from domain.evidence import EvidenceKind
from domain.telemetry import DEFAULT_ENVIRONMENT
from domain.times import MINUTE_US, Window, format_us
from ingest.fields import clean_environment
from retrieval.evidence import describe_record, read_record
from retrieval.items import KINDS, ItemKind, Wanted
from retrieval.ranking import Hit

if TYPE_CHECKING:
    from agents.services import Services

MAX_TEXT = 1_000
MAX_HITS = 100
_WAIT_SECONDS = 2.0
_TOKENS = 40_000  # for people, who are shown it all
_ADDRESSED: Mapping[EvidenceKind, Mapping[str, type]] = {
    "log": {"id": int},
    "span": {"trace_id": str, "span_id": str},
    "change": {"id": str},
    "event": {"id": str},
    "code": {"root": str, "path": str, "line": int},
}


def make_wanted(
    text: str,
    environment: str = "",
    *,
    at_us: int | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    kinds: Sequence[str] = (),
) -> tuple[Wanted, bool]:
    """Return what is looked for, and whether it is about a time; raises QuestionError for what makes no sense."""
    if not text.strip():
        raise QuestionError("Give a text to look for, such as `causegraph search 'connection pool timeout'`.")
    if len(text) > MAX_TEXT:
        raise QuestionError(
            f"The text has more than {MAX_TEXT:,} characters: `causegraph code trace` takes stack traces."
        )
    for kind in kinds:
        if kind not in KINDS:
            raise QuestionError(f"`kind`: {kind[:32]!r} is none of {', '.join(KINDS)}.")
    now_us = time.time_ns() // 1000
    end_us = min(at_us if at_us is not None else now_us + MINUTE_US, to_us if to_us is not None else now_us + MINUTE_US)
    if (from_us or 0) >= end_us:
        raise QuestionError("`from` must lie before `to` and before `at`.")
    window = Window(from_us or 0, end_us)
    try:
        place = clean_environment(environment) or DEFAULT_ENVIRONMENT
    except ValueError as exc:
        raise QuestionError(f"`environment`: {exc}") from exc
    timed = any(moment is not None for moment in (at_us, from_us, to_us))
    return Wanted(text, place, window, end_us - 1, frozenset(cast("Sequence[ItemKind]", kinds))), timed


async def search_everything(
    services: Services,
    text: str,
    environment: str = "",
    *,
    at_us: int | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    kinds: Sequence[str] = (),
    limit: int = 10,
) -> dict[str, Any]:
    """Return what fits a text best, of every kind or of some, with why each is there and where it is opened."""
    wanted, timed = make_wanted(text, environment, at_us=at_us, from_us=from_us, to_us=to_us, kinds=kinds)
    began = time.perf_counter()
    behind = await _wait_for_newest(services)
    pack = await services.finder.find(wanted, limit=max(1, min(limit, MAX_HITS)), tokens=_TOKENS, timed=timed)
    return {
        "query": text,
        "environment": wanted.environment,
        "from": format_us(wanted.window.start_us),
        "to": format_us(wanted.window.end_us),
        "results": [hit_json(hit) for hit in pack.hits],
        "paths": [list(path) for path in pack.paths],
        "left_out": pack.left_out,
        "notes": [*pack.notes, *behind],
        "seconds": round(time.perf_counter() - began, 3),
    }


async def _wait_for_newest(services: Services) -> list[str]:
    """Wait a moment until what was stored is in the topology as well; return a note where it is not."""
    if await services.projection.wait_for(await services.telemetry.head_seq(), _WAIT_SECONDS):
        return []
    return ["The newest records are not in the topology yet: some of their log templates may be missing here."]


def hit_json(hit: Hit) -> dict[str, Any]:
    """Return something found as JSON."""
    item = hit.item
    return {
        "kind": item.kind,
        "id": item.id,
        "title": item.title,
        "services": list(item.services),
        "time": None if item.time_us is None else format_us(item.time_us),
        "score": hit.score,
        "by": list(hit.by),
        "why": hit.why,
        "open": item.opens,
    }


async def read_addressed(services: Services, environment: str, kind: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return a stored record by its kind and key, as the results of a search name it; raises QuestionError or NotFound."""
    if kind not in _ADDRESSED:
        raise QuestionError(f"`kind`: {kind[:32]!r} is none of {', '.join(_ADDRESSED)}.")
    known: EvidenceKind = next(one for one in get_args(EvidenceKind.__value__) if one == kind)
    key: dict[str, Any] = {}
    for name, convert in _ADDRESSED[known].items():
        try:
            key[name] = convert(given[name])
        except (KeyError, ValueError) as exc:
            parts = ", ".join(f"`{part}`" for part in _ADDRESSED[known])
            raise QuestionError(f"A record of the kind {kind} is named by {parts}.") from exc
        if isinstance(key[name], str) and known != "code" and not key[name].isascii():
            raise NotFound(f"There is no {kind} record {given[name][:40]!r}.")
        if isinstance(key[name], int) and not 0 <= key[name] < 2**63:
            raise NotFound(f"There is no {kind} record {given[name][:40]!r}.")
    place = environment or DEFAULT_ENVIRONMENT
    record = await read_record(services.telemetry, services.graph, place, known, key, services.code)
    text, service, moment = describe_record(known, key, record)
    return {
        "kind": kind,
        "environment": place,
        "key": key,
        "text": text,
        "service": service,
        "time": format_us(moment),
        "record": record,
    }
