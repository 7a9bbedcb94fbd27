"""From candidates to an order: fusion, PageRank, the second look, the pack."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.terms import rank_texts, share_of_terms
from domain.times import HOUR_US, Window
from retrieval.fusion import Ranking, fuse
from retrieval.items import Candidates, Item, Link, Wanted, item_key
from retrieval.names import exact_names, file_names, trace_ids
from retrieval.neighbourhood import CallChains
from retrieval.pack import causal_paths, make_pack
from retrieval.page_rank import freshness, spread_rank
from retrieval.ranking import choose_seeds, fuse_all, fuse_texts, look_again, rank_graph

NOW = 100 * HOUR_US
WANTED = Wanted("why did checkout fail", "e", Window(0, NOW + 1), NOW, named=("checkout",))
CALLS = [
    Link("service:storefront", "service:checkout", "CALLS"),
    Link("service:checkout", "service:payment", "CALLS"),
    Link("service:payment", "service:bank", "CALLS"),
    Link("service:newsroom", "service:mailer", "CALLS"),
]


def item(kind: str, identifier: str, text: str, service: str = "", time_us: int | None = None) -> Item:
    own = item_key(kind, identifier)
    links = (Link(item_key("service", service), own, "EMITTED", time_us),) if service else ()
    services = (service,) if service else ()
    return Item(kind, identifier, text, text, "/", services, time_us, links=links)  # type: ignore[arg-type]


def test_a_key_that_several_rankings_hold_comes_first() -> None:
    found = fuse([Ranking("words", ["a", "b", "c"]), Ranking("meaning", ["c", "d"])])
    assert found[0].key == "c" and found[0].by == ("words", "meaning")
    assert [one.key for one in found[1:]] == ["a", "b", "d"]
    weighed = fuse([Ranking("words", ["a"]), Ranking("name", ["b"], 2.0)])
    assert [one.key for one in weighed] == ["b", "a"]
    unsure = fuse([Ranking("words", ["a", "b"], sure={"a": 0.1}), Ranking("meaning", ["c"])])
    assert [one.key for one in unsure] == ["c", "b", "a"]


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), max_size=4))
def test_fusing_loses_and_invents_nothing(lists: list[list[str]]) -> None:
    found = fuse([Ranking(str(number), keys) for number, keys in enumerate(lists)])
    assert {one.key for one in found} == {key for keys in lists for key in keys}
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_rank_flows_along_the_calls_and_not_to_strangers() -> None:
    ranks = spread_rank(CALLS, {"service:checkout": 1.0}, NOW)
    assert sum(ranks.values()) == pytest.approx(1.0)
    assert ranks["service:checkout"] > ranks["service:payment"] > ranks["service:bank"] > 0
    assert ranks["service:payment"] > ranks["service:storefront"], "trouble is looked for where the calls lead"
    assert ranks["service:mailer"] == 0
    assert spread_rank(CALLS, {}, NOW) == {}
    assert spread_rank([], {"a": 2.0, "b": 2.0}, NOW) == {"a": 0.5, "b": 0.5}


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=20),
    st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 10), min_size=1),
)
def test_ranks_always_add_up(pairs: list[tuple[str, str]], seeds: dict[str, float]) -> None:
    ranks = spread_rank([Link(one, two, "CALLS") for one, two in pairs], seeds, NOW)
    assert sum(ranks.values()) == pytest.approx(1.0)
    assert all(rank >= 0 for rank in ranks.values())


def test_what_was_seen_near_the_moment_counts_more() -> None:
    links = [Link("s", "old", "EMITTED", NOW - 20 * HOUR_US), Link("s", "new", "EMITTED", NOW)]
    ranks = spread_rank(links, {"s": 1.0}, NOW)
    assert ranks["new"] > 5 * ranks["old"]
    assert (freshness(NOW, NOW), freshness(NOW - HOUR_US, NOW), freshness(None, NOW)) == (1.0, 0.5, 1.0)


def test_the_graph_brings_what_no_word_leads_to_and_takes_nothing_from_what_it_does_not_know() -> None:
    candidates = Candidates()
    candidates.add_worded([item("template", "1", "checkout of cart failed", "checkout", NOW)])
    candidates.add_worded([item("runbook", "roll-back", "what to do when a release fails: roll back")])
    candidates.add(item("template", "2", "KeyError currency", "payment", NOW))
    candidates.add(item("template", "3", "newsletter bounced", "mailer", NOW))
    fused = fuse_texts(WANTED, candidates)
    assert {one.key for one in fused} == {"template:1", "runbook:roll-back"}
    links = [*CALLS, *(link for one in candidates.items.values() for link in one.links)]
    graph = rank_graph(WANTED, candidates, links, choose_seeds(WANTED, candidates, fused))
    assert "template:3" not in graph.keys
    hits = look_again(WANTED, candidates, fuse_all(WANTED, candidates, fused, graph), timed=True)
    assert [hit.item.key for hit in hits] == ["template:1", "runbook:roll-back", "template:2"]
    assert hits[2].by == ("graph",)
    pack = make_pack(WANTED, candidates, hits, links, limit=10, tokens=4_000, timed=True)
    assert "1 call(s) from checkout: checkout - payment" in pack.hits[2].why
    assert pack.paths == (("payment", "checkout"),)


def test_a_pack_stays_within_its_budget() -> None:
    candidates = Candidates()
    candidates.add_worded([item("template", str(n), f"fail {n} " + "x" * 200) for n in range(30)])
    hits = look_again(WANTED, candidates, fuse_texts(WANTED, candidates), timed=False)
    pack = make_pack(WANTED, candidates, hits, [], limit=100, tokens=500, timed=False)
    assert 0 < pack.tokens <= 500 and 3 <= len(pack.hits) <= 6
    assert pack.left_out == 30 - len(pack.hits)


def test_chains_follow_the_calls() -> None:
    assert CallChains(CALLS, ["service:bank"]).to("service:storefront") == [
        "service:bank",
        "service:payment",
        "service:checkout",
        "service:storefront",
    ]
    assert CallChains(CALLS, ["service:bank"], directed=True).to("service:storefront") == []
    assert CallChains(CALLS, ["service:bank"]).to("service:mailer") == []
    assert causal_paths(CALLS, ["storefront"], ["bank", "payment", "mailer", "storefront"]) == [
        ("payment", "checkout", "storefront"),
        ("bank", "payment", "checkout", "storefront"),
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("what about ord-4c804a93?", ["ord-4c804a93"]),
        ('it said "no space left" twice', ["no space left"]),
        ("SQLSTATE 08006 since 10:42 on 2026-11-20", ["SQLSTATE", "08006"]),
        ("why did checkout fail at 10:42:01?", []),
        (f"trace {'ab' * 16}", []),
        ("ECONNREFUSED from 10.0.0.7", ["ECONNREFUSED"]),
    ],
)
def test_names_are_told_from_words_and_times(text: str, names: list[str]) -> None:
    assert exact_names(text) == names


def test_files_and_traces_are_read_from_a_text() -> None:
    assert file_names("see src/pay/bank.py:42 and orders.py, not 1.5 or a.b.c") == ["src/pay/bank.py:42", "orders.py"]
    assert trace_ids("AB" * 16 + " and " + "cd" * 16 + " not " + "ab" * 20) == ["ab" * 16, "cd" * 16]


def test_words_are_ranked_by_what_they_say() -> None:
    texts = [("a", "the pool is empty"), ("b", "connection pool limit reached"), ("c", "all is well")]
    assert rank_texts(texts, "connection pool", 5) == ["b", "a"]
    shares = share_of_terms([text for _, text in texts], {"connections": 1.0, "pool": 1.0})
    assert shares[1] == pytest.approx(1.0) and 0 < shares[0] < 0.5 and shares[2] == 0


@given(st.text(max_size=80))
def test_any_text_can_be_searched(text: str) -> None:
    wanted = Wanted(text, "e", Window(0, 1), 0, named=("checkout", text[:5]))
    assert rank_texts([("k", text.lower())], wanted.words, 5) in ([], ["k"])
    exact_names(text), file_names(text), trace_ids(text)
