"""Recorded incidents of public data sets: how often is the true cause ranked first, and is the answer proven?

    python -m bench.rca [--data ../shared/data/rca] [--set nezha-tt|petshop] [--cases N] [--at end|detected]
                        [--rename] [--without logs,spans,metrics,graph] [--ablate] [--json FILE]

Each case goes through the ingest API of one cold server at its original times, into an environment of its own, and is
asked about through `POST /chat` with `at`, `from` and `to`. Names of cases and folders are never sent; labels are
opened when all answers are in. Beside ours stand the rules of bench/rules.py, computed here on the same recording.

nezha-tt: the question is the recorded one, `from` the start of the recorded fault window.
petshop: metrics and the call graph; the question names the component and the metric whose objective is violated, `from`
is when that was detected. Its "usual" metrics were recorded months after the incidents: their last day is moved to end
right before the incident's first sample.
`--without graph` leaves out who calls whom: the stated calls, and in spans the parent in another service. Neither set
holds changes (deploys), so that nothing can be said of what those are worth.
`--at end` asks when the recording ends, `--at detected` at the moment of detection (petshop: a five-minute sample says
when it begins, so that mostly nothing of the fault is stored yet).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from bench.renaming import Renaming, draw_names
from bench.replay import Recording, Row, ask, read_lines, read_recording, reread, send_recording
from bench.rules import RULES, Split, rank
from bench.scores import FAILED, OURS, Scored, by_fault_type, figures, path_is_cited, place, table
from bench.server import ROOT, Server, start_server

DATA = ROOT.parent / "shared" / "data" / "rca"
SETS = ("nezha-tt", "petshop")
SIGNALS = ("logs", "spans", "metrics", "graph")

_STEP_S = 300
_USUAL_S = 24 * 3600
_SEED = 20261121


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded incident without its label. `name` and `folder` stay here; the rest is what a user would say."""

    set: str
    name: str
    folder: Path
    question: str
    split: Split


@dataclass(frozen=True, slots=True)
class Options:
    """How cases are replayed: which signals are left out, whether services get other names."""

    without: frozenset[str] = frozenset()
    rename: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one case, names mapped back. `why` is the last reason given, `failure` why there is no answer."""

    case: Case
    outcome: str
    ranking: tuple[str, ...]
    causes: tuple[str, ...]
    path_cited: bool
    states: dict[str, str]
    seconds: float
    sent_seconds: float
    skipped: int
    rules: dict[str, list[str]]
    why: str = ""
    failure: str = ""
    confidence: float = 0.0


# -- cases -------------------------------------------------------------------------------------------------------------


def find_cases(data: Path, name: str, at: str = "end") -> list[Case]:
    """Return the cases of a set, in the order of their names."""
    return [_read_case(path.parent, name, at) for path in sorted((data / name).glob("*/incident.json"))]


def _read_case(folder: Path, name: str, at: str) -> Case:
    incident = json.loads((folder / "incident.json").read_text(encoding="utf-8"))
    detected = incident["detected_at_s"]
    if name == "nezha-tt":
        start, end = incident["fault_window_s"]
        split = Split(start, detected if at == "detected" else end, detected)
        return Case(name, folder.name, folder, incident["question"], split)
    symptom = incident["symptom"]
    start, end = (detected - _STEP_S, detected) if at == "detected" else (detected, detected + 3 * _STEP_S)
    metric = f"{symptom['metric']}.{symptom['agg']}"
    question = f"{symptom['node']} {symptom['metric']} violates its SLO: which component is the root cause?"
    return Case(name, folder.name, folder, question, Split(start, end, detected, metric, symptom["node"]))


def load(case: Case, without: frozenset[str] = frozenset()) -> Recording:
    """Read a case's telemetry, without the signals that are to be left out."""
    recording = read_recording(case.folder)
    if case.set == "petshop":
        recording = _with_usual(recording, case.folder)
    return replace(
        recording,
        logs=() if "logs" in without else recording.logs,
        spans=() if "spans" in without else _unlinked(recording.spans) if "graph" in without else recording.spans,
        metrics=() if "metrics" in without else recording.metrics,
        calls=() if "graph" in without else recording.calls,
    )


def _unlinked(spans: Sequence[Row]) -> tuple[Row, ...]:
    """Return spans that no longer say which service called theirs: nobody can tell who calls whom."""
    service_of = {(row["trace_id"], row["span_id"]): row["service"] for row in spans}
    return tuple(
        row
        if service_of.get((row["trace_id"], row.get("parent_id")), row["service"]) == row["service"]
        else row | {"parent_id": None}
        for row in spans
    )


def _with_usual(recording: Recording, folder: Path) -> Recording:
    """Put the scenario's call graph and the last day of its usual metrics beside an incident of petshop."""
    scenario = folder.name.split("-")[0]
    usual = read_lines(folder.parent / f"{scenario}-baseline-metrics.ndjson.gz")
    last = max(row["t_s"] for row in usual)
    shift = min(row["t_s"] for row in recording.metrics) - _STEP_S - last
    before = [row | {"t_s": row["t_s"] + shift} for row in usual if row["t_s"] > last - _USUAL_S]
    calls = json.loads((folder.parent / f"{scenario}-topology.json").read_text(encoding="utf-8"))
    return replace(
        recording,
        metrics=(*before, *recording.metrics),
        calls=tuple((caller, callee) for caller, callee in calls),
    )


# -- asking ------------------------------------------------------------------------------------------------------------


def answer_case(server: Server, case: Case, environment: str, options: Options) -> Answered:
    """Send one case, ask about it, and read again what the answer cites."""
    recording = load(case, options.without)
    rules = {name: rank(rule(recording, case.split)) for name, rule in RULES[case.set].items()}
    names = draw_names(recording, _SEED) if options.rename else Renaming({})
    sent = send_recording(server, names.recording(recording), environment)
    question = {
        "question": names.text(case.question),
        "environment": environment,
        "at": case.split.end,
        "from": case.split.start,
        "to": case.split.end,
    }
    began = time.perf_counter()
    try:
        answer = ask(server, question)
    except httpx.HTTPError as exc:
        took = time.perf_counter() - began
        return Answered(case, FAILED, (), (), False, {}, took, sent, recording.skipped, rules, failure=str(exc))
    took = time.perf_counter() - began
    verdict = answer["verdict"]
    return Answered(
        case=case,
        outcome=verdict["outcome"],
        ranking=tuple(names.original(ranked["service"]) for ranked in verdict["ranking"]),
        causes=tuple(names.original(cause["service"]) for cause in verdict["causes"]),
        path_cited=path_is_cited(answer, _symptom_service(server, answer)),
        states=reread(server, answer),
        seconds=took,
        sent_seconds=sent,
        skipped=recording.skipped,
        rules=rules,
        why=verdict["reasons"][-1] if verdict["reasons"] else "",
        confidence=verdict["causes"][0]["confidence"] if verdict["causes"] else 0.0,
    )


def _symptom_service(server: Server, answer: dict[str, Any]) -> str:
    with server.client() as client:
        incident = client.get(f"/incidents/{answer['incident_id']}").raise_for_status().json()
        return str(incident.get("service") or "")


def answer_cases(cases: Sequence[Case], options: Options) -> Iterator[Answered]:
    """Replay cases one after the other on one cold server."""
    with start_server() as server:
        for number, case in enumerate(cases):
            yield answer_case(server, case, f"env-{number:03d}", options)


# -- scoring -----------------------------------------------------------------------------------------------------------


def score(answers: Sequence[Answered], data: Path) -> list[Scored]:
    """Open the labels and compare: the first and only place that reads them."""
    labels = {
        (name, label["case"]): label
        for name in {answer.case.set for answer in answers}
        for label in map(json.loads, (data / name / "labels.jsonl").read_text(encoding="utf-8").splitlines())
    }
    # A rule whose signal was left out has nothing to say about any case, and no column.
    rules = [rule for rule in answers[0].rules if any(answer.rules[rule] for answer in answers)]
    return [_score(answer, labels[answer.case.set, answer.case.name], rules) for answer in answers]


def _score(answer: Answered, label: dict[str, Any], rules: Sequence[str]) -> Scored:
    truth = label["root_cause_service"]
    rankings = {OURS: answer.ranking} | {rule: answer.rules[rule] for rule in rules}
    return Scored(
        case=answer.case.name,
        fault_type=label.get("fault_type") or answer.case.split.metric.partition(".")[0],
        truth=truth,
        outcome=answer.outcome,
        first=answer.ranking[0] if answer.ranking else "",
        ranks={method: place(ranking, truth) for method, ranking in rankings.items()},
        right=answer.outcome in ("CONFIRMED", "LIKELY") and answer.causes == (truth,),
        path_cited=answer.path_cited,
        cited=len(answer.states),
        unchanged=sum(state == "unchanged" for state in answer.states.values()),
        seconds=answer.seconds,
        why=answer.why or answer.failure,
        confidence=answer.confidence,
    )


def run(cases: Sequence[Case], data: Path, options: Options, title: str) -> dict[str, Any]:
    """Replay, score and print one table; return its figures."""
    answers = []
    for answer in answer_cases(cases, options):
        answers.append(answer)
        said = f"failed: {answer.failure}" if answer.failure else f"{answer.outcome} {list(answer.ranking[:3])}"
        skipped = f", {answer.skipped} rows of a negative time skipped" if answer.skipped else ""
        print(
            f"... {answer.case.name}: {said}, sent in {answer.sent_seconds:.1f} s, "
            f"answered in {answer.seconds:.2f} s{skipped}",
            flush=True,
        )
    results = score(answers, data)
    print(f"\n{table(title, results)}\n", flush=True)
    return {
        "title": title,
        "groups": {name: figures(members) for name, members in by_fault_type(results).items()},
        "cases": [asdict(result) for result in results],
    }


def _title(name: str, at: str, options: Options) -> str:
    left_out = f"without {', '.join(sorted(options.without))}" if options.without else ""
    asked = "asked at detection" if at == "detected" else ""
    return ", ".join(filter(None, [name, left_out, "renamed" if options.rename else "", asked]))


def _signals(text: str) -> frozenset[str]:
    given = frozenset(filter(None, text.split(",")))
    if unknown := given - set(SIGNALS):
        raise argparse.ArgumentTypeError(f"unknown signals: {', '.join(sorted(unknown))}")
    return given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with nezha-tt/ and petshop/")
    parser.add_argument("--set", choices=SETS, help="one set only")
    parser.add_argument("--cases", type=int, help="the first N cases of each set only")
    parser.add_argument("--at", choices=("end", "detected"), default="end", help="when the question is asked")
    parser.add_argument("--rename", action="store_true", help="give every service a random name before sending")
    parser.add_argument("--without", type=_signals, default=frozenset(), help="leave these signals out")
    parser.add_argument("--ablate", action="store_true", help="also without each of the signals")
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    tables = []
    for name in [arguments.set] if arguments.set else SETS:
        cases = find_cases(arguments.data, name, arguments.at)[: arguments.cases]
        if not cases:
            print(f"{name}: skipped, there is no data in {arguments.data / name} (--data says where it is).")
            continue
        left_out = [arguments.without]
        if arguments.ablate:
            sent = SIGNALS if name == "nezha-tt" else ("graph",)  # petshop has nothing but metrics and calls
            left_out += [arguments.without | {signal} for signal in sent if signal not in arguments.without]
        for without in left_out:
            options = Options(without, arguments.rename)
            tables.append(run(cases, arguments.data, options, _title(name, arguments.at, options)))
    if arguments.json and tables:
        arguments.json.write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
