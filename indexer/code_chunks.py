"""Chunks along the syntax: whole definitions where they fit, large ones cut between statements, small ones merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tree_sitter import Node

from domain.code import Chunk, ChunkKind
from indexer.syntax import Definition, Outline, doc_of, signature_of
from indexer.text_chunks import BUDGET, chunk_id, weigh

_ALONE = 200
_MAX_DEPTH = 60


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows [start, end), and whether they are one whole definition."""

    start: int
    end: int
    definition: bool = False


def chunk_code(lines: Sequence[str], language: str, root: Node, outline: Outline) -> tuple[Chunk, ...]:
    """Return chunks that cover the lines without gaps; each holds at most BUDGET characters that are not blank."""
    cutter = _Cutter(lines, outline)
    chunks: list[Chunk] = []
    for piece in cutter.cut(root):
        text = "".join(lines[piece.start : piece.end])
        owner = cutter.owner(piece)
        scope = owner.qualified if owner else ""
        name = chunk_id(language, scope, text)
        signature, doc = (signature_of(owner.node), doc_of(owner.node)) if owner else ("", "")
        chunks.append(Chunk(name, _kind(owner), scope, piece.start + 1, piece.end, text, signature, doc))
    return tuple(chunks)


def _kind(owner: Definition | None) -> ChunkKind:
    match owner.kind if owner else "":
        case "function":
            return "function"
        case "class" | "scope":
            return "class"
        case "block":
            return "block"
        case _:
            return "code"


class _Cutter:
    def __init__(self, lines: Sequence[str], outline: Outline) -> None:
        self._lines = lines
        self._before = [0, *accumulate(weigh(line) for line in lines)]
        self._definitions = {definition.node.id: definition for definition in outline.definitions}
        self._outline = outline
        self._offsets = [0, *accumulate(len(line.encode("utf-8", "replace")) for line in lines)]

    def cut(self, root: Node) -> list[_Piece]:
        """Return pieces that follow on each other, from the first row to the last."""
        pieces = self._merge(self._pieces(root, 0, len(self._lines), 0))
        return [piece for piece in pieces if piece.end > piece.start]

    def owner(self, piece: _Piece) -> Definition | None:
        """Return the definition that a piece lies in, or the first that begins in it."""
        for row in range(piece.start, piece.end):
            if line := self._lines[row].strip():
                first = self._offsets[row] + len(self._lines[row]) - len(self._lines[row].lstrip())
                around = self._outline.around(first)
                if around is not None:
                    return around
                if not line.startswith(("#", "//", "/*", "*", "--", "@", "[")):
                    break
        return self._first_within(piece)

    def _first_within(self, piece: _Piece) -> Definition | None:
        if not piece.definition:
            return None
        start, end = self._offsets[piece.start], self._offsets[piece.end]
        for definition in self._outline.definitions:
            if start <= definition.node.start_byte < end:
                return definition
        return None

    def _weight(self, start: int, end: int) -> int:
        return self._before[min(end, len(self._lines))] - self._before[start]

    def _pieces(self, node: Node, start: int, end: int, depth: int) -> Iterator[_Piece]:
        """Cut rows [start, end), which belong to a node, along its children."""
        defined = node.id in self._definitions
        if self._weight(start, end) <= BUDGET and (defined or not self._holds_definitions(node)):
            yield _Piece(start, end, defined)
            return
        rows = [row for row in self._rows_of(node, start, end) if start < row[0] < end or row[0] == start]
        if depth > _MAX_DEPTH or (len(rows) < 2 and not (rows and rows[0][2].child_count)):
            yield from self._by_lines(start, end)
            return
        place = start
        for number, (_, last, child) in enumerate(rows):
            stop = rows[number + 1][0] if number + 1 < len(rows) else end
            if number + 1 < len(rows):
                stop = min(stop, max(last, place))
            if stop <= place:
                continue
            yield from self._pieces(child, place, stop, depth + 1)
            place = stop
        if place < end:
            yield from self._by_lines(place, end)

    def _holds_definitions(self, node: Node) -> bool:
        return any(child.id in self._definitions for child in node.named_children[:50])

    def _rows_of(self, node: Node, start: int, end: int) -> list[tuple[int, int, Node]]:
        """Return (first row, row after the last, child); children on one row, and comments with what follows, are one."""
        rows: list[tuple[int, int, Node]] = []
        comment: int | None = None
        for child in node.named_children:
            first, last = child.start_point.row, child.end_point.row + (child.end_point.column > 0)
            if "comment" in child.type or child.type in ("decorator", "attribute_item", "marker_annotation"):
                comment = first if comment is None else comment
                continue
            first, comment = (first if comment is None else comment), None
            if rows and first < rows[-1][1]:
                if last - first > rows[-1][1] - rows[-1][0]:
                    rows[-1] = (rows[-1][0], last, child)
                elif last > rows[-1][1]:
                    rows[-1] = (rows[-1][0], last, rows[-1][2])
                continue
            rows.append((first, last, child))
        return rows

    def _by_lines(self, start: int, end: int) -> Iterator[_Piece]:
        place = start
        for row in range(start, end):
            if row > place and self._weight(place, row + 1) > BUDGET:
                yield _Piece(place, row)
                place = row
        if place < end:
            yield _Piece(place, end)

    def _merge(self, pieces: Iterator[_Piece]) -> list[_Piece]:
        merged: list[_Piece] = []
        for piece in pieces:
            if merged and self._fit(merged[-1], piece):
                merged[-1] = _Piece(merged[-1].start, piece.end, merged[-1].definition or piece.definition)
            else:
                merged.append(piece)
        return merged

    def _fit(self, left: _Piece, right: _Piece) -> bool:
        if self._weight(left.start, right.end) > BUDGET:
            return False
        small = min(self._weight(left.start, left.end), self._weight(right.start, right.end)) < _ALONE
        return small if left.definition or right.definition else True
