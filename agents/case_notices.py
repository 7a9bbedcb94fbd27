"""Tells people of new cases: a webhook, and a Slack channel through its incoming-webhook address. At least once."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import httpx

from domain.errors import CausegraphError
from domain.settings import Settings
from domain.times import format_us
from storage.cases import Case, CaseStore
from storage.jobs import Job, JobQueue, run_worker

SCHEMA = "causegraph.case/1"
_SECONDS = 10.0
_TITLE = 300
_ACTOR = "notifier"


class CaseNotifier:
    """Sends what waits to where the settings say, for as long as `run` runs. What fails is tried again, for hours."""

    def __init__(self, queue: JobQueue, cases: CaseStore, settings: Settings) -> None:
        self._queue = queue
        self._cases = cases
        self._webhook = settings.case_webhook_url
        self._secret = settings.case_webhook_secret
        self._slack = settings.case_slack_url
        self._address = settings.public_url

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set. With nowhere to send to, cases wait on their page alone."""
        if not self._webhook and not self._slack:
            await stop.wait()
            return
        await run_worker(self._queue, self._send, stop)

    async def _send(self, job: Job) -> Mapping[str, Any]:
        case = await self._cases.get(str(job.payload["case_id"]))
        told = {event.text for event in await self._cases.events(case.id) if event.kind == "notified"}
        async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
            # Each place once, also when another one made the job fail.
            if self._webhook and "webhook" not in told:
                await self._post(client, "webhook", case, self._webhook, make_notice(case, self._address))
            if self._slack and "slack" not in told:
                await self._post(client, "slack", case, self._slack, make_slack_message(case, self._address))
        return {}

    async def _post(self, client: httpx.AsyncClient, place: str, case: Case, url: str, body: Mapping[str, Any]) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        if place == "webhook" and self._secret:
            signature = hmac.new(self._secret.encode(), content, sha256).hexdigest()
            headers["X-Causegraph-Signature"] = f"sha256={signature}"
        try:
            response = await client.post(url, content=content, headers=headers)
        except httpx.HTTPError as exc:
            # The address may hold a secret: it is neither logged nor kept.
            raise CausegraphError(f"The {place} of cases cannot be reached: {type(exc).__name__}") from None
        if response.status_code >= 300:
            raise CausegraphError(f"The {place} of cases replied {response.status_code}.")
        await self._cases.add_event(case.id, "notified", _ACTOR, place)


def make_notice(case: Case, address: str = "") -> dict[str, Any]:
    """Return what the webhook gets: the contract is in docs/review.md."""
    return {
        "schema": SCHEMA,
        "case_id": case.id,
        "environment": case.environment,
        "severity": case.severity,
        "reason": case.reason,
        "service": case.service,
        "title": case.title,
        "trace_id": case.trace_id,
        "incident_id": case.incident_id,
        "opened_at": format_us(case.opened_us),
        "url": f"{address.rstrip('/')}/ui/cases/{case.id}" if address else "",
    }


def make_slack_message(case: Case, address: str = "") -> dict[str, Any]:
    """Return the message for Slack. What people or telemetry wrote stays text: it can neither link nor mention."""
    link = f" <{address.rstrip('/')}/ui/cases/{case.id}|open>" if address else ""
    title = _escape(case.title[:_TITLE])
    text = (
        f"A person is needed ({case.severity}, {case.reason}): {title}\n{case.id} in {_escape(case.environment)}{link}"
    )
    return {"text": text, "mrkdwn": False, "link_names": False}


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
