"""Syncs on the real database: any history of a folder, crashes included, ends in the index that a fresh one gives."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zstandard import ZstdCompressor

from domain.errors import IndexingError, NotFound
from domain.settings import Settings
from indexer import manifest as manifests
from indexer import parsing, reading, sync
from indexer.merkle import build_tree
from indexer.parsing import Parsed, unpack_stored
from indexer.roots import make_root
from indexer.search import CodeSearch
from indexer.sync import Busy, Syncer, SyncReport
from indexer.worker import _answer
from storage.code import CodeRoot, CodeService, CodeStore, Tree
from storage.database import Database
from tests.indexer.test_scan import NAMES, STEPS, take_step

# Facts are kept by content: no other test may have stored these.
ONE = f"def one():\n    return 1  # {uuid.uuid4()}\n"
TWO = f"two {uuid.uuid4()}\n"


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def store(database: Database) -> CodeStore:
    return CodeStore(database)


@pytest.fixture
async def root(store: CodeStore, tmp_path: Path) -> AsyncIterator[CodeRoot]:
    """A root of two files."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.py").write_text(ONE)
    (folder / "sub" / "b.txt").write_text(TWO)
    added = await store.add_root(make_root(str(folder)))
    yield added
    await store.remove_root(added.id)


@pytest.fixture
def syncer(store: CodeStore, tmp_path: Path) -> Syncer:
    return Syncer(store, Settings(data_dir=tmp_path / "data"))


async def held(store: CodeStore, root: CodeRoot) -> dict[str, str]:
    return {file.path: file.content_hash for file in await store.files(root.id)}


def kinds(report: SyncReport) -> list[tuple[str, str]]:
    return [(change.kind, change.path) for change in report.changes]


async def test_a_sync_stores_the_tree_and_what_was_read(store: CodeStore, syncer: Syncer, root: CodeRoot) -> None:
    report = await syncer.sync(root.id)
    assert kinds(report) == [("added", "a.py"), ("added", "sub/b.txt")] and report.parsed == 2
    files = await store.files(root.id)
    tree = build_tree({file.path: bytes.fromhex(file.content_hash) for file in files})
    assert report.root.tree_hash == tree.hash.hex() and report.root.files == 2 and report.root.generation == 1
    packed = await store.packed_facts(file.facts_key for file in files)
    facts = unpack_stored(packed[files[0].facts_key])
    assert facts.language == "python" and "".join(chunk.text for chunk in facts.chunks).startswith("def one()")


async def test_an_unchanged_root_keeps_its_generation(syncer: Syncer, root: CodeRoot) -> None:
    await syncer.sync(root.id)
    report = await syncer.sync(root.id)
    assert not report.changes and report.parsed == 0 and report.root.generation == 1


async def test_moves_and_copies_are_not_parsed_again(syncer: Syncer, root: CodeRoot) -> None:
    await syncer.sync(root.id)
    folder = Path(root.location)
    (folder / "a.py").rename(folder / "sub" / "moved.py")
    (folder / "copy.py").write_text(ONE)
    report = await syncer.sync(root.id)
    assert kinds(report) == [("moved", "copy.py"), ("added", "sub/moved.py")] and report.parsed == 0


async def test_the_same_content_in_another_root_is_parsed_once(
    store: CodeStore, syncer: Syncer, root: CodeRoot, tmp_path: Path
) -> None:
    await syncer.sync(root.id)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "same.py").write_text(ONE)
    other = await store.add_root(make_root(str(tmp_path / "other")))
    assert (await syncer.sync(other.id)).parsed == 0
    await syncer.remove(other)
    with pytest.raises(NotFound):
        await store.root(other.id)


async def test_a_root_that_is_away_keeps_its_index(store: CodeStore, syncer: Syncer, root: CodeRoot) -> None:
    await syncer.sync(root.id)
    before = await held(store, root)
    Path(root.location).rename(root.location + ".away")
    with pytest.raises(IndexingError, match="cannot be indexed"):
        await syncer.sync(root.id)
    assert await held(store, root) == before
    Path(root.location + ".away").rename(root.location)


async def test_one_process_at_a_time(syncer: Syncer, root: CodeRoot, tmp_path: Path) -> None:
    await syncer.sync(root.id)
    with (tmp_path / "data" / "code" / f"{root.id}.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            await syncer.sync(root.id)
    await syncer.sync(root.id)


async def test_another_machine_that_was_faster_is_not_overwritten(
    store: CodeStore, syncer: Syncer, root: CodeRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await syncer.sync(root.id)
    elsewhere = Syncer(store, Settings(data_dir=tmp_path / "elsewhere"))
    (Path(root.location) / "new.py").write_text("x = 1\n")
    commit = store.commit_tree

    async def slow(root: CodeRoot, tree: Tree) -> bool:
        monkeypatch.setattr(store, "commit_tree", commit)
        await elsewhere.sync(root.id)
        return await commit(root, tree)

    monkeypatch.setattr(store, "commit_tree", slow)
    with pytest.raises(Busy):
        await syncer.sync(root.id)
    report = await syncer.sync(root.id)  # its manifest is of another generation: everything is read again
    assert not report.changes and report.read == 3 and report.root.generation == 2


async def test_a_crash_between_the_tree_and_the_manifest_is_noticed(
    store: CodeStore, syncer: Syncer, root: CodeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    await syncer.sync(root.id)
    path = Path(root.location) / "a.py"
    before, text = await held(store, root), path.read_text()
    path.write_text("x = 1\n")
    with monkeypatch.context() as crash, pytest.raises(Crash):
        crash_at(crash, store, "in the manifest")
        await syncer.sync(root.id)
    assert await held(store, root) != before
    path.write_text(text)  # what the manifest of the tree before the last still says
    await syncer.sync(root.id)
    assert await held(store, root) == before


async def test_a_new_version_of_the_facts_reads_everything_again(
    store: CodeStore, syncer: Syncer, root: CodeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    await syncer.sync(root.id)
    for module in (sync, parsing):
        monkeypatch.setattr(module, "FACTS_VERSION", 999)
    report = await syncer.sync(root.id)
    assert report.parsed == 2 and not report.changes and report.root.facts_version == 999
    keys = {file.facts_key for file in await store.files(root.id)}
    assert (await store.packed_facts(keys)).keys() == keys


async def test_fresh_restores_facts_that_were_lost(
    store: CodeStore, database: Database, syncer: Syncer, root: CodeRoot
) -> None:
    (Path(root.location) / "only.py").write_text("only = 'here'\n")
    await syncer.sync(root.id)
    key = next(file.facts_key for file in await store.files(root.id) if file.path == "only.py")

    def lose(tx: object) -> None:
        tx._cursor.execute("DELETE FROM code_facts WHERE facts_key = ?", (key,))  # type: ignore[attr-defined]

    await database.transaction(lose)
    assert (await syncer.sync(root.id, fresh=True)).parsed == 1
    assert key in await store.packed_facts([key])


async def test_a_file_that_kills_the_parser_harms_no_other(
    store: CodeStore, syncer: Syncer, root: CodeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(root.location)
    for number in range(40):
        (folder / f"n{number}.py").write_text(f"def f{number}():\n    return {number}\n")
    (folder / "n20.py").write_text("KILLS THE PARSER\n")
    (folder / "n30.py").write_text("HANGS THE PARSER\n")
    bad = tempfile.mkdtemp(prefix="causegraph-parser-")
    (Path(bad) / "sitecustomize.py").write_text(
        "import os, time\n"
        "import indexer.facts as facts\n"
        "real = facts.read_facts\n"
        "def read_facts(path, content):\n"
        "    if content.startswith(b'KILLS'): os.abort()\n"
        "    if content.startswith(b'HANGS'): time.sleep(600)\n"
        "    return real(path, content)\n"
        "facts.read_facts = read_facts\n"
    )
    monkeypatch.setenv("PYTHONPATH", bad)
    monkeypatch.setattr(parsing, "_FILE_SECONDS", 3.0)
    report = await syncer.sync(root.id)
    assert report.root.files == 42
    assert sorted(report.problems) == ["n20.py: the parser failed on it", "n30.py: reading it took too long"]
    keys = {file.facts_key for file in await store.files(root.id)}
    assert (await store.packed_facts(keys)).keys() == keys
    again = await syncer.sync(root.id)
    assert again.parsed == 0 and sorted(again.problems) == sorted(report.problems)  # still said, not tried again


async def test_a_file_that_changes_before_it_is_parsed_waits(
    store: CodeStore, syncer: Syncer, root: CodeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    await syncer.sync(root.id)
    before = (await held(store, root))["a.py"]
    path = Path(root.location) / "a.py"
    path.write_text("def two():\n    pass\n")
    start = parsing._start

    async def late() -> asyncio.subprocess.Process:
        path.write_text("def three():\n    pass\n")
        return await start()

    monkeypatch.setattr(parsing, "_start", late)
    report = await syncer.sync(root.id)
    assert (await held(store, root))["a.py"] == before and "changes while it is read" in report.problems[0]
    monkeypatch.undo()
    report = await syncer.sync(root.id)
    assert kinds(report) == [("changed", "a.py")] and report.problems == ()


async def test_a_large_new_root_is_searched_while_it_is_read_and_goes_on_where_it_broke_off(
    store: CodeStore, syncer: Syncer, root: CodeRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = [f"mark{uuid.uuid4().hex}" for _ in range(5)]
    (Path(root.location) / "a.py").unlink()
    (Path(root.location) / "sub" / "b.txt").unlink()
    for number, mark in enumerate(marks):
        (Path(root.location) / f"n{number}.py").write_text(f"def {mark}():\n    return {number}\n")
    search = CodeSearch(store, syncer.clones)
    with monkeypatch.context() as patch:
        read_in_place(patch)
        patch.setattr(sync, "_SHOWN_FIRST", 4)
        patch.setattr(sync, "_BATCH_FILES", 3)
        crash_at(patch, store, "after facts")
        with pytest.raises(Crash):
            await syncer.sync(root.id)
    found = [mark for mark in marks if await search.by_symbol(mark)]
    assert len(found) == 3
    loaded = await search.load()
    assert [one.id for one in loaded.unread] == [root.id] and loaded.roots[root.id].files == 5
    report = await syncer.sync(root.id)
    assert report.parsed == 2
    assert all([await search.by_symbol(mark) for mark in marks])
    assert not (await search.load()).unread


async def test_services_are_kept_by_folder(store: CodeStore, root: CodeRoot) -> None:
    await store.set_services(root.id, [CodeService("", "", "shop"), CodeService("", "pay", "payment")])
    await store.set_services(root.id, [CodeService("", "pay", "payment")])
    assert [s for s in await store.services() if s.root_id == root.id] == [CodeService(root.id, "pay", "payment")]


async def test_facts_are_forgotten_only_when_nobody_has_them(
    store: CodeStore, syncer: Syncer, root: CodeRoot, tmp_path: Path
) -> None:
    (Path(root.location) / "gone.py").write_text(f"unique = '{tmp_path}'\n")
    await syncer.sync(root.id)
    keys = {file.path: file.facts_key for file in await store.files(root.id)}
    (Path(root.location) / "gone.py").unlink()
    await syncer.sync(root.id)
    await store.forget_unused()
    assert keys["gone.py"] in await store.packed_facts(keys.values())  # it may come back
    await store.forget_unused(older_than_us=-1)
    assert set(await store.packed_facts(keys.values())) == {keys["a.py"], keys["sub/b.txt"]}


# -- any history -------------------------------------------------------------------------------------------------------

CRASHES = ("after facts", "before the tree", "after the tree", "in the manifest")
HISTORY = st.lists(
    st.one_of(
        STEPS.filter(lambda step: step[0] != "scan"),
        st.tuples(st.just("sync")),
        st.tuples(st.just("crash"), st.sampled_from(CRASHES)),
        st.tuples(st.just("lose"), NAMES),
        st.tuples(st.just("regain")),
    ),
    max_size=12,
)


async def _die(*arguments: object, **named: object) -> None:
    raise Crash


def _die_now(*arguments: object, **named: object) -> None:
    raise Crash


def _die_after[**P, T](work: Callable[P, AsyncIterator[T]]) -> Callable[P, object]:
    async def wrapped(*arguments: P.args, **named: P.kwargs) -> None:
        await work(*arguments, **named)  # type: ignore[misc]
        raise Crash

    return wrapped


def crash_at(patch: pytest.MonkeyPatch, store: CodeStore, place: str) -> None:
    match place:
        case "after facts":
            patch.setattr(store, "put_facts", _die_after(store.put_facts))  # type: ignore[arg-type]
        case "before the tree":
            patch.setattr(store, "commit_tree", _die)
        case "after the tree":
            patch.setattr(store, "commit_tree", _die_after(store.commit_tree))  # type: ignore[arg-type]
        case "in the manifest":
            patch.setattr(sync, "save_manifest", _die_now)


def read_in_place(patch: pytest.MonkeyPatch) -> None:
    """Read facts in this process: what is tested is the order of things, and a process per sync takes its time."""

    async def parse(root: Path, sources: list[parsing.Source], take: Callable[[Parsed], object], **more: int) -> None:
        for source in sources:
            kind, answer = _answer(f"{root}/{source.path}", source.path, source.content, ZstdCompressor())
            facts = parsing._stored(source, unpack_stored(answer), answer) if kind == b"R" else None
            await take(Parsed(source, facts))  # type: ignore[misc]

    patch.setattr(sync, "parse_files", parse)


@given(history=HISTORY, shown_first=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_history_ends_in_the_index_that_a_fresh_run_gives(
    database: Database, history: list[tuple[str, ...]], shown_first: bool
) -> None:
    store = CodeStore(database)
    lost: set[str] = set()
    with tempfile.TemporaryDirectory() as work, pytest.MonkeyPatch.context() as patch:
        folder = Path(work) / "tree"
        folder.mkdir()
        syncer = Syncer(store, Settings(data_dir=Path(work) / "data", index_max_file_bytes=64))
        read_in_place(patch)
        if shown_first:
            patch.setattr(sync, "_SHOWN_FIRST", 0)
        patch.setattr(manifests, "_COARSEST_CLOCK_NS", 20_000_000)  # this file system's clock ticks every few ms
        opened = os.open

        def open_unless_lost(path: str, *more: int, **named: int) -> int:
            if any(str(path) == f"{folder}/{name}" for name in lost):
                raise PermissionError(13, "Permission denied")
            return opened(path, *more, **named)

        patch.setattr(reading.os, "open", open_unless_lost)  # type: ignore[attr-defined]
        root = await store.add_root(make_root(str(folder)))
        for step in [*history, ("sync",)]:
            match step:
                case ("sync",):
                    time.sleep(0.025)
                    await syncer.sync(root.id)
                case ("crash", place):
                    time.sleep(0.025)
                    with pytest.MonkeyPatch.context() as crash:
                        crash_at(crash, store, place)
                        with contextlib.suppress(Crash):
                            await syncer.sync(root.id)
                case ("lose", name):
                    lost.add(name)
                    if (folder / name).exists():
                        (folder / name).chmod(0o600)  # as a real change of rights, it shows in the times
                case ("regain",):
                    for name in lost:
                        if (folder / name).exists():
                            (folder / name).chmod(0o644)
                    lost.clear()
                case _:
                    take_step(folder, step)
        found = await store.root(root.id)
        files = await held(store, root)
        await store.remove_root(root.id)
        fresh_root = await store.add_root(make_root(str(folder)))
        fresh = await Syncer(store, Settings(data_dir=Path(work) / "fresh", index_max_file_bytes=64)).sync(
            fresh_root.id
        )
        assert files == await held(store, fresh_root)
        assert found.tree_hash == fresh.root.tree_hash and found.files == fresh.root.files
        assert found.bytes == fresh.root.bytes and sorted(found.problems) == sorted(fresh.root.problems)
        keys = {file.facts_key for file in await store.files(fresh_root.id)}
        assert (await store.packed_facts(keys)).keys() == keys
        await store.remove_root(root.id)
