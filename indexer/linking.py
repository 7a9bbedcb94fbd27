"""Who calls whom: each call resolved by scope and import where that can be known, else guessed and marked so, else left out.

Every sync links all files anew from their facts: a call from an unchanged file to a changed one is never lost.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from domain.code import CallSite, Import, Symbol
from indexer.code_index import CodeIndex, IndexedFile

type Tier = Literal["own", "same file", "import", "member", "package", "guess"]

_FAMILIES = {"tsx": "javascript", "typescript": "javascript", "c": "cpp", "kotlin": "java", "scala": "java"}
_SELVES = frozenset(("self", "cls", "this", "$this", "super()", "super", "Self", "base", "parent", "static"))
_SCRIPT_ENDS = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".d.ts", "/index.ts", "/index.tsx", "/index.js")
_PACKAGE_FOLDERS = frozenset(("go", "java", "kotlin", "scala", "csharp", "hcl"))
_MIN_GUESSED = 4
# What lists, texts, files and the like are asked for everywhere says nothing of a method that happens to be called so.
_EVERYWHERE = frozenset(
    name for kind in (list, dict, set, str, bytes, io.TextIOWrapper) for name in dir(kind) if not name.startswith("_")
) | frozenset(
    "push shift concat slice filter forEach map then catch toString equals hashCode size contains Error".split()
)
_MAX_BASES = 8
_MAX_HANDED_ON = 3


@dataclass(frozen=True, slots=True)
class Reference:
    """A call from one definition ("" is the top of a file) to another. `sure` is False for a guess by its name alone."""

    caller_root: str
    caller_path: str
    caller: str
    callee_root: str
    callee_path: str
    callee: str
    line: int
    tier: Tier

    @property
    def sure(self) -> bool:
        return self.tier != "guess"


type _Target = tuple[IndexedFile, Symbol]


def link_calls(index: CodeIndex) -> list[Reference]:
    """Return the calls between definitions of a code base, each caller and callee once, at its first line."""
    linker = _Linker(index)
    found: dict[tuple[str, str, str, str, str, str], Reference] = {}
    for file in index.files:
        for call in file.facts.calls:
            resolved = linker.resolve(file, call)
            if resolved is None:
                continue
            (target, symbol), tier = resolved
            reference = Reference(
                file.root, file.path, call.caller, target.root, target.path, symbol.qualified, call.line, tier
            )
            key = (file.root, file.path, call.caller, target.root, target.path, symbol.qualified)
            if key not in found or (reference.sure and not found[key].sure):
                found[key] = reference
    return list(found.values())


def link_bases(index: CodeIndex) -> list[Reference]:
    """Return which class inherits from which other class of the code base."""
    linker = _Linker(index)
    found: list[Reference] = []
    for file in index.files:
        for symbol in file.facts.symbols:
            for base in dict.fromkeys(symbol.bases):
                target = linker.named(file, base)
                if target is not None and target != (file, symbol):
                    ends = (file.root, file.path, symbol.qualified, target[0].root, target[0].path, target[1].qualified)
                    found.append(Reference(*ends, symbol.start_line, "same file" if target[0] is file else "import"))
    return found


def _family(file: IndexedFile) -> str:
    return _FAMILIES.get(file.facts.language, file.facts.language)


def _tail(path: str) -> str:
    return "/".join(path.rsplit("/", 2)[-2:])


class _Linker:
    def __init__(self, index: CodeIndex) -> None:
        self._index = index
        self._symbols: dict[int, dict[str, Symbol]] = {}
        self._imports: dict[int, dict[str, Import]] = {}
        self._modules: dict[tuple[str, str, str], list[IndexedFile]] = {}
        self._singles: dict[tuple[str, str], _Target | None] = {}
        self._endings: dict[tuple[str, str], IndexedFile | None] = {}

    def resolve(self, file: IndexedFile, call: CallSite) -> tuple[_Target, Tier] | None:
        """Return what a call reaches, and how that is known."""
        if not call.receiver:
            return self._bare(file, call) or self._guess(file, call)
        if call.receiver in _SELVES or call.receiver.startswith("super("):
            found = self._own(file, call)
            return (found, "own") if found else None
        found = self._member(file, call)
        return (found, "member") if found else self._guess(file, call)

    def _own(self, file: IndexedFile, call: CallSite) -> _Target | None:
        scope = call.caller
        while scope:
            symbol = self._of(file).get(scope)
            if symbol is not None and symbol.kind == "class":
                inherited = call.receiver.startswith(("super", "base", "parent"))
                return self._method((file, symbol), call.name, inherited, 0)
            scope = scope.rpartition(".")[0]
            # The methods of Go and Rust stand beside their type, not in it.
            if symbol is None and (found := self._of(file).get(f"{scope}.{call.name}" if scope else "")):
                return file, found
        return None

    def _method(self, owner: _Target, name: str, inherited: bool, depth: int) -> _Target | None:
        file, symbol = owner
        if not inherited and (found := self._of(file).get(f"{symbol.qualified}.{name}")):
            return file, found
        for base in symbol.bases if depth < _MAX_BASES else ():
            parent = self.named(file, base)
            if parent and parent[1] != symbol and (found_in := self._method(parent, name, False, depth + 1)):
                return found_in
        return None

    def _bare(self, file: IndexedFile, call: CallSite) -> tuple[_Target, Tier] | None:
        scope = call.caller
        while True:  # inner definitions hide outer ones
            found = self._of(file).get(f"{scope}.{call.name}" if scope else call.name)
            within_class = (s := self._of(file).get(scope)) is not None and s.kind == "class"
            implicit = _family(file) in ("java", "csharp", "cpp", "ruby")
            if found and (not within_class or implicit):
                return (file, found), "same file"
            if not scope:
                break
            scope = scope.rpartition(".")[0]
        if target := self._imported(file, call.name):
            return target, "import"
        if target := self._in_package(file, call.name):
            return target, "package"
        return None

    def named(self, file: IndexedFile, name: str) -> _Target | None:
        """Return the definition that a bare name means at the top of a file."""
        if found := self._of(file).get(name):
            return file, found
        nested = [s for s in file.facts.symbols if s.name == name and s.kind == "class"]
        if len(nested) == 1:
            return file, nested[0]
        return self._imported(file, name) or self._in_package(file, name)

    def _imported(self, file: IndexedFile, name: str, depth: int = 0) -> _Target | None:
        item = self._imports_of(file).get(name)
        if item is None or not item.name or item.name == "*":
            return None
        for target in self._files_of(file, item.module, item.name):
            wanted = name if item.name == "default" else item.name
            found = self._of(target).get(wanted) or self._only(target, wanted)
            if found:
                return target, found
            # What a package only hands on, as its __init__ does, is defined where that imports it from.
            if depth < _MAX_HANDED_ON and (handed_on := self._imported(target, wanted, depth + 1)):
                return handed_on
        return None

    def _member(self, file: IndexedFile, call: CallSite) -> _Target | None:
        """Resolve `module.name(...)` and `Class.name(...)`."""
        receiver = re.sub(r"^[&*]+|<[^<>]*>", "", call.receiver)
        first, _, rest = receiver.replace("::", ".").partition(".")
        item = self._imports_of(file).get(receiver) or self._imports_of(file).get(first)
        if item is not None:
            inner = rest.replace(".", "/") if item.alias == first and item.alias != receiver else ""
            module = item.module if not item.name else f"{item.module}.{item.name}".lstrip()
            module = module if not item.module.endswith(".") else item.module + item.name
            for target in self._files_of(file, f"{module}/{inner}" if inner else module, ""):
                if found := self._of(target).get(call.name):
                    return target, found
        owner = self.named(file, first) if not rest else None
        return self._method(owner, call.name, False, 0) if owner and owner[1].kind == "class" else None

    def _in_package(self, file: IndexedFile, name: str) -> _Target | None:
        if file.facts.language not in _PACKAGE_FOLDERS and _family(file) != "cpp":
            return None
        folder = file.path.rpartition("/")[0]
        found = [
            (other, symbol)
            for other, symbol in self._index.by_symbol.get(name, [])
            if symbol.qualified.count(".") == 0 and other.root == file.root and _family(other) == _family(file)
            if _family(file) == "cpp" or other.path.rpartition("/")[0] == folder
        ]
        return found[0] if len(found) == 1 else None

    def _guess(self, file: IndexedFile, call: CallSite) -> tuple[_Target, Tier] | None:
        """A name that the whole code base defines once is a fair guess; names that many things have are none."""
        if len(call.name) < _MIN_GUESSED or call.name in self._imports_of(file) or call.name in _EVERYWHERE:
            return None
        named = self._single(_family(file), call.name)
        if named is None or named[0].root != file.root:
            return None
        if call.receiver and named[1].kind != "method":
            return None
        return named, "guess"

    # -- what is where -------------------------------------------------------------------------------------------------

    def _single(self, family: str, name: str) -> _Target | None:
        """Return the only definition of a name in the languages of a family."""
        if (family, name) not in self._singles:
            named = [t for t in self._index.by_symbol.get(name, []) if _family(t[0]) == family]
            self._singles[family, name] = named[0] if len(named) == 1 else None
        return self._singles[family, name]

    def _of(self, file: IndexedFile) -> dict[str, Symbol]:
        if id(file) not in self._symbols:
            self._symbols[id(file)] = {symbol.qualified: symbol for symbol in file.facts.symbols}
        return self._symbols[id(file)]

    def _only(self, file: IndexedFile, name: str) -> Symbol | None:
        named = [symbol for symbol in file.facts.symbols if symbol.name == name]
        return named[0] if len(named) == 1 else None

    def _imports_of(self, file: IndexedFile) -> dict[str, Import]:
        if id(file) not in self._imports:
            self._imports[id(file)] = {item.alias: item for item in file.facts.imports if item.alias}
        return self._imports[id(file)]

    def _files_of(self, file: IndexedFile, module: str, name: str) -> list[IndexedFile]:
        key = (f"{file.root}\0{file.path.rpartition('/')[0]}\0{_family(file)}", module, name)
        if key not in self._modules:
            self._modules[key] = list(self._find_files(file, module, name))
        return self._modules[key]

    def _find_files(self, file: IndexedFile, module: str, name: str) -> Iterator[IndexedFile]:
        folder = file.path.rpartition("/")[0]
        match _family(file):
            case "python":
                yield from self._python_files(file, folder, module, name)
            case "javascript":
                if module.startswith("."):
                    base = posixpath.normpath(posixpath.join(folder, module))
                    stem = re.sub(r"\.(?:js|mjs|jsx)$", "", base)
                    yield from self._exact(file.root, [base, *(stem + end for end in _SCRIPT_ENDS)])
            case "go":
                yield from self._go_package(file.root, module)
            case "java":
                wanted = f"{module}.{name}".replace(".", "/") if name else module.replace(".", "/")
                ends = (".java", ".kt", ".scala")
                yield from self._suffix(file.root, [wanted + end for end in ends])
            case "rust":
                path = re.sub(r"^(?:crate|self|super)\.", "", module).replace(".", "/")
                yield from self._suffix(file.root, [f"{path}.rs", f"{path}/mod.rs"])
            case "ruby" | "lua" | "php":
                path = module.replace(".", "/") if _family(file) == "lua" else module.replace("\\", "/")
                tail = {"ruby": ".rb", "lua": ".lua", "php": f"/{name}.php" if name else ".php"}[_family(file)]
                yield from self._suffix(file.root, [posixpath.normpath(path).lstrip("./") + tail])
            case _:
                return

    def _python_files(self, file: IndexedFile, folder: str, module: str, name: str) -> Iterator[IndexedFile]:
        dots = len(module) - len(module.lstrip("."))
        path = module.lstrip(".").replace(".", "/")
        if dots:
            for _ in range(dots - 1):
                folder = folder.rpartition("/")[0]
            base = posixpath.join(folder, path) if path else folder
            ends = [f"{base}.py", f"{base}/__init__.py", *([f"{base}/{name}.py"] if name else [])]
            yield from self._exact(file.root, [end.lstrip("/") for end in ends])
        elif path:
            ends = [f"{path}.py", f"{path}/__init__.py", *([f"{path}/{name}.py"] if name else [])]
            yield from self._suffix(file.root, ends)

    def _exact(self, root: str, paths: Sequence[str]) -> Iterator[IndexedFile]:
        for path in dict.fromkeys(paths):
            if found := self._index.file(path, root):
                yield found

    def _suffix(self, root: str, ends: Sequence[str]) -> Iterator[IndexedFile]:
        """Return files whose paths end so; what two files fit equally well is known of neither."""
        for end in ends:
            if (root, end) not in self._endings:
                self._endings[root, end] = self._ending(root, end)
            if found := self._endings[root, end]:
                yield found

    def _ending(self, root: str, end: str) -> IndexedFile | None:
        named = self._by_tail.get(_tail(end), []) if "/" in end else self._index.by_name.get(end.lower(), [])
        behind = f"/{end}"
        fits = [f for f in named if f.path.endswith(behind) and f.root == root]
        exact = next((f for f in named if f.path == end and f.root == root), None)
        return exact or (fits[0] if len(fits) == 1 else None)

    def _go_package(self, root: str, module: str) -> list[IndexedFile]:
        """Return the files of the folder that ends as an import path does; how the path begins stands only in go.mod."""
        files = self._folders.get((root, module.rpartition("/")[2]), [])
        folders = {file.path.rpartition("/")[0] for file in files}
        if len(folders) > 1:
            folders = {f for f in folders if f"/{module}".endswith(f"/{f}") or f.endswith(f"/{module}")}
        return [file for file in files if file.path.rpartition("/")[0] in folders] if len(folders) == 1 else []

    @cached_property
    def _by_tail(self) -> dict[str, list[IndexedFile]]:
        """The files by their last two parts: thousands of them may be called __init__.py."""
        found: defaultdict[str, list[IndexedFile]] = defaultdict(list)
        for file in self._index.files:
            found[_tail(file.path)].append(file)
        return dict(found)

    @cached_property
    def _folders(self) -> dict[tuple[str, str], list[IndexedFile]]:
        found: defaultdict[tuple[str, str], list[IndexedFile]] = defaultdict(list)
        for file in self._index.files:
            if file.facts.language == "go":
                found[file.root, file.path.rpartition("/")[0].rpartition("/")[2]].append(file)
        return dict(found)
