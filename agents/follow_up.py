"""Follow-ups of an incident as issues of GitHub or Jira, or as plain JSON: one request each, only when a person asks for it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from agents.incident_replies import read_life
from agents.plain import show_plain
from agents.postmortem import escape
from domain.errors import ChatError, QuestionError, SettingsError
from domain.incident import TimelineEvent
from storage.incident_log import IncidentLog

if TYPE_CHECKING:
    from agents.services import Services

_SECONDS = 15.0
_TITLE = 250


async def send_follow_up(
    services: Services, incident_id: str, title: str, text: str, actor: str, now_us: int
) -> dict[str, Any]:
    """Open an issue about an incident and return {title, url}; the timeline notes it.

    Raises NotFound, QuestionError (no title, the same one again, or no tracker in the settings), SettingsError for a form that
    there is not, and ChatError where the tracker cannot be reached or refuses.
    """
    settings, log = services.settings, IncidentLog(services.database)
    title = " ".join(show_plain(title).split())[:_TITLE]
    if not title:
        raise QuestionError("`title` must not be empty.")
    life = await read_life(services, incident_id)
    known = [event for event in await log.events(incident_id) if event.kind == "follow-up"]
    if any(event.details.get("title") == title for event in known):
        raise QuestionError(f"There is a follow-up {title!r} already: see the timeline.")
    if not settings.follow_up_url:
        raise QuestionError("No tracker is set for follow-ups: see CAUSEGRAPH_FOLLOW_UP_URL in docs/triggers.md.")
    body = make_issue(settings.follow_up_form, title, _text(life, text, settings.public_url))
    said = await _post(settings.follow_up_url, body, settings.follow_up_token)
    url = _link(said, settings.follow_up_url)
    details = {"title": title, "url": url}
    await log.note(TimelineEvent(incident_id, now_us, "follow-up", f"{title} {url}".strip(), actor, details))
    return details


def make_issue(form: str, title: str, text: str) -> dict[str, Any]:
    """Return the body of the request in a form: `github`, `jira:PROJECT` or `json`. Raises SettingsError for another one."""
    name, _, project = form.partition(":")
    match name:
        case "github":
            return {"title": title, "body": text}
        case "jira" if project:
            fields = {"project": {"key": project}, "summary": title, "description": text, "issuetype": {"name": "Task"}}
            return {"fields": fields}
        case "json":
            return {"schema": "causegraph.follow-up/1", "title": title, "text": text}
    raise SettingsError("CAUSEGRAPH_FOLLOW_UP_FORM: write github, jira:PROJECT or json.")


def _text(life: Mapping[str, Any], text: str, public_url: str) -> str:
    where = f"{public_url.rstrip('/')}/ui/incidents/{life['id']}" if public_url else life["id"]
    causes = [
        f"- {escape(line['text'])} ({', '.join(line['evidence'][:4])})"
        for line in life["timeline"]
        if line["kind"] == "cause"
    ]
    return "\n".join([text.strip(), "", f"Incident: {where}, {escape(life['title'])}", *causes]).strip()


async def _post(url: str, body: Mapping[str, Any], token: str) -> Mapping[str, Any]:
    headers = {"Accept": "application/json", "User-Agent": "causegraph"}
    if ":" in token:
        headers["Authorization"] = f"Basic {base64.b64encode(token.encode()).decode()}"
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
            reply = await client.post(url, json=dict(body), headers=headers)
    except httpx.HTTPError as exc:
        raise ChatError(f"The tracker cannot be reached: {type(exc).__name__}.") from exc
    if reply.status_code >= 300:
        raise ChatError(f"The tracker answered {reply.status_code}: check CAUSEGRAPH_FOLLOW_UP_URL and its token.")
    try:
        said = reply.json()
    except ValueError:
        return {}
    return said if isinstance(said, Mapping) else {}


def _link(said: Mapping[str, Any], url: str) -> str:
    """Return where the issue is, as GitHub or Jira say it."""
    if isinstance(said.get("html_url"), str):
        return str(said["html_url"])[:500]
    if isinstance(said.get("key"), str):
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}/browse/{said['key']}"[:500]
    return ""
