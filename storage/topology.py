"""The topology as MariaDB holds it: calls per slot, what was observed as intervals, and how far the followers have come.

Two followers keep their place in the table `follower`. `topology` joins ingested rows into `call_slot` and
`observed_edge`, in the transaction that moves its place: each row is counted once, whatever crashes. `graph` writes the
graph from those tables; what it writes are absolute values, so it may do so again.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import batched
from typing import Any, Literal

from domain.sketch import bucket_of
from domain.telemetry import Level, StatedEdge
from domain.times import SLOT_US
from storage.call_minutes import MinuteSums
from storage.database import Database, Row, Transaction
from storage.said_calls import LineReader, SaidCall, SaidCalls

type Follower = Literal["topology", "graph"]

# Who observed the calls that only their caller tells of. Not "traces": a service may be called under its own name, as a
# peer and as a service, and the two are counted apart.
CLIENT_SPANS = "client spans"
TRACES = "traces"
LOGS = "logs"

_FAMILIES = 1000


@dataclass(frozen=True, slots=True)
class Positions:
    """Numbers of ingest batches: the last committed one, and the last one that each follower has dealt with."""

    head: int
    topology: int
    graph: int


@dataclass(frozen=True, slots=True)
class Family:
    """What all intervals of one observed edge have in common.

    `kind` is CALLS, RUNS_ON or EMITTED; `target` a service, a node ('' where it is not known) or a template's id.
    """

    environment: str
    kind: str
    source: str
    target: str
    observed_by: str


@dataclass(frozen=True, slots=True)
class Observation:
    """An edge was seen `count` times, `errors` of them failures, from `first_us` to `last_us` (microseconds)."""

    family: Family
    first_us: int
    last_us: int
    count: int
    errors: int
    level: int = 0

    @classmethod
    def from_row(cls, row: Row) -> Observation:
        environment, kind, source, target, observed_by = (_trimmed(str(value)) for value in row[:5])
        family = Family(environment, kind, source, target, observed_by)
        return cls(family, *(int(value) for value in row[5:]))


@dataclass(frozen=True, slots=True)
class CallSlot:
    """The calls from one service to another in one slot; durations are sums, in microseconds.

    `first_us` and `last_us` are the starts of the first and of the last of the calls, on the caller's side. All of them
    took about equally long: `bucket` is that of a latency sketch, on the caller's side where a span tells of it.
    """

    environment: str
    slot_us: int
    caller: str
    callee: str
    count: int
    errors: int
    caller_us: int
    callee_us: int
    first_us: int
    last_us: int
    bucket: int

    @classmethod
    def from_row(cls, row: Row) -> CallSlot:
        environment, slot_us, caller, callee, *numbers = map(_trimmed, row)
        return cls(environment, slot_us, caller, callee, *(int(value) for value in numbers))

    @property
    def observation(self) -> Observation:
        """The same as an observed edge."""
        family = Family(self.environment, "CALLS", self.caller, self.callee, TRACES)
        return Observation(family, self.first_us, self.last_us, self.count, self.errors)


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """What the graph keeps of a change."""

    id: str
    time_us: int
    service: str
    kind: str
    version: str


type Merge = Callable[[Sequence[Observation]], Sequence[Observation]]
type NamePeer = Callable[[str, str], str]


class TopologyStore:
    """The topology of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database, reader: LineReader | None = None) -> None:
        self._database = database
        self._said = SaidCalls(reader) if reader else None

    async def positions(self) -> Positions:
        """Return how far the ingest and the followers have come."""
        head, topology, graph = (await self._database.fetch("topology_positions"))[0]
        return Positions(int(head), int(topology), int(graph))

    async def follow(self, batches: int, window_us: int, merge: Merge, name_peer: NamePeer) -> int | None:
        """Join what the next ingest batches brought, at most so many, and return how far that came.

        Observations no further apart than `window_us` are taken together; `merge` makes intervals of the observations
        and intervals of one family; `name_peer` gives the name of what a span calls from its peer and its attributes
        (JSON, or empty). None if another process is at it. Log lines are read for hosts if there is a reader.
        """
        return await self._database.transaction(
            lambda tx: _follow(tx, batches, window_us, merge, name_peer, self._said)
        )

    async def hold(
        self, follower: Follower, work: Callable[[int], Coroutine[Any, Any, int]], *, wait: bool = False
    ) -> int | None:
        """Await `work(place)` while no other process can do the same, and keep the place that it returns.

        The follower's row stays locked meanwhile, in a thread of the database's; if this process dies the lock goes
        with it. Returns None where another process holds the row, unless told to wait for it.
        """
        loop = asyncio.get_running_loop()
        turns: list[Future[int]] = []

        def take_turn(tx: Transaction) -> int | None:
            held = tx.fetch("topology_hold_waiting" if wait else "topology_hold", (follower,))
            if not held:
                return None
            turns.append(asyncio.run_coroutine_threadsafe(work(int(held[0][0])), loop))
            reached = turns[-1].result()
            tx.execute("topology_advance", (reached, follower))
            return reached

        try:
            return await self._database.transaction(take_turn)
        finally:
            for turn in turns:
                turn.cancel()  # of no effect unless this task was cancelled

    async def environments_since(self, seq: int) -> list[str]:
        """Return the environments whose topology was touched after a batch, sorted."""
        rows = await self._database.fetch("topology_touched_environments", (seq,) * 3)
        return sorted({_trimmed(row[0]) for row in rows})

    async def observed_since(self, environment: str, seq: int) -> list[Observation]:
        """Return all intervals of every observed edge that changed after a batch."""
        rows = await self._database.fetch("topology_observed_since", (environment, seq, environment))
        return [Observation.from_row(row) for row in rows]

    async def reporting(self, environment: str, names: Iterable[str]) -> set[str]:
        """Return which of these names a service has sent spans or log events under."""
        wanted = json.dumps(sorted(names), ensure_ascii=False)
        rows = await self._database.fetch("topology_reporting", (wanted, environment))
        return {_trimmed(row[0]) for row in rows}

    async def stated_since(self, environment: str, seq: int) -> list[StatedEdge]:
        """Return all that was ever stated of every edge of which something was stated after a batch."""
        rows = await self._database.fetch("topology_stated_since", (environment, seq, environment))
        return [StatedEdge(*(_trimmed(value) for value in row)) for row in rows]

    async def changes_since(self, environment: str, seq: int) -> list[ChangeRow]:
        """Return the changes that came after a batch."""
        rows = await self._database.fetch("topology_changes_since", (environment, seq))
        return [ChangeRow(*(_trimmed(value) for value in row)) for row in rows]


def _trimmed(value: Any) -> Any:
    """Return a text without its trailing spaces: MariaDB compares names without them, so must whoever groups them."""
    return value.rstrip(" ") if isinstance(value, str) else value


def _follow(
    tx: Transaction, batches: int, window_us: int, merge: Merge, name_peer: NamePeer, said: SaidCalls | None
) -> int | None:
    held = tx.fetch("topology_hold", ("topology",))
    if not held:
        return None
    after = int(held[0][0])
    upto = min(int(tx.fetch("topology_positions")[0][0]), after + batches)
    if upto == after:
        return after
    minutes = MinuteSums()
    calls = _join_calls(tx, after, upto)
    for call in calls:
        minutes.add(
            (call.environment, call.caller, call.callee, TRACES), call.slot_us, call.bucket, call.count, call.errors
        )
    emissions = list(_observe(tx, "topology_emissions", (int(Level.ERROR), after, upto, window_us)))
    sightings = [
        *_observe(tx, "topology_span_sightings", (after, upto, window_us)),
        *_observe(tx, "topology_log_sightings", (int(Level.ERROR), after, upto, window_us)),
        *emissions,
        *_observe(tx, "topology_metric_sightings", (after, upto, window_us)),
    ]
    tx.execute_many("topology_add_calls", [_slot_row(call) for call in calls])
    _add_observations(tx, [*(call.observation for call in calls), *sightings], upto, merge)
    if said:
        # After the sightings: a name that reports in the same batches is known by now.
        templates = {int(seen.family.target) for seen in emissions}
        told = map(_told_observation, said.find(tx, after, upto, templates, window_us))
        _add_observations(tx, told, upto, merge)
    _follow_peers(tx, after, upto, merge, name_peer, minutes)
    minutes.write(tx)
    tx.execute("topology_advance", (upto, "topology"))
    return upto


def _join_calls(tx: Transaction, after: int, upto: int) -> list[CallSlot]:
    rows = tx.fetch("topology_calls", (SLOT_US, after, upto, upto, SLOT_US, after, upto, after))
    return [CallSlot.from_row(row) for row in rows]


def _told_observation(told: SaidCall) -> Observation:
    family = Family(told.environment, "CALLS", told.caller, told.callee, LOGS)
    return Observation(family, told.first_us, told.last_us, told.count, told.errors)


def _observe(tx: Transaction, query: str, parameters: Sequence[int]) -> Iterable[Observation]:
    return map(Observation.from_row, tx.fetch(query, parameters))


def _add_observations(tx: Transaction, new: Iterable[Observation], seq: int, merge: Merge) -> None:
    by_family: defaultdict[Family, list[Observation]] = defaultdict(list)
    for seen in new:
        by_family[seen.family].append(seen)
    known = _known_intervals(tx, by_family)
    after = {family: merge([*known.get(family, []), *observations]) for family, observations in by_family.items()}
    _write_intervals(tx, known, after, seq)


def _write_intervals(
    tx: Transaction,
    before: Mapping[Family, Sequence[Observation]],
    after: Mapping[Family, Sequence[Observation]],
    seq: int,
) -> None:
    """Put the intervals of some families in the place of those that are stored."""
    gone: list[Row] = []
    put: list[Row] = []
    for family, intervals in after.items():
        known = before.get(family, [])
        starts = {interval.first_us for interval in intervals}
        lost = [(*_family_row(family), interval.first_us) for interval in known if interval.first_us not in starts]
        changed = [interval for interval in intervals if interval not in known]
        gone += lost
        # The graph is told of a family by a row that changed.
        put += [_interval_row(interval, seq) for interval in changed or (intervals if lost else ())]
    tx.execute_many("topology_remove_interval", gone)
    tx.execute_many("topology_put_interval", sorted(put))


# -- peers -------------------------------------------------------------------------------------------------------------


def _follow_peers(
    tx: Transaction, after: int, upto: int, merge: Merge, name_peer: NamePeer, minutes: MinuteSums
) -> None:
    """Count the calls that no service of ours took: what is counted depends on the spans alone, not on their order.

    A call whose span was counted and is then taken leaves its slot again; the intervals of a peer are those of its
    slots. Where nothing is left of a peer one interval stays that counts nothing, so that the graph comes to know.
    """
    calls, durations, answered = _read_peers(tx, after, upto, name_peer)
    known = _known_answered(tx, {*answered, *((environment, peer) for environment, _, peer, _ in calls)})
    new = sorted(answered - known)
    tx.execute_many("topology_add_answered", new)
    theirs = [
        Family(environment, "CALLS", _trimmed(caller), peer, CLIENT_SPANS)
        for environment, peer in new
        for (caller,) in tx.fetch("topology_callers_of_peer", (environment, CLIENT_SPANS, peer))
    ]
    tx.execute_many("topology_drop_peer_slots", [(f.environment, f.source, f.target) for f in theirs])
    tx.execute_many("call_minutes_drop_peer", [(f.environment, f.source, f.target, CLIENT_SPANS) for f in theirs])
    for (environment, caller, peer, slot_us, bucket), (count, errors) in sorted(durations.items()):
        if (count or errors) and (environment, peer) not in known | answered:
            minutes.add((environment, caller, peer, CLIENT_SPANS), slot_us, bucket, count, errors)

    deltas: defaultdict[Family, list[Observation]] = defaultdict(list)
    for (environment, caller, peer, slot_us), (count, errors) in sorted(calls.items()):
        if (count or errors) and (environment, peer) not in known | answered:
            family = Family(environment, "CALLS", caller, peer, CLIENT_SPANS)
            deltas[family].append(Observation(family, slot_us, slot_us, count, errors))
    rows = [_peer_row(seen) for observations in deltas.values() for seen in observations]
    tx.execute_many("topology_add_peer_calls", rows)
    before = _known_intervals(tx, [*theirs, *deltas])
    intervals: dict[Family, Sequence[Observation]] = dict.fromkeys(theirs, ())
    for family, observations in deltas.items():
        emptied = 0
        for seen in observations:
            if seen.count < 0:
                emptied += tx.execute("topology_remove_empty_peer_slot", _peer_row(seen)[:4])
        if emptied:
            slots = tx.fetch("topology_peer_slots", (CLIENT_SPANS, family.environment, family.source, family.target))
            intervals[family] = merge([Observation.from_row(slot) for slot in slots]) if slots else ()
        else:
            # A slot that still counts something lies within a known interval, or makes one: less is added to that.
            standing = [interval for interval in before.get(family, ()) if interval.count]
            intervals[family] = merge([*standing, *observations])
    nothing = {family: (Observation(family, 0, 0, 0, 0),) for family, found in intervals.items() if not found}
    _write_intervals(tx, before, intervals | nothing, upto)


def _read_peers(
    tx: Transaction, after: int, upto: int, name_peer: NamePeer
) -> tuple[_PeerCounts, _PeerDurations, set[tuple[str, str]]]:
    """Return how the counts (calls, errors) per environment, caller, peer and slot change, the same per bucket of
    duration too, and which peers answered."""
    calls: _PeerCounts = defaultdict(lambda: (0, 0))
    durations: _PeerDurations = defaultdict(lambda: (0, 0))
    parameters = (SLOT_US, after, upto, upto, SLOT_US, after, upto, after, after)
    for sign, *names, slot_us, error, duration_us in tx.fetch("topology_peer_calls", parameters):
        environment, caller, peer, attributes = map(_trimmed, names)
        name = name_peer(peer, attributes)
        if name and name != caller:
            place, bucket = (environment, caller, name, slot_us), bucket_of(int(duration_us))
            count, errors = calls[place]
            calls[place] = (count + sign, errors + sign * int(error))
            count, errors = durations[*place, bucket]
            durations[*place, bucket] = (count + sign, errors + sign * int(error))
    rows = tx.fetch("topology_answered_calls", (after, upto, upto, after, upto, upto))
    answered = {(_trimmed(environment), name_peer(peer, attributes)) for environment, peer, attributes in rows}
    return calls, durations, {(environment, name) for environment, name in answered if name}


type _PeerCounts = defaultdict[tuple[str, str, str, int], tuple[int, int]]
type _PeerDurations = defaultdict[tuple[str, str, str, int, int], tuple[int, int]]


def _known_answered(tx: Transaction, peers: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for part in batched(sorted(peers), _FAMILIES):
        rows = tx.fetch("topology_known_answered", (json.dumps(part, ensure_ascii=False),))
        found |= {(_trimmed(environment), _trimmed(peer)) for environment, peer in rows}
    return found


def _peer_row(seen: Observation) -> tuple[str, str, str, int, int, int]:
    family = seen.family
    return (family.environment, family.source, family.target, seen.first_us, seen.count, seen.errors)


# -- rows --------------------------------------------------------------------------------------------------------------


def _known_intervals(tx: Transaction, families: Iterable[Family]) -> dict[Family, list[Observation]]:
    known: defaultdict[Family, list[Observation]] = defaultdict(list)
    for part in batched(families, _FAMILIES):
        wanted = json.dumps([_family_row(family) for family in part], ensure_ascii=False)
        for row in tx.fetch("topology_intervals", (wanted,)):
            interval = Observation.from_row(row)
            known[interval.family].append(interval)
    return known


def _family_row(family: Family) -> tuple[str, str, str, str, str]:
    return (family.environment, family.kind, family.source, family.target, family.observed_by)


def _interval_row(seen: Observation, seq: int) -> Row:
    return (*_family_row(seen.family), seen.first_us, seen.last_us, seen.count, seen.errors, seen.level, seq)


def _slot_row(call: CallSlot) -> Row:
    return (
        call.environment,
        call.slot_us,
        call.caller,
        call.callee,
        call.count,
        call.errors,
        call.caller_us,
        call.callee_us,
    )
