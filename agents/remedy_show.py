"""A step of a workflow as lines of text, the same on every screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def step_lines(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a step would do as (label, text) pairs; what is empty is left out."""
    undo = step.get("undo")
    found = [
        ("does", show_deed(step["does"])),
        ("dry run", str(step.get("dry_run", ""))),
        ("state", "" if step.get("state") == step.get("dry_run") else str(step.get("state", ""))[:400]),
        ("undo", show_deed(undo["does"]) if undo else ""),
    ]
    return [(label, text) for label, text in found if text]


def show_deed(does: Mapping[str, Any]) -> str:
    """Return exactly what an action does as one line: the words of a command with their quotes, else each part."""
    if "command" in does:
        words = " ".join(f'"{word}"' if " " in word or not word else word for word in does["command"])
        return f"{words}  (in {does['folder']})" if does.get("folder") else words
    return ", ".join(f"{name}: {value}" for name, value in does.items())
