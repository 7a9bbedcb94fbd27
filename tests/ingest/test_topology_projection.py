from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as altered

from domain.errors import GraphUnavailable
from domain.sketch import bucket_of
from domain.telemetry import Change, Level, LogEvent, MetricPoint, Span, SpanKind, StatedEdge
from domain.times import HOUR_US, MINUTE_US, SECOND_US, SLOT_US, Window, floor_slot
from graph.connection import GraphConnection
from graph.local_server import find_falkordb
from graph.ontology import EDGE_KINDS, Edge, Emission
from graph.topology import TopologyGraph
from ingest.template import template_of
from ingest.topology import TopologyProjection
from storage.call_minutes import CallMinutes
from storage.database import QUERIES, Database, Transaction
from storage.ingest import Batch, IngestStore, Kind, prepare
from storage.said_calls import MOST_UNKNOWN
from storage.topology import TopologyStore

T0 = 1_790_000_000 * SECOND_US
DAY_US = 24 * HOUR_US

QUERIES["test_call_slots"] = (
    "SELECT slot_us, caller, callee, count, errors, caller_us, callee_us FROM call_slot WHERE environment = ? "
    "ORDER BY slot_us, caller, callee"
)


QUERIES["test_forget_spans"] = "DELETE FROM span WHERE environment = ?"
QUERIES["test_peer_slots"] = "SELECT peer, SUM(count) FROM peer_slot WHERE environment = ? GROUP BY peer"


class Sender:
    """Sends records of one environment and reads back what became of them."""

    def __init__(self, database: Database, graph: TopologyGraph, environment: str) -> None:
        self.database = database
        self.graph = graph
        self.environment = environment
        self._store = IngestStore(database)

    async def spans(self, *spans: Span) -> int:
        return await self._send("traces", spans=[altered(span, environment=self.environment) for span in spans])

    async def logs(self, *events: LogEvent) -> int:
        return await self._send("logs", logs=[altered(event, environment=self.environment) for event in events])

    async def metrics(self, *points: MetricPoint) -> int:
        return await self._send("metrics", metrics=[altered(one, environment=self.environment) for one in points])

    async def changes(self, *changes: Change) -> int:
        return await self._send(
            "changes", changes=[replace(change, environment=self.environment) for change in changes]
        )

    async def edges(self, *edges: StatedEdge) -> int:
        return await self._send("topology", edges=[replace(edge, environment=self.environment) for edge in edges])

    async def _send(self, kind: Kind, **records: Any) -> int:
        batch = Batch(self.environment, kind, uuid.uuid4().hex, T0, **records)
        return (await self._store.write(prepare(batch))).seq

    async def slots(self) -> list[tuple[Any, ...]]:
        return await self.database.fetch("test_call_slots", (self.environment,))

    async def all_edges(self) -> list[Edge]:
        return await self.graph.edges_as_of(self.environment, T0, EDGE_KINDS, slack_us=T0)

    async def state(self) -> tuple[object, ...]:
        # The id of a change holds its environment.
        edges = [replace(edge, source="") if edge.kind == "CHANGED" else edge for edge in await self.all_edges()]
        return (await self.slots(), edges, await self.graph.services(self.environment))


@pytest.fixture
def sender(database: Database, topology: TopologyGraph, environment: str) -> Sender:
    return Sender(database, topology, environment)


@pytest.fixture
def projection(database: Database, topology: TopologyGraph) -> TopologyProjection:
    return TopologyProjection(database, topology, DAY_US)


async def catch_up(projection: TopologyProjection, database: Database) -> None:
    head = (await TopologyStore(database).positions()).head
    while await projection.advance() < head:
        pass


def span(
    span_id: str,
    parent_id: str,
    service: str,
    at_us: int = 0,
    *,
    trace: str = "t1",
    took_us: int = 1000,
    error: bool = False,
    node: str = "",
    kind: SpanKind = SpanKind.SERVER,
    peer: str = "",
    **attributes: str,
) -> Span:
    named = {name.replace("_", "."): value for name, value in attributes.items()}
    return Span(
        "", trace, span_id, parent_id, service, "op", kind, T0 + at_us, took_us, error, "", node, "", peer, named
    )


def log(service: str, template_id: int, at_us: int = 0, *, level: Level = Level.INFO, node: str = "") -> LogEvent:
    return LogEvent("", T0 + at_us, service, level, "text", template_id, "text", node)


def call_edge(source: str, target: str, first_us: int, last_us: int, count: int, errors: int = 0) -> Edge:
    ends = (T0 + first_us, T0 + last_us + DAY_US, T0 + last_us)
    return Edge(source, target, "CALLS", "traces", *ends, count, errors)


def client(span_id: str, service: str, peer: str, at_us: int = 0, **more: Any) -> Span:
    return span(span_id, "", service, at_us, kind=SpanKind.CLIENT, peer=peer, **more)


def point(source: str, destination: str, at_us: int = 0) -> MetricPoint:
    return MetricPoint("", T0 + at_us, "mesh", "requests", 1.0, source=source, destination=destination)


def peer_edge(source: str, target: str, first_us: int, last_us: int, count: int, errors: int = 0) -> Edge:
    return replace(call_edge(source, target, first_us, last_us, count, errors), observed_by="client spans")


def said(service: str, message: str, at_us: int = 0, *, level: Level = Level.ERROR, node: str = "") -> LogEvent:
    key, text = template_of(message)
    return LogEvent("", T0 + at_us, service, level, message, key, text, node)


def said_edge(source: str, target: str, count: int, errors: int, last_us: int = 0) -> Edge:
    return replace(call_edge(source, target, 0, last_us, count, errors), observed_by="logs")


PARENT = span("a", "", "web", 2 * SECOND_US, took_us=900)
CHILD = span("b", "a", "cart", 3 * SECOND_US, took_us=700, error=True)
SLOT = (T0, "web", "cart", 1, 1, 900, 700)
CALL = call_edge("web", "cart", 2 * SECOND_US, 2 * SECOND_US, 1, 1)
QUERY = client("q", "cart", "10.0.0.7:5432", db_system="postgresql", db_namespace="orders")
INNER = altered(QUERY, span_id="i", parent_id="q")
DATABASE = "postgresql/orders"


@pytest.mark.parametrize("order", [[[CHILD], [PARENT]], [[PARENT], [CHILD]], [[CHILD, PARENT]]])
@pytest.mark.parametrize("between", [True, False])
async def test_a_pair_counts_once_whichever_span_comes_first(
    sender: Sender, projection: TopologyProjection, order: list[list[Span]], between: bool
) -> None:
    for batch in order:
        await sender.spans(*batch)
        if between:
            await catch_up(projection, sender.database)
    await catch_up(projection, sender.database)
    assert await sender.slots() == [SLOT]
    assert CALL in await sender.all_edges()


async def test_duplicates_change_nothing(sender: Sender, projection: TopologyProjection) -> None:
    for batch in ([PARENT], [CHILD], [PARENT, CHILD], [CHILD], [PARENT]):
        await sender.spans(*batch)
        await catch_up(projection, sender.database)
    assert await sender.slots() == [SLOT]
    assert CALL in await sender.all_edges()


async def test_a_call_runs_from_the_client_span_of_one_service_to_the_server_span_of_another(
    sender: Sender, projection: TopologyProjection
) -> None:
    await sender.spans(
        span("a", "", "web"),
        span("b", "a", "web", kind=SpanKind.INTERNAL),
        span("c", "b", "web", kind=SpanKind.CLIENT),
        span("d", "c", "cart"),
        span("e", "d", "cart", kind=SpanKind.INTERNAL),
        span("f", "e", "cart", kind=SpanKind.CLIENT),  # does not say what it calls: nothing is guessed
        span("g", "missing", "lonely"),
    )
    await catch_up(projection, sender.database)
    assert [(slot[1], slot[2], slot[3]) for slot in await sender.slots()] == [("web", "cart", 1)]
    assert await sender.graph.services(sender.environment) == ["cart", "lonely", "web"]


async def test_spans_of_another_environment_are_no_relatives(
    database: Database, topology: TopologyGraph, sender: Sender, projection: TopologyProjection
) -> None:
    other = Sender(database, topology, f"{sender.environment}-other")
    await sender.spans(PARENT)
    await other.spans(CHILD)
    await catch_up(projection, database)
    assert await sender.slots() == await other.slots() == []
    assert await topology.services(sender.environment) == ["web"]
    assert await topology.services(other.environment) == ["cart"]


def _many_spans(seed: int) -> list[Span]:
    chance = random.Random(seed)
    spans = []
    for trace in range(30):
        at_us = chance.choice([0, 5 * SECOND_US, 30 * SECOND_US, 3 * DAY_US, 3 * DAY_US + HOUR_US, 9 * DAY_US])
        for number in range(8):
            parent = str(chance.randrange(number)) if number else ""
            service = chance.choice(["web", "cart", "db"])
            facts = {"trace": f"t{trace}", "error": chance.random() < 0.3, "node": chance.choice(["", "n1", "n2"])}
            spans.append(span(str(number), parent, service, at_us + number * 1000, **facts))  # type: ignore[arg-type]
    return spans


async def test_the_order_and_the_batches_of_delivery_do_not_matter(
    database: Database, topology: TopologyGraph, environment: str
) -> None:
    states = []
    for seed in range(6):
        chance = random.Random(seed)
        sender = Sender(database, topology, f"{environment}-{seed}")
        projection = TopologyProjection(database, topology, DAY_US, batches=chance.choice([1, 2, 64]))
        spans = _many_spans(1)
        chance.shuffle(spans)
        while spans:
            size = chance.randint(1, 60)
            await sender.spans(*spans[:size])
            del spans[:size]
            if chance.random() < 0.5:
                await projection.advance()
        await catch_up(projection, database)
        states.append(await sender.state())
    slots, edges, _ = states[0]
    assert isinstance(edges, list)
    assert len(edges) > 20
    assert slots
    for state in states:
        assert state == states[0]
    pairs = {str(one.trace_id) + one.span_id: one for one in _many_spans(1)}
    joined = [
        (parent.service, one.service)
        for one in pairs.values()
        if one.parent_id and (parent := pairs[one.trace_id + one.parent_id]).service != one.service
    ]
    for pair in set(joined):
        calls = [edge for edge in edges if edge.kind == "CALLS" and (edge.source, edge.target) == pair]
        assert sum(edge.count for edge in calls) == joined.count(pair)
        assert len(calls) <= 3


async def test_nodes_templates_and_changes_are_in_the_graph(sender: Sender, projection: TopologyProjection) -> None:
    await sender.spans(span("a", "", "web", node="n1", error=True))
    await sender.logs(
        log("web", 7, level=Level.INFO, node="n2"),
        log("web", 7, 20 * SECOND_US, level=Level.ERROR, node="n2"),
        log("quiet", 2**63 - 1),
    )
    change = Change("", T0, "web", "deploy", "ship it", "1.2")
    await sender.changes(change, replace(change, service="", summary="a flag for all"))
    await catch_up(projection, sender.database)
    edges = await sender.all_edges()
    runs_on = [(e.source, e.target, e.observed_by, e.count, e.errors) for e in edges if e.kind == "RUNS_ON"]
    assert runs_on == [("web", "n1", "traces", 1, 1), ("web", "n2", "logs", 2, 1)]
    emissions = await sender.graph.templates_of(sender.environment, "web")
    assert emissions == [Emission("web", 7, Level.ERROR, T0, T0 + 20 * SECOND_US, 2, 1)]
    assert [e.template_id for e in await sender.graph.templates_of(sender.environment, "quiet")] == [2**63 - 1]
    changed = [e for e in edges if e.kind == "CHANGED"]
    assert [(e.target, e.valid_from_us, e.valid_to_us) for e in changed] == [("web", T0, None)]
    assert await sender.graph.services(sender.environment) == ["quiet", "web"]


async def test_observed_edges_end_a_lifetime_after_they_were_last_seen(
    sender: Sender, projection: TopologyProjection
) -> None:
    late = [altered(one, trace_id="t2", start_us=one.start_us + 3 * DAY_US) for one in (PARENT, CHILD)]
    await sender.spans(PARENT, CHILD, *late)
    await catch_up(projection, sender.database)

    async def names(at_us: int) -> list[str]:
        return [edge.target for edge in await sender.graph.edges_as_of(sender.environment, T0 + at_us)]

    first = 2 * SECOND_US
    assert await names(first - 1) == []
    assert await names(first) == ["cart"]
    assert await names(first + DAY_US - 1) == ["cart"]
    assert await names(first + DAY_US) == []
    assert await names(first + 3 * DAY_US) == ["cart"]
    # What comes late from between them makes one interval of the two.
    between = [
        altered(one, trace_id=f"t{at}", start_us=one.start_us + at * DAY_US) for one in (PARENT, CHILD) for at in (1, 2)
    ]
    await sender.spans(*[altered(one, trace_id=one.trace_id + "x") for one in between])
    await catch_up(projection, sender.database)
    edges = await sender.graph.edges_between(sender.environment, "web", "cart")
    assert edges == [call_edge("web", "cart", first, first + 3 * DAY_US, 4, 4)]


async def test_stated_edges_stand_beside_observed_ones_and_can_be_ended(
    sender: Sender, projection: TopologyProjection
) -> None:
    stated = StatedEdge("", "web", "cart", "CALLS", "traces", T0 - DAY_US)
    host = StatedEdge("", "web", "n9", "RUNS_ON", "cmdb", T0, T0 + 5)
    await sender.edges(stated, host)
    await sender.spans(PARENT, CHILD)
    await catch_up(projection, sender.database)
    assert CALL in await sender.all_edges()
    assert [e for e in await sender.all_edges() if e.stated] == [
        Edge("web", "cart", "CALLS", "traces", T0 - DAY_US, None, T0 - DAY_US, stated=True),
        Edge("web", "n9", "RUNS_ON", "cmdb", T0, T0 + 5, T0, stated=True),
    ]
    await sender.edges(replace(stated, valid_to_us=T0))
    await catch_up(projection, sender.database)
    assert [e.target for e in await sender.graph.edges_as_of(sender.environment, T0)] == []
    assert [e.observed_by for e in await sender.graph.edges_as_of(sender.environment, T0 - 1)] == ["traces"]
    assert CALL in await sender.all_edges()


HOSTILE = [
    "'}) DETACH DELETE n //",
    '"}) DETACH DELETE n //',
    "'; DROP TABLE span; --",
    '\\"',
    "\\",
    "{[]}",
    "%s ?",
    "a\0b",
]


async def test_hostile_names_are_only_names(sender: Sender, projection: TopologyProjection) -> None:
    for name in (*HOSTILE, "snow☃ \U0001f600", "tab\tand\nline", "x" * 128, "ends in space "):
        for trace in ("1", "2"):
            spans = span("a", "", "web", trace=name[:20].encode().hex()[:30] + trace), span("b", "a", name, node=name)
            await sender.spans(spans[0], altered(spans[1], trace_id=spans[0].trace_id))
            await catch_up(projection, sender.database)
        await sender.edges(StatedEdge("", name, "web", "CALLS", name[:64], T0))
        await sender.logs(log(name, 1, node=name))
        await catch_up(projection, sender.database)
        shown = name.replace("\0", "�").rstrip(" ")
        assert (await sender.graph.edges_between(sender.environment, "web", shown))[0].count == 2
        assert len(await sender.graph.edges_between(sender.environment, shown, "web")) == 1
        assert len(await sender.graph.edges_between(sender.environment, shown, shown)) == 2
        assert len(await sender.graph.templates_of(sender.environment, shown)) == 1


# -- metrics -----------------------------------------------------------------------------------------------------------


async def test_points_with_a_source_and_a_destination_make_calls(
    database: Database, topology: TopologyGraph, sender: Sender, projection: TopologyProjection
) -> None:
    other = Sender(database, topology, f"{sender.environment}-other")
    await sender.metrics(
        point("web", "cart"),
        point("web", "cart", 20 * SECOND_US),
        point("web", "web"),
        point("", "cart"),
        point("web", ""),
    )
    await other.metrics(point("web", "db"))
    await catch_up(projection, database)
    await sender.metrics(point("web", "cart"), point("web", "cart", 3 * DAY_US))  # the first is a duplicate
    await catch_up(projection, database)
    seen = replace(call_edge("web", "cart", 0, 20 * SECOND_US, 2), observed_by="metrics")
    again = replace(call_edge("web", "cart", 3 * DAY_US, 3 * DAY_US, 1), observed_by="metrics")
    assert await sender.all_edges() == [seen, again]
    assert [(edge.source, edge.target) for edge in await other.all_edges()] == [("web", "db")]
    assert await sender.slots() == []


# -- peers -------------------------------------------------------------------------------------------------------------


async def test_calls_that_no_service_took_lead_to_peers(sender: Sender, projection: TopologyProjection) -> None:
    sent = span("m", "", "web", kind=SpanKind.PRODUCER, messaging_destination_name="jobs", messaging_system="kafka")
    await sender.spans(
        altered(QUERY, error=True),
        altered(QUERY, span_id="q2", start_us=T0 + 25 * SECOND_US),
        client("h", "cart", "api.stripe.com:443"),
        client("l", "cart", "127.0.0.1:9000"),
        client("e", "cart", "10.1.2.3:41234"),
        altered(sent, kind=SpanKind.PRODUCER),
        span("s", "", "cart", peer="not.a.client", kind=SpanKind.INTERNAL),
    )
    await catch_up(projection, sender.database)
    calls = [edge for edge in await sender.all_edges() if edge.kind == "CALLS"]
    assert calls == [
        peer_edge("cart", "api.stripe.com", 0, 0, 1),
        peer_edge("cart", DATABASE, 0, 20 * SECOND_US, 2, 1),
        peer_edge("web", "kafka/jobs", 0, 0, 1),
    ]
    assert await sender.slots() == []


async def test_a_call_seen_by_two_spans_of_its_service_counts_once(
    sender: Sender, projection: TopologyProjection
) -> None:
    await sender.spans(QUERY)
    await catch_up(projection, sender.database)
    await sender.spans(INNER)
    await catch_up(projection, sender.database)
    assert await sender.all_edges() == [
        peer_edge("cart", DATABASE, 0, 0, 1),
        *[edge for edge in await sender.all_edges() if edge.kind == "RUNS_ON"],
    ]


@pytest.mark.parametrize("late", [True, False])
async def test_a_peer_that_turns_out_to_be_a_service_was_never_one(
    sender: Sender, projection: TopologyProjection, late: bool
) -> None:
    spans = [
        client("a", "web", "cart-v2:8080"),
        span("b", "a", "cart"),
        client("c", "web", "cart-v2:8080", trace="t2"),  # refused: no span of cart
        client("d", "shop", "cart-v2:9090", trace="t3"),
    ]
    await sender.spans(*spans[:: 2 if late else 1])
    await catch_up(projection, sender.database)
    if late:
        assert "cart-v2" in await sender.graph.services(sender.environment)
        await sender.spans(spans[1])
        await sender.spans(spans[3])
        await catch_up(projection, sender.database)
    calls = [edge for edge in await sender.all_edges() if edge.kind == "CALLS"]
    assert calls == [call_edge("web", "cart", 0, 0, 1)]
    assert await sender.graph.services(sender.environment) == ["cart", "shop", "web"]
    assert await sender.database.fetch("test_peer_slots", (sender.environment,)) == []


async def test_a_peer_under_the_name_of_a_service_is_that_service(
    sender: Sender, projection: TopologyProjection
) -> None:
    await sender.spans(client("a", "web", "cart:80"), span("x", "", "cart", trace="t2"))
    await catch_up(projection, sender.database)
    assert peer_edge("web", "cart", 0, 0, 1) in await sender.all_edges()
    await sender.spans(span("b", "a", "gateway"))  # under the name of cart somebody else answers
    await catch_up(projection, sender.database)
    assert [edge for edge in await sender.all_edges() if edge.kind == "CALLS"] == [call_edge("web", "gateway", 0, 0, 1)]
    assert await sender.graph.services(sender.environment) == ["cart", "gateway", "web"]


async def test_an_interval_between_two_others_can_be_taken_out(sender: Sender, projection: TopologyProjection) -> None:
    queries = [altered(QUERY, trace_id=f"t{n}", start_us=T0 + n * 3 * DAY_US // 4) for n in range(5)]
    await sender.spans(*queries)
    await catch_up(projection, sender.database)
    whole = peer_edge("cart", DATABASE, 0, 3 * DAY_US, 5)
    assert [edge for edge in await sender.all_edges() if edge.kind == "CALLS"] == [whole]
    await sender.spans(*(altered(INNER, peer="", attributes={}, trace_id=f"t{n}") for n in (2, 4)))
    await catch_up(projection, sender.database)
    assert [edge for edge in await sender.all_edges() if edge.kind == "CALLS"] == [
        peer_edge("cart", DATABASE, 0, 3 * DAY_US // 4, 2),
        peer_edge("cart", DATABASE, 9 * DAY_US // 4, 9 * DAY_US // 4, 1),
    ]
    await sender.spans(*(altered(INNER, peer="", attributes={}, trace_id=f"t{n}") for n in (0, 1, 3)))
    await catch_up(projection, sender.database)
    assert [edge for edge in await sender.all_edges() if edge.kind == "CALLS"] == []
    assert await sender.graph.services(sender.environment) == ["cart"]
    await sender.spans(altered(QUERY, trace_id="again"))
    await catch_up(projection, sender.database)
    assert peer_edge("cart", DATABASE, 0, 0, 1) in await sender.all_edges()


async def test_an_interval_can_be_taken_out_beside_another_that_stays(
    sender: Sender, projection: TopologyProjection
) -> None:
    late = altered(QUERY, trace_id="t2", start_us=QUERY.start_us + 3 * DAY_US)
    await sender.spans(QUERY, late)
    await catch_up(projection, sender.database)
    await sender.spans(altered(INNER, peer="", attributes={}))
    await catch_up(projection, sender.database)
    calls = [edge for edge in await sender.all_edges() if edge.kind == "CALLS"]
    assert calls == [peer_edge("cart", DATABASE, 3 * DAY_US, 3 * DAY_US, 1)]


def _peer_spans(seed: int) -> list[Span]:
    chance = random.Random(seed)
    spans = []
    for trace in range(60):
        at_us = chance.choice([0, 4 * SECOND_US, 40 * SECOND_US, 2 * DAY_US, 5 * DAY_US])
        for number in range(chance.randint(1, 5)):
            parent = str(chance.randrange(number)) if number and chance.random() < 0.8 else ""
            kind = chance.choice([SpanKind.CLIENT, SpanKind.CLIENT, SpanKind.SERVER, SpanKind.PRODUCER])
            one = span(
                str(number), parent, chance.choice(["web", "cart", "pay"]), at_us + number * 9_000_000, kind=kind
            )
            peer = chance.choice(
                ["a.example:1", "b.example:2", "c.example:3", f"host{trace}:1", "web:80", "10.0.0.1:1"]
            )
            named = {"db.system": "redis"} if chance.random() < 0.2 else {}
            failed = chance.random() < 0.3
            spans.append(altered(one, trace_id=f"p{trace}", error=failed, peer=peer, attributes=named))
    return spans


def _expected_peers(spans: list[Span]) -> dict[tuple[str, str], tuple[int, int]]:
    """Caller and peer -> calls and errors, from all spans at once."""
    children: dict[tuple[str, str], list[Span]] = {}
    for one in spans:
        if one.parent_id:
            children.setdefault((one.trace_id, one.parent_id), []).append(one)
    out = (SpanKind.CLIENT, SpanKind.PRODUCER)

    def name(one: Span) -> str:
        host = one.peer.partition(":")[0]
        return str(one.attributes.get("db.system", "")) or ("" if host == "10.0.0.1" else host)

    answered = {
        name(one)
        for one in spans
        if one.kind in out and any(c.service != one.service for c in children.get((one.trace_id, one.span_id), []))
    }
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for one in spans:
        taken = any(c.service != one.service or c.kind in out for c in children.get((one.trace_id, one.span_id), []))
        if one.kind in out and not taken and name(one) not in {"", one.service, *answered}:
            count, errors = found.get((one.service, name(one)), (0, 0))
            found[one.service, name(one)] = (count + 1, errors + one.error)
    return found


async def test_peers_do_not_depend_on_the_order_or_the_batches_of_delivery(
    database: Database, topology: TopologyGraph, environment: str
) -> None:
    for seed in range(3):
        states = []
        for turn in range(4):
            chance = random.Random(turn)
            sender = Sender(database, topology, f"{environment}-{seed}-{turn}")
            projection = TopologyProjection(database, topology, DAY_US, batches=chance.choice([1, 2, 64]))
            spans = _peer_spans(seed)
            if seed == 2:  # no context is passed on: nothing is joined
                spans = [altered(one, parent_id="") for one in spans]
            expected = _expected_peers(spans)
            chance.shuffle(spans)
            if turn == 3:
                spans = [one for one in spans for _ in range(2)]
            while spans:
                size = chance.randint(1, 40)
                await sender.spans(*spans[:size])
                del spans[:size]
                if chance.random() < 0.6:
                    await projection.advance()
            await catch_up(projection, database)
            states.append(await sender.state())
        assert all(state == states[0] for state in states)
        edges = [edge for edge in await sender.all_edges() if edge.observed_by == "client spans"]
        totals = {
            pair: (
                sum(edge.count for edge in edges if (edge.source, edge.target) == pair),
                sum(edge.errors for edge in edges if (edge.source, edge.target) == pair),
            )
            for pair in {(edge.source, edge.target) for edge in edges}
        }
        assert totals == expected
        assert len(totals) > 5


# -- crashes -----------------------------------------------------------------------------------------------------------


class Crash(Exception):
    """Stands for the end of the process."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], int]:
    """Make the step-th statement, to either server, fail before it is sent; return a count of statements so far."""
    taken = itertools.count(1)
    last = 0

    def tick() -> None:
        nonlocal last
        last = next(taken)
        if last >= step:
            raise Crash

    def guard(owner: type, name: str) -> None:
        original = getattr(owner, name)
        if asyncio.iscoroutinefunction(original):

            async def call(self: Any, *arguments: Any, **options: Any) -> Any:
                tick()
                return await original(self, *arguments, **options)

            monkeypatch.setattr(owner, name, call)
        else:

            def call_sync(self: Any, *arguments: Any, **options: Any) -> Any:
                tick()
                return original(self, *arguments, **options)

            monkeypatch.setattr(owner, name, call_sync)

    for name in ("fetch", "execute", "execute_many"):
        guard(Transaction, name)
    guard(GraphConnection, "_ask")
    return lambda: last


async def _scenario(sender: Sender) -> list[Callable[[], Awaitable[int]]]:
    orphan = span("o", "late", "orphan")
    return [
        lambda: sender.spans(
            PARENT,
            orphan,
            span("z", "", "web", 4 * DAY_US, trace="t4", node="n1"),
            *(altered(QUERY, trace_id=f"q{n}", start_us=T0 + n * 30 * SECOND_US) for n in range(3)),
            client("out", "web", "cart:80"),
            client("out", "web", "pay:80", trace="t9"),
        ),
        lambda: sender.spans(
            CHILD,
            span("late", "", "web"),
            span("y", "z", "cart", 4 * DAY_US, trace="t4"),
            client("x", "cart", "pay:80"),
        ),
        lambda: sender.metrics(point("web", "mesh"), point("web", "mesh", 3 * DAY_US)),
        lambda: sender.logs(log("web", 3, level=Level.ERROR, node="n2"), log("web", 3, 2 * DAY_US)),
        lambda: sender.edges(StatedEdge("", "web", "cart", "CALLS", "file", T0)),
        # Joins the intervals that were written before.
        lambda: sender.spans(
            *(
                altered(one, trace_id=f"u{n}", start_us=one.start_us + n * (DAY_US - SECOND_US))
                for one in (PARENT, CHILD)
                for n in (1, 2, 3, 4)
            ),
            altered(QUERY, trace_id="q9"),
            altered(INNER, trace_id="q1"),
            span("in", "out", "cart"),  # cart:80 is a service
            span("in", "out", "till", trace="t9"),  # pay:80 too
        ),
        lambda: sender.changes(Change("", T0, "web", "deploy", "ship")),
    ]


async def _play(sender: Sender, projection: TopologyProjection, cut: int) -> None:
    sends = await _scenario(sender)
    for send in sends[:cut]:
        await send()
    await catch_up(projection, sender.database)
    for send in sends[cut:]:
        await send()


@pytest.mark.long
async def test_a_crash_at_any_statement_counts_nothing_twice_and_loses_nothing(
    database: Database, topology: TopologyGraph, environment: str
) -> None:
    reference = Sender(database, topology, f"{environment}-whole")
    projection = TopologyProjection(database, topology, DAY_US)
    await _play(reference, projection, 5)
    await catch_up(projection, database)
    expected = await reference.state()
    assert [edge.count for edge in await topology.edges_between(reference.environment, "web", "cart", ("CALLS",))] == [
        7,
        0,
    ]
    assert {(e.source, e.target, e.observed_by) for e in await reference.all_edges() if e.kind == "CALLS"} == {
        *(("web", "cart", by) for by in ("traces", "file")),
        ("web", "orphan", "traces"),
        ("web", "till", "traces"),
        ("web", "mesh", "metrics"),
        ("cart", DATABASE, "client spans"),
    }

    for step in itertools.count(1):
        sender = Sender(database, topology, f"{environment}-{step}")
        projection = TopologyProjection(database, topology, DAY_US)
        await _play(sender, projection, 5)
        crashed = False
        with pytest.MonkeyPatch.context() as patch:
            statements = crash_at(patch, step)
            try:
                await projection.advance()
            except Crash:
                crashed = True
        if not crashed:
            break
        await catch_up(TopologyProjection(database, topology, DAY_US), database)
        assert await sender.state() == expected, f"crash at statement {step}"
    assert step > 20
    assert statements() == step - 1
    assert await sender.state() == expected


async def test_two_projections_at_once_count_as_one(
    database: Database, topology: TopologyGraph, stack: Any, environment: str
) -> None:
    spans = _many_spans(2)
    reference = Sender(database, topology, f"{environment}-one")
    await reference.spans(*spans)
    await catch_up(TopologyProjection(database, topology, DAY_US), database)

    other_database, other_graph = Database(stack.database_url), TopologyGraph(stack.graph_url)
    sender = Sender(database, topology, f"{environment}-two")
    projections = [
        TopologyProjection(database, topology, DAY_US, batches=1),
        TopologyProjection(other_database, other_graph, DAY_US, batches=2),
        TopologyProjection(database, topology, DAY_US, batches=1),
    ]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for projection in projections:
            group.create_task(projection.run(stop))
        for at in range(0, len(spans), 9):
            seq = await sender.spans(*spans[at : at + 9])
            projections[at % 3].notify()
        assert await projections[0].wait_for(seq, 20)
        stop.set()
    await other_graph.close()
    await other_database.close()
    assert await sender.state() == await reference.state()


async def test_the_graph_goes_away_and_comes_back(
    sender: Sender, database: Database, projection: TopologyProjection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catch_up(projection, database)

    async def refuse(self: object, query: str, call: object) -> None:
        raise GraphUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(GraphConnection, "_ask", refuse)
        seq = await sender.spans(PARENT, CHILD)
        with pytest.raises(GraphUnavailable):
            await projection.advance()
        assert await sender.slots() == [SLOT]
        assert not await projection.wait_for(seq, 0.05)
    await catch_up(projection, database)
    assert await projection.wait_for(seq, 0)
    assert CALL in await sender.all_edges()


async def test_the_loop_outlives_a_graph_that_is_down(
    sender: Sender, projection: TopologyProjection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop = asyncio.Event()
    monkeypatch.setattr("ingest.topology._PAUSE_SECONDS", 0.05)

    async def refuse(self: object, query: str, call: object) -> None:
        raise GraphUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(GraphConnection, "_ask", refuse)
        running = asyncio.create_task(projection.run(stop))
        seq = await sender.spans(PARENT, CHILD)
        assert not await projection.wait_for(seq, 0.5)
    assert await projection.wait_for(seq, 10)
    stop.set()
    projection.notify()
    await asyncio.wait_for(running, 5)
    assert CALL in await sender.all_edges()
    assert [record.message for record in caplog.records].count("the topology is not up to date") == 1


async def test_a_graph_that_lost_everything_is_written_again(
    sender: Sender, database: Database, topology: TopologyGraph, projection: TopologyProjection
) -> None:
    for send in await _scenario(sender):
        await send()
    await catch_up(projection, database)
    before = await sender.state()
    await topology.drop(sender.environment)
    await TopologyProjection(database, topology, DAY_US).advance()  # looks, as any does that has not seen this server
    assert await sender.state() == before
    await topology.write_edges(sender.environment, [call_edge("never", "was", 0, 0, 1)])
    await topology.follow_to(sender.environment, 10**15)  # the graph of a database that is no more
    await TopologyProjection(database, topology, DAY_US).advance()
    assert await sender.state() == before


def start_falkordb(folder: Path) -> subprocess.Popen[bytes]:
    """A FalkorDB that keeps nothing over a restart."""
    binaries = find_falkordb()
    options = ["--port", "0", "--unixsocket", "s", "--save", "", "--loadmodule", str(binaries.module)]
    server = subprocess.Popen([str(binaries.redis_server), *options], cwd=folder, stdout=subprocess.DEVNULL)
    while not (folder / "s").exists():
        time.sleep(0.01)
    return server


async def test_a_server_that_is_killed_and_comes_back_empty_is_filled_again(
    database: Database, environment: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="cg-") as name:
        folder = Path(name)
        server = start_falkordb(folder)
        graph = TopologyGraph(f"unix://{folder}/s")
        sender = Sender(database, graph, environment)
        projection = TopologyProjection(database, graph, DAY_US)
        try:
            await sender.spans(PARENT, CHILD)
            await projection.rebuild(environment)  # what the session's own graph holds, this one does not
            await catch_up(projection, database)
            before = await sender.state()
            server.kill()
            server.wait()
            (folder / "s").unlink()
            seq = await sender.spans(span("x", "", "new"))
            with pytest.raises(GraphUnavailable):
                await projection.advance()
            server = start_falkordb(folder)
            await catch_up(projection, database)
            assert await projection.wait_for(seq, 0)
            slots, edges, services = await sender.state()
            assert (slots, edges) == before[:2]
            assert services == ["cart", "new", "web"]
        finally:
            server.kill()
            server.wait()
            await graph.close()


async def test_a_rebuild_gives_the_same_graph_and_joins_under_a_longer_lifetime(
    sender: Sender, database: Database, topology: TopologyGraph, projection: TopologyProjection
) -> None:
    late = [altered(one, trace_id="t2", start_us=one.start_us + 3 * DAY_US) for one in (PARENT, CHILD)]
    await sender.spans(PARENT, CHILD, *late)
    await catch_up(projection, database)
    before = await sender.state()
    await topology.write_edges(sender.environment, [call_edge("never", "was", 0, 0, 1)])
    await projection.rebuild(sender.environment)
    assert await sender.state() == before
    assert len(await topology.edges_between(sender.environment, "web", "cart")) == 2
    await TopologyProjection(database, topology, 4 * DAY_US).rebuild()
    edges = await topology.edges_between(sender.environment, "web", "cart")
    assert [(edge.count, edge.last_seen_us - edge.valid_from_us) for edge in edges] == [(2, 3 * DAY_US)]
    await projection.rebuild()


async def test_a_step_writes_what_changed_and_nothing_else(
    sender: Sender, database: Database, projection: TopologyProjection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sender.spans(PARENT, CHILD)
    await catch_up(projection, database)
    written: list[Edge] = []
    write = TopologyGraph.write_edges

    async def record(self: TopologyGraph, environment: str, edges: Iterable[Edge]) -> None:
        written.extend(edges := list(edges))
        await write(self, environment, edges)

    monkeypatch.setattr(TopologyGraph, "write_edges", record)
    seq = await sender.spans(span("c", "a", "db", 3 * SECOND_US))
    await catch_up(projection, database)
    assert [(edge.source, edge.target) for edge in written] == [("web", "db")]
    assert await sender.graph.followed_to(sender.environment) == seq


async def test_waiting_for_a_batch_that_never_comes_ends(projection: TopologyProjection) -> None:
    start = time.monotonic()
    assert not await projection.wait_for(10**15, 0.1)
    assert time.monotonic() - start < 2


async def test_a_cancelled_step_leaves_nothing_locked(
    sender: Sender, database: Database, projection: TopologyProjection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await catch_up(projection, database)
    await sender.spans(PARENT, CHILD)
    blocked = asyncio.Event()

    async def hang(self: object, environment: str, nodes: Iterable[object]) -> None:
        blocked.set()
        await asyncio.sleep(60)

    with monkeypatch.context() as patch:
        patch.setattr(TopologyGraph, "write_nodes", hang)
        step = asyncio.create_task(projection.advance())
        await blocked.wait()
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
    async with asyncio.timeout(10):
        while CALL not in await sender.all_edges():
            await projection.advance()


def test_a_lifetime_shorter_than_a_slot_is_refused(database: Database, topology: TopologyGraph) -> None:
    with pytest.raises(ValueError, match="slot"):
        TopologyProjection(database, topology, SLOT_US - 1)


# -- calls per minute --------------------------------------------------------------------------------------------------


def minute_of(at_us: int) -> int:
    return floor_slot(T0 + at_us, MINUTE_US)


async def minutes_of(sender: Sender) -> dict[tuple[str, str, str, int], tuple[int, int, dict[int, int]]]:
    found = await CallMinutes(sender.database).between(sender.environment, Window(0, 2 * T0))
    return {
        (m.caller, m.callee, m.observed_by, m.minute_us): (m.count, m.errors, dict(m.durations.counts)) for m in found
    }


@pytest.mark.parametrize("seed", range(4))
async def test_calls_per_minute_do_not_depend_on_how_their_spans_come(
    sender: Sender, projection: TopologyProjection, database: Database, seed: int
) -> None:
    choose = random.Random(seed)
    spans: list[Span] = []
    expected: dict[tuple[str, str, str, int], tuple[int, int, dict[int, int]]] = {}
    for number in range(60):
        at, trace = choose.randrange(5 * MINUTE_US), f"{number:032x}"
        took, failed = choose.choice([900, 40_000, 41_000, 2_000_000]), choose.random() < 0.3
        answered = choose.random() < 0.5
        callee, by = ("cart", "traces") if answered else ("postgresql/carts", "client spans")
        spans.append(span("1", "", "web", at, trace=trace))
        asking = {"peer": "cart:80"} if answered else {"db_system": "postgresql", "db_namespace": "carts"}
        spans.append(span("2", "1", "web", at, trace=trace, took_us=took, error=failed, kind=SpanKind.CLIENT, **asking))
        if answered:
            spans.append(span("3", "2", "cart", at + 100, trace=trace, took_us=took // 2))
        key = ("web", callee, by, minute_of(at))
        count, errors, buckets = expected.get(key, (0, 0, {}))
        buckets[bucket_of(took)] = buckets.get(bucket_of(took), 0) + 1
        expected[key] = (count + 1, errors + failed, buckets)
    choose.shuffle(spans)
    while spans:
        part, spans = spans[:17], spans[17:]
        await sender.spans(*part)
        await sender.spans(*part[:5])  # delivered again
        if choose.random() < 0.5:
            await catch_up(projection, database)
    await catch_up(projection, database)
    assert await minutes_of(sender) == expected


async def test_the_minutes_of_calls_outlive_their_spans(
    sender: Sender, projection: TopologyProjection, database: Database
) -> None:
    await sender.spans(span("1", "", "web"), span("2", "1", "cart", 10, took_us=5000))
    await catch_up(projection, database)
    await database.execute("test_forget_spans", (sender.environment,))
    assert list(await minutes_of(sender)) == [("web", "cart", "traces", minute_of(0))]
    (only,) = await CallMinutes(database).of_edge(sender.environment, "web", "cart", Window(0, 2 * T0))
    assert only.durations.quantile_us(0.5) == pytest.approx(5000, rel=0.1)


async def told_calls(sender: Sender) -> list[Edge]:
    return await sender.graph.edges_as_of(sender.environment, T0, ("CALLS",), slack_us=T0)


async def test_lines_that_name_a_host_and_a_port_tell_who_calls_whom(
    sender: Sender, projection: TopologyProjection, database: Database
) -> None:
    refused = "connect to inventory:8080 refused"
    await sender.logs(
        said("web", refused, 0),
        said("web", refused, SECOND_US),
        said("web", "connected to inventory:8080", 2 * SECOND_US, level=Level.INFO),
        said("web", "upstream 10.0.0.7:5432 timed out", 0),
        said("web", "inventory is slow, we call it a day at cart", 0),
        said("inventory", "listening on inventory:8080", 0, level=Level.INFO),
        said("orders", "ready", 0, level=Level.INFO, node="10.0.0.7"),
        said("web", "connect to web:80 refused", 0),
    )
    await catch_up(projection, database)
    assert await told_calls(sender) == [
        said_edge("web", "inventory", 3, 2, 2 * SECOND_US),
        said_edge("web", "orders", 1, 1),
    ]


async def test_a_storm_of_invented_hosts_adds_few_of_them(
    sender: Sender, projection: TopologyProjection, database: Database
) -> None:
    storm = [said("web", f"connect to h{'abcdefghij'[n % 10] * (1 + n // 10)}:80 refused", n) for n in range(100)]
    await sender.logs(*storm, said("cart", "connect to web:80 refused"), said("web", "timeout:5000 ms while calling"))
    await sender.logs(*storm, said("cart", "ready"), said("web", "connect to cart:80 refused"))
    await catch_up(projection, database)
    calls = await told_calls(sender)
    assert len({edge.target for edge in calls if edge.source == "web"} - {"cart"}) == MOST_UNKNOWN
    # Who exists is always told of.
    assert {("web", "cart"), ("cart", "web")} <= {(edge.source, edge.target) for edge in calls}
