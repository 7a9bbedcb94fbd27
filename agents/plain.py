"""Text that every way in shows the same: errors, runbook steps, and telemetry that must not steer what shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from domain.errors import CausegraphError

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def show_plain(text: str) -> str:
    """Return text with everything visible that could steer a terminal or reverse a line: `\\x1b` becomes `␛`.

    Telemetry is written by the systems that are watched, and by whoever attacks them.
    """
    return _CONTROL.sub(_show_control, text)


def _show_control(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\\u{code:04x}"


def program_version() -> str:
    """Return this program's version."""
    try:
        return version("causegraph")
    except PackageNotFoundError:
        return "0"


def error_body(exc: CausegraphError) -> dict[str, str]:
    """Return {error, message, hint} of an error; the hint is what its class advises, unless the message says it."""
    message = str(exc)
    _, _, advice = (type(exc).__doc__ or "").partition(": ")
    said = "`" in message or advice in message
    return {"error": type(exc).__name__, "message": message, "hint": "" if said else advice[:1].upper() + advice[1:]}


def read_step(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a runbook step as (label, text) pairs: its name first, without a label; what is empty is left out.

    The labels `dry run`, `run` and `undo` go with commands.
    """
    verify = step.get("verify") or {}
    found = [
        ("", str(step.get("name", ""))),
        ("only if", str(step.get("precondition", ""))),
        *(("expect", str(seen.get("what", ""))) for seen in step.get("expected_evidence") or ()),
        *((f"{{{name}}}", str(text)) for name, text in (step.get("arguments") or {}).items()),
        ("dry run", _command(step.get("dry_run"))),
        ("run", _command(step.get("command"))),
        ("verify", str(verify.get("what", "") if isinstance(verify, Mapping) else verify)),
        ("undo", _command(step.get("rollback"))),
    ]
    return [(label, text) for label, text in found if text]


def _command(words: Sequence[str] | None) -> str:
    return " ".join(f'"{word}"' if " " in word or not word else word for word in words or ())


def told_claims(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return an answer's claims without those that its list of what was ruled out says as well."""
    said = tuple(f"{ruled['service']} is not the cause: {ruled['why']}" for ruled in body["verdict"]["ruled_out"])
    return [claim for claim in body["claims"] if claim["text"] not in said]
