"""Record evidence of recorded incidents, for the judge's bench: other systems than the example shop, with their own words.

    python -m bench.replayed_evidence CASE_FOLDER [CASE_FOLDER ...] --out FILE
    python -m bench.judge --evidence FILE

A case folder is what `bench.replay` takes. Each is sent as if it had just happened and asked about; records of every kind are
read from before and after its beginning. Labels are never read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from bench.replay import ask, read_recording, send_recording
from bench.server import Server, start_server
from bench.shop_evidence import collect, write
from domain.times import SECOND_US, Window

_BEFORE_SECONDS = 1800
_SECOND_NS = 1_000_000_000


def record_case(server: Server, folder: Path, environment: str) -> dict[str, Any]:
    """Send one case, ask, and return what was asked, answered and stored."""
    incident = json.loads((folder / "incident.json").read_text(encoding="utf-8"))
    first, last = incident["fault_window_s"]
    shift = int(time.time()) - 60 - last
    send_recording(server, read_recording(folder), environment, shift * _SECOND_NS)
    bounds = {"from": first + shift, "to": last + shift}
    answer = ask(server, {"question": incident["question"], "environment": environment, **bounds})
    start_us, end_us = (first + shift - _BEFORE_SECONDS) * SECOND_US, (last + shift) * SECOND_US
    window = Window(start_us, end_us)
    return asyncio.run(collect(server.data_dir, environment, window, (first + shift) * SECOND_US, answer))


def main() -> None:
    """Record, one line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="case folders")
    parser.add_argument("--out", type=Path, required=True, help="the file, gzipped JSON lines")
    given = parser.parse_args()
    cases = []
    with start_server() as server:
        for number, folder in enumerate(given.folders):
            cases.append(record_case(server, folder, f"replayed-{number}"))
            print(f"{folder.name}: {cases[-1]['verdict']['outcome']}, {len(cases[-1]['evidence'])} records", flush=True)
    write(cases, given.out)


if __name__ == "__main__":
    main()
