"""Deploys as GitHub and Argo CD tell of them, to changes.

Both tell of one deploy several times (asked for, running, done). Every telling gives the same record, at the time when
the deploy began, so that it counts once.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.errors import AccessError, PayloadError
from domain.telemetry import Change
from domain.times import parse_time_us
from ingest.fields import clean_attributes, clean_environment, clean_name, clean_text
from ingest.payload import Decoded

GITHUB_EVENTS = ("deployment", "deployment_status")
_ENVIRONMENT_KEYS = ("environment", "deployment.environment.name", "env")


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


class _Login(_Lenient):
    login: str = ""


class _Deployment(_Lenient):
    id: int
    sha: str = ""
    ref: str = ""
    task: str = "deploy"
    environment: str = ""
    description: str = ""
    created_at: str
    creator: _Login | None = None
    payload: Any = None


class _Repository(_Lenient):
    name: str
    full_name: str = ""


class _GitHubEvent(_Lenient):
    deployment: _Deployment
    repository: _Repository


def check_github_signature(secret: str, body: bytes, signature: str) -> None:
    """Raise AccessError unless `X-Hub-Signature-256` is that of the body."""
    expected = "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()
    if not secret or not hmac.compare_digest(expected.encode(), signature.strip().encode("utf-8", "replace")):
        raise AccessError("X-Hub-Signature-256 does not fit the body: is CAUSEGRAPH_GITHUB_SECRET that of the webhook?")


def decode_github(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Change]:
    """Return the change of a `deployment` or `deployment_status` event. Raises PayloadError."""
    given = _json(body)
    event = _validate(_GitHubEvent, given)
    deployment = event.deployment
    said = deployment.payload if isinstance(deployment.payload, dict) else {}
    service = said.get("service")
    decoded: Decoded[Change] = Decoded()
    try:
        change = Change(
            environment=clean_environment(deployment.environment) or environment,
            time_us=parse_time_us(deployment.created_at),
            service=clean_name(service if isinstance(service, str) else "") or clean_name(event.repository.name),
            kind="rollback" if "rollback" in deployment.task.lower() else "deploy",
            summary=clean_text(deployment.description or f"{event.repository.full_name} {deployment.ref}".strip()),
            version=clean_name(deployment.sha[:12] or deployment.ref),
            actor=clean_name(deployment.creator.login if deployment.creator else ""),
            attributes=clean_attributes(
                {
                    "github.repository": event.repository.full_name, "github.deployment": deployment.id,
                    "vcs.ref": deployment.ref, "vcs.sha": deployment.sha,
                }.items()
            ),
        )  # fmt: skip
    except ValueError as exc:
        decoded.refuse(f"deployment: {exc}", given)
        return decoded
    decoded.records.append(change)
    return decoded


class _Metadata(_Lenient):
    name: str
    namespace: str = ""
    labels: dict[str, str] = Field(default_factory=dict)


class _Sync(_Lenient):
    revision: str = ""
    revisions: list[str] = Field(default_factory=list)


class _Initiator(_Lenient):
    username: str = ""
    automated: bool = False


class _Operation(_Lenient):
    sync: _Sync | None = None
    initiatedBy: _Initiator = Field(default_factory=_Initiator)


class _OperationState(_Lenient):
    startedAt: str
    operation: _Operation = Field(default_factory=_Operation)


class _Status(_Lenient):
    operationState: _OperationState
    sync: _Sync = Field(default_factory=_Sync)


class _Source(_Lenient):
    repoURL: str = ""
    path: str = ""


class _Destination(_Lenient):
    namespace: str = ""


class _Spec(_Lenient):
    source: _Source = Field(default_factory=_Source)
    destination: _Destination = Field(default_factory=_Destination)


class _Application(_Lenient):
    metadata: _Metadata
    status: _Status
    spec: _Spec = Field(default_factory=_Spec)


def decode_argocd(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Change]:
    """Return the change of `{"app": <the Application as JSON>}`. Raises PayloadError."""
    given = _json(body)
    app = _validate(_Application, given.get("app", given) if isinstance(given, dict) else given)
    state = app.status.operationState
    asked = state.operation.sync or app.status.sync
    revision = asked.revision or ",".join(asked.revisions)
    by = state.operation.initiatedBy
    decoded: Decoded[Change] = Decoded()
    try:
        change = Change(
            environment=_labelled(app.metadata.labels) or environment,
            time_us=parse_time_us(state.startedAt),
            service=clean_name(app.metadata.labels.get("app.kubernetes.io/name", "")) or clean_name(app.metadata.name),
            kind="deploy",
            summary=clean_text(f"sync of {app.metadata.name} from {app.spec.source.repoURL} {app.spec.source.path}".strip()),
            version=clean_name(revision[:12]),
            actor=clean_name(by.username or ("argocd" if by.automated else "")),
            attributes=clean_attributes(
                {
                    "argocd.application": app.metadata.name, "k8s.namespace.name": app.spec.destination.namespace,
                    "vcs.sha": revision,
                }.items()
            ),
        )  # fmt: skip
    except ValueError as exc:
        decoded.refuse(f"application: {exc}", given)
        return decoded
    decoded.records.append(change)
    return decoded


def _labelled(labels: Mapping[str, str]) -> str:
    return clean_environment(next((labels[key] for key in _ENVIRONMENT_KEYS if labels.get(key)), ""))


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PayloadError(f"The body is not JSON: {exc}") from exc


def _validate[M: BaseModel](model: type[M], value: Any) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PayloadError(f"The webhook cannot be read: {where}: {first['msg']}") from exc
