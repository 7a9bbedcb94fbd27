"""The built-in library is sound; a bad file is named and the others load."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import NotFound
from runbooks import BUILT_IN, Runbook, Step, fill_command, load_library

BUILT_IN_RUNBOOKS = list(load_library())


READING = ("kubectl describe", "kubectl rollout history", "kubectl set env --list", "kcat -C", "openssl s_client")


def only_reads(step: Step) -> bool:
    line = " ".join(step.command)
    asked = step.command[-1].startswith(("SHOW ", "SELECT ")) and step.command[0] == "mariadb"
    return asked or line.startswith(READING) or " -- ping " in line or " -- du " in line


def write(folder: Path, name: str, runbook_id: str, title: str = "T") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        f"---\nid: {runbook_id}\ntitle: {title}\nfault_classes: [code]\nsymptoms: [s]\nsteps:\n"
        "  - name: n\n    precondition: p\n    expected_evidence: [{kind: log, what: w}]\n"
        "    verify: {kind: log, what: w}\n---\ntext\n"
    )
    return path


def test_the_built_in_library_loads_without_a_problem() -> None:
    library = load_library()
    assert library.problems == () and len(library) == len(list(BUILT_IN.glob("*.md"))) >= 10


@pytest.mark.parametrize("runbook", BUILT_IN_RUNBOOKS, ids=lambda runbook: runbook.id)
def test_a_built_in_runbook_is_whole(runbook: Runbook) -> None:
    assert Path(runbook.path).stem == runbook.id
    assert runbook.services == (), "a built-in runbook is for any company"
    assert len(runbook.words) >= 7 and len(runbook.symptoms) >= 1 and len(runbook.steps) >= 2
    for heading in ("## What happens", "## Lasting repair"):
        assert heading in runbook.text
    for step in runbook.steps:
        assert step.dry_run or not step.command or only_reads(step), f"{step.name} cannot be tried first"
        values = dict.fromkeys(step.arguments, "x")
        for command in (step.dry_run, step.command, step.rollback):
            assert "{" not in " ".join(fill_command(command, values))


def test_a_bad_file_is_named_and_the_others_load(tmp_path: Path) -> None:
    good = write(tmp_path / "sub", "good.md", "good")
    bad = write(tmp_path, "bad.md", "BAD")
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge.md").write_text("x" * 300_000)
    (tmp_path / "README.md").write_text("about these runbooks")
    (tmp_path / "_draft.md").write_text("later")
    (tmp_path / "notes.txt").write_text("no")
    twice = write(tmp_path / "sub", "twice.md", "good")
    library = load_library([tmp_path, tmp_path / "nowhere"])
    assert list(library.runbooks) == ["good"] and library.get("good").path == str(good)
    assert len(library.problems) == 5
    told = "\n".join(library.problems)
    assert f"{bad}:2: id:" in told
    assert f"{tmp_path / 'binary.md'}: cannot be read" in told
    assert f"{tmp_path / 'huge.md'}: a runbook may have" in told
    assert f"{twice}: id 'good' is that of {good} already" in told
    assert f"{tmp_path / 'nowhere'}: there is no such folder" in told


def test_your_own_runbook_replaces_a_built_in_one(tmp_path: Path) -> None:
    write(tmp_path, "mine.md", "disk-full", "Our disks")
    library = load_library([BUILT_IN, tmp_path])
    assert library.get("disk-full").title == "Our disks"
    assert len(library) == len(load_library())
    with pytest.raises(NotFound, match="no-such"):
        library.get("no-such")
