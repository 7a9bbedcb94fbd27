"""What runbooks and workflows name that is gone, and runbooks that alerts name by a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import PayloadError
from runbooks.library import BUILT_IN, load_library
from runbooks.linked import fetch_runbook, find_named, is_allowed
from runbooks.model import parse_runbook
from runbooks.operator import load_operator
from runbooks.rot import check_runbooks, check_workflows
from runbooks.workflow import load_workflows

RUNBOOK = """---
id: checkout-slow
title: Checkout is slow
services: [checkout, "pay*"]
fault_classes: [resource]
symptoms: [slow]
steps:
  - name: Restart
    precondition: it is slow
    expected_evidence: [{kind: span, what: slow requests}]
    command: [kubectl, rollout, restart, deployment/checkout]
    verify: {kind: span, what: quick again}
---
text
"""
SHOP = Path(__file__).parents[2] / "examples" / "shop" / "remedies"


def test_services_that_are_gone_are_named() -> None:
    runbook = parse_runbook(RUNBOOK, "x.md")
    assert check_runbooks([runbook], {"checkout", "payment"}) == []
    told = [rot.problem for rot in check_runbooks([runbook], {"storefront", "payment"})]
    assert told == [
        "no service is called 'checkout' (any more)",
        "step 'Restart': there is no deployment 'checkout' (any more)",
    ]
    assert check_runbooks([runbook], set()) == []  # nothing was sent yet: nothing is known


def test_the_shops_remedies_are_sound_and_a_lost_action_is_named(tmp_path: Path) -> None:
    workflows, library = load_workflows([SHOP / "workflows"]), load_library([BUILT_IN])
    assert not workflows.problems and len(workflows) >= 5
    operator = load_operator(SHOP / "operator.yaml")
    services = {"inventory", "worker", "queue", "payment"}
    assert check_workflows(workflows, operator, library.runbooks.keys(), services) == []
    text = (SHOP / "operator.yaml").read_text()
    (tmp_path / "operator.yaml").write_text(
        text.replace("  renew-certificate:", "  renewal:").replace("min: 0.5, max: 3", "min: 0.5, max: 2")
    )
    told = {rot.problem for rot in check_workflows(workflows, load_operator(tmp_path / "operator.yaml"), (), {"x"})}
    assert "the operator's file has no action 'renew-certificate'" in told
    assert "set-bank-timeout: seconds must be at most 2." in told
    assert "no service is called 'worker' (any more)" in told


def test_no_action_of_the_shop_reaches_the_injector() -> None:
    for line in (SHOP / "operator.yaml").read_text().splitlines():
        assert not {"inject", "mend"} & set(line.replace(",", " ").replace("[", " ").replace("]", " ").split())


def test_a_url_names_a_runbook_by_its_last_part() -> None:
    library = load_library([BUILT_IN])
    for url in (
        "https://wiki.example.org/runbooks/disk-full",
        "https://x/y/disk-full.md?v=1#top",
        "https://x/Disk-Full/",
    ):
        found = find_named(library, url)
        assert found is not None and found.id == "disk-full" and len(found.revision) == 64
    assert find_named(library, "https://wiki.example.org/") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://docs.example.org/a.md",
        "https://docs.example.org.evil.net/a.md",
        "https://docs.example.org@evil.net/a.md",
        "https://me@docs.example.org/a.md",
        "https://docs.example.org:8443/a.md",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://docs.example.org:x/a.md",
        "https://[::1/a.md",
        "",
    ],
)
async def test_a_runbook_of_a_stranger_is_not_fetched(url: str) -> None:
    assert not is_allowed(url, ["docs.example.org"])
    with pytest.raises(PayloadError, match="CAUSEGRAPH_RUNBOOK_HOSTS"):
        await fetch_runbook(url, ["docs.example.org"])


async def test_an_allowed_name_that_leads_inside_is_not_followed() -> None:
    assert is_allowed("https://localhost/a.md", ["localhost"])
    with pytest.raises(PayloadError, match="not public"):
        await fetch_runbook("https://localhost/a.md", ["localhost"])
