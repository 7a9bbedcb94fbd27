from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest
from redis.asyncio.client import Redis

from domain.errors import GraphError, GraphUnavailable, SettingsError
from graph.ontology import ChangeNode, Edge, EdgeKind, Emission, ServiceNode
from graph.topology import TopologyGraph
from graph.view import as_networkx, find_paths

HOSTILE = [
    "'}) DETACH DELETE n //",
    '"}) DETACH DELETE n //',
    "`) MATCH (n) DELETE n",
    "\\",
    '\\"',
    "$source",
    "{name: 1}",
    "CYPHER x=1 RETURN 1",
    "line\nbreak\ttab",
    "name with \U0001f600 and \x01",
    "a" * 128,
    "null",
    "",
]


def edge(
    source: str,
    target: str,
    since: int = 0,
    to: int | None = 100,
    *,
    kind: EdgeKind = "CALLS",
    by: str = "traces",
    count: int = 1,
    stated: bool = False,
    level: int = 0,
) -> Edge:
    return Edge(source, target, kind, by, since, to, since, count, 0, stated, level)


async def test_edges_are_valid_from_their_start_up_to_their_end(topology: TopologyGraph, environment: str) -> None:
    early, late, stated = edge("a", "b", 10, 20), edge("a", "b", 40, 50), edge("a", "c", 15, None, stated=True)
    await topology.write_edges(environment, [late, early, stated])
    assert await topology.edges_as_of(environment, 9) == []
    assert await topology.edges_as_of(environment, 10) == [early]
    assert await topology.edges_as_of(environment, 19) == [early, stated]
    assert await topology.edges_as_of(environment, 20) == [stated]
    assert await topology.edges_as_of(environment, 40) == [late, stated]
    assert await topology.edges_as_of(environment, 30, slack_us=10) == [late, stated]
    assert await topology.edges_as_of(environment, 30, slack_us=11) == [early, late, stated]
    assert await topology.edges_between(environment, "a", "b") == [early, late]


async def test_writing_twice_is_writing_once(topology: TopologyGraph, environment: str) -> None:
    edges = [edge("a", "b", count=7), edge("a", "host", kind="RUNS_ON"), edge("a", "7", kind="EMITTED", level=17)]
    for _ in range(2):
        await topology.ensure_indexes(environment)
        await topology.write_edges(environment, edges)
    assert await topology.edges_as_of(environment, 0, ("CALLS", "RUNS_ON", "EMITTED")) == edges
    assert await topology.services(environment) == ["a", "b"]


async def test_an_interval_that_was_merged_away_is_removed(topology: TopologyGraph, environment: str) -> None:
    kept = [edge("a", "b", 10, by="helm", stated=True), edge("a", "b", 10, stated=True), edge("a", "c", 10)]
    await topology.write_edges(environment, [edge("a", "b", 10, 20), edge("a", "b", 40, 50), *kept])
    merged = edge("a", "b", 5, 50)
    await topology.write_edges(environment, [merged])
    assert await topology.edges_between(environment, "a", "b") == [
        merged,
        *sorted(kept[:2], key=lambda e: e.observed_by),
    ]
    assert await topology.edges_between(environment, "a", "c") == kept[2:]


async def test_an_edge_can_be_closed_and_opened_again(topology: TopologyGraph, environment: str) -> None:
    for to in (None, 30, None):
        await topology.write_edges(environment, [edge("a", "b", 10, to, stated=True)])
        assert await topology.edges_between(environment, "a", "b") == [edge("a", "b", 10, to, stated=True)]


async def test_diff_tells_what_came_and_what_went(topology: TopologyGraph, environment: str) -> None:
    stays, again = edge("a", "b", 0, 15), edge("a", "b", 18, 99)
    gone, new = edge("a", "old", 0, 15), edge("a", "new", 15, 99)
    await topology.write_edges(environment, [stays, again, gone, new])
    assert await topology.diff(environment, 10, 20) == ([new], [gone])
    assert await topology.diff(environment, 20, 10) == ([gone], [new])


async def test_paths_follow_the_calls_that_held_then(topology: TopologyGraph, environment: str) -> None:
    await topology.write_edges(environment, [edge("web", "cart"), edge("cart", "db"), edge("web", "db", 200, 300)])
    assert await topology.paths(environment, "db", "web", 50) == [["db", "cart", "web"]]
    assert await topology.paths(environment, "db", "web", 250) == [["db", "web"]]
    assert await topology.paths(environment, "web", "db", 50) == []
    assert await topology.paths(environment, "db", "web", 50, max_hops=1) == []


async def test_a_neighbourhood_is_capped_nearest_first(topology: TopologyGraph, environment: str) -> None:
    near = [edge("web", "cart"), edge("edge", "web")]
    far = [edge("cart", f"db{n}") for n in range(30)]
    host = edge("cart", "host", kind="RUNS_ON")
    await topology.write_edges(environment, [*far, *near, host, edge("db0", "disk"), edge("web", "late", 500, 600)])
    assert set(await topology.neighbourhood(environment, "web", 50, hops=1)) == {*near, host}
    both = await topology.neighbourhood(environment, "web", 50, hops=2)
    assert set(both) == {*near, *far, host}
    assert set(both[:2]) == set(near)
    capped = await topology.neighbourhood(environment, "web", 50, hops=2, limit=10)
    assert len(capped) == 10
    assert set(near) <= set(capped)


async def test_templates_add_up_over_intervals(topology: TopologyGraph, environment: str) -> None:
    big = 2**64 - 1
    await topology.write_edges(
        environment,
        [
            edge("a", "7", 10, 20, kind="EMITTED", level=9, count=2),
            edge("a", "7", 40, 50, kind="EMITTED", level=17, count=3),
            edge("a", str(big), 10, 20, kind="EMITTED", level=9),
        ],
    )
    assert await topology.templates_of(environment, "a") == [
        Emission("a", 7, 17, 10, 40, 5, 0),
        Emission("a", big, 9, 10, 10, 1, 0),
    ]


async def test_nodes_are_written_with_what_is_known_of_them(topology: TopologyGraph, environment: str) -> None:
    await topology.write_nodes(environment, [ServiceNode("a"), ChangeNode("chg-1", 5, "deploy", "1.2")])
    change = edge("chg-1", "b", 5, None, kind="CHANGED")
    await topology.write_edges(environment, [change])
    assert await topology.services(environment) == ["a", "b"]
    assert await topology.edges_as_of(environment, 9, ("CHANGED",)) == [change]


async def test_an_environment_without_a_graph_reads_as_empty(topology: TopologyGraph, environment: str) -> None:
    assert await topology.edges_as_of(environment, 5) == []
    assert await topology.services(environment) == []
    assert await topology.templates_of(environment, "a") == []
    assert await topology.neighbourhood(environment, "a", 5) == []
    assert await topology.paths(environment, "a", "b", 5) == []
    assert await topology.diff(environment, 5, 6) == ([], [])
    assert await topology.followed_to(environment) is None
    await topology.drop(environment)


async def test_environments_are_kept_apart(topology: TopologyGraph, environment: str) -> None:
    others = [f"{environment} ", f"{environment}*", environment.upper(), f"{environment}'}}) DETACH DELETE n //"]
    for at, name in enumerate([environment, *others]):
        await topology.write_edges(name, [edge("a", f"only{at}")])
    await topology.drop(others[0])
    assert await topology.services(others[0]) == []
    for at, name in enumerate([environment, *others]):
        if name != others[0]:
            assert await topology.services(name) == ["a", f"only{at}"]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_name_is_never_more_than_a_name(topology: TopologyGraph, environment: str, name: str) -> None:
    bystander = edge("a", "b")
    theirs = [edge(name, "x", by=name[:64]), edge("x", name), edge(name, name, kind="RUNS_ON")]
    await topology.write_nodes(environment, [ServiceNode(name), ChangeNode(name, 1, name, name)])
    await topology.write_edges(environment, [bystander, *theirs, edge(name, name, kind="CHANGED")])
    assert await topology.edges_between(environment, name, "x") == [theirs[0]]
    assert await topology.edges_between(environment, "x", name) == [theirs[1]]
    assert await topology.edges_between(environment, "a", "b") == [bystander]
    assert await topology.services(environment) == sorted({name, "x", "a", "b"})
    assert set(await topology.neighbourhood(environment, name, 5, hops=1)) == set(theirs)
    assert await topology.paths(environment, name, "x", 5) == [[name, "x"]]


async def test_a_zero_character_does_not_stop_the_writing(topology: TopologyGraph, environment: str) -> None:
    await topology.write_edges(environment, [edge("nul\0l", "b"), edge("\ud800", "b")])
    assert await topology.services(environment) == sorted(["?", "b", "nul�l"])
    assert len(await topology.edges_between(environment, "nul\0l", "b")) == 1


async def test_the_version_and_the_run_of_the_server_are_known(topology: TopologyGraph) -> None:
    assert (await topology.ping()).count(".") == 2
    assert await topology.incarnation() == await topology.incarnation()


async def test_more_callers_than_connections_wait_their_turn(topology: TopologyGraph, environment: str) -> None:
    await topology.write_edges(environment, [edge("a", "b")])
    answers = await asyncio.gather(*(topology.edges_as_of(environment, 5) for _ in range(100)))
    assert all(answer == [edge("a", "b")] for answer in answers)


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    graph = TopologyGraph(f"unix://{tmp_path}/none.sock")
    with pytest.raises(GraphUnavailable):
        await graph.ping()
    with pytest.raises(GraphUnavailable):
        await graph.write_edges("e", [edge("a", "b")])
    await graph.close()


async def test_a_refused_query_is_an_error_and_not_an_absence(
    topology: TopologyGraph, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topology.write_edges(environment, [edge("a", "b")])
    monkeypatch.setitem(__import__("graph.connection").connection.QUERIES, "services", "MATCH (")
    with pytest.raises(GraphError, match="services") as caught:
        await topology.services(environment)
    assert not isinstance(caught.value, GraphUnavailable)


@pytest.mark.parametrize("url", ["", "http://host", "host:6379", "redis://host:port"])
def test_a_url_that_is_none_is_a_bad_setting(url: str) -> None:
    with pytest.raises(SettingsError):
        TopologyGraph(url)


async def test_a_write_is_sent_once(topology: TopologyGraph, environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await topology.ping()
    sent = 0

    async def lose(self: object, *arguments: object, **options: object) -> None:
        nonlocal sent
        sent += 1
        raise ConnectionResetError("gone")

    monkeypatch.setattr(Redis, "parse_response", lose)
    with pytest.raises(GraphUnavailable):
        await topology.write_edges(environment, [edge("a", "b")])
    assert sent == 1


async def test_two_hundred_services_are_read_quickly(topology: TopologyGraph, environment: str) -> None:
    edges = [edge(f"s{at}", f"s{(at * 7 + step) % 200}") for at in range(200) for step in range(1, 4)]
    await topology.ensure_indexes(environment)
    await topology.write_edges(environment, edges)
    took = []
    for _ in range(20):
        start = time.perf_counter()
        found = await topology.edges_as_of(environment, 50)
        took.append(time.perf_counter() - start)
    assert len(found) == len(set(edges))
    assert sorted(took)[10] < 0.1  # about 5 ms on a free core


async def test_an_edge_can_be_removed_with_a_service_that_has_no_other(
    topology: TopologyGraph, environment: str
) -> None:
    kept = [edge("a", "b", by="helm"), edge("c", "d", kind="RUNS_ON")]
    gone = [edge("a", "b"), edge("a", "b", 200, 300), edge("a", "x")]
    await topology.write_edges(environment, [*kept, *gone])
    await topology.remove_edges(environment, [each.family for each in gone])
    assert await topology.edges_as_of(environment, 50, ("CALLS", "RUNS_ON"), slack_us=300) == kept
    assert await topology.services(environment) == ["a", "b", "c", "x"]
    await topology.remove_lone_services(environment, ["a", "b", "c", "x", "never"])
    assert await topology.services(environment) == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(3))
async def test_paths_and_diffs_are_those_of_the_whole_graph(
    topology: TopologyGraph, environment: str, seed: int
) -> None:
    choose = random.Random(seed)
    names = [f"s{n}" for n in range(14)]
    edges = {}
    for _ in range(60):
        source, target, since = choose.choice(names), choose.choice(names), choose.randrange(0, 90, 10)
        edges[source, target, since] = edge(source, target, since, choose.choice([since + 10, since + 40, None]))
    await topology.ensure_indexes(environment)
    await topology.write_edges(environment, edges.values())
    for moment, other in ((25, 65), (65, 25), (5, 95)):
        held = [one for one in edges.values() if one.holds(moment)]
        before = {(one.source, one.target) for one in edges.values() if one.holds(other)}
        added, _ = await topology.diff(environment, other, moment)
        assert set(added) == {one for one in held if (one.source, one.target) not in before}
        for cause, symptom, hops in (("s0", "s1", 6), ("s2", "s3", 3), ("s4", "s5", 1)):
            expected = find_paths(as_networkx(held), cause, symptom, hops, 1000)
            found = await topology.paths(environment, cause, symptom, moment, hops, 1000)
            assert sorted(map(tuple, found)) == sorted(map(tuple, expected))
