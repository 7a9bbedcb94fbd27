"""What does it cost to index a code base, and to keep the index current? Beside it: what git and bare parsing cost.

    python -m bench.index [TREE] [--sizes 1000,10000]
    python -m bench.index --scan --sizes 1000,10000,100000

The default tree is the Python standard library. It is copied, so that nothing of yours is touched, and put under git.
`floor` is to walk, read, hash and parse every file in as many processes, and to keep nothing. Times are medians of wall
seconds; CPU is of this process and its children, MariaDB's beside it. `--sizes` also grows a synthetic tree. `--scan` measures
the look at the files alone, on synthetic trees: what is read and compared before anything is parsed or stored.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from cli.stack import ensure_stack, stop_stack
from domain.settings import Settings
from indexer.manifest import Manifest, load_manifest, save_manifest
from indexer.parsing import Parsed, Source, parse_files
from indexer.roots import make_root
from indexer.scan import Scan, scan_root
from indexer.sync import Syncer, SyncReport
from storage.code import CodeStore
from storage.database import Database
from storage.migrate import migrate

_REPEAT = 5
_OLD = (1_600_000_000, 1_600_000_000)
_GIT = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds: by the clock, of CPU here and in children, of CPU in MariaDB."""

    wall: float
    cpu: float
    server: float = 0.0


@dataclass(slots=True)
class Bench:
    """One copy of a tree and an index of its own."""

    tree: Path
    syncer: Syncer
    root_id: str
    server: psutil.Process

    async def sync(self) -> tuple[SyncReport, Cost]:
        server = sum(self.server.cpu_times()[:2])
        report, cost = await timed(lambda: self.syncer.sync(self.root_id))
        return report, Cost(cost.wall, cost.cpu, sum(self.server.cpu_times()[:2]) - server)


async def timed[T](work: Callable[[], Awaitable[T]]) -> tuple[T, Cost]:
    """Run something and say what it cost."""
    began, cpu = time.perf_counter(), _cpu()
    result = await work()
    return result, Cost(time.perf_counter() - began, _cpu() - cpu)


def _cpu() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


async def measure_floor(tree: Path) -> Cost:
    """Walk, read, hash and parse everything, and keep nothing."""

    async def forget(parsed: Parsed) -> None:
        return None

    async def work() -> None:
        leaves = scan_root(tree, None, 4 << 20).leaves
        by_key = {source.key: source for source in (Source(path, content) for path, content in leaves.items())}
        await parse_files(tree, list(by_key.values()), forget)

    return (await timed(work))[1]


def git_status(tree: Path) -> float:
    """Median seconds of `git status` once its index is fresh."""
    return _median(partial(git_once, tree))


def _median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEAT):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@asynccontextmanager
async def open_bench(folder: Path, tree: Path, database: Database, server: psutil.Process) -> AsyncIterator[Bench]:
    """Add a tree to the index, and remove it in the end."""
    store = CodeStore(database)
    syncer = Syncer(store, Settings(data_dir=folder / "data"))
    root = await store.add_root(make_root(str(tree)))
    try:
        yield Bench(tree, syncer, root.id, server)
    finally:
        await syncer.remove(root)
        await store.forget_unused(older_than_us=-1)


def copy_tree(source: Path, target: Path) -> None:
    """Copy the files that count, make their times old, and commit them to a repository of their own."""
    for path in scan_root(source, Manifest(), 4 << 20).leaves:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target / path)
    _settle(target)


def make_tree(files: int, target: Path) -> None:
    """Write small Python files that all differ, two hundred to a folder."""
    for number in range(files):
        folder = target / f"package{number // 200}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"module{number}"
        text = f'"""{name}."""\n\nimport logging\n\n\ndef step_{number}(order):\n    logging.error("order %s failed in {name}", order)\n'
        (folder / f"{name}.py").write_text(text)
    _settle(target)


def _settle(tree: Path) -> None:
    for path in tree.rglob("*"):
        os.utime(path, _OLD)
    subprocess.run([*_GIT, "init", "--quiet"], cwd=tree, check=True)
    subprocess.run([*_GIT, "add", "-A", "-f"], cwd=tree, check=True, capture_output=True)
    subprocess.run([*_GIT, "commit", "--quiet", "-m", "all"], cwd=tree, check=True)
    time.sleep(2.5)  # what was written in the last two seconds is looked at again, by git too


async def measure(bench: Bench, *, changed: int = 1000) -> None:
    """Print what each kind of sync of a tree costs."""
    floor = await measure_floor(bench.tree)
    report, cold = await bench.sync()
    files, megabytes = report.root.files, report.root.bytes / 1e6
    print(f"\n{files:,} files, {megabytes:.1f} MB, {report.parsed:,} different contents")
    _print(
        "floor: walk, read, hash, parse", floor, f"{files / floor.wall:,.0f} files/s, {megabytes / floor.wall:.1f} MB/s"
    )
    share = f"{(cold.cpu + cold.server) / floor.cpu:.2f}x the floor's CPU, {cold.wall / floor.wall:.2f}x its time"
    _print("cold index", cold, f"{files / cold.wall:,.0f} files/s, {megabytes / cold.wall:.1f} MB/s, {share}")
    await bench.sync()
    unchanged = [(await bench.sync())[1] for _ in range(_REPEAT)]
    status = git_status(bench.tree)
    median = _middle(unchanged)
    _print("no change", median, f"git status {status * 1000:.0f} ms: {median.wall / status:.1f}x")
    scans = [(await timed(lambda: bench.syncer.look(report.root)))[1] for _ in range(_REPEAT)]
    _print("  of that the scan", _middle(scans))
    paths = sorted(path for path in bench.tree.rglob("*.py") if path.is_file())
    _touch(paths[:1])
    found, one = await bench.sync()
    assert [change.kind for change in found.changes] == ["changed"], found.changes
    _print("one file changed", one)
    many = paths[1 : changed + 1]
    _touch(many)
    found, some = await bench.sync()
    assert len(found.changes) == len(many)
    _print(f"{len(many):,} files changed", some)
    _print_memory()


async def measure_scan(tree: Path) -> None:
    """Print what it costs to look at a tree: all of it, unchanged, and with one file changed."""
    file = tree.parent / f"{tree.name}.manifest"

    async def look(known: Manifest | None) -> Scan:
        return scan_root(tree, known, 4 << 20)

    async def look_again() -> Scan:
        return await look(load_manifest(file, 0))

    first, cold = await timed(lambda: look(None))
    save_manifest(file, first.manifest)
    again = [await timed(look_again) for _ in range(_REPEAT)]
    assert not any(scan.read for scan, _ in again)
    status = [(await timed(partial(asyncio.to_thread, git_once, tree)))[1] for _ in range(_REPEAT)]
    _touch([tree / next(iter(first.leaves))])
    changed, one = await timed(look_again)
    assert changed.read == 1
    print(f"\n{len(first.leaves):,} files")
    _print("first look (read and hash)", cold)
    _print("no change", _middle([cost for _, cost in again]))
    _print("git status", _middle(status))
    _print("one file changed", one)
    _print_memory()


def git_once(tree: Path) -> None:
    """Run `git status` once."""
    subprocess.run(["git", "status", "--porcelain"], cwd=tree, check=True, capture_output=True)


def _print_memory() -> None:
    peak, parser = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"{'memory, at most':<32} {peak:8.0f} MB, a process beside it {parser:.0f} MB")


async def run_scans(sizes: list[int]) -> None:
    """Measure the look at synthetic trees."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="causegraph-bench-") as name:
            tree = Path(name) / "tree"
            tree.mkdir()
            make_tree(size, tree)
            await measure_scan(tree)


def _touch(paths: list[Path]) -> None:
    for path in paths:
        with path.open("a") as file:
            file.write(f"\n# changed at {time.time_ns()}\n")


def _middle(costs: list[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.wall)[len(costs) // 2]


def _print(what: str, cost: Cost, more: str = "") -> None:
    print(f"{what:<32} {cost.wall:8.3f} s  CPU {cost.cpu:7.3f} s + MariaDB {cost.server:6.2f} s  {more}", flush=True)


async def run(source: Path, sizes: list[int]) -> None:
    """Measure a copy of a tree, then synthetic ones."""
    with tempfile.TemporaryDirectory(prefix="causegraph-bench-") as name:
        folder = Path(name)
        stack = ensure_stack(folder / "stack")
        database = Database(stack.database_url)
        try:
            await migrate(database)
            server = _find_server(folder)
            trees = [("copy", partial(copy_tree, source))]
            trees += [(f"made{size}", partial(make_tree, size)) for size in sizes]
            print(
                f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {source} and made trees of {sizes or 'no size'}"
            )
            for number, (label, make) in enumerate(trees):
                tree = folder / label
                tree.mkdir()
                make(tree)
                async with open_bench(folder / f"index{number}", tree, database, server) as bench:
                    await measure(bench)
                shutil.rmtree(tree)
        finally:
            await database.close()
            stop_stack(folder / "stack")


def _find_server(folder: Path) -> psutil.Process:
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if "mariadbd" in words and str(folder) in words:
            return process
    raise SystemExit("MariaDB's process was not found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", nargs="?", type=Path, default=Path(sysconfig.get_paths()["stdlib"]))
    parser.add_argument("--sizes", default="", help="also trees of so many made files, such as 1000,10000,100000")
    parser.add_argument("--scan", action="store_true", help="only look at made files, parse and store nothing")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",") if size]
    if arguments.scan:
        asyncio.run(run_scans(sizes or [1000, 10_000]))
        return
    asyncio.run(run(arguments.tree.resolve(), sizes))


if __name__ == "__main__":
    main()
