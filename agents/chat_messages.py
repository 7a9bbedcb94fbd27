"""What is said in chats: answers with their evidence, incidents, and what could not be done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from agents.chat_surface import Button, ChatMessage, Part
from agents.plain import show_plain, told_claims

_OUTCOMES = {
    "CONFIRMED": "Cause confirmed",
    "LIKELY": "Likely cause",
    "INCONCLUSIVE": "Not enough evidence",
    "HEALTHY": "Healthy",
}
_CLAIMS = 8
_IDS = 4
_STEPS = 20


def answer_message(body: Mapping[str, Any], public_url: str = "", *, whole: bool = False) -> ChatMessage:
    """Return an answer: the verdict first, then what the records show with the ids of the evidence. `whole` leaves nothing out."""
    verdict = body["verdict"]
    title = _OUTCOMES.get(verdict["outcome"], verdict["outcome"])
    causes = [f"{cause['service']} ({cause['fault_class']} fault)" for cause in verdict["causes"]]
    heading = f"{title}: {', '.join(causes)}" if causes else title
    parts = [Part("heading", heading)] if heading else []
    parts.append(Part("text", _said(body)))
    parts += [Part("text", f"Path: {' → '.join(cause['path'])}") for cause in verdict["causes"] if cause.get("path")]
    claims = told_claims(body) if body.get("claims") else []
    shown = claims if whole else claims[:_CLAIMS]
    parts += [Part("quote", _claim(number, claim)) for number, claim in enumerate(shown, 1)]
    if len(claims) > len(shown):
        parts.append(Part("facts", f"... and {len(claims) - len(shown)} more: see the details"))
    if verdict["not_seen"]:
        parts.append(Part("facts", f"Not seen: {'; '.join(verdict['not_seen'])}"))
    parts += _remedy_parts(body)
    return ChatMessage(show_plain(heading or _said(body)), tuple(parts), tuple(_answer_buttons(body, public_url)))


def incident_message(line: Mapping[str, Any], life: Mapping[str, Any], public_url: str = "") -> ChatMessage:
    """Return an incident as it stands; what is known from before comes first."""
    title = f"{life['title'] or line['question']}"
    facts = [f"state: {life['status']}", f"environment: {life['environment']}"]
    facts += [f"severity: {life['severity']}"] if life["severity"] else []
    facts += [f"{life['alerts']} alert(s), {life['firing']} firing"] if life["alerts"] else []
    facts += [f"since {life['started'][:19].replace('T', ' ')} UTC"] if life["started"] else []
    parts = [Part("heading", title), Part("facts", " · ".join(facts))]
    if life["recurrence"]:
        parts.append(Part("text", f"Known from before: {life['recurrence']['text']}"))
    if life["services"]:
        parts.append(Part("text", f"Services: {', '.join(life['services'][:20])}"))
    parts += [
        Part(
            "quote",
            f"{rule['name']} {rule['service']}: {rule['alerts']} alert(s){', flapping' if rule['flapping'] else ''}",
        )
        for rule in life["rules"][:10]
    ]
    return ChatMessage(show_plain(f"{title} is {life['status']}"), tuple(parts), tuple(_links(life["id"], public_url)))


_ENDS = {
    "proposed": "Approve it anew",
    "verified": "Verified",
    "undone": "It did not help and was taken back",
    "failed": "It failed",
    "stuck": "A person must look",
    "refused": "Nothing was begun",
    "rejected": "Rejected",
    "expired": "Nobody decided in time",
}


def run_message(run: Mapping[str, Any], incident_status: str, public_url: str = "") -> ChatMessage:
    """Return how a run goes on: what became of it, each step that was begun, and the incident's state ('' for none)."""
    heading = f"{_ENDS.get(run['status'], run['status'])}: {run['title'] or run['id']}"
    parts = [Part("heading", heading), Part("text", str(run["reason"]))]
    parts += [
        Part("quote", f"{'undo: ' if step['part'] == 'undo' else ''}{step['name']}: {step['status']}. {step['result']}")
        for step in run["done"][:_STEPS]
    ]
    facts = [f"incident {run['incident_id']} is {incident_status}"] if incident_status else []
    parts.append(Part("facts", " · ".join([*facts, f"run {run['run_id']}"])))
    waits = run["status"] == "proposed"
    parts += _remedy_parts({"workflow": run}) if waits else []
    buttons = [*(_approval_buttons(run) if waits else []), *_links(str(run["incident_id"]), public_url)]
    return ChatMessage(show_plain(heading), tuple(parts), tuple(buttons))


def shown_run(body: Mapping[str, Any]) -> str:
    """Return the id of the run that an answer's message shows, '' for none."""
    return str((body.get("workflow") or {}).get("run_id") or "")


def plain_message(text: str) -> ChatMessage:
    """Return a message of one sentence."""
    return ChatMessage(show_plain(text), (Part("text", text),))


def _said(body: Mapping[str, Any]) -> str:
    """Return how the answer begins: the claims follow by themselves."""
    text = str(body.get("answer", ""))
    return text.split("\n\n", 1)[0] if body["verdict"]["outcome"] else text.split("\n- ", 1)[0]


def _claim(number: int, claim: Mapping[str, Any]) -> str:
    ids = "".join(f" [{evidence_id}]" for evidence_id in claim["evidence"][:_IDS])
    return f"{number}. {claim['text']}{ids}"


def _remedy_parts(body: Mapping[str, Any]) -> list[Part]:
    parts = []
    if runbook := body.get("runbook"):
        parts.append(Part("text", f"Runbook: {runbook['title']} ({runbook['id']})"))
    workflow = body.get("workflow")
    if workflow and workflow.get("approval_id"):
        tainted = workflow.get("tainted") or []
        warned = f" Arguments that telemetry gave: {', '.join(tainted)}." if tainted else ""
        parts.append(Part("heading", f"Proposed: {workflow['title']}"))
        parts.append(Part("quote", str(workflow.get("dry_run", ""))))
        parts.append(Part("facts", f"It waits for an approval until {workflow.get('expires', '')}.{warned}"))
    return parts


def _answer_buttons(body: Mapping[str, Any], public_url: str) -> Sequence[Button]:
    incident_id = str(body["incident_id"])
    buttons = _approval_buttons(body.get("workflow") or {})
    if not incident_id:  # it was looked up: there is no verdict to judge
        return buttons
    buttons += [
        Button("details", "Details", incident_id),
        Button("right", "Right", incident_id),
        Button("wrong", "Wrong", incident_id),
    ]
    return [*buttons, *_links(incident_id, public_url)]


def _approval_buttons(workflow: Mapping[str, Any]) -> list[Button]:
    if not workflow.get("approval_id"):
        return []
    value = json.dumps({"approval_id": workflow["approval_id"], "digest": workflow["digest"]})
    return [Button("approve", "Approve", value), Button("reject", "Reject", value)]


def _links(incident_id: str, public_url: str) -> list[Button]:
    if not public_url or not incident_id:
        return []
    return [Button("open", "Open", f"{public_url.rstrip('/')}/ui/incidents/{quote(incident_id, safe='')}")]
