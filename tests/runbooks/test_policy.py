"""Who may approve, and when something may be changed. The moment is an argument."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.remedy import PROPOSER, Actor, Given
from domain.times import to_us
from runbooks.policy import Automatic, Freeze, Policy, PolicyFile

NIGHTS = {"windows": [{"days": ["fri"], "from": "22:00", "to": "02:00", "zone": "Europe/Berlin"}]}


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        ("2026-11-20T20:59:00", False),  # Friday, 21:59 in Berlin
        ("2026-11-20T21:00:00", True),
        ("2026-11-21T00:59:00", True),  # Saturday, in the window that began on Friday
        ("2026-11-21T01:00:00", False),
        ("2026-11-21T21:30:00", False),
        ("2026-07-03T20:00:00", True),  # summer time
    ],
)
def test_a_window_over_midnight_in_a_zone(moment: str, open_: bool) -> None:
    policy = PolicyFile.model_validate(NIGHTS).to_policy()
    why = policy.why_not_now(to_us(datetime.fromisoformat(moment).replace(tzinfo=UTC)))
    assert (why == "") is open_


def test_a_freeze_ends() -> None:
    policy = Policy(freezes=(Freeze(100, 200, "holidays"),))
    assert [bool(policy.why_not_now(at)) for at in (99, 100, 199, 200)] == [False, True, True, False]


def test_who_may_approve() -> None:
    policy = Policy(approvers=("admin",))
    admin, reader = Actor("a", "admin", "api"), Actor("b", "read", "api")
    assert policy.why_not_by(admin, PROPOSER) == "" == policy.why_not_by(admin, "somebody")
    assert "proposed this" in policy.why_not_by(admin, "a")
    assert "may not approve" in policy.why_not_by(reader, "somebody")
    assert Policy(not_the_proposer=False).why_not_by(admin, "a") == ""


@pytest.mark.parametrize(
    ("workflow", "environment", "reversible", "tainted", "alone"),
    [
        ("heal", "staging-1", True, False, True),
        ("heal", "production", True, False, False),
        ("other", "staging-1", True, False, False),
        ("heal", "staging-1", False, False, False),
        ("heal", "staging-1", True, True, False),
    ],
)
def test_what_runs_unasked(workflow: str, environment: str, reversible: bool, tainted: bool, alone: bool) -> None:
    policy = Policy(automatic=(Automatic("heal", ("staging*",)),))
    arguments = {"service": Given("x", "cause.service" if tainted else "default", tainted)}
    why = policy.why_not_alone(workflow, environment, reversible=reversible, arguments=arguments)
    assert (why == "") is alone
