"""The demo of remediation: the shop is broken, the symptom is noticed, a workflow is proposed, approved, run, verified.

Nobody tells the assistant anything, and its actions are the ordinary commands of the shop's operators.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli import demo as shop_demo
from cli.commands.approve import follow_run, print_steps
from cli.screen import make_console, styled
from cli.server import find_server
from domain.errors import CausegraphError
from domain.settings import Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from cli.backend import Backend

_NOTICED_SECONDS = 240.0
_LOOK_SECONDS = 1.0
WRONG = "raise-bank-timeout"


@dataclass(frozen=True, slots=True)
class RemediationPlan:
    """What one demo does. `wrong` first tries a remedy that cannot help; `ask` waits for a person's approval."""

    fault: str
    warmup: float
    seed: int
    wrong: bool
    ask: bool


def run_remediation_demo(plan: RemediationPlan) -> None:
    """Run the demo from beginning to end; whatever happens, the shop and what was started for it are stopped."""
    faults, shop_class = shop_demo.import_shop()
    if plan.fault not in faults or not faults[plan.fault].breaks_checkout:
        raise CausegraphError(
            f"{plan.fault!r} is no fault that can be mended: `causegraph demo --fault list` lists them."
        )
    from cli.stack import stack_status, stop_stack

    settings, console = load_settings(), make_console()
    if find_server(settings.data_dir) is not None:
        raise CausegraphError(
            "A server runs with other workflows: stop it first (`causegraph down`), or set another CAUSEGRAPH_DATA_DIR."
        )
    had_stack = stack_status(settings.data_dir).running
    folder = Path(tempfile.mkdtemp(prefix="causegraph-remedy-"))
    remedies = Path(str(sys.modules[shop_class.__module__].__file__)).parent / "remedies"
    settings = _with_remedies(settings, folder, remedies)
    run: dict[str, Any] = {}
    try:
        with shop_demo.sigterm_as_interrupt():
            state, key = shop_demo.start_servers(settings, console)
            environment = asyncio.run(shop_demo.new_environment(settings))
            shop = shop_class.watched_by(
                state.address, folder / "shop", headers={"X-API-Key": key}, environment=environment, seed=plan.seed
            )
            run = _play(plan, shop, environment, faults[plan.fault].description, settings, console)
    finally:
        shop_demo.stop_what_was_started(settings, console, False, had_stack, stop_stack)
        shutil.rmtree(folder, ignore_errors=True)
    if run.get("status") != "verified":
        raise typer.Exit(1)


def _with_remedies(settings: Settings, folder: Path, remedies: Path) -> Settings:
    """Write the operator's file for the shop that is about to start, and return settings that use it."""
    text = (remedies / "operator.yaml").read_text(encoding="utf-8")
    places = {"@PYTHON@": sys.executable, "@STATE@": str(folder / "shop"), "@ROOT@": str(remedies.parents[2])}
    for place, value in places.items():
        text = text.replace(place, value)
    (folder / "operator.yaml").write_text(text, encoding="utf-8")
    given = settings.model_dump(include=settings.model_fields_set)
    ours = {
        "workflow_dir": remedies / "workflows",
        "remediation_file": folder / "operator.yaml",
        "symptom_investigations_per_hour": 60,  # one demo after the other must not use the hour's budget up
    }
    return load_settings(**{**given, **ours})


def _play(
    plan: RemediationPlan, shop: Any, environment: str, description: str, settings: Settings, console: Console
) -> dict[str, Any]:
    shop_demo.chapter(console, "A shop at work", f"ten services and their customers, as environment {environment}")
    with console.status(styled("starting the shop", "dim")):
        shop.start()
    try:
        shop.load(shop_demo.CUSTOMERS_PER_SECOND)
        shop_demo.watch(shop, plan.warmup, "working", console)
        shop_demo.chapter(console, f"Something happens: {plan.fault}", description)
        broken_at = shop.inject(plan.fault)
        console.print(styled(f"  in force since {broken_at:%H:%M:%S} UTC"))
        return asyncio.run(_mend(plan, shop, environment, settings, console))
    finally:
        with console.status(styled("stopping the shop", "dim")):
            shop.stop()


async def _mend(
    plan: RemediationPlan, shop: Any, environment: str, settings: Settings, console: Console
) -> dict[str, Any]:
    from cli.backend import open_backend

    began = time.monotonic()
    async with open_backend(settings, lambda line: None, investigate=True) as backend:
        shop_demo.chapter(console, "What is noticed", "the symptom, without a question; then its investigation")
        run = await _wait_for_proposal(backend, environment, console)
        console.print(styled(f"  {await _wait_for_answer(backend, run['incident_id'])}"), soft_wrap=True)
        if plan.wrong:
            await _try_wrong(backend, run, environment, settings, console)
            run = await backend.remedy("run", {"id": run["run_id"]})
        run = await _approve_and_follow(plan, backend, run, console)
        await _show_end(backend, run, environment, console, time.monotonic() - began)
    with console.status(styled("the customers", "dim")):
        await asyncio.to_thread(shop_demo.watch, shop, 6.0, "afterwards", console)
    return run


async def _wait_for_proposal(backend: Backend, environment: str, console: Console) -> dict[str, Any]:
    """Return the run that the investigation of the noticed symptom has proposed."""
    deadline, told = time.monotonic() + _NOTICED_SECONDS, False
    with console.status(styled("waiting for the symptom to be noticed and investigated", "dim")):
        while time.monotonic() < deadline:
            symptoms = await backend.symptoms(environment, "", 5)
            if symptoms and not told:
                told = True
                console.print(styled(f"  noticed: {symptoms[-1]['text']}"), soft_wrap=True)
            runs = (await backend.remedy("runs", {"environment": environment, "limit": 5}))["runs"]
            proposed = [one for one in runs if one["status"] == "proposed" and one["approval_status"] == "pending"]
            if proposed:
                return await backend.remedy("run", {"id": proposed[0]["run_id"]})
            await asyncio.sleep(_LOOK_SECONDS)
    raise CausegraphError(f"Nothing was proposed within {_NOTICED_SECONDS:.0f} s: see `causegraph incidents list`.")


async def _wait_for_answer(backend: Backend, incident_id: str) -> str:
    """Return the first line of an incident's answer; it is stored right after the proposal."""
    for _ in range(30):
        answer = (await backend.incident(incident_id)).get("answer") or {}
        if answer.get("verdict"):
            return str(answer["answer"]).splitlines()[0]
        await asyncio.sleep(_LOOK_SECONDS)
    raise CausegraphError(f"The answer of {incident_id} was not stored: see the server's log.")


async def _try_wrong(
    backend: Backend, right: Mapping[str, Any], environment: str, settings: Settings, console: Console
) -> None:
    """Do something that cannot help, and see it taken back."""
    shop_demo.chapter(console, "A wrong remedy first", "somebody is sure that the bank is only slow")
    asked = {"workflow": WRONG, "environment": environment, "incident_id": right["incident_id"], "arguments": {}}
    run = await _propose_as_somebody(settings, asked)
    print_steps(run["steps"])
    await backend.remedy("approve", {"id": run["approval_id"], "digest": run["digest"], "reason": "worth a try"})
    ended = await follow_run(backend, run["run_id"])
    if ended["status"] != "undone":
        raise CausegraphError(f"The wrong remedy should have been taken back, and is {ended['status']}.")


async def _propose_as_somebody(settings: Settings, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Propose with a key of its own: who proposes something may not approve it."""
    from cli.backend import open_backend
    from cli.services import open_database
    from storage.keys import KeyStore

    async with open_database(settings, lambda line: None) as database:
        key_id, secret = await KeyStore(database).create_key("demo-proposer", "ask")
        other = settings.model_copy(update={"api_key": secret})
        try:
            async with open_backend(other, lambda line: None) as backend:
                return await backend.remedy("propose", asked)
        finally:
            await KeyStore(database).revoke(key_id)


async def _approve_and_follow(
    plan: RemediationPlan, backend: Backend, run: dict[str, Any], console: Console
) -> dict[str, Any]:
    while True:
        shop_demo.chapter(console, f"The proposal: {run['title']}", f"because {'; '.join(run['why'])}")
        for name, given in run["arguments"].items():
            tainted = "  (from telemetry: never approved by a policy)" if given["tainted"] else ""
            console.print(styled(f"  {name} = {given['value']}") + styled(tainted, "yellow"), soft_wrap=True)
        if run["runbook"]:
            console.print(styled(f"  runbook {run['runbook']['id']} {run['runbook']['revision'][:12]}", "dim"))
        print_steps(run["steps"])
        console.print(
            styled(f"  {run['approval_id']} allows exactly {run['digest'][:16]}... until {run['expires']}", "dim")
        )
        decision = "approve"
        if plan.ask and not typer.confirm("Shall exactly this be done?", err=True):
            decision = "reject"
        shop_demo.chapter(console, "Approved" if decision == "approve" else "Rejected", "by whoever runs this demo")
        await backend.remedy(decision, {"id": run["approval_id"], "digest": run["digest"], "reason": "the demo"})
        run = await follow_run(backend, run["run_id"])
        if run["ended"]:
            return run


async def _show_end(
    backend: Backend, run: Mapping[str, Any], environment: str, console: Console, seconds: float
) -> None:
    incident = await backend.incident(run["incident_id"])
    status = incident.get("status", "")
    console.print(
        styled(f"  incident {run['incident_id']} is {status}, {seconds:.0f} s after the fault"), soft_wrap=True
    )
    await asyncio.sleep(2.0)  # the last events of the trace are on their way
    trace = await backend.trace(run["trace_id"])
    stages = " > ".join(dict.fromkeys(stage["name"] for stage in trace["stages"]))
    console.print(styled(f"  one trace, {run['trace_id']}: {stages}", "dim"), soft_wrap=True)
