"""The rules, the renaming and the scoring on tiny data; the replay itself on a few recorded incidents."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import rca
from bench.rca import Answered, Case, Options, answer_cases, find_cases, load, main, run
from bench.renaming import Renaming, draw_names, services_of
from bench.replay import Recording, Row, read_recording
from bench.rules import (
    Split,
    baro,
    caller_minus_callee,
    changed_templates,
    deepest_anomalous,
    error_growth,
    largest_metric_z,
    rank,
    target_metric_z,
    template,
)
from bench.scores import Scored, accuracy, figures, path_is_cited, place, table
from bench.server import Server

SPLIT = Split(start=100, end=200, detected=100, metric="latency.Average", node="front")
SECOND_NS = 1_000_000_000


def samples(
    service: str, before: Sequence[float], after: Sequence[float], name: str = "latency.Average"
) -> tuple[Row, ...]:
    early = [{"t_s": 10 + at, "service": service, "name": name, "value": v} for at, v in enumerate(before)]
    late = [{"t_s": 110 + at, "service": service, "name": name, "value": v} for at, v in enumerate(after)]
    return (*early, *late)


def line(second: float, service: str, body: str, severity: str = "INFO") -> Row:
    return {"t_ns": int(second * SECOND_NS), "service": service, "severity": severity, "body": body}


def span(trace: str, name: str, parent: str | None, service: str, start_ms: int, took_ms: int) -> Row:
    return {
        "trace_id": trace,
        "span_id": name,
        "parent_id": parent,
        "service": service,
        "name": "GET",
        "start_ns": start_ms * 1_000_000,
        "end_ns": (start_ms + took_ms) * 1_000_000,
    }


# -- rules -------------------------------------------------------------------------------------------------------------


def test_the_largest_z_wins_and_what_comes_after_the_question_does_not_count() -> None:
    later = ({"t_s": 201, "service": "quiet", "name": "latency.Average", "value": 1e9},)
    metrics = (*samples("loud", [1, 2, 1, 2], [50]), *samples("quiet", [1, 2, 1, 2], [2]), *later)
    scores = largest_metric_z(Recording(metrics=metrics), SPLIT)
    assert rank(scores) == ["loud", "quiet"]
    assert scores["loud"] == pytest.approx((50 - 1.5) / 0.5)


def test_target_z_looks_at_the_complained_metric_only() -> None:
    metrics = (*samples("a", [1, 2, 1, 2], [9]), *samples("b", [1, 2, 1, 2], [99], "requests.Sum"))
    assert list(target_metric_z(Recording(metrics=metrics), SPLIT)) == ["a"]


def test_deepest_anomalous_follows_calls_through_anomalous_components() -> None:
    usual, odd = [1.0, 2.0, 1.0, 2.0], [30.0]
    metrics = (
        *samples("front", usual, odd),
        *samples("middle", usual, odd),
        *samples("store", usual, odd),
        *samples("calm", usual, [1.5]),
        *samples("beyond", usual, [90.0]),
    )
    calls = (("front", "middle"), ("middle", "store"), ("front", "calm"), ("calm", "beyond"))
    ranking = rank(deepest_anomalous(Recording(metrics=metrics, calls=calls), SPLIT))
    assert ranking == ["store", "middle", "front", "beyond"]


def test_baro_takes_median_and_quartiles_of_before() -> None:
    # One wild sample before blows up a standard deviation and leaves the quartiles alone.
    metrics = (*samples("a", [1, 2, 3, 4, 900], [23]), *samples("b", [1, 2, 3, 4, 5], [9]))
    recording = Recording(metrics=metrics)
    assert baro(recording, SPLIT) == {"a": pytest.approx(10.0), "b": pytest.approx(3.0)}
    assert rank(largest_metric_z(recording, SPLIT)) == ["b", "a"]


def test_baro_counts_a_fall_and_divides_by_one_where_nothing_varied() -> None:
    metrics = samples("a", [100, 100, 100, 100], [93])
    assert baro(Recording(metrics=metrics), SPLIT) == {"a": 7.0}


def test_error_growth_compares_rates() -> None:
    logs = (
        *(line(at, "steady", "boom", "ERROR") for at in (10, 11, 110, 111)),
        *(line(at, "broken", "fine") for at in (10, 11)),
        *(line(at, "broken", "no", "ERROR") for at in (110, 110.5, 111)),
    )
    scores = error_growth(Recording(logs=logs), SPLIT)
    assert scores == {"steady": 0.0, "broken": 1.5}
    assert error_growth(Recording(logs=logs[:2]), SPLIT) == {}


def test_new_and_vanished_templates_count_alike() -> None:
    logs = (
        *(line(at, "a", f"order {at} stored") for at in (10, 11, 110, 111)),
        *(line(at, "b", "x.Impl#34 done") for at in (10, 11)),
        *(line(at, "c", "x.Impl#37 oops") for at in (110, 110, 111)),
    )
    assert changed_templates(Recording(logs=logs), SPLIT) == {"a": 0.0, "b": 1.0, "c": 1.5}
    assert template("order 12 of [x] stored") == template("order 99 of [y] stored")


def test_the_callee_of_the_slower_link_is_blamed_not_the_slower_service() -> None:
    spans = []
    for trace, start, link, work in (("t1", 10_000, 2, 5), ("t2", 110_000, 400, 5)):
        spans += [span(trace, "c", None, "front", start, link + work), span(trace, "s", "c", "far", start, work)]
        spans += [span(trace, "d", "s", "far", start, work), span(trace, "e", "d", "busy", start, work)]
    spans += [span("t3", "c", None, "front", 110_000, 9_002), span("t3", "s", "c", "busy", 110_000, 9_000)]
    scores = caller_minus_callee(Recording(spans=tuple(spans)), SPLIT)
    assert rank(scores)[0] == "far"


# -- renaming ----------------------------------------------------------------------------------------------------------

RECORDING = Recording(
    logs=({**line(10, "order", "order-db at http://order:8080 reordered orders order-77"), "pod": "order-5f-x2"},),
    spans=(span("aa", "bb", None, "order-db", 0, 1),),
    metrics=samples("order", [1.0], []),
    calls=(("order", "order-db"),),
)


def test_renaming_replaces_words_everywhere_and_nothing_within_words() -> None:
    renamed = Renaming({"order": "mu", "order-db": "ki"}).recording(RECORDING)
    assert renamed.logs[0]["service"] == "mu"
    assert renamed.logs[0]["pod"] == "mu-5f-x2"
    assert renamed.logs[0]["body"] == "ki at http://mu:8080 reordered orders mu-77"
    assert renamed.spans[0]["service"] == "ki"
    assert renamed.spans[0]["trace_id"] == "aa"
    assert renamed.calls == (("mu", "ki"),)
    assert "order" not in json.dumps(renamed.logs).replace("reordered orders", "")


def test_drawn_names_are_distinct_repeatable_and_lead_back() -> None:
    names = draw_names(RECORDING, seed=1)
    assert names.words == draw_names(RECORDING, seed=1).words != draw_names(RECORDING, seed=2).words
    assert set(names.words) == services_of(RECORDING) == {"order", "order-db"}
    assert len(set(names.words.values())) == 2
    assert [names.original(names.text(name)) for name in ("order", "order-db")] == ["order", "order-db"]


def test_an_empty_renaming_changes_nothing() -> None:
    assert Renaming({}).recording(RECORDING) is RECORDING
    assert Renaming({}).text("order") == "order"


# -- reading -----------------------------------------------------------------------------------------------------------


def write_lines(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def petshop(tmp_path: Path) -> Path:
    """A data folder with one small case of petshop, and no labels."""
    folder = tmp_path / "petshop" / "low_traffic-secret-0"
    write_lines(folder / "metrics.ndjson.gz", [{"t_s": 5000, "service": "a", "name": "latency.Average", "value": 9.0}])
    usual = [{"t_s": t, "service": "a", "name": "latency.Average", "value": 1.0} for t in (8_000, 8_300, 99_800)]
    write_lines(folder.parent / "low_traffic-baseline-metrics.ndjson.gz", usual)
    (folder.parent / "low_traffic-topology.json").write_text('[["front", "a"]]')
    symptom = {"node": "front", "metric": "latency", "agg": "Average"}
    incident = {"detected_at_s": 5100, "symptom": symptom, "question": "?"}
    (folder / "incident.json").write_text(json.dumps(incident))
    return tmp_path


def test_rows_of_a_negative_time_are_skipped_and_counted(tmp_path: Path) -> None:
    write_lines(tmp_path / "logs.ndjson.gz", [line(-3, "a", "x"), line(3, "a", "y")])
    recording = read_recording(tmp_path)
    assert [row["body"] for row in recording.logs] == ["y"]
    assert recording.skipped == 1


def test_usual_metrics_of_petshop_end_right_before_the_incident(petshop: Path) -> None:
    (case,) = find_cases(petshop, "petshop")
    recording = load(case)
    # The last day of what was usual: its first sample is older than that.
    assert [row["t_s"] for row in recording.metrics] == [4700, 5000]
    assert [row["t_s"] for row in load(case, frozenset({"metrics"})).metrics] == []
    assert recording.calls == (("front", "a"),)
    assert case.question == "front latency violates its SLO: which component is the root cause?"
    assert (case.split.start, case.split.end) == (5100, 6000)
    (early,) = find_cases(petshop, "petshop", at="detected")
    assert (early.split.start, early.split.end) == (4800, 5100)


def test_without_data_it_says_so_and_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["rca", "--data", str(tmp_path / "nowhere")])
    main()
    said = capsys.readouterr().out
    assert "nezha-tt: skipped, there is no data in" in said
    assert "petshop: skipped, there is no data in" in said


# -- scoring -----------------------------------------------------------------------------------------------------------


def scored(**changes: Any) -> Scored:
    usual: dict[str, Any] = {
        "case": "c",
        "fault_type": "delay",
        "truth": "a",
        "outcome": "CONFIRMED",
        "first": "a",
        "ranks": {"ours": 1, "BARO": 4},
        "right": True,
        "path_cited": True,
        "cited": 3,
        "unchanged": 3,
        "seconds": 0.5,
    }
    return Scored(**(usual | changes))


def test_accuracy_at_k() -> None:
    assert accuracy([1, 3, 6, 2]) == {"AC@1": 0.25, "AC@3": 0.75, "Avg@5": pytest.approx((1 + 2 + 3 + 3 + 3) / 20)}
    assert place(["b", "a"], "a") == 2
    assert place([], "a") > 5


@pytest.mark.parametrize(
    "change", [{"right": False}, {"path_cited": False}, {"unchanged": 2}, {"cited": 0, "unchanged": 0}]
)
def test_strictly_right_takes_service_path_and_citations(change: dict[str, Any]) -> None:
    assert scored().strictly_right
    assert not scored(**change).strictly_right


def test_figures_count_wrong_confirmations_and_needless_abstention() -> None:
    found = figures(
        [scored(), scored(right=False, ranks={"ours": 2, "BARO": 1}), scored(outcome="INCONCLUSIVE", right=False)]
    )
    assert found["confirmed_wrong"] == 1
    assert found["abstained_though_first"] == 1
    assert found["strictly_right"] == 1
    assert found["methods"]["ours"]["AC@1"] == pytest.approx(2 / 3)
    assert found["methods"]["BARO"]["AC@1"] == pytest.approx(1 / 3)
    assert "delay" in table("t", [scored()])


def answer_body(outcome: str, path: list[str], hops: dict[str, list[str]]) -> dict[str, Any]:
    cause = {"service": path[0], "path": path, "hop_evidence": hops}
    return {"verdict": {"outcome": outcome, "causes": [cause]}}


def test_a_path_needs_an_edge_for_every_hop_and_the_symptom_at_its_end() -> None:
    path = ["db", "api", "front"]
    hops = {"front->api": ["edge-1"], "api->db": ["span-1", "edge-2"]}
    assert path_is_cited(answer_body("LIKELY", path, hops), "front")
    assert path_is_cited(answer_body("LIKELY", ["front"], {}), "front")
    assert not path_is_cited(answer_body("INCONCLUSIVE", path, hops), "front")
    assert not path_is_cited(answer_body("CONFIRMED", path, hops), "other")
    assert not path_is_cited(answer_body("CONFIRMED", path, hops | {"api->db": ["span-1"]}), "front")


def test_labels_are_opened_after_the_last_answer(petshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = find_cases(petshop, "petshop")

    def answers(cases: Sequence[Case], options: Options) -> Iterator[Answered]:
        for each in cases:
            yield Answered(
                each,
                "LIKELY",
                ("a",),
                ("a",),
                True,
                {"edge-1": "unchanged"},
                0.1,
                0.2,
                0,
                {"BARO": ["b"], "templates": []},
            )
        label = {"case": case.name, "root_cause_service": "a"}
        (petshop / "petshop" / "labels.jsonl").write_text(json.dumps(label))

    monkeypatch.setattr(rca, "answer_cases", answers)
    found = run([case], petshop, Options(), "petshop")
    assert found["groups"]["latency"]["strictly_right"] == 1
    accuracies = found["groups"]["ALL"]["methods"]
    assert {method: figure["AC@1"] for method, figure in accuracies.items()} == {"ours": 1.0, "BARO": 0.0}


# -- the real thing ----------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.skipif(not (rca.DATA / "nezha-tt").is_dir(), reason=f"no recorded incidents in {rca.DATA}")
@pytest.mark.parametrize("options", [Options(), Options(rename=True)], ids=["plain", "renamed"])
def test_every_case_is_answered_and_no_label_is_sent(monkeypatch: pytest.MonkeyPatch, options: Options) -> None:
    sent: list[bytes] = []

    def keep(request: httpx.Request) -> None:
        body = request.read()
        packed = request.headers.get("content-encoding") == "gzip"
        sent.append(str(request.url).encode() + b" " + (gzip.decompress(body) if packed else body))

    def client(server: Server, timeout: float = 120.0) -> httpx.Client:
        hooks: dict[str, list[Any]] = {"request": [keep]}
        return httpx.Client(base_url=server.url, headers=server.headers, timeout=timeout, event_hooks=hooks)

    monkeypatch.setattr(Server, "client", client)
    cases = [*find_cases(rca.DATA, "nezha-tt")[:2], *find_cases(rca.DATA, "petshop")[:1]]
    answers = list(answer_cases(cases, options))
    assert [answer.case for answer in answers] == cases
    assert [answer.failure for answer in answers] == [""] * len(cases)
    assert all(answer.ranking for answer in answers)
    everything = b"\n".join(sent)
    assert b"/v1/metrics" in everything
    labels = [
        json.loads(text)
        for name in ("nezha-tt", "petshop")
        for text in (rca.DATA / name / "labels.jsonl").read_text().splitlines()
    ]
    told = {label["case"] for label in labels} | {"root_cause_service", "inject_time", "fault_type", "labels.jsonl"}
    told |= {label["indicator"] for label in labels if "#" in label.get("indicator", "")}
    told |= {"network_delay", "cpu_contention", str(rca.DATA)}
    told |= {label["how"]["command"] for label in labels if "how" in label}
    assert [word for word in sorted(told) if word.encode() in everything] == []
    if options.rename:
        names = {name for case in cases for name in services_of(load(case)) if len(name) > 8}
        assert [name for name in sorted(names) if name.encode() in everything] == []


def test_without_the_graph_no_span_says_who_called_it() -> None:
    spans = (span("t", "1", None, "web", 0, 9), span("t", "2", "1", "web", 0, 8), span("t", "3", "2", "cart", 1, 5))
    assert [row["parent_id"] for row in rca._unlinked(spans)] == [None, "1", None]
