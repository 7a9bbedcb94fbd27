"""What a file brings in, read from the text of its import statements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from domain.code import Import
from indexer.grammar import Match
from indexer.syntax import text_of

_MAX_TEXT = 20_000
_QUOTED = re.compile(r"[\"'<]([^\"'<>\n]{1,300})[\"'>]")

type _Item = tuple[str, str, str]
"""Module, name, alias."""


def read_imports(language: str, matches: Sequence[Match]) -> tuple[Import, ...]:
    """Return the imported names of a file, by line."""
    found = []
    for match in matches:
        if "import" in match:
            node = match["import"][0]
            for module, name, alias in _items(language, text_of(node)[:_MAX_TEXT]):
                found.append(Import(module, name, alias or name or _last(module), node.start_point.row + 1))
    return tuple(found)


def _items(language: str, text: str) -> Iterator[_Item]:
    match language:
        case "python":
            yield from _python(text)
        case "javascript" | "typescript" | "tsx":
            yield from _javascript(text)
        case "go":
            name, _, _ = text.partition('"')
            yield from ((path, "", name.strip()) for path in _QUOTED.findall(text)[:1])
        case "java" | "kotlin":
            yield from _java(text)
        case "scala" | "rust":
            path = re.sub(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:import|use|mod)\s+", "", text).rstrip(";\n ")
            yield from _tree(path.replace("::", "."), 0)
        case "csharp":
            if found := re.match(r"(?:global\s+)?using\s+(?:static\s+)?(?:(\w+)\s*=\s*)?([\w.]+)", text):
                yield found[2], "" if found[1] else "*", found[1] or ""
        case "php":
            for part in text.removeprefix("use").rstrip(";").split(","):
                path, _, alias = part.strip().partition(" as ")
                module, _, name = path.strip("\\ ").rpartition("\\")
                yield module, name, alias.strip()
        case _:
            local = re.match(r"\s*local\s+(\w+)", text)
            yield from ((path, "", local[1] if local else "") for path in _QUOTED.findall(text)[:1])


def _python(text: str) -> Iterator[_Item]:
    text = re.sub(r"#.*|\\\n", "", text)
    if found := re.match(r"\s*from\s+([.\w]+)\s+import\s+(.*)", text, re.DOTALL):
        for part in found[2].strip("() \n").split(","):
            words = part.split()
            if words:
                yield found[1], words[0], words[2] if len(words) == 3 else ""
    else:
        for part in re.sub(r"^\s*import\s+", "", text).split(","):
            words = part.split()
            if words:
                yield words[0], "", words[2] if len(words) == 3 else words[0]


def _javascript(text: str) -> Iterator[_Item]:
    modules = _QUOTED.findall(text)
    if not modules:
        return
    module = modules[-1]
    head = re.split(r"\bfrom\b|=\s*require|\brequire\b", text)[0]
    head = re.sub(r"^\s*(?:import|export|const|let|var)\b\s*(?:type\b)?", "", head)
    named = re.search(r"\{(.*)\}", head, re.DOTALL)
    for part in named[1].split(",") if named else ():
        words = re.split(r"\s+as\s+|\s*:\s*", part.strip())
        if words[0]:
            yield module, words[0].removeprefix("type "), words[-1]
    rest = re.sub(r"\{.*\}", "", head, flags=re.DOTALL)
    whole = re.search(r"\*\s+as\s+(\w+)", rest)
    if whole:
        yield module, "", whole[1]
    else:
        default = re.search(r"\w[\w$]*", rest.replace(f'"{module}"', "").replace(f"'{module}'", ""))
        if default:
            yield module, "" if "require" in text else "default", default[0]
        elif not named:
            yield module, "", ""


def _java(text: str) -> Iterator[_Item]:
    found = re.match(r"\s*import\s+(?:static\s+)?([\w.]+?)(\.\*)?\s*(?:as\s+(\w+))?\s*;?\s*$", text)
    if found is None:
        return
    if found[2]:
        yield found[1], "*", ""
    else:
        module, _, name = found[1].rpartition(".")
        yield module, name, found[3] or ""


def _tree(path: str, depth: int) -> Iterator[_Item]:
    """Read `a.b.{C, D => E, f.{g, h}}` of Scala and Rust."""
    head, brace, rest = path.partition("{")
    if not brace or depth > 8:
        words = re.split(r"\s+as\s+|\s*=>\s*", path.strip())
        module, _, name = words[0].strip().rpartition(".")
        name = "*" if name == "_" else name
        if name == "self":
            module, name = module, ""
        if module or name:
            yield module, name, words[1].strip() if len(words) > 1 else ""
        return
    for part in _split(rest.rpartition("}")[0]):
        yield from _tree(head.strip() + part.strip(), depth + 1)


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def _last(module: str) -> str:
    return re.sub(r"\.(?:js|ts|rb|lua|h|hpp|sh|proto)$", "", module).replace("\\", "/").rstrip("/").rpartition("/")[2]
