"""Loading runbooks from folders: a bad file is named and left out, the others load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from domain.errors import NotFound, PayloadError
from runbooks.model import LARGEST_FILE, Runbook, parse_runbook

BUILT_IN = Path(__file__).parent / "library"


@dataclass(slots=True)
class Library:
    """The runbooks that loaded, by id, and one text per file that did not."""

    runbooks: Mapping[str, Runbook]
    problems: tuple[str, ...] = ()

    def take(self, other: Library) -> None:
        """Hold what another library holds, from now on: the files have changed."""
        self.runbooks, self.problems = other.runbooks, other.problems

    def __iter__(self) -> Iterator[Runbook]:
        return iter(self.runbooks.values())

    def __len__(self) -> int:
        return len(self.runbooks)

    def get(self, runbook_id: str) -> Runbook:
        """Return a runbook by its id; raises NotFound."""
        if runbook_id not in self.runbooks:
            raise NotFound(f"There is no runbook {runbook_id!r}.")
        return self.runbooks[runbook_id]


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of runbooks. `origin` says where it came from, if not from this machine: its files are told by that.

    Nothing is read that links lead to outside of `root`, which is the folder itself unless it is a part of something.
    """

    folder: Path
    origin: str = ""
    root: Path | None = None

    def tell(self, path: Path) -> str:
        """Return how a file of it is named to people."""
        return f"{self.origin}:{path.relative_to(self.root or self.folder)}" if self.origin else str(path)


def load_library(sources: Iterable[Path | Source] = (BUILT_IN,)) -> Library:
    """Read every `*.md` below some folders, in order. A runbook of a later folder replaces one of the same id before it.

    `README.md`, files whose name starts with a dot or an underscore, and links that lead out of the folder are not
    runbooks. Never raises: what cannot be read is in `problems`.
    """
    loaded: dict[str, Runbook] = {}
    problems: list[str] = []
    for given in sources:
        source = given if isinstance(given, Source) else Source(given)
        if not source.folder.is_dir():
            problems.append(f"{source.origin or source.folder}: there is no such folder")
            continue
        here: dict[str, Runbook] = {}
        for path in sorted(source.folder.rglob("*.md")):
            if path.name == "README.md" or path.name.startswith((".", "_")):
                continue
            try:
                runbook = _read(path, source)
                if runbook.id in here:
                    raise PayloadError(f"{runbook.path}: id {runbook.id!r} is that of {here[runbook.id].path} already")
            except PayloadError as exc:
                problems.append(str(exc))
            else:
                here[runbook.id] = runbook
        loaded |= here
    return Library(dict(sorted(loaded.items())), tuple(problems))


def _read(path: Path, source: Source) -> Runbook:
    told = source.tell(path)
    try:
        # A link in a repository of others could lead to any file of this machine.
        if not path.resolve().is_relative_to((source.root or source.folder).resolve()):
            raise PayloadError(f"{told}: this is a link that leads out of the folder")
        with path.open(encoding="utf-8") as file:
            return parse_runbook(file.read(LARGEST_FILE + 1), told)
    except (OSError, RuntimeError, UnicodeDecodeError) as exc:
        raise PayloadError(f"{told}: cannot be read: {exc}") from exc
