"""Loading runbooks from folders: a bad file is named and left out, the others load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from domain.errors import NotFound, PayloadError
from runbooks.model import LARGEST_FILE, Runbook, parse_runbook

BUILT_IN = Path(__file__).parent / "library"


@dataclass(frozen=True, slots=True)
class Library:
    """The runbooks that loaded, by id, and one text per file that did not."""

    runbooks: Mapping[str, Runbook]
    problems: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Runbook]:
        return iter(self.runbooks.values())

    def __len__(self) -> int:
        return len(self.runbooks)

    def get(self, runbook_id: str) -> Runbook:
        """Return a runbook by its id; raises NotFound."""
        if runbook_id not in self.runbooks:
            raise NotFound(f"There is no runbook {runbook_id!r}.")
        return self.runbooks[runbook_id]


def load_library(folders: Iterable[Path] = (BUILT_IN,)) -> Library:
    """Read every `*.md` below the folders, in order. A runbook of a later folder replaces one of the same id before it.

    `README.md` and files whose name starts with a dot or an underscore are not runbooks. Never raises: what cannot be
    read is in `problems`.
    """
    loaded: dict[str, Runbook] = {}
    problems: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            problems.append(f"{folder}: there is no such folder")
            continue
        here: dict[str, Runbook] = {}
        for path in sorted(folder.rglob("*.md")):
            if path.name == "README.md" or path.name.startswith((".", "_")):
                continue
            try:
                runbook = _read(path)
                if runbook.id in here:
                    raise PayloadError(f"{path}: id {runbook.id!r} is that of {here[runbook.id].path} already")
            except PayloadError as exc:
                problems.append(str(exc))
            else:
                here[runbook.id] = runbook
        loaded |= here
    return Library(dict(sorted(loaded.items())), tuple(problems))


def _read(path: Path) -> Runbook:
    try:
        with path.open(encoding="utf-8") as file:
            return parse_runbook(file.read(LARGEST_FILE + 1), str(path))
    except (OSError, UnicodeDecodeError) as exc:
        raise PayloadError(f"{path}: cannot be read: {exc}") from exc
