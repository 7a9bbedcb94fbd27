"""Candidates from the indexed code: chunks by words, by meaning and by name, with who calls whom around them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.code_meaning import Searched, near_chunks
from retrieval.embedding import FARTHEST
from retrieval.items import Candidates, Item, Link, Wanted, item_key
from retrieval.names import file_names
from retrieval.store_items import record_path

if TYPE_CHECKING:
    from domain.code import Chunk
    from indexer.code_index import IndexedFile
    from indexer.linking import Reference
    from indexer.search import Loaded

_DEPTH = 60
_OF_A_FILE = 5
_LINKS = 400
_STATEMENTS = 8
_TEXT = 2_000


async def code_candidates(searched: Searched, wanted: Wanted) -> Candidates:
    """Find chunks of code; none where no code is indexed."""
    loaded = await searched.code.load(linked=False)
    found = Candidates()
    if not loaded.roots:
        return found
    maker = _Maker(loaded, wanted.environment)
    for hit in await searched.code.by_text(wanted.text, _DEPTH):
        found.add_worded([maker.item(hit.file, hit.chunk, hit.line)])
    near, note = await near_chunks(searched, loaded.index, wanted.text, "")
    for file, chunk, distance in near:
        if distance < FARTHEST:
            found.add_near(maker.item(file, chunk, chunk.start_line), distance)
    found.notes += [note] if note else []
    for name in file_names(wanted.text):
        for file, chunk in _chunks_of_file(loaded, name):
            found.add_exact(maker.item(file, chunk, chunk.start_line), name)
    for file, chunk, name in _chunks_of_symbols(loaded, wanted.text):
        found.add_exact(maker.item(file, chunk, chunk.start_line), name)
    return found


async def code_links(searched: Searched, wanted: Wanted, candidates: Candidates) -> list[Link]:
    """Return who calls whom around the chunks that were found, and which of them write the log templates that were found.

    What is at the other end of a call becomes a candidate.
    """
    loaded = await searched.code.load()
    if not loaded.roots:
        return []
    maker = _Maker(loaded, wanted.environment)
    links = _calls(loaded, maker, candidates)
    templates = [key for key in (*candidates.worded, *candidates.near) if candidates.items[key].kind == "template"]
    for key in list(dict.fromkeys(templates))[:_STATEMENTS]:
        for match in await searched.code.by_log(candidates.items[key].text, 1):
            chunk = match.file.chunk_at(match.statement.line)
            if chunk is not None and match.sure:
                links.append(Link(candidates.add(maker.item(match.file, chunk, match.statement.line)), key, "LOGS"))
    return links


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes items of chunks."""

    loaded: Loaded
    environment: str

    def item(self, file: IndexedFile, chunk: Chunk, line: int) -> Item:
        services = self.loaded.services_of(file)
        key = {"root": file.root, "path": file.path, "line": line}
        where = f"{file.path}:{line}" + (f" {chunk.scope}" if chunk.scope else "")
        own = item_key("code", chunk.id)
        return Item(
            kind="code",
            id=chunk.id,
            title=f"{where}: {_first_words(chunk)}"[:300],
            text=f"{file.path} {chunk.scope}\n{chunk.text}"[:_TEXT],
            opens=record_path(self.environment, "code", key),
            services=services,
            record=("code", key),
            links=tuple(Link(own, item_key("service", service), "DEPLOYED_AS") for service in services),
        )


def _first_words(chunk: Chunk) -> str:
    said = chunk.doc or chunk.signature or next((line for line in chunk.text.split("\n") if line.strip()), "")
    return " ".join(said.split())[:160]


def _chunks_of_file(loaded: Loaded, name: str) -> Iterable[tuple[IndexedFile, Chunk]]:
    path, _, line = name.partition(":")
    files = [file for file in loaded.index.by_name.get(path.rpartition("/")[2].lower(), ()) if file.path.endswith(path)]
    for file in files[:_OF_A_FILE]:
        chunk = file.chunk_at(int(line)) if line else None
        for one in [chunk] if chunk else file.facts.chunks[:_OF_A_FILE]:
            yield file, one


def _chunks_of_symbols(loaded: Loaded, text: str) -> Iterable[tuple[IndexedFile, Chunk, str]]:
    """Yield the definitions of the identifiers of a text: `charge_card`, `PaymentError`, not `charge`."""
    words = dict.fromkeys(word.strip("`'\"()[]{},;:?!.").rpartition(".")[2] for word in text.split())
    for word in words:
        if "_" in word.strip("_") or (word[1:] != word[1:].lower() and word.isidentifier()):
            for file, symbol in loaded.index.by_symbol.get(word, ())[:_OF_A_FILE]:
                chunk = file.chunk_at(symbol.start_line)
                if chunk is not None:
                    yield file, chunk, word


def _calls(loaded: Loaded, maker: _Maker, candidates: Candidates) -> list[Link]:
    places = _places(loaded, candidates)
    links: list[Link] = []
    for reference in loaded.references:
        ends = _ends(reference)
        if not any(end in places for end in ends):
            continue
        keys = [places.get(end) or _key_at(loaded, maker, candidates, end) for end in ends]
        if keys[0] and keys[1] and keys[0] != keys[1]:
            links.append(Link(keys[0], keys[1], "CALLS"))
        if len(links) == _LINKS:
            break
    return links


type _Place = tuple[str, str, str]


def _ends(reference: Reference) -> tuple[_Place, _Place]:
    return (
        (reference.caller_root, reference.caller_path, reference.caller),
        (reference.callee_root, reference.callee_path, reference.callee),
    )


def _places(loaded: Loaded, candidates: Candidates) -> Mapping[_Place, str]:
    """Return the definitions that begin in the chunks that were found, with the keys of those."""
    held: defaultdict[_Place, str] = defaultdict(str)
    for key, item in list(candidates.items.items()):
        place = loaded.index.by_chunk.get(item.id) if item.kind == "code" else None
        if place is not None:
            file, chunk = place
            for symbol in file.facts.symbols:
                if chunk.start_line <= symbol.start_line <= chunk.end_line:
                    held[file.root, file.path, symbol.qualified] = key
    return held


def _key_at(loaded: Loaded, maker: _Maker, candidates: Candidates, place: _Place) -> str:
    root, path, qualified = place
    file = loaded.index.file(path, root)
    symbol = next((s for s in file.facts.symbols if s.qualified == qualified), None) if file else None
    chunk = file.chunk_at(symbol.start_line) if file and symbol else None
    return candidates.add(maker.item(file, chunk, chunk.start_line)) if file and chunk else ""
