"""Workflows and the operator's file, as people write them, and as nobody may."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ActionRefused, NotFound, PayloadError, SettingsError
from runbooks.arguments import Argument, check_all
from runbooks.operator import load_operator
from runbooks.workflow import load_workflows, parse_workflow

WORKFLOW = """
id: roll-back
title: Roll the last release back
when: {fault_classes: [code], services: ["pay*"], changes: [deploy]}
reversible: true
arguments:
  service: {type: name, from: cause.service}
steps:
  - {name: Look, kind: check, action: look, with: {service: "{service}"}}
  - {name: Roll back, action: roll-back, with: {service: "{service}"}, undo: {action: deploy, with: {service: "{service}"}}}
verify:
  - {requests: "{service}", failed_below: 0.05}
"""
OPERATOR = """
connections:
  rundeck: {kind: http, url: "https://rundeck.example.org/api/41", headers: {X-Rundeck-Auth-Token: {env: RUNDECK_TOKEN}}}
  orders: {kind: sql, url: "mariadb://me:secret@db.example.org/orders"}
  cluster: {kind: kubernetes, namespaces: [shop]}
actions:
  look: {kind: command, run: [systemctl, is-active, "{service}"], arguments: {service: {type: name}}}
  job: {kind: http, connection: rundeck, form: rundeck, target: "b1f2", arguments: {service: {type: name}}}
  unblock:
    kind: sql
    connection: orders
    statement: {sql: "UPDATE queue SET state = 'ready' WHERE id = ?", order: [id]}
    dry_run: {sql: "SELECT id, state FROM queue WHERE id = ?", order: [id]}
    arguments: {id: {type: integer, min: 1, max: 1000000}}
  restart: {kind: kubernetes, connection: cluster, change: restart, arguments: {deployment: {}, namespace: {choices: [shop]}}}
policy:
  approvers: [admin, ask]
  automatic: [{workflow: roll-back, environments: [staging]}]
  windows: [{days: [mon, tue], from: "09:00", to: "17:00", zone: Europe/Berlin}]
  freezes: [{from: 2026-12-20T00:00:00Z, to: 2027-01-02T00:00:00Z, reason: holidays}]
"""


def test_a_workflow_is_read_whole() -> None:
    read = parse_workflow(WORKFLOW, "roll-back.yaml")
    assert read.id == "roll-back" and read.reversible and len(read.revision) == 64
    assert [step.kind for step in read.steps] == ["check", "remediate"]
    assert read.trigger.outcomes == ("CONFIRMED",) and read.trigger.services == ("pay*",)
    assert read.arguments["service"].source == "cause.service"
    assert parse_workflow(WORKFLOW + "\n", "x").revision != read.revision


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("id: roll-back", "id: Roll Back", ":2: id:"),
        ("when: {", "when: {fault_klasses: [x], ", ":4: when.fault_klasses:"),
        ("[code]", "[cosmic]", "cosmic"),
        ('service: "{service}"}}', 'service: "x-{service}"}}', "is one place"),
        ("reversible: true", "reversible: false\nsurprise: 1", "surprise"),
        ("from: cause.service", "from: environment.HOME", "environment.HOME"),
        (', undo: {action: deploy, with: {service: "{service}"}}', "", "needs an undo"),
        ('verify:\n  - {requests: "{service}", failed_below: 0.05}', "verify: []", "verify"),
        ("- {requests", "- {logs: x, requests", "about requests or about logs"),
        ("kind: check", "kind: destroy", "destroy"),
        ("type: name", "type: shell", "shell"),
        ("type: name", "type: integer", "needs a min and a max"),
        ("action: look", "action: ../look", "action"),
        ("title: Roll the last release back", "title: *x", "not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, told: str) -> None:
    assert old in WORKFLOW
    with pytest.raises(PayloadError) as caught:
        parse_workflow(WORKFLOW.replace(old, new, 1), "w.yaml")
    assert told in str(caught.value) and str(caught.value).startswith("w.yaml:")


def test_a_folder_gives_what_can_be_read_and_names_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WORKFLOW)
    (tmp_path / "b.yml").write_text(WORKFLOW)
    (tmp_path / "c.yaml").write_text("nothing: here")
    found = load_workflows([tmp_path, tmp_path / "none"])
    assert list(found.by_id) == ["roll-back"]
    assert len(found.problems) >= 3
    with pytest.raises(NotFound):
        found.get("other")


def test_the_operators_file_names_everything_that_may_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNDECK_TOKEN", "very-secret")
    path = tmp_path / "operator.yaml"
    path.write_text(OPERATOR)
    operator = load_operator(path)
    assert sorted(operator.actions) == ["job", "look", "restart", "unblock"]
    described = operator.action("job").describe({"service": "payment"})
    assert described == {
        "method": "POST",
        "url": "https://rundeck.example.org/api/41/job/b1f2/run",
        "body": {"options": {"service": "payment"}},
    }
    assert "very-secret" not in repr(operator) and "me:secret" not in repr(operator)
    with pytest.raises(ActionRefused, match="no action 'format-disk'"):
        operator.action("format-disk")
    with pytest.raises(ActionRefused, match="No operator's file"):
        load_operator(None).action("look")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("run: [systemctl", "run: [bash, -c, systemctl", "no shell"),
        ("run: [systemctl", "run: ['{service}'", "no shell"),
        ('"{service}"], arguments', '"{host}"], arguments', "{host} is used"),
        ("connection: orders", "connection: rundeck", "no sql connection"),
        ('WHERE id = ?", order: [id]}\n    dry', 'WHERE id = 5", order: [id]}\n    dry', "each `?`"),
        ("change: restart", "change: delete", "delete"),
        ("namespaces: [shop]", "namespaces: []", "names the namespaces"),
        ("zone: Europe/Berlin", "zone: Mars/Base", "not a window"),
        ("automatic: [{", "automatic: [{unless: never, ", "unless"),
        ("kind: http, connection", "kind: python, class: 'os:system', connection", "cannot be used"),
        ("kind: http, connection", "kind: python, class: 'collections:Counter', connection", "lacks"),
    ],
)
def test_an_operators_file_that_is_wrong_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, told: str
) -> None:
    monkeypatch.setenv("RUNDECK_TOKEN", "x")
    assert old in OPERATOR
    path = tmp_path / "operator.yaml"
    path.write_text(OPERATOR.replace(old, new, 1))
    with pytest.raises(SettingsError) as caught:
        load_operator(path)
    assert told in str(caught.value)


def test_a_secret_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text(OPERATOR)
    with pytest.raises(SettingsError, match="RUNDECK_TOKEN"):
        load_operator(path)


@given(st.text(max_size=40))
def test_a_name_holds_nothing_but_a_name(text: str) -> None:
    try:
        checked = check_all({"service": Argument("name")}, {"service": text})["service"]
    except PayloadError:
        return
    assert isinstance(checked, str) and checked.isascii() and checked[0].isalnum() and checked[-1].isalnum()
    assert not set(checked) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@given(st.one_of(st.integers(), st.floats(allow_nan=True), st.booleans(), st.text(max_size=8), st.none()))
def test_a_number_stays_within_its_bounds(value: object) -> None:
    try:
        checked = Argument("integer", least=1, most=9).check("n", value)
    except PayloadError:
        return
    assert type(checked) is int and 1 <= checked <= 9
