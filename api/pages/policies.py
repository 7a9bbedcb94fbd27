"""Policies: what they say, what a changed one would have decided on past runs, and which one holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from agents import policy_replies
from agents.replies import read_time
from agents.services import Services
from api.auth import Session
from api.pages.render import Pages
from domain.errors import AccessError, NotFound, PayloadError, QuestionError
from review.policy_document import parse_policy

_HISTORY = 1000


def add_policies(router: APIRouter, pages: Pages) -> None:
    """Add the list of policies, and the page on which one is read, tried, stored and activated."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/policies")
    async def policies_page(session: Session = Depends(gate.page)) -> Response:
        return pages.render("policies.html", session, known=await policy_replies.list_policies(services))

    @router.get("/ui/policies/{name}")
    async def policy_page(name: str, version: int | None = None, session: Session = Depends(gate.page)) -> Response:
        number = 0 if name == "default" and version is None else version
        policy = await policy_replies.read_policy(services, name, number)
        return pages.render("policy.html", session, **_shown(session, policy, policy["text"]))

    @router.post("/ui/policies/{name}")
    async def act(request: Request, name: str, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        policy = await policy_replies.read_policy(services, name, _number(fields.get("version", "")))
        text = fields.get("text", "")
        try:
            if fields.get("step") == "try":
                tried = await _try(services, text, fields)
                return pages.render("policy.html", session, **_shown(session, policy, text, fields, tried=tried))
            if not session.key.may("admin"):
                raise AccessError(f"Your key has the role {session.key.role!r}; policies are changed by admins.")
            held = await _change(services, policy, text, fields, session.key.name)
        except (PayloadError, QuestionError, NotFound) as exc:
            shown = _shown(session, policy, text, fields, wrong=str(exc))
            return pages.render("policy.html", session, 422, **shown)
        return RedirectResponse(f"/ui/policies/{quote(str(held['name']), safe='')}?version={held['version']}", 303)


def _shown(
    session: Session,
    policy: Mapping[str, Any],
    text: str,
    fields: Mapping[str, str] | None = None,
    *,
    tried: Mapping[str, Any] | None = None,
    wrong: str = "",
) -> dict[str, Any]:
    given = fields or {}
    return {
        "policy": policy,
        "text": text,
        "environment": given.get("environment", ""),
        "since": given.get("since", ""),
        "tried": tried,
        "wrong": wrong,
        "may_change": session.key.may("admin"),
    }


async def _try(services: Services, text: str, fields: Mapping[str, str]) -> dict[str, Any]:
    since_us = read_time("since", fields.get("since", "").strip()) or 0
    environment = fields.get("environment", "").strip()[:64]
    return await policy_replies.dry_run(services, parse_policy(text), environment, since_us, limit=_HISTORY)


async def _change(
    services: Services, policy: Mapping[str, Any], text: str, fields: Mapping[str, str], by: str
) -> dict[str, Any]:
    match fields.get("step"):
        case "save":
            return await policy_replies.save_policy(services, text, by)
        case "activate":
            environment = fields.get("environment", "").strip()[:64]
            return await policy_replies.activate_policy(
                services, str(policy["name"]), int(policy["version"]), environment, by
            )
        case _:
            raise QuestionError("`step` is try, save or activate.")


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise QuestionError("`version` is no number.")
    return int(text)
