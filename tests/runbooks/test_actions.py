"""Actions against real programs, servers and databases; and nothing of an argument gets out of its place."""

from __future__ import annotations

import http.server
import ipaddress
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.stack import StackHandle
from domain.errors import ActionError, ActionRefused
from runbooks.actions.command import CommandAction, fill_words
from runbooks.actions.http import HttpAction, HttpConnection
from runbooks.actions.kubernetes import Cluster, KubernetesAction
from runbooks.actions.sql import SqlAction, Statement
from runbooks.arguments import Argument
from runbooks.safe_http import Sent, may_reach, resolve, send
from storage.database import Database
from tests.serving import listening

NAME = {"service": Argument("name")}
ECHO = (sys.executable, "-c", "import sys, os; print(sys.argv[1:], os.environ.get('CAUSEGRAPH_IDEMPOTENCY_KEY'))")


class Asked(http.server.BaseHTTPRequestHandler):
    """Answers what it is told to, and remembers what it was asked."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012 - emptied by the fixture
    replies: dict[str, tuple[int, dict[str, str], bytes]] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = {"method": self.command, "path": self.path, "headers": dict(self.headers.items()), "body": body}
        self.seen.append(asked)
        status, headers, content = self.replies.get(self.path.partition("?")[0], (200, {}, b"{}"))
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server of our own on this machine."""
    Asked.seen, Asked.replies = [], {}
    with listening(Asked) as url:
        yield url


# -- commands ----------------------------------------------------------------------------------------------------------


async def test_a_command_gets_words_and_a_key_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "x")
    action = CommandAction((*ECHO, "--service", "{service}"), NAME)
    assert await action.run({"service": "a b;$(id)"}, "key-1") == "['--service', 'a b;$(id)'] key-1"
    listing = CommandAction((sys.executable, "-c", "import os; print(sorted(os.environ))"), environment={"MODE": "x"})
    told = await listing.run({}, "")
    assert "MODE" in told and "SECRET_OF_THE_SERVER" not in told


async def test_a_value_that_would_be_an_option_is_refused() -> None:
    with pytest.raises(ActionRefused, match="option"):
        fill_words(("rm", "{service}"), {"service": "-rf"})
    assert fill_words(("rm", "--name={service}"), {"service": "-rf"}) == ("rm", "--name=-rf")


async def test_a_command_that_fails_or_hangs_is_told_apart() -> None:
    with pytest.raises(ActionError, match="status 3: no luck"):
        await CommandAction((sys.executable, "-c", "print('no luck'); raise SystemExit(3)")).run({}, "")
    with pytest.raises(ActionError, match="longer than"):
        await CommandAction((sys.executable, "-c", "import time; time.sleep(600)"), seconds=0.5).run({}, "")
    with pytest.raises(ActionRefused, match="cannot be started"):
        await CommandAction(("/nowhere/at-all",)).run({}, "")


# -- HTTP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "outer", "inner"),
    [
        ("93.184.216.34", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("::1", False, True),
        ("fd12::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("169.254.1.1", False, False),
        ("fe80::1", False, False),
        ("fd00:ec2::254", False, False),
        ("100.100.100.200", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:7f00:1::", False, False),
        ("0.0.0.0", False, False),  # noqa: S104
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
    ],
)
def test_which_addresses_may_be_reached(address: str, outer: bool, inner: bool) -> None:
    read = ipaddress.ip_address(address)
    assert (may_reach(read, inner=False), may_reach(read, inner=True)) == (outer, inner)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "2130706433", "[::1]", "169.254.169.254", "0"])
async def test_inner_hosts_are_refused_however_they_are_written(host: str, server: str) -> None:
    port = server.rpartition(":")[2]
    with pytest.raises(ActionRefused):
        await send(Sent("GET", f"http://{host}:{port}/"))
    assert not Asked.seen


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://x/", "http://u:p@example.org/", "http://", "http://x:99999/"]
)
async def test_other_addresses_than_of_the_web_are_refused(url: str) -> None:
    with pytest.raises(ActionRefused):
        await send(Sent("GET", url))


async def test_no_redirect_is_followed(server: str) -> None:
    Asked.replies["/go"] = (302, {"location": "http://169.254.169.254/latest/meta-data"}, b"")
    action = HttpAction(HttpConnection(server, inner=True), path="/go")
    with pytest.raises(ActionError, match="replied 302"):
        await action.run({}, "key")
    assert [asked["path"] for asked in Asked.seen] == ["/go"]


async def test_the_name_is_kept_where_the_address_was_checked(server: str) -> None:
    port = int(server.rpartition(":")[2])
    assert await resolve("localhost", port, inner=True) in ("127.0.0.1", "::1")
    Asked.replies["/x"] = (200, {}, b"done")
    await send(Sent("GET", f"http://127.0.0.1:{port}/x", inner=True))
    assert Asked.seen[0]["headers"]["host"] == f"127.0.0.1:{port}"


async def test_values_stay_in_their_place_of_path_and_body(server: str) -> None:
    connection = HttpConnection(f"{server}/base", {"authorization": "Bearer s3cret"}, inner=True)
    action = HttpAction(connection, NAME, path="/services/{service}/restart?by={service}")
    value = "../../admin?x=1&y#z"
    assert "s3cret" not in json.dumps(action.describe({"service": value})) + repr(action)
    await action.run({"service": value}, "key-7")
    asked = Asked.seen[0]
    encoded = "..%2F..%2Fadmin%3Fx%3D1%26y%23z"
    assert asked["path"] == f"/base/services/{encoded}/restart?by={encoded}"
    assert json.loads(asked["body"]) == {"service": value}
    assert (asked["headers"]["idempotency-key"], asked["headers"]["authorization"]) == ("key-7", "Bearer s3cret")


async def test_the_forms_of_the_known_runners(server: str) -> None:
    connection = HttpConnection(server, inner=True)
    values = {"service": "payment"}
    for form in ("n8n", "rundeck", "github", "argo"):
        await HttpAction(connection, NAME, form=form, target="heal", namespace="ops").run(values, "k")
    asked = [(one["path"], json.loads(one["body"])) for one in Asked.seen]
    submit = {"parameters": ["service=payment"]}
    assert asked == [
        ("/webhook/heal", {"service": "payment"}),
        ("/job/heal/run", {"options": {"service": "payment"}}),
        ("/actions/workflows/heal/dispatches", {"ref": "main", "inputs": {"service": "payment"}}),
        (
            "/api/v1/workflows/ops/submit",
            {"resourceKind": "WorkflowTemplate", "resourceName": "heal", "submitOptions": submit},
        ),
    ]


# -- SQL ---------------------------------------------------------------------------------------------------------------


async def test_a_statement_takes_parameters_and_touches_no_more_rows_than_allowed(
    stack: StackHandle, database: Database, environment: str
) -> None:
    table = environment.replace("-", "_")
    await database.transaction(
        lambda tx: tx.run_script(
            [
                f"CREATE TABLE {table} (id INT PRIMARY KEY, state VARCHAR(64))",
                f"INSERT INTO {table} VALUES (1, 'a'), (2, 'a')",  # noqa: S608
            ]
        )
    )
    arguments: Mapping[str, Argument] = {"state": Argument("text"), "id": Argument("integer", least=1, most=9)}
    action = SqlAction(
        stack.database_url,
        Statement(f"UPDATE {table} SET state = ? WHERE id = ?", ("state", "id")),  # noqa: S608
        arguments,
        state=Statement(f"SELECT id, state FROM {table} ORDER BY id"),  # noqa: S608
    )
    evil = "x' WHERE 1=1; -- "
    assert "1 | a" in await action.read_state({})
    assert await action.dry_run({"state": evil, "id": 1}) != "no rows"
    assert await action.read_state({}) == "1 | a\n2 | a"
    assert await action.run({"state": evil, "id": 1}, "k") == "1 rows changed"
    assert await action.read_state({}) == f"1 | {evil}\n2 | a"
    both = SqlAction(stack.database_url, Statement(f"UPDATE {table} SET state = 'b'"))  # noqa: S608
    with pytest.raises(ActionRefused, match="would touch 2 rows"):
        await both.run({}, "k")
    assert "b" not in await action.read_state({})
    with pytest.raises(ActionRefused, match="refused the statement"):
        await SqlAction(stack.database_url, Statement("UPDATE of_nobody SET x = 1")).run({}, "k")
    await database.transaction(lambda tx: tx.run_script([f"DROP TABLE {table}"]))


# -- Kubernetes --------------------------------------------------------------------------------------------------------

DEPLOYMENT = {
    "metadata": {"name": "payment", "uid": "u-1", "annotations": {"deployment.kubernetes.io/revision": "4"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "payment"}},
        "template": {"spec": {"containers": [{"name": "main", "image": "payment:2.4.0"}]}},
    },
}


@pytest.fixture
def cluster(server: str, tmp_path: Path) -> Cluster:
    """A cluster's API of our own, and a configuration that leads to it."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    content = {"content-type": "application/json"}
    Asked.replies["/apis/apps/v1/namespaces/shop/deployments/payment"] = (200, content, json.dumps(DEPLOYMENT).encode())
    old = {
        "spec": {"containers": [{"name": "main", "image": "payment:2.3.0"}]},
        "metadata": {"labels": {"app": "payment"}},
    }
    replica_set = {
        "metadata": {
            "name": "payment-1",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "payment", "uid": "u-1"}],
            "annotations": {"deployment.kubernetes.io/revision": "3"},
        },
        "spec": {"selector": {"matchLabels": {"app": "payment"}}, "template": old},
    }
    listed = json.dumps({"items": [replica_set]}).encode()
    Asked.replies["/apis/apps/v1/namespaces/shop/replicasets"] = (200, content, listed)
    return Cluster(("shop",), str(tmp_path / "kubeconfig"))


async def test_a_deployment_is_restarted_scaled_and_rolled_back(cluster: Cluster) -> None:
    target = {"namespace": "shop", "deployment": "payment"}
    assert json.loads(await KubernetesAction(cluster, "restart").read_state(target))["replicas"] == 2
    await KubernetesAction(cluster, "scale").dry_run({**target, "replicas": 5})
    await KubernetesAction(cluster, "restart").run(target, "key-1")
    await KubernetesAction(cluster, "rollback").run({**target, "revision": 3}, "key-2")
    patches = [asked for asked in Asked.seen if asked["method"] == "PATCH"]
    assert "dryRun=All" in patches[0]["path"] and "dryRun" not in patches[1]["path"]
    assert json.loads(patches[0]["body"]) == {"spec": {"replicas": 5}}
    annotations = json.loads(patches[1]["body"])["spec"]["template"]["metadata"]["annotations"]
    assert annotations["causegraph.io/step"] == "key-1"
    replaced = json.loads(patches[2]["body"])[0]
    assert (replaced["op"], replaced["path"]) == ("replace", "/spec/template")
    assert replaced["value"]["spec"]["containers"][0]["image"] == "payment:2.3.0"
    kinds = [patch["headers"].get("content-type", patch["headers"].get("Content-Type")) for patch in patches]
    assert kinds == ["application/strategic-merge-patch+json"] * 2 + ["application/json-patch+json"]
    with pytest.raises(ActionRefused, match="no revision 9"):
        await KubernetesAction(cluster, "rollback").run({**target, "revision": 9}, "k")


@pytest.mark.parametrize("name", ["../secrets", "payment/scale", "Payment", "a?b", "", "-a", "a" * 64, "pay.ment"])
async def test_a_name_cannot_lead_elsewhere_in_the_cluster(cluster: Cluster, name: str) -> None:
    with pytest.raises(ActionRefused):
        await KubernetesAction(cluster, "restart").run({"namespace": "shop", "deployment": name}, "k")
    with pytest.raises(ActionRefused):
        await KubernetesAction(cluster, "restart").run({"namespace": name or "kube-system", "deployment": "x"}, "k")
    assert not Asked.seen
