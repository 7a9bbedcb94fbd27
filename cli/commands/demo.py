"""`causegraph demo`: breaks a small shop and explains it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def demo(
    fault: Annotated[
        str, typer.Option(help="What to break; `none` breaks nothing, `list` lists the faults.")
    ] = "slow-dependency",
    warmup: Annotated[float, typer.Option(min=5, help="Seconds in which the shop works normally.")] = 20.0,
    broken: Annotated[float, typer.Option(min=5, help="Seconds in which it is broken.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Makes the customers and the stock the same again.")] = 1,
    question: Annotated[str, typer.Option(help="What to ask afterwards.")] = "why did checkout fail?",
    keep: Annotated[
        bool, typer.Option("--keep/--stop", help="Leave the servers and the pages running afterwards, or stop them.")
    ] = True,
    remediate: Annotated[
        bool, typer.Option("--remediate", help="Let it be noticed, and mended by an approved workflow, unasked.")
    ] = False,
    wrong: Annotated[
        bool, typer.Option("--wrong", help="With --remediate: try a remedy first that cannot help, and is taken back.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --remediate: approve without asking.")] = False,
) -> None:
    """Start a small shop of ten services, break it, and ask why checkout fails.

    Everything is real: processes, HTTP, databases, OpenTelemetry. The shop is stopped at the end; its records stay, in
    an environment of their own.
    """
    from cli.demo import DemoPlan, list_faults, run_demo

    if fault == "list":
        list_faults()
        return
    if remediate:
        from cli.remediation_demo import RemediationPlan, run_remediation_demo

        ask = not yes and sys.stdin.isatty()
        run_remediation_demo(RemediationPlan(fault=fault, warmup=warmup, seed=seed, wrong=wrong, ask=ask))
        return
    run_demo(DemoPlan(fault=fault, warmup=warmup, broken=broken, seed=seed, question=question, keep=keep))
