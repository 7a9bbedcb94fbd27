"""A runbook is a contract: what is wrong with a file is said by file, line and field."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import PayloadError
from runbooks import fill_command, parse_runbook

GOOD = """---
id: restart-it
title: Restart it
services: ["pay*"]
fault_classes: [resource]
words: [stuck]
symptoms: [It hangs]
steps:
  - name: Restart
    precondition: It hangs
    expected_evidence:
      - {kind: log, what: It says so}
    arguments: {service: what to restart}
    dry_run: [kubectl, rollout, restart, --dry-run=server, "deployment/{service}"]
    command: [kubectl, rollout, restart, "deployment/{service}"]
    verify: {kind: requests, what: It answers, within_minutes: 5}
---
# Why
Because.
"""


def test_a_runbook_is_read_whole() -> None:
    runbook = parse_runbook(GOOD, "restart.md")
    assert (runbook.id, runbook.services, runbook.fault_classes) == ("restart-it", ("pay*",), ("resource",))
    assert runbook.text == "# Why\nBecause." and runbook.path == "restart.md"
    (step,) = runbook.steps
    assert step.command == ("kubectl", "rollout", "restart", "deployment/{service}")
    assert step.verify.within_minutes == 5 and step.rollback == ()
    assert step.to_json()["verify"] == {"kind": "requests", "what": "It answers", "within_minutes": 5}
    with pytest.raises(FrozenInstanceError):
        runbook.id = "other"  # type: ignore[misc]
    assert parse_runbook("\ufeff" + GOOD.replace("\n", "\r\n"), "restart.md") == runbook


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("id: restart-it", "id: Restart It", "r.md:2: id:"),
        ("title: Restart it\n", "", "title: Field required"),
        ("[resource]", "[resources]", "r.md:5: fault_classes: 'resources' is none of code, config"),
        ("words: [stuck]", "words: ['...']", "r.md:6: words: an empty word"),
        ("words: [stuck]", "word: [stuck]", "r.md:6: word: Extra inputs"),
        ("words: [stuck]", "words: [5]", "r.md:6: words[0]: Input should be a valid string"),
        ("kind: log", "kind: logs", "r.md:12: steps[0].expected_evidence[0].kind: 'logs' is none of log, span"),
        ("within_minutes: 5", "within_minutes: -1", "r.md:16: steps[0].verify.within_minutes:"),
        ("    precondition: It hangs\n", "", "r.md:9: steps[0].precondition: Field required"),
        ("{service: what to restart}", "{}", "r.md:9: steps[0]: {service} is used and not explained"),
        ("{service: what to", "{node: x, service: what to", "steps[0]: argument 'node' is explained and not used"),
        ("    command: [kubectl, rollout", "    command: [sh, -c, kubectl", "r.md:15: steps[0].command: sh is a shell"),
        ("    command: [kubectl,", "    command: [ssh, kubectl,", "ssh is a shell"),
        ("    command: [kubectl,", "    command: [kubectl, '|',", "'|' is shell syntax"),
        ("    command: [kubectl,", "    command: [kubectl, '$(id)',", "'$(id)' is shell syntax"),
        ("    command: [kubectl,", "    command: [kubectl, '{Service}',", "a place is written {name}"),
        ('    command: [kubectl, rollout, restart, "deployment/{service}"]\n', "", "a dry run or a rollback needs a"),
        ("title: Restart it", "title: [Restart", "r.md:4: this is not YAML"),
        ("words: [stuck]", "words: &a [stuck]\nchanges: *a", "aliases"),
        ("title: Restart it", "title: !!python/object:os.system x", "this is not YAML"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_field(old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(PayloadError) as caught:
        parse_runbook(GOOD.replace(old, new, 1), "r.md")
    assert told in str(caught.value)
    assert all(line.startswith("r.md") for line in str(caught.value).splitlines())


@pytest.mark.parametrize(
    "text", ["", "# no front matter", "---\nid: x\n", "---\n---\n", "---\n- a\n---\n", "x" * 300_000]
)
def test_what_is_no_runbook(text: str) -> None:
    with pytest.raises(PayloadError, match=r"r\.md"):
        parse_runbook(text, "r.md")


def test_all_problems_are_told_at_once() -> None:
    bad = GOOD.replace("id: restart-it", "id: R").replace("[resource]", "[x]").replace("kind: log", "kind: y")
    with pytest.raises(PayloadError) as caught:
        parse_runbook(bad, "r.md")
    assert len(str(caught.value).splitlines()) == 3


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for whole in (text, f"---\n{text}\n---\n", GOOD.replace("Restart it", text)):
        try:
            parse_runbook(whole, "r.md")
        except PayloadError as exc:
            assert "r.md" in str(exc)


def test_values_fill_places_and_stay_one_word() -> None:
    command = ("kubectl", "-n", "{namespace}", "deployment/{service}", "--replicas={n}")
    filled = fill_command(command, {"namespace": "prod", "service": "pay", "n": "3"})
    assert filled == ("kubectl", "-n", "prod", "deployment/pay", "--replicas=3")
    assert fill_command(("{a}",), {"a": "plain", "unused": "; rm"}) == ("plain",)


@pytest.mark.parametrize(
    "value",
    ["", "a b", "a;b", "1; DROP TABLE x", "$(id)", "`id`", "a'b", 'a"b', "a\nb", "a\x00", "{b}", "é", "a" * 300],
)
def test_values_that_could_be_more_than_a_name_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="may only have"):
        fill_command(("x", "deployment/{a}"), {"a": value})


def test_a_value_cannot_become_an_option_or_be_missing() -> None:
    with pytest.raises(ValueError, match="must not start"):
        fill_command(("rm", "{path}"), {"path": "-rf"})
    with pytest.raises(ValueError, match="no value"):
        fill_command(("rm", "{path}"), {})
