"""Answers, evidence and runbooks laid out for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agents.plain import read_step, show_plain, told_claims
from cli.screen import OUTCOME_STYLES, styled
from domain.times import format_us, from_us, parse_time_us

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_ACTIONS = {
    "ALLOW_ANSWER": "the answer may be used as it stands",
    "ALLOW_WITH_WARNING": "the answer may be used, with what is missing in mind",
    "NEED_CLARIFICATION": "the question has to be made clearer first",
    "ESCALATE": "a person should look at this",
    "BLOCK": "the answer must not be used",
}
_STATES = {"unchanged": "green", "changed": "yellow", "gone": "red"}
_COMMANDS = ("dry run", "run", "undo")


def print_answer(console: Console, body: Mapping[str, Any], scorecard: str = "") -> None:
    """Print a whole answer: verdict, chain, claims, ruled out, not seen, runbook, judge, scorecard."""
    verdict = body["verdict"]
    if not verdict["outcome"]:
        _print_looked_up(console, body)
        return
    _print_verdict(console, body, verdict)
    for cause in verdict["causes"]:
        _print_cause(console, cause)
    if claims := told_claims(body):
        _heading(console, "What the records show")
        for number, claim in enumerate(claims, start=1):
            _item(console, f"{number:>2}.", claim["text"], claim["evidence"])
    if remarks := body.get("remarks"):
        _heading(console, "What a language model reads in them")
        for remark in remarks:
            _item(console, " -", remark["text"], remark["evidence"])
    if verdict["ruled_out"]:
        _heading(console, "Ruled out")
        for ruled in verdict["ruled_out"]:
            _item(console, " -", f"{ruled['service']}: {ruled['why']}", ruled["evidence"])
    if verdict["not_seen"]:
        _heading(console, "What could not be seen")
        for line in verdict["not_seen"]:
            _item(console, " -", line)
    print_runbook(console, body.get("runbook"), wanted=bool(verdict["causes"]))
    _print_judge(console, body["judge"])
    if scorecard:
        _heading(console, "How it was answered")
        print_scorecard(console, scorecard)
    console.print()
    told = f"incident {body['incident_id']}   trace {body['trace_id']}{_budget(body)}"
    console.print(styled(told, "dim"), soft_wrap=True)


def _print_looked_up(console: Console, body: Mapping[str, Any]) -> None:
    """Print an answer that needed no verdict: its first line, and its claims with the records behind them."""
    console.print()
    claimed = {f"- {claim['text']} [{', '.join(claim['evidence'])}]" for claim in body["claims"]}
    lines = [line for line in str(body["answer"]).splitlines() if line not in claimed]
    console.print(styled(lines[0] if lines else "", "bold"))
    for claim in body["claims"]:
        _item(console, " -", claim["text"], claim["evidence"])
    for line in [*lines[1:], *body["verdict"]["not_seen"]]:
        _indented(console, styled(line, "dim"))
    print_runbook(console, body.get("runbook"), wanted=False)
    console.print()
    told = f"thread {body['thread_id']}   trace {body['trace_id']}{_budget(body)}"
    console.print(styled(told, "dim"), soft_wrap=True)


def _budget(body: Mapping[str, Any]) -> str:
    """Return what an answer took, with what models took of it."""
    budget = body.get("budget") or {}
    told = f"   {budget['seconds']:.1f} s" if "seconds" in budget else ""
    if budget.get("tokens"):
        told += f"   {budget['tokens']:,} tokens"
    return told + (f"   cost {budget['cost']:.4f}" if budget.get("cost") else "")


def _print_verdict(console: Console, body: Mapping[str, Any], verdict: Mapping[str, Any]) -> None:
    outcome = str(verdict["outcome"])
    console.print()
    headline = str(body["answer"]).partition("\n")[0]
    console.print(
        styled(f" {outcome} ", f"{OUTCOME_STYLES.get(outcome, 'bold')} reverse") + styled("  ") + styled(headline)
    )
    if not verdict["causes"]:
        for reason in verdict["reasons"]:
            if reason[:40] not in headline:
                _indented(console, styled(reason))


def _print_cause(console: Console, cause: Mapping[str, Any]) -> None:
    _heading(console, "Causal chain")
    inferred = set(cause["inferred_hops"])
    path = [str(service) for service in cause["path"]] or [str(cause["service"])]
    line = styled(path[0], "bold red")
    for before, service in pairwise(path):
        dotted = f"{before}->{service}" in inferred or f"{service}->{before}" in inferred
        line += styled(" ··> " if dotted else " ──> ", "dim")
        line += styled(service, "bold yellow" if service == path[-1] else "bold")
    _indented(console, line)
    kind = "a fault of an unknown kind" if cause["fault_class"] == "unknown" else f"a {cause['fault_class']} fault"
    facts = f"{kind} since {_moment(cause['onset'])}, confidence {cause['confidence']:.2f}"
    if inferred:
        facts += "; ··> is inferred, no record shows trouble on it"
    _indented(console, styled(facts, "dim"))


def print_runbook(console: Console, runbook: Mapping[str, Any] | None, *, wanted: bool) -> None:
    """Print a runbook and its steps, or that none fits where one was wanted."""
    if runbook is None:
        if wanted:
            _heading(console, "Runbook")
            _indented(console, styled("none fits"))
        return
    _heading(console, "Runbook")
    _indented(console, styled(str(runbook["title"]), "bold") + styled(f"  {runbook['id']}: {runbook['why']}", "dim"))
    for number, step in enumerate(runbook["steps"], start=1):
        for label, text in read_step(step):
            if not label:
                _item(console, f"{number:>2}.", text)
            else:
                style = "cyan" if label in _COMMANDS else ""
                _indented(console, styled(f"{label}: ", "dim") + styled(text, style), 6)
        for check in runbook.get("checks") or ():
            if check["step"] == step.get("name"):
                told = check.get("text") or ("" if check["seen"] else f"no {check['kind']} of the cause was found")
                label, style = ("seen: ", "green") if check["seen"] else ("not seen: ", "yellow")
                ids = "".join(f" [{one}]" for one in check["evidence"][:1])
                _indented(console, styled(label, style) + styled(f"{told}{ids}"), 6)


def _print_judge(console: Console, judge: Mapping[str, Any]) -> None:
    _heading(console, "Judge")
    action = str(judge["action"])
    scores = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in judge["scores"].items())
    _indented(console, styled(action, "bold") + styled(f"  {_ACTIONS.get(action, '')}"))
    _indented(console, styled(scores, "dim"))
    for gap in judge["gaps"]:
        _item(console, " -", gap)


def print_scorecard(console: Console, scorecard: str) -> None:
    """Print a trace's scorecard, which is laid out already."""
    for line in scorecard.splitlines():
        console.print(styled(f"  {line}"), soft_wrap=True)


def print_evidence_line(console: Console, evidence: Mapping[str, Any]) -> None:
    """Print one piece of evidence on two or three lines."""
    state = str(evidence["state"])
    head = styled(f"{evidence['id']:<22}", "bold cyan") + styled(f"{_moment(evidence['time'])}  ", "dim")
    console.print(head + styled(str(evidence["service"]), "bold") + styled(f"  re-read: {state}", _STATES[state]))
    _indented(console, styled(str(evidence["text"])), 4)


def print_evidence(console: Console, evidence: Mapping[str, Any]) -> None:
    """Print evidence with its whole record."""
    print_evidence_line(console, evidence)
    if evidence["reason"]:
        _indented(console, styled(str(evidence["reason"])), 4)
    console.print()
    key = json.dumps(evidence["key"], ensure_ascii=False)
    for label, text in (
        ("environment", evidence["environment"]),
        ("query", evidence["query"]),
        ("key", key),
        ("digest", evidence["digest"]),
    ):
        _field(console, label, str(text))
    changed = evidence["state"] == "changed"
    if evidence["cited_record"] is not None:
        _heading(console, "The record as cited" if evidence["state"] != "unchanged" else "The record")
        _print_record(console, evidence["cited_record"])
    if changed:
        _heading(console, "The record as it reads now")
        _print_record(console, evidence["record"] or {})


def _print_record(console: Console, record: Mapping[str, Any]) -> None:
    for name, value in record.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        if name.endswith("_us") and name != "duration_us" and isinstance(value, int) and value > 10**14:
            text = f"{value}  ({format_us(value)})"
        _field(console, name, text)


def print_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings, a line for each, so that `grep` finds whole ones."""
    plain = [[" ".join(show_plain(cell).split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *plain, strict=True)]
    console.print(_row(columns, widths, "dim"), soft_wrap=True)
    for row in plain:
        console.print(_row(row, widths), soft_wrap=True)


def _row(cells: Sequence[str], widths: Sequence[int], style: str = "") -> Text:
    line = styled("")
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        padded = cell if at == len(cells) - 1 else cell.ljust(width + 2)
        line += styled(padded, style or OUTCOME_STYLES.get(cell, ""))
    return line


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(styled(title, "bold underline"))


def _item(console: Console, mark: str, text: str, evidence: Sequence[str] = ()) -> None:
    line = styled(text)
    for found in evidence:
        line += styled(" ") + styled(f"[{found}]", "cyan")
    _hanging(console, f"{mark} ", line)


def _indented(console: Console, text: Text, columns: int = 2) -> None:
    _hanging(console, " " * columns, text)


def _field(console: Console, label: str, text: str) -> None:
    _hanging(console, f"  {label:<14} ", styled(text))


def _hanging(console: Console, lead: str, text: Text) -> None:
    """Print a text whose later lines stand under its first one."""
    for at, line in enumerate(text.wrap(console, max(20, console.width - len(lead)))):
        line.rstrip()
        console.print(styled(" " * len(lead) if at else lead, "dim") + line, soft_wrap=True)


def _moment(text: str) -> str:
    return f"{from_us(parse_time_us(text)):%Y-%m-%d %H:%M:%S} UTC"


def print_trace(console: Console, trace: Mapping[str, Any], *, verbose: bool = False) -> None:
    """Print a trace: scorecard (verbose: with each principle, policy and stage), decisions, ledger."""
    console.print(styled(str(trace["question"]), "bold"))
    console.print(styled(f"{trace['environment']}, {_moment(trace['started'])}", "dim"))
    console.print()
    print_scorecard(console, str(trace["scorecard_verbose" if verbose else "scorecard"]))
    names = dict(_stage_names(trace["stages"]))
    _heading(console, "Decisions")
    for decision in trace["decisions"]:
        sure = "" if decision["confidence"] is None else f"  confidence {decision['confidence']:.2f}"
        stage = names.get(decision["span_id"], "")
        _hanging(console, f"  {stage:<11} ", styled(str(decision["what"]), "bold") + styled(sure, "dim"))
        _indented(console, styled(str(decision["why"])), 14)
        if decision["alternatives"]:
            _indented(console, styled(f"also considered: {'; '.join(decision['alternatives'])}", "dim"), 14)
    _heading(console, "Search ledger")
    columns = ("window (UTC)", "scanned", "returned", "took", "source", "query", "filter")
    print_table(console, columns, [_ledger_row(entry) for entry in trace["ledger"]])


def _ledger_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    speaking = {True: "reporting", False: "silent"}.get(entry["reporting"], "")
    begin, end = from_us(entry["start_us"]), from_us(entry["end_us"])
    return (
        f"{begin:%m-%d %H:%M:%S} .. {end:%m-%d %H:%M:%S}",
        str(entry["rows_scanned"]),
        str(entry["rows_returned"]),
        f"{entry['seconds'] * 1000:.0f} ms",
        f"failed: {entry['error']}" if entry["error"] else speaking,
        str(entry["query"]),
        str(entry["filter"]),
    )


def _stage_names(stages: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    for stage in stages:
        yield str(stage["span_id"]), str(stage["name"])
        yield from _stage_names(stage["stages"])
