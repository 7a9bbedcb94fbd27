"""`python -m bench.prompts [--corpus FILE]`: the prompt store beside gzip and zstd.

The prompts are those of real runs that `python -m bench.shop_prompts` recorded, or else made by rule (`bench/prompt_corpus.py`).
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zstandard

from bench.prompt_corpus import make_runs
from bench.shop_prompts import read_corpus
from storage.objects import FolderObjects
from storage.prompts import PromptStore


def main() -> int:
    """Print the table; 1 if the store misses its targets (17 times smaller, reads of at most 1 ms, every byte back)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=120, help="how many runs are made, of 18 prompts each")
    parser.add_argument("--corpus", type=Path, help="a recording of real runs in their place")
    given = parser.parse_args()
    runs = read_corpus(given.corpus) if given.corpus else list(make_runs(given.runs))
    prompts = [prompt.encode() for run in runs for prompt in run]
    raw = sum(map(len, prompts))
    print(f"{len(prompts)} prompts of {len(runs)} runs, {raw / 1e6:.1f} MB, {raw / len(prompts) / 1e3:.1f} KB each\n")
    print(f"{'':34}{'ratio':>7}{'MB':>9}{'MB/s in':>9}{'read ms':>9}{'p99':>7}")
    _measure("gzip -6, each prompt", prompts, lambda text: gzip.compress(text, 6), gzip.decompress)
    packer, reader = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    _measure("zstd -3, each prompt", prompts, packer.compress, reader.decompress)
    began = time.perf_counter()
    whole = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters.from_level(19, window_log=27)
    )
    size = len(whole.compress(b"".join(prompts))) if raw < 20e6 else 0
    if size:
        _print("zstd -19 --long, all as one (bound)", raw, size, time.perf_counter() - began, [])
    with tempfile.TemporaryDirectory() as folder:
        return _measure_store(Path(folder), runs, raw)


def _measure(name: str, prompts: list[bytes], pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]) -> None:
    began = time.perf_counter()
    packed = [pack(prompt) for prompt in prompts]
    spent = time.perf_counter() - began
    reads = [_timed(lambda held=held: unpack(held)) for held in random.Random(1).sample(packed, min(300, len(packed)))]  # type: ignore[misc]
    _print(name, sum(map(len, prompts)), sum(map(len, packed)), spent, reads)


def _measure_store(folder: Path, runs: list[list[str]], raw: int) -> int:
    store = PromptStore(FolderObjects(folder))
    ids: dict[str, bytes] = {}
    began = time.perf_counter()
    for number, run in enumerate(runs):
        ids |= {store.put_text(prompt): prompt.encode() for prompt in run}
        if number % 10 == 9:
            store.flush()
    store.flush()
    spent = time.perf_counter() - began
    disk = sum(path.stat().st_blocks * 512 for path in folder.rglob("*.pack"))
    opened = PromptStore(FolderObjects(folder))
    exact = sum(opened.get(prompt_id) == prompt for prompt_id, prompt in ids.items())
    cold = PromptStore(FolderObjects(folder))
    chosen = random.Random(1).sample(sorted(ids), min(300, len(ids)))
    reads = [_timed(lambda prompt_id=prompt_id: cold.get(prompt_id)) for prompt_id in chosen]  # type: ignore[misc]
    _print("prompt store, on disk with indexes", raw, disk, spent, reads)
    pairs = list(itertools.pairwise(chosen))
    differ = statistics.median(_timed(lambda a=a, b=b: cold.first_difference(a, b)) for a, b in pairs)  # type: ignore[misc]
    print(f"\n{exact} of {len(ids)} prompts came back to the byte, hashes verified.")
    print(f"The first message in which two prompts differ: {differ * 1e6:.0f} us.")
    ratio, read = raw / disk, statistics.median(reads) * 1000
    good = ratio >= 17 and read <= 1 and exact == len(ids)
    print(f"Targets (17 times smaller, reads of at most 1 ms, every byte back): {'met' if good else 'MISSED'}.")
    return 0 if good else 1


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _print(name: str, raw: int, size: int, spent: float, reads: list[float]) -> None:
    line = f"{name:34}{raw / size:7.1f}{size / 1e6:9.2f}{raw / spent / 1e6:9.1f}"
    if reads:
        slow = sorted(reads)[int(len(reads) * 0.99) - 1]
        line += f"{statistics.median(reads) * 1000:9.2f}{slow * 1000:7.2f}"
    print(line)


if __name__ == "__main__":
    sys.exit(main())
