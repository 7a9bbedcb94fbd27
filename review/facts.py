"""What a record holds, in the terms in which a claim is checked: amounts, times, names, who called whom, what moved."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.evidence import Evidence
from domain.telemetry import Level
from domain.times import SECOND_US
from review.quantities import Quantity, read_moments, read_quantities
from review.wording import concepts_of, mentioned, squeeze, stems, without_names

# How records of a kind are spoken of; that these words are not in the record itself means nothing.
_SPOKEN: Mapping[str, str] = {
    "requests": "request call answer answered serve served handle took return returned reply replied receive processed",
    "span": "span call request took take need needed handle handled operation duration return returned answer gave get",
    "log": "line log logged write wrote written say said message report reported record entry put word print",
    "count": "line log logged write wrote written message report repeated kind template time same entry share",
    "event": "event orchestrator report reported state status read reads process start started pod container instance",
    "change": "change changed edit edited took place version somebody went made release",
    "metric": "use used stood value level reach reached measure measured average memory sample",
    "edge": "call called request depend dependency seen ask edge topology",
    "code": "line file code function definition call called commit changed",
}
_SPOKEN_STEMS = {kind: stems(words) for kind, words in _SPOKEN.items()}
_DURATIONS = ("duration_us", "slow_us")


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was retrieved: its evidence, the record itself, and lines that code derived from it in this run."""

    evidence: Evidence
    fields: Mapping[str, Any]
    derived: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What one record holds. `failed` is None where the record cannot tell."""

    record: Record
    text: str
    words: frozenset[str]
    entities: frozenset[str]
    quantities: tuple[Quantity, ...]
    times_us: tuple[int, ...]
    calls: frozenset[tuple[str, str]]
    concepts: frozenset[str]
    failed: bool | None


def read_facts(record: Record, services: Sequence[str]) -> Facts:
    """Return what a record holds; `services` are the names to look for in its texts."""
    evidence, fields = record.evidence, record.fields
    texts = texts_of(record)
    text = squeeze(" \n ".join(texts))
    concepts = concepts_of(text) | _implied(evidence.kind, fields)
    held = {evidence.service, *evidence.entities, str(fields.get("peer") or "")}
    held |= {str(fields.get(name) or "") for name in ("source", "destination", "target", "service")}
    return Facts(
        record=record,
        text=text,
        words=stems(text) | _SPOKEN_STEMS.get(evidence.kind, frozenset()),
        entities=frozenset(held - {""}) | mentioned(text, services),
        quantities=tuple(_quantities(evidence, fields, texts)),
        times_us=tuple(_times(evidence, fields, texts)),
        calls=frozenset(_calls(evidence, fields)),
        concepts=concepts,
        failed=_failed(evidence.kind, fields),
    )


def texts_of(record: Record) -> list[str]:
    """Return everything that a record and its evidence say, each text once."""
    return list(dict.fromkeys([record.evidence.text, *record.derived, *_strings(record.fields)]))


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for name, held in value.items():
                yield str(name)
                yield from _strings(held)
        case list() | tuple():
            for held in value:
                yield from _strings(held)
        case _:
            pass


def _implied(kind: str, fields: Mapping[str, Any]) -> frozenset[str]:
    implied: set[str] = set()
    match kind:
        case "span":
            implied |= {"latency", "failure" if fields.get("error") else "success"}
        case "requests":
            implied |= {"latency", "traffic"} | ({"failure"} if fields.get("errors") else {"success"})
        case "log":
            level = int(fields.get("level") or 0)
            implied |= {"failure"} if level >= Level.WARN else set()
        case "change":
            implied |= {"version"} | concepts_of(str(fields.get("kind", "")))
        case _:
            pass
    return frozenset(implied)


def _failed(kind: str, fields: Mapping[str, Any]) -> bool | None:
    match kind:
        case "span":
            return bool(fields.get("error"))
        case "requests":
            return bool(fields.get("errors"))
        case "log":
            return True if int(fields.get("level") or 0) >= Level.WARN else None
        case _:
            return None


def _quantities(evidence: Evidence, fields: Mapping[str, Any], texts: Iterable[str]) -> Iterator[Quantity]:
    for holder in (fields, evidence.key):
        for name, value in holder.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if name in _DURATIONS:
                yield Quantity(value / SECOND_US, "s")
            elif not name.endswith("_us"):
                yield Quantity(float(value))
    yield from _shares(fields)
    if evidence.kind == "metric":
        yield from _metric_amounts(str(fields.get("name", "")), float(fields.get("value") or 0.0))
    spoken = read_moments("\n".join(text for text in texts if any(c.isdecimal() for c in text)))[1]
    yield from read_quantities(without_names(spoken))
    yield from read_quantities(spoken)


def _shares(fields: Mapping[str, Any]) -> Iterator[Quantity]:
    requests = fields.get("requests")
    if not isinstance(requests, int) or not requests:
        return
    for name in ("errors", "slow"):
        count = fields.get(name)
        if isinstance(count, int):
            yield Quantity(100 * count / requests, "%")
            yield Quantity(float(requests - count))
            yield Quantity(100 * (1 - count / requests), "%")


def _metric_amounts(name: str, value: float) -> Iterator[Quantity]:
    lowered = name.lower()
    yield Quantity(value)
    if re.search(r"memory|bytes|heap|rss", lowered):
        yield Quantity(value, "B")
    if re.search(r"ratio|utili[sz]ation|share|cpu", lowered):
        yield Quantity(100 * value, "%")
    if re.search(r"percent|pct", lowered):
        yield Quantity(value, "%")
    if re.search(r"duration|latency|seconds|time", lowered):
        yield Quantity(value / 1000 if re.search(r"_ms|millis", lowered) else value, "s")


def _times(evidence: Evidence, fields: Mapping[str, Any], texts: Iterable[str]) -> Iterator[int]:
    yield evidence.time_us
    for holder in (fields, evidence.key):
        for name, value in holder.items():
            if name.endswith("_us") and name not in _DURATIONS and isinstance(value, int):
                yield value
    if isinstance(start := fields.get("start_us"), int):
        yield start + int(fields.get("duration_us") or 0)
    for text in texts:
        if ":" in text:
            yield from (moment.time_us for moment in read_moments(text)[0] if not moment.clock)


def _calls(evidence: Evidence, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if evidence.kind == "edge":
        yield str(fields["source"]), str(fields["target"])
    elif evidence.kind == "metric" and fields.get("source") and fields.get("destination"):
        yield str(fields["source"]), str(fields["destination"])
    elif evidence.kind == "span" and fields.get("peer"):
        yield str(fields["service"]), str(fields["peer"])


def from_bytes(evidence: Evidence, stored: bytes, derived: Iterable[str] = ()) -> Record:
    """Return the record of evidence from its canonical bytes."""
    fields = json.loads(stored)
    return Record(evidence, fields if isinstance(fields, dict) else {}, tuple(dict.fromkeys(derived)))


def chain_links(paths: Iterable[Sequence[str]]) -> frozenset[tuple[str, str]]:
    """Return every (cause, effect) that paths, listed cause first, stand for; a cause is also the cause of its own trouble."""
    links: set[tuple[str, str]] = set()
    for path in paths:
        links |= set(itertools.combinations(path, 2))
        links |= {(path[0], path[0])} if path else set()
    return frozenset(links)
