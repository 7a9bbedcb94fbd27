"""Writes the generated parts of docs/ between their markers; `--check` shows what is stale and fails."""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from domain.settings import Settings  # noqa: E402 - the folder above is on the path only now

# Defaults that are computed: what they come to where nothing is set.
_COMPUTED = {"data_dir": "`~/.local/share/causegraph`"}


@dataclass(frozen=True, slots=True)
class Part:
    """A generated stretch of a file, between `<!-- BEGIN name -->` and `<!-- END name -->`."""

    file: Path
    name: str
    write: Callable[[], str]


@dataclass(slots=True)
class Table:
    """A table of the schema as the migrations leave it."""

    name: str
    about: str
    columns: list[str] = field(default_factory=list)
    key: str = ""


def main() -> int:
    """Write the files, or with --check compare; 1 if something was stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, show what is stale")
    check = parser.parse_args().check
    stale = 0
    for part in parts():
        old = part.file.read_text(encoding="utf-8")
        new = replace_part(old, part)
        if new == old:
            continue
        stale += 1
        name = str(part.file.relative_to(ROOT))
        if check:
            lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, f"{name} (fresh)", lineterm="")
            print("\n".join(lines))
        else:
            part.file.write_text(new, encoding="utf-8")
            print(f"wrote {name}")
    if check and stale:
        print("Stale: run `make docs`.", file=sys.stderr)
    return 1 if check and stale else 0


def parts() -> list[Part]:
    """Every generated part, in the order of reading."""
    return [
        Part(ROOT / "docs" / "settings.md", "settings", settings_table),
        Part(ROOT / "docs" / "cli.md", "commands", command_reference),
        Part(ROOT / "docs" / "schema.md", "tables", schema_tables),
    ]


def replace_part(text: str, part: Part) -> str:
    """Return the text with the part written anew; raises ValueError where its markers are missing."""
    begin, end = f"<!-- BEGIN {part.name} (made by `make docs`) -->", f"<!-- END {part.name} -->"
    head, found, rest = text.partition(begin)
    _, also, tail = rest.partition(end)
    if not (found and also):
        raise ValueError(f"{part.file} lacks the markers {begin} and {end}")
    return f"{head}{begin}\n{part.write().strip()}\n{end}{tail}"


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# -- settings ----------------------------------------------------------------------------------------------------------


def settings_table() -> str:
    """The settings, their defaults and what they mean."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, info in Settings.model_fields.items():
            default = _COMPUTED.get(name) or _default_words(info.default)
            yield f"`CAUSEGRAPH_{name.upper()}`", default, info.description or ""

    return _table(("setting", "default", "meaning"), rows())


def _default_words(default: object) -> str:
    if isinstance(default, bool):
        return "`true`" if default else "`false`"
    return "" if default in ("", None) else f"`{default}`"


# -- the command line --------------------------------------------------------------------------------------------------


def command_reference() -> str:
    """Every command with its arguments and options."""
    typer = importlib.import_module("typer.main")
    app = importlib.import_module("cli.main").build_cli()
    return "\n\n".join(
        _command_section(path, command) for path, command in _commands("causegraph", typer.get_command(app))
    )


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = {name: child for name, child in getattr(command, "commands", {}).items() if not child.hidden}
    if not children:
        yield path, command
    for name, child in children.items():
        yield from _commands(f"{path} {name}", child)


def _command_section(path: str, command: Any) -> str:
    params = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    arguments = [p for p in params if p.param_type_name == "argument"]
    words = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    usage = " ".join([path, *words, *(["[OPTIONS]"] if len(params) > len(arguments) else [])])
    said = re.sub(r"\s*\n\s*", " ", re.sub(r"\n\s*\n", "\0", (command.help or "").replace("\b", "").strip()))
    lines = [f"## `{path}`", f"```sh\n{usage}\n```", *said.split("\0")]
    if params:
        lines.append(_table(("argument", "default", "meaning"), (_param_row(p) for p in params)))
    return "\n\n".join(line for line in lines if line)


def _param_row(param: Any) -> tuple[str, ...]:
    if param.param_type_name == "argument":
        name = f"`{param.name.upper()}`"
    else:
        names = ", ".join([*param.opts, *param.secondary_opts])
        name = f"`{names}`" if getattr(param, "is_flag", False) else f"`{names} {param.metavar or 'VALUE'}`"
    plain = isinstance(param.default, str | int | float | Path) and not isinstance(param.default, bool)
    return name, _default_words(param.default) if plain else "", re.sub(r"\s+", " ", param.help or "")


# -- the schema --------------------------------------------------------------------------------------------------------

_CREATE = re.compile(
    r"((?:^--[^\n]*\n)*)^CREATE TABLE (?:IF NOT EXISTS )?(\w+) \(\n(.*?)^\)", re.MULTILINE | re.DOTALL | re.IGNORECASE
)
_ALTER = re.compile(r"^ALTER TABLE (\w+)(.*?);$", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_ADD = re.compile(r"\bADD (?:COLUMN )?(?:IF NOT EXISTS )?(\w+) ", re.IGNORECASE)
_DROP = re.compile(r"^DROP TABLE (?:IF EXISTS )?(\w+)", re.MULTILINE | re.IGNORECASE)
_KEYS = {"PRIMARY", "UNIQUE", "KEY", "INDEX", "VECTOR", "FULLTEXT", "CONSTRAINT", "FOREIGN"}


def schema_tables() -> str:
    """The tables as all migrations together leave them."""
    tables: dict[str, Table] = {}
    for path in sorted((ROOT / "storage" / "migrations").glob("*.sql")):
        _apply(path.read_text(encoding="utf-8"), tables)
    rows = ((f"`{t.name}`", ", ".join(f"`{c}`" for c in t.columns), t.key, t.about) for t in tables.values())
    return _table(("table", "columns", "primary key", "note"), rows)


def _apply(script: str, tables: dict[str, Table]) -> None:
    for comment, name, body in _CREATE.findall(script):
        about = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
        tables[name] = _read_table(Table(name, about), body)
    for name, clauses in _ALTER.findall(script):
        tables[name].columns += [word for word in _ADD.findall(clauses) if word.upper() not in _KEYS]
    for name in _DROP.findall(script):
        tables.pop(name, None)


def _read_table(table: Table, body: str) -> Table:
    for line in body.splitlines():
        words = line.split()
        if not words or words[0] == "--":
            continue
        if words[0].upper() not in _KEYS:
            table.columns.append(words[0])
            table.key = words[0] if "PRIMARY KEY" in line.upper() else table.key
        elif found := re.search(r"PRIMARY KEY \((.*?)\)", line, re.IGNORECASE):
            table.key = found.group(1)
    return table


if __name__ == "__main__":
    sys.exit(main())
