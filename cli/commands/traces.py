"""How runs do: compare two, what stands out, figures in groups, calibration, and whole traces for elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.policies import call
from cli.commands.records import fetch
from cli.screen import make_console, print_json, styled
from domain.errors import SettingsError

if TYPE_CHECKING:
    from cli.backend import Backend

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Environment = Annotated[str, typer.Option("--environment", "-e", help="Only of this environment.")]
Since = Annotated[str, typer.Option("--from", help="Only since this time.")]
Until = Annotated[str, typer.Option("--to", help="Only before this time.")]
_PREFERS = {
    "a": "the first answer is better",
    "b": "the second answer is better",
    "same": "neither is better",
    "inconsistent": "it went by the order in which it saw them",
    "unsettled": "it did not answer",
}
TraceId = Annotated[str, typer.Argument(help="The id of a trace: see `causegraph trace list`.")]


def compare(
    a: TraceId,
    b: TraceId,
    judge: Annotated[bool, typer.Option("--judge", help="Ask the model judge too which answer is better.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare two runs: where they first went apart, and what differs in all."""
    from cli.answer import print_table

    found = call("compare", {"a": a, "b": b})
    if judge:
        found["judge"] = call("prefer", {"a": a, "b": b})
    if as_json:
        print_json(found)
        return
    console = make_console()
    if not found["same_question"]:
        console.print(styled("The two runs answered different questions.", "yellow"))
    for name in ("outcome", "action", "causes"):
        left, right = (", ".join(v) if isinstance(v, list) else v for v in found[name])
        console.print(styled(f"{name}: {left or '-'}" + ("" if left == right else f" -> {right or '-'}")))
    for name in ("first_stage", "first_decision", "first_prompt"):
        if one := found[name]:
            told = f"They first differ in {one['where']}: {one['a'] or 'nothing'} | {one['b'] or 'nothing'}"
            console.print(styled(told, "bold"), soft_wrap=True)
    rows = [
        (one["name"], f"{one['a']:.4g}", f"{one['b']:.4g}", f"{one['change']:+.4g}")
        for one in (*found["deltas"], *found["scores"])
        if one["change"]
    ]
    if rows:
        print_table(console, ("", "first", "second", "change"), rows)
    for name, title in (("gaps_a_only", "gaps of the first only"), ("gaps_b_only", "gaps of the second only")):
        for gap in found[name]:
            console.print(styled(f"{title}: {gap}"), soft_wrap=True)
    only = len(found["evidence_a_only"]), len(found["evidence_b_only"])
    console.print(styled(f"cited by the first only: {only[0]}, by the second only: {only[1]}", "dim"))
    if judge:
        told = _PREFERS[found["judge"]["prefers"]]
        console.print(styled(f"The model judge: {told} ({'; '.join(found['judge']['why'])})", "bold"), soft_wrap=True)


def flagged(
    settle: Annotated[str, typer.Option(help="Take the flags of this run away: somebody has looked at it.")] = "",
    settled: Annotated[bool, typer.Option("--settled", help="Show those that were settled instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many flags at most, newest first.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List the runs that stand out and should be looked at, and why."""
    from cli.answer import print_table

    if settle:
        done = call("settle", {"trace_id": settle})
        if as_json:
            print_json(done)
        else:
            make_console().print(styled(f"{done['settled']} flag(s) of {settle} are settled"))
        return
    found = call("flagged", {"settled": settled, "limit": limit})
    if as_json:
        print_json(found)
        return
    rows = [
        (run["trace_id"] or "(all)", flag["raised"][:19].replace("T", " "), flag["kind"], flag["text"])
        for run in found["flagged"]
        for flag in run["flags"]
    ]
    print_table(make_console(), ("trace", "raised", "kind", "why"), rows)


def stats(
    by: Annotated[
        str, typer.Option(help="intent, service, outcome, action, policy, environment, day or week.")
    ] = "service",
    environment: Environment = "",
    since: Since = "",
    to: Until = "",
    as_json: JsonFlag = False,
) -> None:
    """Sum up the runs that were judged: in groups, with the principles that fail."""
    from cli.answer import print_table

    found = call("stats", {"by": by, "environment": environment, "from": since, "to": to})
    if as_json:
        print_json(found)
        return
    console = make_console()
    told = f"{found['runs']} runs, {found['allowed']} of them allowed; {found['reviewed']} reviewed, {found['passed']} passed"
    console.print(styled(told, "bold"))
    rows = [
        (
            g["value"] or "-",
            str(g["runs"]),
            _share(g["quality"]),
            _share(g["allowed"]),
            str(g["reviewed"]),
            _share(g["passed"]),
        )
        for g in found["groups"]
    ]
    print_table(console, (by, "runs", "quality", "allowed", "reviewed", "passed"), rows)
    for pattern in found["patterns"]:
        told = f"principle {pattern['principle']} failed in {pattern['failed']} of {pattern['runs']} runs"
        console.print(styled(told, "yellow"))


def failures(
    environment: Environment = "",
    since: Since = "",
    to: Until = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most, newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List the runs whose answer was held back, and what was missing."""
    found = call("failures", {"environment": environment, "from": since, "to": to, "limit": limit})
    if as_json:
        print_json(found)
        return
    console = make_console()
    console.print(styled(f"{found['count']} of {found['looked_at']} decisions held an answer back.", "bold"))
    for one in found["failures"]:
        console.print(styled(f"{one['trace_id']}  {one['action']}  {one['reason']}"), soft_wrap=True)
        for gap in one["gaps"][:5]:
            console.print(styled(f"    {gap}", "dim"), soft_wrap=True)


def calibration(
    environment: Environment = "",
    days: Annotated[float, typer.Option(min=0.01, help="How many days back.")] = 90.0,
    as_json: JsonFlag = False,
) -> None:
    """Say how far stated confidence is from what people found, beside the noise that so few runs have."""
    from cli.answer import print_table

    found = call("calibration", {"environment": environment, "days": days})
    if as_json:
        print_json(found)
        return
    console = make_console()
    said = found["reliability"]
    if said is None:
        told = "No run of this time has both a stated confidence and a review: `POST /traces/ID/reviews` takes them."
        console.print(styled(told))
    else:
        console.print(styled(f"{said['runs']} reviewed runs, Brier score {said['brier']:.3f}", "bold"))
        told = f"calibration error {said['ece']:.3f} (95 %: {said['low']:.3f} to {said['high']:.3f})"
        noise = f"noise alone would show {said['floor']:.3f}, seldom more than {said['floor_high']:.3f}"
        console.print(styled(f"{told}; {noise}"))
        console.print(styled("It stands out." if said["stands_out"] else "It does not stand out.", "bold"))
        rows = [(f"{b['stated']:.2f}", f"{b['right']:.2f}", str(b["runs"])) for b in said["bins"]]
        print_table(console, ("stated", "right", "runs"), rows)
    for flag in found["flags"]:
        console.print(styled(flag["text"], "yellow"), soft_wrap=True)


def export(
    trace_ids: Annotated[list[str] | None, typer.Argument(help="Only these traces.")] = None,
    environment: Environment = "",
    since: Annotated[str, typer.Option("--from", help="Only begun since this time, where none are named.")] = "",
    to: Annotated[str, typer.Option("--to", help="Only begun before this time, where none are named.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many of the newest, where none are named.")] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write to this file. Default: standard output.")
    ] = None,
) -> None:
    """Write whole traces as JSON lines: stages, decisions, queries, judges, reviews."""
    try:
        target = out.open("w", encoding="utf-8") if out else sys.stdout
    except OSError as exc:
        raise SettingsError(f"{out} cannot be written: {exc}") from exc
    notes = make_console(stderr=True)

    async def write(backend: Backend) -> int:
        query = {"environment": environment, "from": since, "before": to, "limit": limit}
        ids = trace_ids or [str(trace["id"]) for trace in await backend.traces(query)]
        for number, trace_id in enumerate(ids, start=1):
            whole = {**await backend.trace(trace_id), "review": await backend.review("reviews", {"trace_id": trace_id})}
            target.write(json.dumps(whole) + "\n")
            if out and number % 20 == 0:
                notes.print(styled(f"{number} of {len(ids)}", "dim"))
        return len(ids)

    try:
        written = fetch(write)
    finally:
        if out:
            target.close()
    if out:
        notes.print(styled(f"{written} traces are in {out}"))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
