"""What recorded evidence holds, as facts that can be said in several wordings.

The wordings are in wordings.yaml. Its second set was written when the judge was done with the first, and its figures are
printed apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from domain.evidence import Evidence
from domain.times import SECOND_US, format_us
from review.checks import Run
from review.facts import Record, chain_links

type Slots = Mapping[str, Any]
type WordingSet = Literal["first", "second"]

_WORDINGS: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("wordings.yaml").read_text("utf-8")
)


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded run: its records by id, services, calls, and the paths of its verdict."""

    name: str
    services: tuple[str, ...]
    calls: frozenset[tuple[str, str]]
    paths: tuple[tuple[str, ...], ...]
    records: Mapping[str, Record]

    def run(self) -> Run:
        """Return the case as the judge sees it."""
        return Run(self.records, self.services, chain_links(self.paths), dict.fromkeys(self.records, ""))


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that records hold, as slots; `say` turns slots into what is said."""

    kind: str
    slots: Slots
    evidence: tuple[str, ...]

    def wordings(self, wording: WordingSet) -> Sequence[str]:
        """Return how this kind of fact is said."""
        return tuple(_WORDINGS[self.kind][wording])

    @property
    def opposite(self) -> Mapping[str, str]:
        """Return the words that turn the outcome or the order of such a sentence, and into what."""
        return dict(_WORDINGS[self.kind].get("opposite", {}))


def read_case(line: Mapping[str, Any]) -> Case:
    """Return the case of one line of a recording."""
    records = {}
    for held in line["evidence"]:
        fields = dict(held)
        record = fields.pop("record")
        evidence = Evidence(**fields | {"entities": tuple(fields["entities"])})
        records[evidence.id] = Record(evidence, record)
    paths = tuple(tuple(cause["path"]) for cause in line["verdict"]["causes"])
    calls = frozenset((a, b) for a, b in line["calls"])
    return Case(line["case"], tuple(line["services"]), calls, paths, records)


# -- facts -------------------------------------------------------------------------------------------------------------


def read_facts_of(case: Case) -> Iterator[Fact]:
    """Yield what the records of a case hold."""
    for record in case.records.values():
        match record.evidence.kind:
            case "requests":
                yield from _request_facts(record)
            case "log":
                yield from _log_facts(record)
            case "span":
                yield from _span_facts(record)
            case "edge":
                yield from _edge_facts(record)
            case "change":
                yield from _change_facts(record)
            case "event":
                yield from _event_facts(record)
            case "count":
                yield from _count_facts(record)
            case "metric":
                yield from _metric_facts(record)
            case _:
                pass
    yield from _moved_metrics(case)
    yield from _moved_shares(case)
    yield from _causes(case)
    yield from _orders(case)


def _request_facts(record: Record) -> Iterator[Fact]:
    fields, key = record.fields, record.evidence.key
    requests, errors = int(fields["requests"]), int(fields["errors"])
    if requests < 8:
        return
    slots = {
        "service": record.evidence.service,
        "name": key["name"],
        "n": requests,
        "errors": errors,
        "share": round(100 * errors / requests, 1),
    }
    if errors:
        yield Fact("failed requests", slots, (record.evidence.id,))
    else:
        yield Fact("good requests", slots, (record.evidence.id,))


def _log_facts(record: Record) -> Iterator[Fact]:
    message = str(record.fields["message"]).split("\n")[0]
    if '"' in message or len(message) < 12 or "{" in message:
        return
    level = "an error" if record.fields["level"] >= 17 else "a warning" if record.fields["level"] >= 13 else "an info"
    slots = {
        "service": record.evidence.service,
        "quote": message[:140],
        "level": level,
        "time": record.evidence.time_us,
    }
    yield Fact("log line", slots, (record.evidence.id,))


def _span_facts(record: Record) -> Iterator[Fact]:
    fields = record.fields
    took = int(fields["duration_us"])
    if took < 2_000 or '"' in fields["status_message"]:
        return
    slots = {
        "service": record.evidence.service,
        "name": fields["name"],
        "ms": round(took / 1000, 1),
        "seconds": float(f"{took / 1e6:.2g}"),
        "quote": str(fields["status_message"])[:120],
    }
    ids = (record.evidence.id,)
    if fields["error"] and fields["status_message"]:
        yield Fact("failed span", slots, ids)
    elif not fields["error"]:
        yield Fact("good span", slots, ids)


def _edge_facts(record: Record) -> Iterator[Fact]:
    yield Fact("call", {"a": record.fields["source"], "b": record.fields["target"]}, (record.evidence.id,))


def _change_facts(record: Record) -> Iterator[Fact]:
    fields = record.fields
    kind = "deploy" if fields["kind"] == "deploy" and fields["version"] else f"{fields['kind']} change"
    slots = {"service": record.evidence.service, "time": record.evidence.time_us, "version": fields["version"]}
    if kind in _WORDINGS:
        yield Fact(kind, slots, (record.evidence.id,))


def _event_facts(record: Record) -> Iterator[Fact]:
    fields = record.fields
    if '"' in fields["text"] or not fields["service"]:
        return
    slots = {"service": fields["service"], "object": fields["object"], "reason": fields["reason"]}
    slots |= {"quote": fields["text"][:120], "time": record.evidence.time_us}
    yield Fact("event", slots, (record.evidence.id,))


def _count_facts(record: Record) -> Iterator[Fact]:
    if record.fields["lines"] < 3:
        return
    slots = {
        "service": record.evidence.service,
        "n": int(record.fields["lines"]),
        "time": int(record.fields["first_us"]),
        "end": int(record.fields["last_us"]),
    }
    yield Fact("line count", slots, (record.evidence.id,))


def _metric_facts(record: Record) -> Iterator[Fact]:
    if record.fields["name"] != "process.memory.usage":
        return
    slots = {
        "service": record.evidence.service,
        "mb": round(record.fields["value"] / 1e6, 1),
        "time": record.evidence.time_us,
    }
    yield Fact("metric", slots, (record.evidence.id,))


def _pairs(case: Case, kind: str, key: Callable[[Record], Any]) -> Iterator[tuple[Record, Record]]:
    groups: dict[Any, list[Record]] = {}
    for record in case.records.values():
        if record.evidence.kind == kind:
            groups.setdefault(key(record), []).append(record)
    for held in groups.values():
        ordered = sorted(held, key=lambda r: r.evidence.time_us)
        if len(ordered) > 1:
            yield ordered[0], ordered[-1]


def _moved_metrics(case: Case) -> Iterator[Fact]:
    for one, other in _pairs(case, "metric", lambda r: (r.evidence.service, r.fields["name"], r.fields["series"])):
        before, after = float(one.fields["value"]), float(other.fields["value"])
        if one.fields["name"] != "process.memory.usage" or abs(after - before) < 0.06 * before:
            continue
        slots = {"service": one.evidence.service, "a": round(before / 1e6, 1), "b": round(after / 1e6, 1)}
        slots |= {"moved": "rose" if after > before else "fell", "ing": "growing" if after > before else "shrinking"}
        yield Fact("moved metric", slots, (one.evidence.id, other.evidence.id))


def _moved_shares(case: Case) -> Iterator[Fact]:
    for one, other in _pairs(case, "requests", lambda r: (r.evidence.service, r.evidence.key["name"])):
        before = int(one.fields["errors"]) / max(1, int(one.fields["requests"]))
        after = int(other.fields["errors"]) / max(1, int(other.fields["requests"]))
        if abs(after - before) < 0.1:
            continue
        slots = {"service": one.evidence.service, "name": one.evidence.key["name"]}
        slots |= {"a": round(100 * before, 1), "b": round(100 * after, 1)}
        slots |= {"moved": "rose" if after > before else "fell", "ed": "increased" if after > before else "decreased"}
        yield Fact("moved share", slots, (one.evidence.id, other.evidence.id))


def _causes(case: Case) -> Iterator[Fact]:
    for path in case.paths:
        failing = {
            r.evidence.service: r for r in case.records.values() if r.evidence.kind == "span" and r.fields["error"]
        }
        for cause, effect in itertools.pairwise(path):
            if cause in failing and effect in failing:
                yield Fact(
                    "cause", {"a": cause, "b": effect}, (failing[cause].evidence.id, failing[effect].evidence.id)
                )


def _orders(case: Case) -> Iterator[Fact]:
    for change in case.records.values():
        if change.evidence.kind != "change" or change.fields["kind"] != "deploy":
            continue
        later = [
            r
            for r in case.records.values()
            if r.evidence.kind == "log"
            and r.fields["level"] >= 17
            and r.evidence.service == change.evidence.service
            and r.evidence.time_us > change.evidence.time_us
        ]
        for line in later[:2]:
            yield Fact("order", {"service": change.evidence.service}, (change.evidence.id, line.evidence.id))


def say(slots: Slots) -> dict[str, Any]:
    """Return slots as they are said: times of the clock, numbers without a needless point."""
    shown = dict(slots)
    for name in ("time", "end"):
        if name in shown:
            shown[name] = format_us(shown[name] - shown[name] % SECOND_US)[11:19]
    return {name: f"{v:g}" if isinstance(v, float) else v for name, v in shown.items()}
