"""Amazon SNS and Firehose, GitHub, Argo CD: signatures right and wrong, and what becomes of the messages."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fastapi import FastAPI, HTTPException, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from api.webhooks import webhooks_router
from domain.errors import PayloadError, SettingsError
from domain.settings import Settings
from ingest import cloudwatch, deployments
from ingest.https_fetch import fetch_https
from ingest.service import Ingest
from ingest.sns import read_topics
from storage.batch import Batch, prepare
from storage.database import Database
from storage.ingest import IngestStore

TOPIC = "arn:aws:sns:ap-south-1:123456789012:alarms"
HOST = "https://sns.ap-south-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
NOW = 1_800_000_000_000_000
SECRET = "hook-secret"
KEY = {"X-API-Key": "secret"}


def certify(key: rsa.RSAPrivateKey, days: int = 1) -> bytes:
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


PRIVATE = rsa.generate_private_key(65537, 2048)
GOOD, EXPIRED = certify(PRIVATE), certify(PRIVATE, -1)


@dataclass
class Amazon:
    """Stands in for SNS's own servers: certificates, and the address that confirms."""

    fetched: list[str] = field(default_factory=list)
    certificate: bytes | OSError = GOOD

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if isinstance(self.certificate, OSError):
            raise self.certificate
        return self.certificate


@dataclass
class Hooks:
    client: httpx.AsyncClient
    amazon: Amazon


def require(role: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        if role != "ingest" or "secret" not in (
            request.headers.get("x-api-key"),
            request.headers.get("x-amz-firehose-access-key"),
        ):
            raise HTTPException(401)

    return check


@pytest.fixture
async def hooks(database: Database) -> AsyncIterator[Hooks]:
    amazon, app = Amazon(), FastAPI()
    config = Settings(sns_topics=TOPIC, github_secret=SECRET)
    app.include_router(webhooks_router(Ingest(IngestStore(database), config), require, config, amazon.fetch))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Hooks(client, amazon)


async def rows(database: Database, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    def work(tx: Any) -> list[tuple[Any, ...]]:
        tx._cursor.execute(sql, parameters)
        return [tuple(row) for row in tx._cursor.fetchall()]

    return await database.transaction(work)


def alarm(state: str = "ALARM", at: str = "2026-02-10T06:05:00.000+0000", **more: Any) -> str:
    return json.dumps(
        {
            "AlarmName": "HighCPUUtilization", "AlarmDescription": None, "AWSAccountId": "123456789012",
            "NewStateValue": state, "NewStateReason": "Threshold Crossed", "StateChangeTime": at, "Region": "ap-south-1",
            "AlarmArn": "arn:aws:cloudwatch:ap-south-1:123456789012:alarm:HighCPUUtilization", "OldStateValue": "OK",
            "Trigger": {
                "MetricName": "CPUUtilization", "Namespace": "AWS/ECS", "Threshold": 80.0,
                "Dimensions": [{"value": "shop", "name": "ClusterName"}, {"Value": "cart", "Name": "ServiceName"}],
            },
            **more,
        }
    )  # fmt: skip


def message(text: str, version: str = "2", **more: Any) -> dict[str, str]:
    said = {
        "Type": "Notification", "MessageId": f"msg-{hashlib.sha256(text.encode()).hexdigest()[:12]}", "TopicArn": TOPIC,
        "Message": text, "Timestamp": "2026-02-10T06:05:01.000Z", "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE, **more,
    }  # fmt: skip
    return sign({key: value for key, value in said.items() if value is not None})


def sign(said: dict[str, str]) -> dict[str, str]:
    keys = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if said["Type"] != "Notification":
        keys = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{key}\n{said[key]}\n" for key in keys if key in said)
    digest = hashes.SHA1() if said["SignatureVersion"] == "1" else hashes.SHA256()  # noqa: S303 - as SNS does
    return {**said, "Signature": base64.b64encode(PRIVATE.sign(text.encode(), padding.PKCS1v15(), digest)).decode()}


async def post(hooks: Hooks, said: Any, environment: str = "") -> httpx.Response:
    headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
    params = {"environment": environment} if environment else {}
    return await hooks.client.post("/ingest/sns", content=json.dumps(said), headers=headers, params=params)


@pytest.mark.parametrize("version", ["1", "2"])
async def test_an_alarm_fires_and_is_resolved_once(
    hooks: Hooks, database: Database, environment: str, version: str
) -> None:
    fires = message(alarm(), version, Subject="ALARM: HighCPU")
    for accepted in (1, 0):
        reply = await post(hooks, fires, environment)
        assert (reply.status_code, reply.json()["accepted"]) == (200, accepted), reply.text
    lacking = await post(hooks, message(alarm("INSUFFICIENT_DATA"), version), environment)
    assert (lacking.status_code, lacking.json()["accepted"]) == (200, 0)
    sql = "SELECT name, service, status, time_us, ended_us FROM alert WHERE environment = ?"
    start = 1_770_703_500_000_000
    assert await rows(database, sql, environment) == [("HighCPUUtilization", "cart", "firing", start, None)]
    ends = alarm("OK", "2026-02-10T06:15:00.000+0000")
    assert (await post(hooks, message(ends, version), environment)).json()["accepted"] == 1
    assert await rows(database, sql, environment) == [
        ("HighCPUUtilization", "cart", "resolved", start, start + 600_000_000)
    ]
    assert hooks.amazon.fetched == [CERTIFICATE]


LOGS = {
    "messageType": "DATA_MESSAGE", "owner": "1", "logGroup": "/aws/lambda/cart", "logStream": "2026/02/10/[1]abc",
    "logEvents": [
        {"id": "1", "timestamp": 1709289720123, "message": "2024-03-01T10:42:00.000Z ERROR payment timed out"},
        {"id": "2", "timestamp": 1709289720124, "message": '{"level":"warn","msg":"slow"}'},
    ],
}  # fmt: skip


def packed(value: Any = LOGS) -> str:
    return base64.b64encode(gzip.compress(json.dumps(value).encode())).decode()


@pytest.mark.parametrize("text", [json.dumps(LOGS), json.dumps({"awslogs": {"data": packed()}})])
async def test_logs_come_through_sns_too(hooks: Hooks, database: Database, environment: str, text: str) -> None:
    reply = await post(hooks, message(text), environment)
    assert (reply.status_code, reply.json()["accepted"]) == (200, 2), reply.text
    found = await rows(
        database, "SELECT service, level, message FROM log_event WHERE environment = ? ORDER BY time_us", environment
    )
    assert found == [("cart", 17, "payment timed out"), ("cart", 13, "slow")]


async def test_messages_that_sns_has_not_signed_are_refused(hooks: Hooks) -> None:
    good = message(alarm())
    wrong: list[dict[str, Any]] = [
        {**good, "Message": alarm("OK")},
        {**good, "Subject": "added"},
        {**good, "Signature": base64.b64encode(b"x" * 256).decode()},
        {**good, "Signature": "not base64!"},
        {**good, "SignatureVersion": "1"},
        {**good, "SignatureVersion": "3"},
        sign({**good, "TopicArn": TOPIC + "-other"}),
    ]
    for said in wrong:
        assert (await post(hooks, said)).status_code == 401, said
    assert {*hooks.amazon.fetched} == {CERTIFICATE}


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE.replace("https", "http"),
        CERTIFICATE.replace(".amazonaws.com", ".amazonaws.com.evil.example"),
        CERTIFICATE.replace("ap-south-1", "eu-west-1"),
        CERTIFICATE.replace("https://", "https://evil.example@"),
        CERTIFICATE.replace("https://", "https://evil.example#"),
        CERTIFICATE.replace("amazonaws.com/", "amazonaws.com:8443/"),
        CERTIFICATE.replace("/Simple", "/a/../Simple"),
        CERTIFICATE.replace("/Simple", "/?x=/Simple"),
        CERTIFICATE + "\n",
        "https://127.0.0.1/SimpleNotificationService-0123456789abcdef.pem",
        "file:///etc/passwd",
    ],
)
async def test_no_message_makes_the_server_ask_another_host(hooks: Hooks, url: str) -> None:
    assert (await post(hooks, message(alarm(), SigningCertURL=url))).status_code == 401
    assert hooks.amazon.fetched == []


async def test_subscriptions_are_confirmed_for_topics_that_are_allowed_only(hooks: Hooks) -> None:
    asked: dict[str, Any] = {
        "Type": "SubscriptionConfirmation",
        "Token": "to/ken&x=1",
        "SubscribeURL": "http://169.254.169.254/latest",
    }
    assert (await post(hooks, message("confirm", **asked))).status_code == 200
    assert hooks.amazon.fetched == [
        CERTIFICATE,
        f"{HOST}/?Action=ConfirmSubscription&TopicArn=arn%3Aaws%3Asns%3Aap-south-1%3A123456789012%3Aalarms&Token=to%2Fken%26x%3D1",
    ]
    assert (await post(hooks, message("confirm", **asked, TopicArn=TOPIC + "2"))).status_code == 401
    assert (await post(hooks, message("bye", **{**asked, "Type": "UnsubscribeConfirmation"}))).status_code == 200
    assert len(hooks.amazon.fetched) == 2


async def test_while_the_certificate_cannot_be_had_sns_is_asked_to_come_again(hooks: Hooks) -> None:
    hooks.amazon.certificate = OSError("no route")
    assert (await post(hooks, message(alarm()))).status_code == 503
    hooks.amazon.certificate = EXPIRED
    for _ in range(2):
        assert (await post(hooks, message(alarm()))).status_code == 401
    assert len(hooks.amazon.fetched) == 2  # a bad one is not fetched for each message


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"Type":"Notification"}', json.dumps({"AlarmName": "raw delivery"})])
async def test_what_is_no_message_of_sns_is_named(hooks: Hooks, body: str) -> None:
    reply = await hooks.client.post("/ingest/sns", content=body)
    assert (reply.status_code, "SNS" in reply.json()["error"]) == (400, True)
    assert (await post(hooks, message("hello"))).status_code == 400
    assert (await hooks.client.post("/ingest/sns", content=b"x" * 600_000)).status_code == 413


def test_topics_are_arns() -> None:
    assert read_topics(f" {TOPIC},arn:aws-cn:sns:cn-north-1:123456789012:a.fifo ,") == {
        TOPIC, "arn:aws-cn:sns:cn-north-1:123456789012:a.fifo",
    }  # fmt: skip
    for wrong in ("alarms", "arn:aws:sns:evil.example/:123456789012:a", "arn:aws:sqs:eu-west-1:123456789012:a"):
        with pytest.raises(SettingsError, match="CAUSEGRAPH_SNS_TOPICS"):
            read_topics(wrong)


async def test_only_https_is_fetched() -> None:
    with pytest.raises(OSError, match="https"):
        await fetch_https("http://sns.eu-west-1.amazonaws.com/")


async def test_firehose_is_answered_as_it_expects(hooks: Hooks, database: Database, environment: str) -> None:
    request = {
        "requestId": "r-1",
        "timestamp": 1,
        "records": [{"data": packed()}, {"data": packed({"messageType": "CONTROL_MESSAGE"})}],
    }
    common = {"commonAttributes": {"environment": environment}}
    headers = {
        "X-Amz-Firehose-Access-Key": "secret", "X-Amz-Firehose-Request-Id": f"r-{environment}",
        "X-Amz-Firehose-Common-Attributes": json.dumps(common),
    }  # fmt: skip
    for _ in range(2):
        reply = await hooks.client.post("/ingest/firehose", json=request, headers=headers)
        assert (reply.status_code, reply.json()["requestId"]) == (200, f"r-{environment}")
    assert await rows(database, "SELECT COUNT(*) FROM log_event WHERE environment = ?", environment) == [(2,)]
    bomb = base64.b64encode(gzip.compress(b" " * 70_000_000)).decode()
    for data in ("!", bomb, base64.b64encode(b"{}").decode()):
        reply = await hooks.client.post(
            "/ingest/firehose",
            json={"records": [{"data": data}]},
            headers={**headers, "X-Amz-Firehose-Request-Id": data[:9]},
        )
        assert (reply.status_code, "errorMessage" in reply.json()) == (400, True)
    assert (await hooks.client.post("/ingest/firehose", json=request)).status_code == 401


# -- GitHub ------------------------------------------------------------------------------------------------------------


def github(environment: str, **status: Any) -> dict[str, Any]:
    deployment = {
        "id": 42, "sha": "0123456789abcdef0123456789abcdef01234567", "ref": "main", "task": "deploy",
        "environment": environment, "description": None, "created_at": "2024-03-01T10:42:00Z",
        "updated_at": f"2024-03-01T10:4{len(status)}:00Z", "creator": {"login": "ann"}, "payload": {},
    }  # fmt: skip
    event = {"action": "created", "deployment": deployment, "repository": {"name": "cart", "full_name": "shop/cart"}}
    return event | ({"deployment_status": status} if status else {})


async def post_github(hooks: Hooks, event: str, value: Any, secret: str = SECRET) -> httpx.Response:
    body = json.dumps(value).encode()
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": event, "X-Hub-Signature-256": signature, "Content-Type": "application/json"}
    return await hooks.client.post("/ingest/changes/github", content=body, headers=headers)


async def test_githubs_own_example_of_a_signature_holds() -> None:
    # docs.github.com, "Validating webhook deliveries"
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    deployments.check_github_signature("It's a Secret to Everybody", b"Hello, World!", signature)


async def test_a_deployment_that_is_told_of_three_times_counts_once(
    hooks: Hooks, database: Database, environment: str
) -> None:
    told = [
        ("deployment", github(environment)),
        *(("deployment_status", github(environment, state=s)) for s in ("in_progress", "success")),
    ]
    replies = [await post_github(hooks, event, value) for event, value in told]
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    found = await rows(
        database,
        "SELECT service, kind, version, summary, actor, time_us FROM change_event WHERE environment = ?",
        environment,
    )
    assert found == [("cart", "deploy", "0123456789ab", "shop/cart main", "ann", 1_709_289_720_000_000)]


async def test_githubs_signature_is_needed(hooks: Hooks, environment: str) -> None:
    assert (await post_github(hooks, "ping", {"zen": "x"})).status_code == 200
    assert (await post_github(hooks, "deployment", github(environment), "wrong")).status_code == 401
    assert (await hooks.client.post("/ingest/changes/github", json=github(environment))).status_code == 401
    assert (await post_github(hooks, "deployment", {"deployment": 5})).status_code == 400
    odd = github(environment)
    odd["deployment"]["created_at"] = "yesterday"
    assert (await post_github(hooks, "deployment", odd)).status_code == 400
    assert (await hooks.client.post("/ingest/changes/github", content=b"x" * 2_100_000)).status_code == 413


async def test_without_a_secret_nothing_of_github_is_taken(database: Database) -> None:
    app, config = FastAPI(), Settings()
    app.include_router(webhooks_router(Ingest(IngestStore(database), config), require, config, Amazon().fetch))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await post_github(Hooks(client, Amazon()), "deployment", github("e"), "")).status_code == 401
        assert (await post(Hooks(client, Amazon()), message(alarm()))).status_code == 401


# -- Argo CD -----------------------------------------------------------------------------------------------------------


def application(phase: str, environment: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "cart", "namespace": "argocd", "labels": {"environment": environment}, "annotations": None},
        "spec": {"source": {"repoURL": "https://git.example/shop", "path": "cart"}, "destination": {"namespace": "shop"}},
        "status": {
            "operationState": {
                "phase": phase, "startedAt": "2024-03-01T10:42:00Z", "message": phase,
                "operation": {"sync": {"revision": "abcdef0123456789"}, "initiatedBy": {"automated": True}},
                "syncResult": None if phase == "Running" else {"revision": "abcdef0123456789"},
            },
            "sync": {"status": "Synced", "revision": "abcdef0123456789"},
        },
    }  # fmt: skip


async def test_a_sync_of_argo_counts_once(hooks: Hooks, database: Database, environment: str) -> None:
    for phase in ("Running", "Succeeded"):
        reply = await hooks.client.post(
            "/ingest/changes/argocd", json={"app": application(phase, environment)}, headers=KEY
        )
        assert reply.status_code == 200, reply.text
    found = await rows(
        database,
        "SELECT service, version, actor, summary, time_us FROM change_event WHERE environment = ?",
        environment,
    )
    assert found == [
        ("cart", "abcdef012345", "argocd", "sync of cart from https://git.example/shop cart", 1_709_289_720_000_000)
    ]
    assert (await hooks.client.post("/ingest/changes/argocd", json={"app": 5}, headers=KEY)).status_code == 400
    assert (await hooks.client.post("/ingest/changes/argocd", json={})).status_code == 401


# -- anything ----------------------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20)
FIELDS = (
    "AlarmName", "NewStateValue", "StateChangeTime", "Trigger", "Dimensions", "Metrics", "MetricStat", "Metric", "name",
    "Value", "records", "data", "awslogs", "logEvents", "logGroup", "message", "timestamp", "messageType", "deployment",
    "repository", "id", "created_at", "environment", "creator", "payload", "app", "metadata", "labels", "status",
    "operationState", "startedAt", "operation", "sync", "revision",
)  # fmt: skip
ODD = st.sampled_from(["ALARM", "OK", "2024-03-01T10:42:00Z", "e" * 70, packed(), 42])
values = st.recursive(
    scalars | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner),
    max_leaves=20,
)


@given(values)
@settings(max_examples=150, deadline=None)
def test_any_json_is_answered(value: Any) -> None:
    body = json.dumps(value).encode("utf-8", "replace")
    decoders: list[tuple[str, Callable[..., Any]]] = [
        ("alerts", cloudwatch.decode_alarm),
        ("logs", lambda *rest: cloudwatch.decode_firehose(1000, *rest)),
        ("logs", lambda body, *rest: cloudwatch.decode_subscription(cloudwatch.unwrap_subscription(body, 1000), *rest)),
        ("changes", deployments.decode_github),
        ("changes", deployments.decode_argocd),
    ]
    for kind, decode in decoders:
        try:
            decoded = decode(body, "", "e", NOW)
        except PayloadError:
            continue
        prepare(Batch("e", "logs", "k", NOW, **{kind: decoded.records}))


async def test_the_whole_program_offers_them(client: httpx.AsyncClient, data_dir: Path) -> None:
    for path, status in (("sns", 400), ("firehose", 400), ("changes/github", 401), ("changes/argocd", 400)):
        assert (await client.post(f"/ingest/{path}", content=b"{")).status_code == status, path
