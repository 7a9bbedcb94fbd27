"""Scores the template miner on labelled logs, beside drain3 on the same lines: `python -m bench.templates --data FOLDER`.

FOLDER holds `<System>/labels.csv` (columns Content, EventId) with `<System>/*.log`, and `full/<Name>.labels.csv` with
`full/<Name>.log`. There is one configuration, ours for every system; no miner sees a label. `--raw` scores whole lines
with their headers. drain3 runs in a Python environment of its own, by uv: once as it comes, once with the masks of its
example. Speed is CPU time of one process, cold (nothing known) and warm (the same
lines again), the median of three runs.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.grouping import Agreement, compare_groupings
from ingest import families, template
from ingest.families import family_text
from ingest.family_slots import FamilySlots
from ingest.headers import SAMPLE_LINES
from ingest.raw_lines import LineReader

_ROOT = Path(__file__).resolve().parents[1]
_DRAIN = "drain3==0.9.11"
# The masks of drain3's own example (examples/drain3.ini).
_MASKS = (
    (r"((?<=[^A-Za-z0-9])|^)(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))((?=[^A-Za-z0-9])|$)", "ID"),
    (r"((?<=[^A-Za-z0-9])|^)(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})((?=[^A-Za-z0-9])|$)", "IP"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9a-f]{6,} ?){3,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9A-F]{4} ?){4,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)(0x[a-f0-9A-F]+)((?=[^A-Za-z0-9])|$)", "HEX"),
    (r"((?<=[^A-Za-z0-9])|^)([\-\+]?\d+)((?=[^A-Za-z0-9])|$)", "NUM"),
    (r"(?<=executed cmd )(\".+?\")", "CMD"),
)
_BATCH = 1000
_SPEED_LINES = 60_000
_RUNS = 3


@dataclass(frozen=True, slots=True)
class System:
    """The lines of one system with their true groups; `raw` holds them with their headers, or nothing."""

    name: str
    messages: Sequence[str]
    raw: Sequence[str]
    truth: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grouped:
    """What a miner made of lines: a group per line, and CPU seconds cold and warm.

    `ingest` are the cold seconds of our templates alone, as they are made while lines come in; families come later.
    """

    groups: Sequence[Hashable]
    cold: float
    warm: float
    ingest: float = 0.0


def read_systems(folder: Path) -> list[System]:
    """Return the systems of a folder, the long files of `full/` last."""
    files = [*sorted(folder.glob("*/labels.csv")), *sorted(folder.glob("full/*.labels.csv"))]
    return [_read_system(labels) for labels in files]


def _read_system(labels: Path) -> System:
    long = labels.parent.name == "full"
    name = labels.name.removesuffix(".labels.csv") if long else labels.parent.name
    with labels.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file))
    logs = [labels.parent / f"{name}.log"] if long else sorted(labels.parent.glob("*.log"))
    raw = logs[0].read_text(encoding="utf-8", errors="replace").split("\n") if logs and logs[0].exists() else []
    raw = [line.rstrip("\r") for line in raw if line.strip()]
    # A file whose lines do not pair with its labels cannot be scored with its headers.
    paired = raw if len(raw) == len(rows) else []
    return System(name, [row["Content"] for row in rows], paired, [row["EventId"] for row in rows])


def group_ours(lines: Sequence[str]) -> Grouped:
    """Group lines by their family at the end of the stream, as the product does."""
    template.forget()
    families.forget()
    seconds, ingest = [], []
    slots, known, into = FamilySlots(), dict[str, str](), dict[str, str]()
    for _ in range(2):
        began = time.process_time()
        texts = [
            text for at in range(0, len(lines), _BATCH) for _, text in template.templates_of(lines[at : at + _BATCH])
        ]
        ingest.append(time.process_time() - began)
        fresh = {text: family_text(text) for text in dict.fromkeys(texts) if text not in known}
        known |= fresh
        into |= slots.place(fresh.values())
        seconds.append(time.process_time() - began)
    return Grouped([into[known[text]] for text in texts], seconds[0], seconds[1], ingest[0])


def group_drain(lines: Sequence[str], masks: Sequence[tuple[str, str]]) -> Grouped | None:
    """Group lines with drain3; None where it cannot be had here."""
    uv = shutil.which("uv") or str(_ROOT / ".tools/uv/bin/uv")
    command = [uv, "run", "--isolated", "--no-project", "--quiet", "--python", "3.12", "--with", _DRAIN]
    asked = json.dumps({"lines": list(lines), "masks": list(masks)})
    try:
        done = subprocess.run(
            [*command, "python", str(_ROOT / "bench" / "drain.py")],
            input=asked,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as exc:
        said = exc.stderr if isinstance(exc, subprocess.CalledProcessError) else str(exc)
        print(f"drain3 cannot be had here: {said.strip()[-200:]}", file=sys.stderr)
        return None
    return Grouped(**json.loads(done.stdout))


def strip_headers(lines: Sequence[str]) -> list[str]:
    """Return the messages of raw lines, the header learned from the first lines as the product does."""
    reader, now_us = LineReader(), time.time_ns() // 1000
    reader.learn("", lines[:SAMPLE_LINES], now_us)
    return [reader.read("", line, now_us).message for line in lines]


type Miner = Callable[[Sequence[str]], Grouped | None]


def _miners(raw: bool, drain: bool) -> dict[str, Miner]:
    miners: dict[str, Miner] = {"ours": (lambda lines: group_ours(strip_headers(lines))) if raw else group_ours}
    if drain:
        miners["drain3"] = lambda lines: group_drain(lines, ())
        miners["drain3 + masks"] = lambda lines: group_drain(lines, _MASKS)
    return miners


def score(systems: Sequence[System], raw: bool, drain: bool) -> dict[str, dict[str, Agreement]]:
    """Return the agreement per system and miner."""
    found: dict[str, dict[str, Agreement]] = {}
    for system in systems:
        lines = system.raw if raw else system.messages
        if not lines:
            print(f"{system.name}: no raw lines that pair with the labels: left out", file=sys.stderr)
            continue
        grouped = {name: miner(lines) for name, miner in _miners(raw, drain).items()}
        found[system.name] = {
            name: compare_groupings(got.groups, system.truth) for name, got in grouped.items() if got is not None
        }
    return found


def print_scores(title: str, found: Mapping[str, Mapping[str, Agreement]], long: frozenset[str]) -> None:
    """Print a line per system and the mean of those that are not long, as GA FGA pairwise-F1 groups-per-1000-lines."""
    names = list(next(iter(found.values())))
    print(f"\n{title}\n{'':18}" + "".join(f"{name:>30}" for name in names))
    print(f"{'':18}" + f"{'GA   FGA  pair  per 1k':>30}" * len(names))
    for system, row in found.items():
        print(f"{system:18}" + "".join(_cell([row[name]]) for name in names))
    short = [row for system, row in found.items() if system not in long]
    if len(short) > 1:
        print(f"{f'mean of {len(short)}':18}" + "".join(_cell([row[name] for row in short]) for name in names))


def _cell(scores: Sequence[Agreement]) -> str:
    mean = [statistics.fmean(getattr(one, name) for one in scores) for name in ("ga", "fga", "pairwise", "per_1000")]
    return f"{f'{mean[0]:.3f} {mean[1]:.3f} {mean[2]:.3f} {mean[3]:6.1f}':>30}"


def print_speed(systems: Sequence[System], drain: bool) -> None:
    """Print lines per second: on the long files as they are, and on a mix of all with every digit drawn anew."""
    chance = random.Random(3)
    long = [line for system in systems if len(system.messages) > 5000 for line in system.messages]
    every = [line for system in systems if len(system.messages) <= 5000 for line in system.messages]
    mixed = [
        re.sub("[0-9]", lambda match: str(chance.randrange(10)), chance.choice(every))
        for _ in range(_SPEED_LINES if every else 0)
    ]
    print(
        "\nSpeed in lines per second of CPU time, families included, median of three: cold / warm (templates alone, cold)"
    )
    for name, lines in (("long files", long), ("mix, new digits", mixed)):
        if lines:
            miners = _miners(False, drain)
            # In turns, so that what else the machine does falls on all alike.
            runs = [{miner: group(lines) for miner, group in miners.items()} for _ in range(_RUNS)]
            rates = {miner: [got for run in runs if (got := run[miner]) is not None] for miner in miners}
            said = [f"{miner} {_rate(lines, got)}" for miner, got in rates.items() if got]
            print(f"{name:16} {len(lines):7,} lines   " + "   ".join(said))


def _rate(lines: Sequence[str], runs: Sequence[Grouped]) -> str:
    cold, warm, ingest = (statistics.median(getattr(got, name) for got in runs) for name in ("cold", "warm", "ingest"))
    alone = f" ({len(lines) / ingest:,.0f})" if ingest else ""
    return f"{len(lines) / cold:,.0f} / {len(lines) / warm:,.0f}{alone}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Score and time; 2 where there is no data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled logs")
    parser.add_argument("--system", action="append", help="only this one; may be given more than once")
    parser.add_argument("--no-drain", action="store_true", help="only ours")
    parser.add_argument("--raw", action="store_true", help="also whole lines with their headers")
    parser.add_argument("--speed", action="store_true", help="also lines per second")
    asked = parser.parse_args(arguments)
    systems = [one for one in read_systems(asked.data) if not asked.system or one.name in asked.system]
    if not systems:
        print(f"There are no labelled logs in {asked.data}: see --help for the folders.", file=sys.stderr)
        return 2
    long = frozenset(one.name for one in systems if len(one.messages) > 5000)
    print_scores("Messages", score(systems, False, not asked.no_drain), long)
    if asked.raw:
        print_scores("Whole lines with their headers", score(systems, True, not asked.no_drain), long)
    if asked.speed:
        print_speed(systems, not asked.no_drain)
    return 0


if __name__ == "__main__":
    sys.exit(main())
