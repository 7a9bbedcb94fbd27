from __future__ import annotations

from graph.ontology import Edge, graph_name
from graph.view import as_networkx, find_paths


def call(source: str, target: str, *, since: int = 0, to: int | None = 100, by: str = "traces", count: int = 1) -> Edge:
    return Edge(source, target, "CALLS", by, since, to, since, count, 0, stated=by != "traces")


def test_edges_of_a_pair_become_one() -> None:
    view = as_networkx([call("a", "b", since=5, count=3), call("a", "b", since=1, to=None, by="helm", count=0)])
    assert view.edges["a", "b"] == {
        "count": 3,
        "errors": 0,
        "observed_by": ("helm", "traces"),
        "stated": False,
        "valid_from_us": 1,
        "valid_to_us": None,
        "last_seen_us": 5,
    }


def test_paths_run_from_the_cause_up_to_the_symptom_shortest_first() -> None:
    view = as_networkx(
        [call("web", "cart"), call("cart", "db"), call("web", "db"), call("db", "disk"), call("other", "web")]
    )
    assert find_paths(view, "db", "web", 6, 5) == [["db", "web"], ["db", "cart", "web"]]
    assert find_paths(view, "db", "web", 1, 5) == [["db", "web"]]
    assert find_paths(view, "db", "web", 6, 1) == [["db", "web"]]
    assert find_paths(view, "web", "db", 6, 5) == []
    assert find_paths(view, "web", "web", 6, 5) == [["web"]]
    assert find_paths(view, "nowhere", "web", 6, 5) == []


def test_names_of_environments_never_meet_in_one_graph() -> None:
    names = ["a", "a ", "A", "a:b", "a%3Ab", "ä", "{a}", "*", "a/b"]
    assert len({graph_name(name) for name in names}) == len(names)
    assert all(graph_name(name).isascii() and " " not in graph_name(name) for name in names)
