"""Watching the requests of one environment go by: which symptoms open and end as their time is reached. No I/O.

Time is that of the records. A service is judged up to the end of its newest request, a little less for what is still
on its way; one that falls silent is judged up to what the others have reached, with as much patience as its records
have needed so far. So a replay of an old day sees the same symptoms as that day did, however fast it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from diagnosis.history import KEPT_US, History
from diagnosis.metered_requests import MeterMemory
from diagnosis.noticing import follow_symptom, notice_burn, notice_lines, notice_silence
from domain.noticed import LINES, METERED, NoticedSymptom, RequestSlot, SymptomKind
from domain.observed import MeterPoint
from domain.times import MINUTE_US, SECOND_US, SLOT_US, floor_slot

LATENESS_US = 10 * SECOND_US
PATIENCE_US = 60 * SECOND_US
MAX_OPERATIONS = 1_000
OTHER_OPERATIONS = "(other operations)"
# A service that said nothing for so long starts anew.
_GAP_US = KEPT_US


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a service was judged, and how much later than the others' its records came (microseconds)."""

    service: str
    evaluated_us: int
    lag_us: int


@dataclass(slots=True)
class _Service:
    evaluated_us: int = 0
    newest_us: int = 0
    lag_us: int = 0
    total: History = field(default_factory=History)
    operations: dict[str, History] = field(default_factory=dict)
    moments: set[int] = field(default_factory=set)

    def counts(self, operation: str) -> bool:
        """Say whether an operation is judged: metrics and lines only of a service of which nothing better is known."""
        if operation == METERED:
            return self.operations.keys() <= {LINES, METERED}
        return operation != LINES or self.operations.keys() == {LINES}


class EnvironmentWatch:
    """What is remembered of one environment. It can be built again at any time from what is stored."""

    def __init__(
        self,
        environment: str,
        slots: Iterable[RequestSlot] = (),
        reached: Iterable[Reached] = (),
        symptoms: Iterable[NoticedSymptom] = (),
        points: Iterable[MeterPoint] = (),
    ) -> None:
        self._environment = environment
        self._services: dict[str, _Service] = {}
        self._head_us = 0
        self._open: dict[tuple[str, str, SymptomKind], NoticedSymptom] = {}
        for place in reached:
            self._services[place.service] = _Service(evaluated_us=place.evaluated_us, lag_us=place.lag_us)
        metered: dict[str, int] = {}
        for slot in slots:
            self._add(slot)
            if slot.operation == METERED:
                metered[slot.service] = max(metered.get(slot.service, 0), slot.slot_us + SLOT_US - 1)
        self._meters = MeterMemory(points, metered)
        for symptom in symptoms:
            self._remember(symptom)
        for service in self._services.values():
            self._head_us = max(self._head_us, service.newest_us)

    def place(self, slot: RequestSlot) -> RequestSlot:
        """Return a slot under the name of the operation that it is counted for: names beyond a bound share one."""
        known = self._services.get(slot.service)
        if slot.operation in (LINES, METERED) or (known is not None and slot.operation in known.operations):
            return slot
        if sum(len(service.operations) for service in self._services.values()) < MAX_OPERATIONS:
            self._services.setdefault(slot.service, _Service()).operations.setdefault(slot.operation, History())
            return slot
        return replace(slot, operation=OTHER_OPERATIONS)

    def read(self, points: Iterable[MeterPoint], heard_us: int) -> list[RequestSlot]:
        """Return the requests that samples of metrics tell of, each once; `heard_us` as in `take`."""
        slots = self._meters.take(points, max(self._head_us, heard_us))
        return [replace(slot, environment=self._environment) for slot in slots]

    def take(self, slots: Iterable[RequestSlot], heard_us: int) -> None:
        """Take in what came: requests, and the newest time (us) that any record of the environment speaks of."""
        newest: dict[str, int] = {}
        for slot in slots:
            self._add(slot)
            newest[slot.service] = max(newest.get(slot.service, 0), slot.slot_us + SLOT_US)
        for name, reached_us in newest.items():
            service = self._services[name]
            service.lag_us = max(self._head_us - reached_us, round(0.9 * service.lag_us), 0)
        self._head_us = max(self._head_us, heard_us, *newest.values(), 0)

    def advance(self, now_us: int) -> tuple[list[NoticedSymptom], list[Reached]]:
        """Judge whatever can be judged by now (the clock's): return the symptoms that opened or ended, and how far it got.

        A symptom may come twice: opened, and ended.
        """
        head_us = min(self._head_us, now_us)
        changed: list[NoticedSymptom] = []
        reached: list[Reached] = []
        for name, service in sorted(self._services.items()):
            patience = PATIENCE_US + 2 * service.lag_us
            until = floor_slot(max(min(service.newest_us, now_us), head_us - patience) - LATENESS_US)
            before = service.evaluated_us
            while (moment := self._next_moment(service, until)) is not None:
                changed += self._judge(name, service, moment)
                service.evaluated_us = moment
            if service.evaluated_us != before:
                reached.append(Reached(name, service.evaluated_us, service.lag_us))
        return changed, reached

    def _next_moment(self, service: _Service, until_us: int) -> int | None:
        """Return the end of the next slot to judge; stretches in which nothing was said at all are left out."""
        at = service.evaluated_us + SLOT_US
        if at > until_us:
            return None
        if (
            not service.moments
            or service.evaluated_us - max((m for m in service.moments if m < at), default=-_GAP_US) >= _GAP_US
        ):
            later = min((m for m in service.moments if m >= service.evaluated_us), default=None)
            at = until_us if later is None else max(at, later + SLOT_US)
        return at if at <= until_us else None

    def _add(self, slot: RequestSlot) -> None:
        service = self._services.setdefault(slot.service, _Service())
        service.newest_us = max(service.newest_us, slot.slot_us + SLOT_US)
        service.moments.add(floor_slot(slot.slot_us, MINUTE_US))
        if slot.operation not in (LINES, METERED):
            service.total.add(slot)
        service.operations.setdefault(slot.operation, History()).add(slot)

    def _remember(self, symptom: NoticedSymptom) -> None:
        service = self._services.setdefault(symptom.service, _Service())
        history = service.operations.setdefault(symptom.operation, History()) if symptom.operation else service.total
        if symptom.status == "open":
            self._open[symptom.service, symptom.operation, symptom.kind] = symptom
        else:
            history.settled_us = max(history.settled_us, symptom.ended_us or 0)
        end = max(service.evaluated_us, symptom.noticed_us) if symptom.ended_us is None else symptom.ended_us
        history.exclude(symptom.started_us, end)

    # -- one moment ----------------------------------------------------------------------------------------------------

    def _judge(self, name: str, service: _Service, now_us: int) -> list[NoticedSymptom]:
        if now_us % MINUTE_US == 0:
            self._forget(service, now_us)
        changed = []
        for operation, history in sorted(service.operations.items()):
            if not service.counts(operation) and (name, operation, "errors") not in self._open:
                continue
            changed += self._judge_one(name, operation, "errors", history, now_us)
            if operation != LINES and (name, operation, "errors") not in self._open:
                changed += self._judge_one(name, operation, "latency", history, now_us)
        # A service that fails is also asked less: that is no news.
        if not any(key[0] == name and key[2] != "traffic" for key in self._open):
            total = (
                service.operations[METERED]
                if METERED in service.operations and not service.total.minutes
                else service.total
            )
            changed += self._judge_one(name, "", "traffic", total, now_us)
        return changed

    def _judge_one(
        self, service: str, operation: str, kind: SymptomKind, history: History, now_us: int
    ) -> list[NoticedSymptom]:
        key = (service, operation, kind)
        symptom = self._open.get(key)
        if symptom is not None:
            history.exclude(now_us - SLOT_US, now_us)
            after = follow_symptom(symptom, history, now_us)
            if after is symptom:
                return []
            del self._open[key]
            history.settled_us = max(history.settled_us, after.ended_us or now_us)
            return [after]
        if operation == LINES:
            found = notice_lines(history, now_us)
        else:
            found = notice_silence(history, now_us) if kind == "traffic" else notice_burn(history, kind, now_us)
        if found is None:
            return []
        named = replace(found, environment=self._environment, service=service, operation=operation)
        self._open[key] = named
        history.exclude(named.started_us, now_us)
        return [named]

    @staticmethod
    def _forget(service: _Service, now_us: int) -> None:
        service.total.forget_before(now_us)
        for name, history in list(service.operations.items()):
            history.forget_before(now_us)
            if not history.minutes:
                del service.operations[name]
        service.moments = {moment for moment in service.moments if moment >= now_us - _GAP_US}


def tell(symptom: NoticedSymptom) -> str:
    """Return what was noticed, in one sentence for people."""
    shown = "" if symptom.operation in (LINES, METERED) else symptom.operation
    where = " ".join(filter(None, (symptom.service, shown)))
    match symptom.kind:
        case "errors" if symptom.operation == LINES:
            told = f"{symptom.bad} of {symptom.requests} lines of {where} were errors (usual: {symptom.usual:.1%})"
        case "errors":
            told = f"{symptom.bad} of {symptom.requests} requests of {where} failed (usual: {symptom.usual:.1%})"
        case "latency":
            limit = symptom.slow_us / 1_000_000
            told = f"{symptom.bad} of {symptom.requests} requests of {where} took longer than {limit:.2g} s (usual: {symptom.usual:.1%})"
        case "traffic":
            told = (
                f"{where} got {symptom.requests} requests in two minutes where {symptom.usual:.0f} a minute are usual"
            )
    match symptom.status, symptom.ended_us:
        case "recovered", int(ended):
            return f"{told}; recovered after {max(0, ended - symptom.started_us) / SECOND_US:.0f} s"
        case "silent", _:
            return f"{told}; nothing came since that could show whether it is over"
    return told
