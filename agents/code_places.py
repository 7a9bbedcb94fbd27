"""What the replies of the code index share: the loaded index, bounds of what is asked, places as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.errors import QuestionError

if TYPE_CHECKING:
    from indexer.code_index import IndexedFile
    from indexer.search import CodeSearch, Loaded

MAX_TEXT = 256_000
_MAX_LIMIT = 100


async def load_code(code: CodeSearch, *, linked: bool = False) -> Loaded:
    """Return the present state of the index, `linked` where callers are asked for.

    Raises QuestionError where nothing is indexed.
    """
    loaded = await code.load(linked=linked)
    if not loaded.roots:
        raise QuestionError("No code is indexed yet: `causegraph index PATH` indexes a folder or a repository.")
    return loaded


def place_of(loaded: Loaded, file: IndexedFile, line: int, symbol: str) -> dict[str, Any]:
    """Return a line of a file as JSON."""
    return {"location": loaded.roots[file.root].location, "path": file.path, "line": line, "symbol": symbol}


def wanted_text(text: str, what: str) -> str:
    """Return the text; raises QuestionError if it is blank or too long."""
    if not text.strip():
        raise QuestionError(f"Give {what} to look for.")
    if len(text) > MAX_TEXT:
        raise QuestionError(f"More than {MAX_TEXT:,} characters were given.")
    return text


def bounded(limit: int) -> int:
    """Return a limit between 1 and 100."""
    return max(1, min(limit, _MAX_LIMIT))
