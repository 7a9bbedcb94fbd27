"""The draft of a postmortem, as Markdown: what is known, with the evidence for it, and room for what only people know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.incident_replies import read_life
from agents.plain import show_plain, told_claims
from domain.errors import NotFound
from domain.times import SECOND_US, parse_time_us

if TYPE_CHECKING:
    from agents.services import Services

_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@:-])")
_LINES = 200


async def draft_postmortem(services: Services, incident_id: str) -> str:
    """Return the draft; raises NotFound. Every statement taken from telemetry cites its evidence and is escaped."""
    life = await read_life(services, incident_id)
    incident = await services.incidents.get(incident_id)
    answer = incident.answer
    parts = [
        f"# Postmortem: {escape(life['title'] or incident.question)}",
        _facts(life, answer),
        *_section("Summary", [escape(line) for line in str(answer.get("answer", "")).splitlines()[:1] if line]),
        *_section("Impact", _impact(life)),
        *_section("Root cause", _causes(answer)),
        *_section("What the records show", _claims(answer)),
        *_section("Timeline (UTC)", _timeline(life["timeline"])),
        *_section("What was known from before", _recurrence(life["recurrence"])),
        *_section("What was done", await _runs(services, incident_id)),
        *_section(
            "What helped", [f"- {escape(e['text'])}" for e in life["timeline"] if e["kind"] == "helped"] or ["- ..."]
        ),
        *_section("What could not be seen", [f"- {escape(line)}" for line in _verdict(answer).get("not_seen", [])]),
        *_section("What went well, what did not", ["- ..."]),
        *_section("Follow-ups", _follow_ups(answer)),
        *_section("Evidence", await _evidence(services, incident.environment, answer)),
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return text of telemetry as Markdown that reads the same: no markup, no link, no mention, one line."""
    return _MARKUP.sub(r"\\\1", " ".join(show_plain(text).split()))


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)] if lines else []


def _facts(life: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    rows = [
        ("incident", f"`{life['id']}`"),
        ("environment", escape(life["environment"])),
        ("status", life["status"]),
        ("severity", escape(life["severity"])),
        ("began", life["started"] or ""),
        ("ended", life["ended"] or ""),
        ("lasted", _duration(life["started"], life["ended"])),
        ("verdict", str(_verdict(answer).get("outcome", "")) if answer else "not investigated"),
        ("trace of the investigation", f"`{answer['trace_id']}`" if answer.get("trace_id") else ""),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows if value)])


def _impact(life: Mapping[str, Any]) -> list[str]:
    lines = []
    if life["services"]:
        lines.append(f"- Services: {', '.join(escape(name) for name in life['services'])}")
    if life["alerts"]:
        lines.append(f"- {life['alerts']} alert(s) of {len(life['rules'])} rule(s)")
    return [*lines, "- Customers: ..."]


def _causes(answer: Mapping[str, Any]) -> list[str]:
    verdict = _verdict(answer)
    lines = []
    for cause in verdict.get("causes", []):
        path = " → ".join(escape(name) for name in cause["path"])
        lines.append(
            f"- **{escape(cause['service'])}**, a {cause['fault_class']} fault since {cause['onset']}, "
            f"confidence {cause['confidence']:.2f}; path {path}{_cited(cause['evidence'])}"
        )
    return lines or [f"- {escape(reason)}" for reason in verdict.get("reasons", [])] or ["- ..."]


def _claims(answer: Mapping[str, Any]) -> list[str]:
    if not answer.get("claims"):
        return []
    return [
        f"{n}. {escape(claim['text'])}{_cited(claim['evidence'])}" for n, claim in enumerate(told_claims(answer), 1)
    ]


def _timeline(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    told = [
        f"| {line['time'][:19].replace('T', ' ')} | {line['kind']} | {escape(line['text'])}{_cited(line['evidence'])} | "
        f"{escape(line['actor'])} |"
        for line in lines[:_LINES]
    ]
    more = [f"| | | ... and {len(lines) - _LINES} more | |"] if len(lines) > _LINES else []
    return ["| time | what | | who |", "|---|---|---|---|", *told, *more] if told else []


def _recurrence(recurrence: Mapping[str, Any] | None) -> list[str]:
    return [f"- {escape(str(recurrence['text']))}"] if recurrence else []


async def _runs(services: Services, incident_id: str) -> list[str]:
    """Return the runs of workflows: who proposed and approved each, what it did, and what became of it."""
    lines: list[str] = []
    for listed in reversed(await services.remedy.runs.list(incident_id=incident_id)):
        run = await services.remedy.read_run(listed.id)
        approvals = services.remedy.approvals
        tried = [one for held in await approvals.of_run(listed.id) for one in await approvals.events(held.id)]
        approved = ", ".join(dict.fromkeys(one.actor for one in tried if one.what == "approve" and one.accepted))
        who = f"proposed by {run['proposed_by']}, approved by {approved or 'nobody'}"
        told = f"{escape(run['title'] or run['id'])} (`{run['run_id']}`), {escape(who)}: {run['status']}. {escape(run['reason'])}"
        lines.append(f"- {told}")
        lines += [f"  - {escape(done['name'])}: {done['status']}. {escape(done['result'])}" for done in run["done"]]
    return lines


def _follow_ups(answer: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- [ ] Look at the change `{cause['change']}` of {escape(cause['service'])}"
        for cause in _verdict(answer).get("causes", [])
        if cause.get("change")
    ]
    runbook = answer.get("runbook")
    if answer.get("claims") and not runbook:
        lines.append("- [ ] No runbook fitted: write one")
    lines += [f"- [ ] Make visible: {escape(line)}" for line in _verdict(answer).get("not_seen", [])]
    return [*lines, "- [ ] ..."]


async def _evidence(services: Services, environment: str, answer: Mapping[str, Any]) -> list[str]:
    cited = dict.fromkeys(i for claim in answer.get("claims", []) for i in claim["evidence"])
    for cause in _verdict(answer).get("causes", []):
        cited |= dict.fromkeys(cause.get("evidence", []))
    lines = []
    for evidence_id in cited:
        try:
            found = await services.evidence.load(environment, evidence_id)
        except NotFound:
            lines.append(f"- `{evidence_id}`: not stored any more")
            continue
        lines.append(f"- `{evidence_id}` ({found.kind}, BLAKE3 {found.digest[:16]}): {escape(found.text[:300])}")
    return lines


def _verdict(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    found = answer.get("verdict", {})
    return found if isinstance(found, Mapping) else {}


def _cited(ids: Sequence[str]) -> str:
    return "".join(f" [`{evidence_id}`]" for evidence_id in ids[:4])


def _duration(began: str | None, ended: str | None) -> str:
    if not began or not ended:
        return ""
    minutes, seconds = divmod((parse_time_us(ended) - parse_time_us(began)) // SECOND_US, 60)
    return f"{minutes} min {seconds} s"
