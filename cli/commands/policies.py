"""Policies: list, show, check, try on history, activate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.screen import make_console, print_json, styled
from domain.errors import SettingsError

if TYPE_CHECKING:
    from agents.review_calls import ReviewCall

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[str, typer.Argument(help="The name of a stored policy, `default` for the built-in one.")]
NameOrFile = Annotated[str, typer.Argument(help="The name of a stored policy, or a YAML or JSON file.")]
Version = Annotated[int | None, typer.Option(min=0, help="Which version. Default: the newest.")]
Environment = Annotated[str, typer.Option("--environment", "-e", help="Only in this environment.")]


def list_policies(as_json: JsonFlag = False) -> None:
    """List the policies, and which of them is active where."""
    from cli.answer import print_table

    found = call("policies", {})
    if as_json:
        print_json(found)
        return
    active: dict[tuple[str, int], list[str]] = {}
    for held in found["active"]:
        active.setdefault((held["name"], held["version"]), []).append(held["environment"] or "everywhere")
    if not any(not held["environment"] for held in found["active"]):
        active.setdefault(("default", 0), []).append("everywhere else" if found["active"] else "everywhere")
    rows = [
        (p["name"], str(p["version"]), ", ".join(active.get((p["name"], p["version"]), ())), p["description"])
        for p in found["policies"]
    ]
    print_table(make_console(), ("policy", "newest", "active", "description"), rows)
    shown = {(p["name"], p["version"]) for p in found["policies"]}
    for (name, version), places in active.items():
        if (name, version) not in shown:
            make_console().print(styled(f"{name} version {version} is active: {', '.join(places)}"))


def show(name: Name = "default", version: Version = None, as_json: JsonFlag = False) -> None:
    """Show a policy as it is written."""
    asked = 0 if name == "default" and version is None else version
    found = call("policy", {"name": name, "version": asked})
    if as_json:
        print_json(found)
        return
    console = make_console()
    console.print(styled(f"{found['name']} version {found['version']}, by {found['created_by']}", "bold"))
    console.print(styled(found["text"].rstrip()), soft_wrap=True)


def check(
    file: Annotated[Path, typer.Argument(help="A YAML or JSON file.", exists=True, dir_okay=False)],
    save: Annotated[
        bool, typer.Option(help="Also store it as the next version of its name; it is not active yet.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check a policy file, and store it if asked to."""
    text = _read(file)
    found = call("check", {"text": text})
    if save:
        found |= {"version": call("save", {"text": text})["version"]}
    if as_json:
        print_json(found)
        return
    console = make_console()
    console.print(styled(f"{found['name']} is a policy of {len(found['rules'])} rules."))
    console.print(styled(f"It asks for: {', '.join(found['signals'])}", "dim"))
    if save:
        console.print(styled(f"Stored as version {found['version']}: `causegraph policy activate {found['name']}`."))


def dry_run(
    policy: NameOrFile,
    version: Version = None,
    environment: Environment = "",
    since: Annotated[str, typer.Option("--from", help="Only decisions since this time.")] = "",
    to: Annotated[str, typer.Option(help="Only decisions before this time.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many decisions at most, newest first.")] = 1000,
    as_json: JsonFlag = False,
) -> None:
    """Say what a policy would have decided on past runs. Changes nothing."""
    from cli.answer import print_table

    file = Path(policy)
    asked: dict[str, Any] = {"text": _read(file)} if file.is_file() else {"name": policy, "version": version}
    if policy == "default" and version is None:
        asked["version"] = 0
    window = {"from": since or None, "to": to or None}
    found = call("dry-run", {**asked, **window, "environment": environment, "limit": limit})
    if as_json:
        print_json(found)
        return
    console = make_console()
    changed = f"{found['changed']} of {found['looked_at']} decisions would have been others"
    console.print(styled(f"{changed}: {found['stricter']} stricter, {found['milder']} milder.", "bold"))
    actions = sorted({*found["before"], *found["after"]})
    rows = [(a, str(found["before"].get(a, 0)), str(found["after"].get(a, 0))) for a in actions]
    print_table(console, ("action", "was", "would be"), rows)
    if found["changes"]:
        lines = [
            (c["trace_id"], c["outcome"], c["before"]["action"], c["after"]["action"], c["after"]["reason"])
            for c in found["changes"]
        ]
        print_table(console, ("trace", "outcome", "was", "would be", "because"), lines)


def activate(
    name: Name,
    version: Version = None,
    environment: Environment = "",
    since: Annotated[str, typer.Option("--from", help="From this time on. Default: now.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Let a policy hold from now on; `default` brings the built-in one back."""
    asked = {"name": name, "version": version, "environment": environment, "effective_from": since or None}
    found = call("activate", asked)
    if as_json:
        print_json(found)
        return
    where = f"in {environment}" if environment else "everywhere without one of its own"
    make_console().print(styled(f"{found['name']} version {found['version']} holds {where}."))


def call(name: ReviewCall, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the running server replies, or what this process would."""
    from cli.backend import open_backend
    from domain.settings import load_settings

    async def run() -> dict[str, Any]:
        notes = make_console(stderr=True)
        async with open_backend(load_settings(), lambda line: notes.print(styled(line, "dim"))) as backend:
            return await backend.review(name, values)

    return asyncio.run(run())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{file} cannot be read: {exc}") from exc
