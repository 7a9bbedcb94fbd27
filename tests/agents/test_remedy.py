"""From a proposal to a verified result, and every way in which it must not get there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.remedy_plan import Situation
from domain.errors import ActionRefused, ApprovalError, NotFound, PayloadError
from domain.remedy import Actor
from storage.approvals import ApprovalStore
from storage.database import Database
from tests.agents.remedying import ADMIN, OTHER, READER, Bench

type MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(database: Database, tmp_path: Path, environment: str) -> MakeBench:
    return lambda policy="{}": Bench(database, tmp_path, environment, policy)


async def test_a_run_waits_for_its_approval_and_is_verified(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose(to="4")
    assert run["status"] == "proposed" and run["approval_status"] == "pending"
    assert run["dry_run"].startswith("Open: the valve would go from 1 to 4")
    assert bench.turns() == ["1"]
    assert (await bench.see_through(run))["status"] == "proposed"  # waking it decides nothing
    await bench.approve(run)
    done = await bench.see_through(run)
    assert (done["status"], bench.turns()) == ("verified", ["1", "4", "9"])
    assert done["approval_status"] == "used" and done["reason"] == "0 of 20 requests of payment failed"
    assert bench.told == [(run["run_id"], "verified")]


async def test_everything_is_in_one_trace(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose()
    await bench.approve(run)
    await bench.see_through(run)
    view = await bench.traces.load(run["trace_id"])
    stages = [stage.name for stage in view.stages]
    assert stages[:2] == ["workflow prepare", "workflow approve"] and stages[-1] == "workflow end"
    assert view.segments == 2 and view.status == "complete"
    assert any(decision.what == "verified" for decision in view.decisions)


async def test_what_does_not_help_is_taken_back(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.store.failed = 15
    run = await bench.propose()
    await bench.approve(run)
    done = await bench.see_through(run)
    assert done["status"] == "undone" and "15 of 20 requests" in done["reason"]
    assert bench.turns() == ["1", "5", "9", "5", "1"]
    assert bench.told == [(run["run_id"], "undone")]


async def test_silence_verifies_nothing(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.store.requests = 0
    run = await bench.propose()
    await bench.approve(run)
    assert (await bench.see_through(run))["status"] == "undone"


async def test_a_step_that_fails_takes_back_those_before_it(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose("jam-valve")
    await bench.approve(run)
    done = await bench.see_through(run)
    assert done["status"] == "stuck" and "jammed" in done["reason"]  # nobody knows what a jammed valve has done
    assert [step["status"] for step in done["done"]] == ["done", "failed"]


async def test_the_same_thing_is_proposed_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    first, second, other = await bench.propose(), await bench.propose(), await bench.propose(to=7)
    assert first["run_id"] == second["run_id"] != other["run_id"]
    await bench.remedy.decide(first["approval_id"], "reject", ADMIN, digest=first["digest"])
    assert (await bench.see_through(first))["status"] == "rejected"
    assert (await bench.propose())["run_id"] != first["run_id"]
    assert bench.turns() == ["1"]


async def test_a_proposal_whose_process_died_is_prepared_by_another(
    database: Database, tmp_path: Path, environment: str
) -> None:
    bench = Bench(database, tmp_path, environment, abandoned_seconds=0.5)
    advance = bench.remedy._advance

    async def die(run_id: str) -> None:
        raise KeyboardInterrupt

    bench.remedy._advance = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await bench.propose()
    (left,) = await bench.store.list(environment)
    assert left.status == "preparing" and not await bench.remedy.approvals.of_run(left.id)
    bench.remedy._advance = advance  # type: ignore[method-assign]
    async with bench.remedy.working():
        await _until(lambda: bench.remedy.read_run(left.id), "proposed")
        run = await bench.remedy.read_run(left.id)
        async with asyncio.timeout(60):
            while not bench.told:
                await asyncio.sleep(0.05)
        assert bench.told == [(left.id, "proposed")]
        await bench.approve(run)
        await _until(lambda: bench.remedy.read_run(left.id), "verified")
    assert bench.turns() == ["1", "5", "9"]


# -- what an investigation proposes ------------------------------------------------------------------------------------


async def test_an_answer_proposes_what_fits_and_marks_what_is_tainted(make_bench: MakeBench) -> None:
    bench = make_bench()
    found = Situation(bench.environment, "inc-1", "CONFIRMED", service="payment", fault_class="capacity")
    shown = await bench.remedy.propose_for(found)
    assert shown is not None and shown["status"] == "proposed"
    assert shown["tainted"] == ["service"] and shown["proposed_by"] == "causegraph"
    other = Situation(bench.environment, "inc-1", "CONFIRMED", service="payment", fault_class="code")
    assert await bench.remedy.propose_for(other) is None
    unsure = Situation(bench.environment, "inc-1", "LIKELY", service="payment", fault_class="capacity")
    assert await bench.remedy.propose_for(unsure) is None


@pytest.mark.parametrize(
    "name", ["-rf", "a b", "a;reboot", "$(id)", "../../x", "a\nb", "a/b", "{to}", "%2e", "é", "." * 3, ""]
)
async def test_a_strange_name_opens_no_run(make_bench: MakeBench, name: str) -> None:
    bench = make_bench()
    found = Situation(bench.environment, "inc-1", "CONFIRMED", service=name, fault_class="capacity")
    shown = await bench.remedy.propose_for(found)
    assert shown is not None and shown["status"] in ("impossible", "incomplete")
    assert not await bench.remedy.runs.list(bench.environment)


# -- policies ----------------------------------------------------------------------------------------------------------

_AUTOMATIC = "{automatic: [{workflow: open-valve, environments: ['test-*']}]}"


async def test_a_named_reversible_workflow_may_run_unasked(make_bench: MakeBench) -> None:
    bench = make_bench(_AUTOMATIC)
    run = await bench.propose()
    assert run["approval_status"] == "approved" and bench.turns() == ["1"]
    async with bench.remedy.working():
        await _until(lambda: bench.remedy.read_run(run["run_id"]), "verified")


async def test_tainted_arguments_are_never_approved_by_policy(make_bench: MakeBench) -> None:
    bench = make_bench(_AUTOMATIC)
    found = Situation(bench.environment, "inc-1", "CONFIRMED", service="payment", fault_class="capacity")
    shown = await bench.remedy.propose_for(found)
    assert shown is not None and shown["approval_status"] == "pending"


async def test_what_cannot_be_undone_is_never_approved_by_policy(make_bench: MakeBench) -> None:
    bench = make_bench("{automatic: [{workflow: jam-valve, environments: ['*']}]}")
    assert (await bench.propose("jam-valve"))["approval_status"] == "pending"


async def test_a_freeze_holds_what_was_approved(make_bench: MakeBench) -> None:
    bench = make_bench("{freezes: [{from: '2020-01-01T00:00:00Z', to: '2100-01-01T00:00:00Z', reason: holidays}]}")
    run = await bench.propose()
    await bench.approve(run)
    done = await bench.see_through(run)
    assert done["status"] == "refused" and "holidays" in done["reason"]
    assert bench.turns() == ["1"]


async def test_no_more_run_at_once_or_in_an_hour_than_allowed(make_bench: MakeBench) -> None:
    bench = make_bench("{running: 1, per_hour: 2}")
    outcomes = []
    for to in (2, 3, 4):
        run = await bench.propose(to=to)
        await bench.approve(run)
        outcomes.append(await bench.see_through(run))
    assert [done["status"] for done in outcomes] == ["verified", "verified", "refused"]
    assert "within the last hour" in outcomes[2]["reason"]


# -- attacks -----------------------------------------------------------------------------------------------------------


async def _refuse(bench: Bench, run: dict[str, object], actor: Actor, digest: object, why: str) -> None:
    with pytest.raises(ApprovalError, match=why):
        await bench.remedy.decide(str(run["approval_id"]), "approve", actor, digest=str(digest))
    last = (await bench.remedy.approvals.events(str(run["approval_id"])))[-1]
    assert (last.actor, last.accepted) == (actor.name, False) and last.detail
    await bench.see_through(run)
    assert bench.turns() == ["1"]


async def test_other_bytes_than_those_shown_are_not_approved(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose()
    await _refuse(bench, run, ADMIN, "0" * 64, "read it again")


async def test_only_the_roles_named_approve_and_never_the_proposer(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose(actor=OTHER)
    await _refuse(bench, run, READER, run["digest"], "may not approve")
    await _refuse(bench, run, OTHER, run["digest"], "proposed this")


async def test_two_different_people_where_two_are_needed(make_bench: MakeBench) -> None:
    bench = make_bench("{approvals: 2}")
    run = await bench.propose()
    await bench.approve(run)
    await bench.approve(run)  # the same person twice is one person
    assert (await bench.remedy.approvals.get(run["approval_id"])).status == "pending"
    await bench.approve(run, Actor("key-third", "admin", "slack"))
    assert (await bench.see_through(run))["status"] == "verified"


async def test_an_approval_expires(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose()
    late = ApprovalStore(bench.remedy._database, lambda: 2**61)
    bench.remedy.approvals = late
    await _refuse(bench, run, ADMIN, run["digest"], "expired")


async def test_a_proposal_that_nobody_decided_on_ends(make_bench: MakeBench) -> None:
    bench = make_bench("{expires_minutes: 0.005}")
    run = await bench.propose()
    async with bench.remedy.working():
        await _until(lambda: bench.remedy.read_run(run["run_id"]), "expired")
    assert (await bench.remedy.approvals.get(run["approval_id"])).status == "void"
    assert bench.turns() == ["1"]


async def test_a_document_changed_while_it_runs_stops_the_run(make_bench: MakeBench, database: Database) -> None:
    bench = make_bench()
    run = await bench.propose()
    await bench.approve(run)
    statement = (
        f"UPDATE approval SET document = REPLACE(document, '\"to\":9', '\"to\":8') WHERE id = '{run['approval_id']}'"  # noqa: S608
    )
    begin = bench.store.begin

    async def begin_and_change(*words: str, **limits: int) -> str:
        problem = await begin(*words, **limits)  # type: ignore[arg-type]
        await database.transaction(lambda tx: tx.run_script([statement]))
        return problem

    bench.store.begin = begin_and_change  # type: ignore[method-assign, assignment]
    done = await bench.see_through(run)
    assert done["status"] == "stuck" and bench.turns() == ["1"]


async def test_an_approval_is_used_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose()
    await bench.approve(run)
    await bench.see_through(run)
    with pytest.raises(ApprovalError, match="used already"):
        await bench.approve(run)
    again = await bench.store.begin(run["run_id"], run["approval_id"], run["digest"], most_running=9, most_per_hour=9)
    assert again == "the approval is used, not approved"
    assert bench.turns() == ["1", "5", "9"]


async def test_an_approval_is_no_good_for_another_run(make_bench: MakeBench) -> None:
    bench = make_bench()
    one, other = await bench.propose(), await bench.propose(to=7)
    await bench.approve(one)
    problem = await bench.store.begin(
        other["run_id"], one["approval_id"], one["digest"], most_running=9, most_per_hour=9
    )
    assert problem == "there is no such approval of this run"


async def test_a_target_that_changed_needs_a_new_approval(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose()
    await bench.approve(run)
    (bench.folder / "valve").write_text("1 -\n3 by-hand\n")
    held = await bench.see_through(run)
    assert held["status"] == "proposed" and held["approval_status"] == "pending"
    assert held["approval_id"] != run["approval_id"] and "from 3 to 5" in held["dry_run"]
    assert bench.turns() == ["1", "3"]
    with pytest.raises(ApprovalError, match="void"):
        await bench.approve(run)
    await bench.approve(held)
    assert (await bench.see_through(held))["status"] == "verified"


async def test_a_changed_workflow_or_action_needs_a_new_approval(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose()
    await bench.approve(run)
    changed = bench.folder / "operator.yaml"
    other = bench.folder / "other"
    other.write_text("1 -\n")
    text = changed.read_text().replace(f"{bench.folder}/valve", str(other))
    fresh = make_bench()
    changed.write_text(text)
    from runbooks.operator import load_operator

    fresh.remedy.operator = load_operator(changed)
    held = await fresh.see_through(run)
    assert held["approval_status"] == "pending" and held["digest"] != run["digest"]
    assert bench.turns() == ["1"] and other.read_text() == "1 -\n"


async def test_a_document_changed_in_the_database_runs_nothing(make_bench: MakeBench, database: Database) -> None:
    bench = make_bench()
    run = await bench.propose()
    await bench.approve(run)
    statement = (
        f"UPDATE approval SET document = REPLACE(document, '\"to\":9', '\"to\":8') WHERE id = '{run['approval_id']}'"  # noqa: S608
    )
    await database.transaction(lambda tx: tx.run_script([statement]))
    done = await bench.see_through(run)
    assert bench.turns() == ["1"] and done["status"] in ("refused", "proposed")


async def test_an_action_that_nobody_allowed_opens_no_run(make_bench: MakeBench) -> None:
    bench = make_bench()
    text = (bench.folder / "workflows" / "open.yaml").read_text().replace("action: turn", "action: format-disk")
    (bench.folder / "workflows" / "open.yaml").write_text(text)
    from runbooks.workflow import load_workflows

    bench.remedy.workflows = load_workflows([bench.folder / "workflows"])
    with pytest.raises(ActionRefused, match="allows no action 'format-disk'"):
        await bench.propose()
    with pytest.raises(PayloadError, match="at most 10"):
        await bench.propose("open-valve", to=11)
    with pytest.raises(NotFound):
        await bench.propose("of-nobody")
    assert not await bench.remedy.runs.list(bench.environment)


async def test_two_workers_at_once_do_each_step_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    run = await bench.propose()
    await bench.approve(run)
    await asyncio.gather(*(bench.remedy.resume(run["run_id"]) for _ in range(3)), return_exceptions=True)
    turns = bench.turns()
    assert turns[:2] == ["1", "5"] and len([turn for turn in turns if turn == "9"]) <= 1
    keys = [line.split()[1] for line in (bench.folder / "valve").read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys))


async def _until(read, status: str) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(60):
        while (await read())["status"] != status:
            await asyncio.sleep(0.1)
