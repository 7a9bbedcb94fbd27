"""From the matches of a language's patterns to definitions with their scopes, and to calls within them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from tree_sitter import Node

from domain.code import CallSite, Symbol, SymbolKind
from indexer.grammar import Match

_SIGNATURE = 300
_DOC = 400
_MAX_NAME = 200
_KINDS = ("function", "class", "block", "scope")
_COMMENT_MARKS = re.compile(r"^[\s/*#!;\-]+|[\s*/]+$|^\"\"\"|\"\"\"$", re.MULTILINE)
_GENERIC = re.compile(r"[<\[(].*", re.DOTALL)


@dataclass(slots=True)
class Definition:
    """A definition on its way to a symbol; a `scope` (namespace, impl) gives its name to what it holds, and is none."""

    node: Node
    kind: str
    name: str
    parent: Definition | None = None
    qualified: str = ""
    bases: tuple[str, ...] = ()


@dataclass(slots=True)
class Outline:
    """The definitions of a file in the order of their starts."""

    definitions: list[Definition]
    _starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._starts = [definition.node.start_byte for definition in self.definitions]

    def around(self, byte: int) -> Definition | None:
        """Return the innermost definition around a place."""
        place = bisect_right(self._starts, byte) - 1
        found = self.definitions[place] if place >= 0 else None
        while found is not None and found.node.end_byte <= byte:
            found = found.parent
        return found

    def scope_at(self, byte: int) -> str:
        """Return the qualified name of the innermost definition around a place, "" at the top."""
        found = self.around(byte)
        return found.qualified if found else ""


def text_of(node: Node) -> str:
    """Return the text of a node; broken encodings give replacement characters."""
    return (node.text or b"").decode("utf-8", "replace")


def read_outline(matches: Sequence[Match]) -> Outline:
    """Return the definitions of a file, each with its place in the others."""
    found: dict[int, Definition] = {}
    for match in matches:
        for kind in _KINDS:
            if kind in match and "name" in match:
                node = match[kind][0]
                definition = Definition(node, kind, _name(match), bases=_bases(match))
                if definition.name:
                    found.setdefault(node.id, definition)
                break
    definitions = sorted(found.values(), key=lambda d: (d.node.start_byte, -d.node.end_byte))
    stack: list[Definition] = []
    for definition in definitions:
        while stack and stack[-1].node.end_byte <= definition.node.start_byte:
            stack.pop()
        definition.parent = stack[-1] if stack else None
        scope = definition.parent.qualified if definition.parent else ""
        definition.qualified = f"{scope}.{definition.name}" if scope else definition.name
        if len(definition.qualified) > _MAX_NAME:
            definition.qualified = definition.qualified[-_MAX_NAME:].lstrip(".")
        stack.append(definition)
    return Outline(definitions)


def read_symbols(outline: Outline) -> tuple[Symbol, ...]:
    """Return the definitions that have a name of their own."""
    symbols = []
    for definition in outline.definitions:
        if definition.kind == "scope":
            continue
        start, end = extent(definition.node)
        symbols.append(
            Symbol(
                name=definition.name.rpartition(".")[2],
                qualified=definition.qualified,
                kind=_kind(definition),
                start_line=start + 1,
                end_line=end + 1,
                signature=signature_of(definition.node),
                doc=doc_of(definition.node),
                bases=definition.bases,
            )
        )
    return tuple(symbols)


def read_calls(matches: Sequence[Match], outline: Outline) -> tuple[CallSite, ...]:
    """Return the calls of a file, by line."""
    calls = []
    for match in matches:
        if "call" in match and "callee" in match:
            callee = match["callee"][0]
            receiver = text_of(match["receiver"][0]) if "receiver" in match else ""
            name, owner = bare_name(text_of(callee)), " ".join(receiver.split())
            if name:
                scope = outline.scope_at(callee.start_byte)
                calls.append(CallSite(name, owner[-_MAX_NAME:], callee.start_point.row + 1, scope))
    return tuple(sorted(calls, key=lambda call: call.line))


def bare_name(text: str) -> str:
    """Return the last part of a dotted name, without type arguments."""
    return re.split(r"\.|::|->|\\|\?", _GENERIC.sub("", text.strip()))[-1].strip().lstrip("&*$@")[:_MAX_NAME]


def extent(node: Node) -> tuple[int, int]:
    """Return the first and the last row of a definition, with its decorators."""
    parent = node.parent
    if parent is not None and parent.type in ("decorated_definition", "export_statement"):
        node = parent
    last = node.end_point
    return node.start_point.row, last.row - (last.column == 0 and last.row > node.start_point.row)


def signature_of(node: Node) -> str:
    """Return what is written before the body, in one line."""
    value = node.child_by_field_name("value") or node.child_by_field_name("right")
    body = node.child_by_field_name("body") or (value.child_by_field_name("body") if value else None)
    text = text_of(node)[: 4 * _SIGNATURE]
    if body is not None:
        head = (node.text or b"")[: body.start_byte - node.start_byte]
        text = head.decode("utf-8", "replace")
    else:
        text = text.split("\n", 1)[0].split("{", 1)[0]
    return " ".join(text.split()).rstrip("{:= ")[:_SIGNATURE]


def doc_of(node: Node) -> str:
    """Return the docstring in the body, else the comment right above."""
    body = node.child_by_field_name("body")
    if body is not None and body.named_child_count:
        first = body.named_children[0]
        if first.type == "expression_statement" and first.named_child_count:
            first = first.named_children[0]
        if first.type == "string":
            return _plain(text_of(first).lstrip("rRbBuU").strip("\"'"))
    above: list[str] = []
    row = extent(node)[0]
    sibling = (node.parent if node.parent and extent(node)[0] < node.start_point.row else node).prev_named_sibling
    while sibling is not None and "comment" in sibling.type and sibling.end_point.row >= row - 1 and len(above) < 20:
        above.append(text_of(sibling))
        row, sibling = sibling.start_point.row, sibling.prev_named_sibling
    return _plain("\n".join(reversed(above)))


def _plain(text: str) -> str:
    return " ".join(_COMMENT_MARKS.sub(" ", text[: 4 * _DOC]).split())[:_DOC]


def _kind(definition: Definition) -> SymbolKind:
    match definition.kind:
        case "class":
            return "class"
        case "block":
            return "block"
    owner = definition.parent
    inside = owner is not None and (owner.kind == "class" or owner.node.type == "impl_item")
    return "method" if inside or "." in definition.name else "function"


def _name(match: Match) -> str:
    parts = [text_of(node) for node in match["name"]]
    if "block" in match:
        return ".".join(_plain_key(part) for part in parts)[:_MAX_NAME]
    name = parts[0].strip()
    if "(" in name:  # the declarator of C and C++, up to its parameters
        name = name.split("(", 1)[0]
    name = re.sub(r"^.*[\s*&](?=\S)", "", _strip_types(name))
    name = re.sub(r"::|:|\\", ".", name.strip()).strip(".\"'")
    if "owner" in match:
        receiver = re.search(r"\*?\s*(\w+)\s*(?:\[[^\]]*\])?\s*\)$", text_of(match["owner"][0]))
        name = f"{receiver[1]}.{name}" if receiver else name
    return name[:_MAX_NAME]


def _strip_types(name: str) -> str:
    return re.sub(r"<[^<>]*>|\[[^\[\]]*\]", "", name)


def _plain_key(text: str) -> str:
    return text.strip().strip("\"'")


def _bases(match: Match) -> tuple[str, ...]:
    words = []
    for node in match.get("bases", []):
        text = re.sub(r"\b(?:extends|implements|with|public|private|protected|virtual|class)\b", " ", text_of(node))
        text = re.sub(r"<[^<>]*>|\([^()]*\)$|\w+\s*=\s*\w+", " ", text.strip().strip("()"))
        words += [bare_name(part) for part in re.split(r"[,\s:]+", text)]
    return tuple(dict.fromkeys(word for word in words if word.isidentifier()))[:16]
