"""The links of a code root as edges with time. Pure: what should hold now, and the step there from what was held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import zstandard

from domain.times import HOUR_US
from graph.code import CodeEdge, CodeEdgeKind, symbol_id
from indexer.code_index import CodeIndex
from indexer.linking import Reference, link_bases
from indexer.search import Loaded
from indexer.statement_match import StatementMatch
from storage.code_links import Emission

LINKS_VERSION = 1
"""Grows with every change that links the same code otherwise: edges then begin anew."""

KEEP_ENDED_US = 90 * 24 * HOUR_US
"""How long edges stay that hold no more."""

_MOST_TIES = 3
_SAME = 0.02

type Key = tuple[CodeEdgeKind, str, str]
type Wanted = dict[Key, tuple[int, bool]]
"""Which edges hold: the line of each, and whether that is sure."""

_DECODER = msgspec.msgpack.Decoder(tuple[CodeEdge, ...])


@dataclass(frozen=True, slots=True)
class Step:
    """All edges after a step, those that began, ended or changed in it, and those that are kept no longer."""

    edges: tuple[CodeEdge, ...]
    written: tuple[CodeEdge, ...]
    forgotten: tuple[CodeEdge, ...]


def list_edges(loaded: Loaded, root: str, emissions: Sequence[Emission]) -> Wanted:
    """Return the edges of a root: definitions, calls, inheritance, deployments, and the templates that its lines write."""
    wanted: Wanted = {}
    files = [file for file in loaded.index.files if file.root == root]
    for file in files:
        for symbol in file.facts.symbols:
            wanted.setdefault(
                ("DEFINED_IN", symbol_id(file.path, symbol.qualified), file.path), (symbol.start_line, True)
            )
    _add_references(wanted, "CALLS", (r for r in loaded.references if r.caller_root == root))
    _add_references(wanted, "REFERENCES", link_bases(CodeIndex(files)))
    for one in loaded.services:
        if one.root_id == root:
            wanted["DEPLOYED_AS", f"{one.folder.rstrip('/')}/", one.service] = (0, True)
    for template, found in _written(loaded, root, emissions):
        for match in found:
            source = symbol_id(match.file.path, match.statement.symbol)
            _add_top(wanted, match.file.path, match.statement.symbol)
            known = wanted.get(("LOGS", source, str(template)))
            if known is None or (match.sure and not known[1]):
                wanted["LOGS", source, str(template)] = (match.statement.line, match.sure)
    return wanted


def _add_references(wanted: Wanted, kind: CodeEdgeKind, references: Iterable[Reference]) -> None:
    for r in references:
        key: Key = (kind, symbol_id(r.caller_path, r.caller), symbol_id(r.callee_path, r.callee))
        if key not in wanted or (r.sure and not wanted[key][1]):
            wanted[key] = (r.line, r.sure)
        _add_top(wanted, r.caller_path, r.caller)


def _add_top(wanted: Wanted, path: str, symbol: str) -> None:
    """The top of a file is a symbol as well, where it does something."""
    if not symbol:
        wanted["DEFINED_IN", symbol_id(path, ""), path] = (1, True)


def _written(
    loaded: Loaded, root: str, emissions: Sequence[Emission]
) -> Iterable[tuple[int, Sequence[StatementMatch]]]:
    """Yield each template with the statements of a root that write it."""
    for emission in emissions:
        found = loaded.written_by(emission.service).match(emission.text, _MOST_TIES + 1)
        best = [match for match in found if found[0].score - match.score <= _SAME and match.file.root == root]
        if best and found[0].tied < _MOST_TIES:
            yield emission.template_id, best


def take_step(held: Sequence[CodeEdge], wanted: Mapping[Key, tuple[int, bool]], now_us: int) -> Step:
    """Return the step from the edges that are held to those that should hold from now on."""
    edges: list[CodeEdge] = []
    written: list[CodeEdge] = []
    forgotten: list[CodeEdge] = []
    open_keys: set[Key] = set()
    for edge in held:
        key: Key = (edge.kind, edge.source, edge.target)
        if edge.valid_to_us is not None:
            (forgotten if edge.valid_to_us < now_us - KEEP_ENDED_US else edges).append(edge)
            continue
        facts = wanted.get(key)
        now = edge
        if facts is None:
            now = replace(edge, valid_to_us=max(now_us, edge.valid_from_us + 1))
        else:
            open_keys.add(key)
            if facts != (edge.line, edge.sure):
                now = replace(edge, line=facts[0], sure=facts[1])
        edges.append(now)
        if now is not edge:
            written.append(now)
    begin_us = max([now_us, *(edge.valid_to_us for edge in edges if edge.valid_to_us is not None)])
    for key, (line, sure) in wanted.items():
        if key not in open_keys:
            edges.append(CodeEdge(*key, begin_us, None, line, sure))
            written.append(edges[-1])
    return Step(tuple(edges), tuple(written), tuple(forgotten))


def pack_edges(edges: Sequence[CodeEdge]) -> bytes:
    """Return edges as bytes for the store."""
    return zstandard.ZstdCompressor(3).compress(msgspec.msgpack.encode(edges))


def unpack_edges(packed: bytes) -> tuple[CodeEdge, ...]:
    """Return the edges that `pack_edges` packed."""
    return _DECODER.decode(zstandard.ZstdDecompressor().decompress(packed)) if packed else ()
