"""What the documents say is there: generated tables, links, make targets, packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("examples/*/*.md")]
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}


def _prose(text: str) -> str:
    """Text without fenced code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", _prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _broken_links(document: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            yield target


def test_generated_tables_are_fresh() -> None:
    command = [sys.executable, "tools/docs.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert list(_broken_links(document)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"^(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)", text, re.MULTILINE))
    named |= set(re.findall(r"`(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)", text))
    missing = [name for name in named if not re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE)]
    assert missing == []


def test_make_alone_lists_the_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, env=ENVIRONMENT, timeout=60)
    assert "make demo" in done.stdout
    assert "make test" in done.stdout


def test_the_readme_lists_every_folder() -> None:
    folders = {file.relative_to(ROOT).parts[0] for file in ROOT.glob("[a-z]*/**/*.py")} - {"tests", "tools"}
    listed = set(re.findall(r"^\| `(\w+)(?:/\w+)?/`", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert folders <= listed


def test_each_capability_names_a_place_and_a_test_that_are_there() -> None:
    text = (ROOT / "docs" / "traces.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| `([^`]+)` \| `([^`:]+)::(\w+)` \|$", text, re.MULTILINE)
    assert len(rows) >= 70
    for place, file, name in rows:
        assert (ROOT / place).exists(), place
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), name
