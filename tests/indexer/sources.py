"""Small code bases for tests: paths with their sources, read into an index."""

from __future__ import annotations

from collections.abc import Mapping

from blake3 import blake3

from indexer.code_index import CodeIndex, IndexedFile
from indexer.facts import read_facts


def make_index(sources: Mapping[str, str], root: str = "shop") -> CodeIndex:
    """Return the index of a code base given by its paths."""
    return CodeIndex(
        IndexedFile(root, path, blake3(source.encode()).hexdigest(), read_facts(path, source.encode()))
        for path, source in sources.items()
    )
