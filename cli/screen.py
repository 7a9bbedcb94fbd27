"""What commands print: text for people, which telemetry cannot steer, and JSON for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from domain.errors import CausegraphError

_UNSAFE_JSON = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

OUTCOME_STYLES = {"CONFIRMED": "bold red", "LIKELY": "bold yellow", "INCONCLUSIVE": "bold", "HEALTHY": "bold green"}


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that takes no markup from texts; its own styles come from `styled`."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 100
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False, width=width)


def styled(text: object, style: str = "") -> Text:
    """Return text as it stands: no markup is read, and control characters are made visible."""
    from rich.text import Text

    from agents.plain import show_plain

    # Appended, not given as the text's own style: that would spread to whatever is added behind it.
    return Text().append(show_plain(str(text)), style or None)


def print_json(body: Any) -> None:
    """Print JSON that is safe on a terminal."""
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(body, ensure_ascii=plain, indent=2, default=str)
    safe = _UNSAFE_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    sys.stdout.write(safe.encode("utf-8", "replace").decode() + "\n")


def print_error(exc: CausegraphError) -> None:
    """Print an error as one line, and what to do about it."""
    from agents.plain import error_body

    body = error_body(exc)
    console = make_console(stderr=True)
    console.print(styled("Error: ", "bold red") + styled(body["message"]), soft_wrap=True)
    if body["hint"]:
        console.print(styled(f"Hint: {body['hint']}", "dim"), soft_wrap=True)
