"""Prompts are files: `NAME.md` with its version in the first line. What was asked of a model is known by its hash."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from domain.errors import SettingsError

_HEAD = re.compile(r"version: (\d{1,4})\n---\n")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The system text of a kind of request. `digest` is the BLAKE3 of the file, 16 hex characters."""

    name: str
    version: int
    text: str
    digest: str


def load_prompt(path: Path) -> Prompt:
    """Read a prompt file; raises SettingsError for one without its version."""
    content = path.read_text(encoding="utf-8")
    head = _HEAD.match(content)
    if head is None:
        raise SettingsError(f"{path.name}: a prompt begins with `version: N` and a line of three dashes.")
    return Prompt(path.stem, int(head.group(1)), content[head.end() :].strip(), blake3(content.encode()).hexdigest(8))
