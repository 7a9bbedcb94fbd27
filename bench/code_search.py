"""How well stack traces and log lines find their code, beside plain text search on the same cases.

Cases are made from the installed packages: functions are called with wrong arguments until they raise inside their package,
and log statements are rendered with random values. `python -m bench.code_search` (--cases, --packages, --seed).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import inspect
import io
import random
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import eq
from pathlib import Path
from types import FrameType, ModuleType

from blake3 import blake3

from domain.frames import parse_frames
from indexer.code_index import CodeIndex, IndexedFile
from indexer.facts import read_facts
from indexer.frame_match import place_frames
from indexer.statement_match import StatementIndex, StatementMatch

_PACKAGES = (
    "httpx,redis,fastapi,starlette,jinja2,yaml,langchain_core,langgraph,uvicorn,rich,falkordb,pathspec,urllib3,pip"
)
_WRONG: tuple[object, ...] = (None, 0, -1, "", "x\0y", b"\xff", [], {}, object(), float("nan"), ("a", 3))
# What touches the machine is not called.
_TOUCHES = re.compile(
    r"exit|kill|remove|delete|unlink|write|save|open|run|exec|sleep|wait|input|serve|install|rm|main|start|fork"
)
_PREFIXES = ("/app/vendor", "/srv/releases/2026-11-02", "/home/runner/work/x", r"C:\build\libs")


@dataclass(frozen=True, slots=True)
class Case:
    """A text that was really written, and the file and line that it comes from."""

    text: str
    path: str
    line: int


def read_index(site: Path, packages: Sequence[str]) -> CodeIndex:
    """Read the packages as a code base whose paths begin at the folder of the packages."""
    files = []
    for package in packages:
        for path in sorted((site / package).rglob("*.py")):
            content = path.read_bytes()
            name = path.relative_to(site).as_posix()
            files.append(IndexedFile("site", name, blake3(content).hexdigest(), read_facts(name, content)))
    return CodeIndex(files)


def make_traces(site: Path, index: CodeIndex, packages: Sequence[str], count: int, dice: random.Random) -> list[Case]:
    """Call functions of the packages with wrong arguments, and keep the tracebacks that end in a file of the index.

    The paths of a trace begin otherwise than those of the index, as they do where the code was built elsewhere.
    """
    cases: list[Case] = []
    seen: set[tuple[str, int]] = set()
    functions = list(_functions(index, packages))
    dice.shuffle(functions)
    for function in functions:
        if len(cases) >= count:
            break
        found = _fail(function, dice)
        if found is None:
            continue
        error, text = found
        own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(site))]
        names = [Path(f.filename).relative_to(site).as_posix() for f in own]
        if not own or index.file(names[-1]) is None or (names[-1], own[-1].lineno or 0) in seen:
            continue
        seen.add((names[-1], own[-1].lineno or 0))
        prefix = dice.choice(_PREFIXES)
        moved = text.replace(str(site), prefix)
        cases.append(Case(moved.replace("/", "\\") if "\\" in prefix else moved, names[-1], own[-1].lineno or 0))
    return cases


def _functions(index: CodeIndex, packages: Sequence[str]) -> Iterator[Callable[..., object]]:
    for file in index.files:
        name = file.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        if any(
            word in name
            for word in ("test", "__main__", "cli", "main", "sock", "_win", "signal", "thread", "process", "subproc")
        ):
            continue
        with contextlib.suppress(BaseException):
            module = importlib.import_module(name)
            yield from _own(module)


def _own(module: ModuleType) -> Iterator[Callable[..., object]]:
    for _, value in sorted(vars(module).items()):
        own = inspect.isfunction(value) and value.__module__ == module.__name__
        if own and not inspect.iscoroutinefunction(value) and not _TOUCHES.search(value.__name__):
            yield value


def _fail(function: Callable[..., object], dice: random.Random) -> tuple[BaseException, str] | None:
    try:
        needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty and p.kind < 2]
    except (TypeError, ValueError):
        return None
    for _ in range(2):
        try:
            with _quiet():
                function(*(dice.choice(_WRONG) for _ in needed))
        except Exception as error:  # noqa: BLE001 - whatever they raise is the case
            return error, "".join(traceback.format_exception(error))
        except BaseException:  # noqa: BLE001
            return None
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def make_lines(site: Path, packages: Sequence[str], count: int, dice: random.Random) -> list[Case]:
    """Render log statements of the packages as Python's logging does, with random values.

    The statements are found by Python's own parser, not by ours.
    """
    cases = []
    for package in packages:
        for path in sorted((site / package).rglob("*.py")):
            with contextlib.suppress(SyntaxError, ValueError):
                for call in ast.walk(ast.parse(path.read_bytes())):
                    text = _rendered(call, dice)
                    if text and len(re.findall(r"[A-Za-z]{2,}", text)) >= 3:
                        cases.append(Case(text, path.relative_to(site).as_posix(), call.lineno))  # type: ignore[attr-defined]
    dice.shuffle(cases)
    return cases[:count]


def _rendered(node: ast.AST, dice: random.Random) -> str:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
        return ""
    owner = ast.unparse(node.func.value).lower()
    if node.func.attr not in ("debug", "info", "warning", "error", "exception", "critical") or "log" not in owner:
        return ""
    first = node.args[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return re.sub(
            r"%(?:\(\w+\))?[-+#0 ]*\d*(?:\.\d+)?([diouxXeEfFgGcrsa])", lambda m: _value(m[1], dice), first.value
        )
    if isinstance(first, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else _value("s", dice) for p in first.values)
    return ""


def _value(kind: str, dice: random.Random) -> str:
    if kind in "diouxX":
        return str(dice.randrange(100_000))
    if kind in "eEfFgG":
        return f"{dice.random() * 100:.3f}"
    words = (
        "eu-west-1",
        "/var/lib/x",
        "order-7f3a",
        "10.2.0.7:8080",
        "alice",
        "ConnectionResetError(104, 'reset by peer')",
        "{'a': 1}",
        "None",
    )
    return dice.choice(words)


class PlainSearch:
    """What a person does with grep: the longest constant-looking words of a text, files by how many of them they hold."""

    def __init__(self, site: Path, index: CodeIndex) -> None:
        self._texts = {file.path: (site / file.path).read_text("utf-8", "replace") for file in index.files}
        self._lines = {path: text.split("\n") for path, text in self._texts.items()}

    def files(self, text: str) -> list[str]:
        """Rank files by the names of files and functions in a trace, the rarest words weighing most."""
        words = dict.fromkeys(re.findall(r"[A-Za-z_][\w.]{3,}", text[-1_500:]))
        return self._ranked([word for word in words if len(word) > 4][:30])

    def lines(self, text: str) -> list[tuple[str, int]]:
        """Search the longest runs of words of a line, then all lines by how many of its words they hold."""
        words = re.findall(r"[A-Za-z]{3,}", text)
        scored = []
        for path in self._ranked(words[:20])[:20]:
            for number, line in enumerate(self._lines[path], 1):
                held = sum(word in line for word in words)
                if held:
                    scored.append((-held, path, number))
        return [(path, number) for _, path, number in sorted(scored)]

    def _ranked(self, words: Sequence[str]) -> list[str]:
        scores: dict[str, float] = {}
        for word in words:
            holders = [path for path, text in self._texts.items() if word in text]
            for path in holders:
                scores[path] = scores.get(path, 0.0) + 1.0 / len(holders)
        return sorted(scores, key=lambda path: (-scores[path], path))


def _report(name: str, ranks: Sequence[int], seconds: float) -> None:
    total = max(1, len(ranks))
    first, five = sum(rank == 1 for rank in ranks), sum(0 < rank <= 5 for rank in ranks)
    print(
        f"{name:44} @1 {first / total:.3f}   @5 {five / total:.3f}   {1000 * seconds / total:8.1f} ms each   n = {len(ranks)}"
    )


def _wrote(case: Case, match: StatementMatch) -> bool:
    return (match.file.path, match.statement.line) == (case.path, case.line)


def _near(case: Case, spot: tuple[str, int]) -> bool:
    """The text of a call may stand a few lines below its beginning."""
    return spot[0] == case.path and 0 <= spot[1] - case.line <= 3


def _rank[T](found: Sequence[T], right: Callable[[T], bool]) -> int:
    return next((number for number, one in enumerate(found, 1) if right(one)), 0)


def main() -> None:
    """Make the cases, run both ways of searching, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--packages", default=_PACKAGES, help="comma separated")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    site = Path(str(importlib.import_module("httpx").__file__)).parent.parent
    packages = [name for name in given.packages.split(",") if (site / name).is_dir()]
    dice = random.Random(given.seed)
    began = time.perf_counter()
    index = read_index(site, packages)
    size = sum(len(chunk.text) for file in index.files for chunk in file.facts.chunks)
    print(
        f"{len(index.files)} files, {size / 1e6:.1f} MB of {len(packages)} packages, read in {time.perf_counter() - began:.1f} s"
    )
    plain = PlainSearch(site, index)
    traces = make_traces(site, index, packages, given.cases, dice)
    _measure_traces(index, plain, traces)
    _measure_lines(index, plain, make_lines(site, packages, given.cases, dice))
    sys.stdout.flush()


def _measure_traces(index: CodeIndex, plain: PlainSearch, cases: Sequence[Case]) -> None:
    began = time.perf_counter()
    ranks = []
    for case in cases:
        files = list(dict.fromkeys(place.file.path for place in place_frames(index, parse_frames(case.text))))
        ranks.append(_rank(files, partial(eq, case.path)))
    _report("stack trace -> file, frames", ranks, time.perf_counter() - began)
    began = time.perf_counter()
    ranks = [_rank(plain.files(case.text), partial(eq, case.path)) for case in cases]
    _report("stack trace -> file, plain text search", ranks, time.perf_counter() - began)


def _measure_lines(index: CodeIndex, plain: PlainSearch, cases: Sequence[Case]) -> None:
    statements = StatementIndex(index.statements)
    began = time.perf_counter()
    ranks = []
    for case in cases:
        found = statements.match(case.text, 10)
        ranks.append(_rank(found, partial(_wrote, case)))
    _report(f"log line -> statement (of {len(index.statements)})", ranks, time.perf_counter() - began)
    sure = [statements.match(case.text, 1) for case in cases]
    told = [(m[0], case) for m, case in zip(sure, cases, strict=True) if m and m[0].sure]
    wrong = sum(not _wrote(case, m) for m, case in told)
    print(f"{'   said to be certain':44} {len(told)} of {len(cases)}, wrong {wrong}")
    began = time.perf_counter()
    ranks = []
    for case in cases:
        spots = plain.lines(case.text)
        ranks.append(_rank(spots, partial(_near, case)))
    _report("log line -> statement, plain text search", ranks, time.perf_counter() - began)


if __name__ == "__main__":
    main()
