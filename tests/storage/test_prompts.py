"""The prompt store: byte for byte, once, verified, in a folder and in S3, and quick to say where two prompts part."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import NotFound, SettingsError, StorageError
from storage.chunking import LARGEST, SMALLEST, split_content
from storage.objects import FolderObjects, Objects, S3Objects, open_objects
from storage.packs import read_pack
from storage.prompts import PromptStore

type Open = Callable[[], Objects]


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    """A local server that speaks S3."""
    moto = pytest.importorskip("moto.server", reason="the extra for S3 tests (moto) is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def open_place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open the same place again and again, in a folder or a bucket."""
    if request.param == "folder":
        return lambda: FolderObjects(tmp_path)
    address = request.getfixturevalue("s3_address")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{random.SystemRandom().randrange(10**12)}"
    S3Objects(bucket, endpoint=address)._client.create_bucket(Bucket=bucket)
    return lambda: open_objects(f"s3://{bucket}/causegraph", endpoint=address)


def history(turns: int, run: int = 0) -> list[dict[str, Any]]:
    """The messages of a run that grows, with lines of its own."""
    chance = random.Random(run)
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You help. " * 400 + f"It is {run} o'clock."}]
    for turn in range(turns):
        lines = "\n".join(f"2026-02-07T10:{turn:02d} checkout {chance.random()} failed" for _ in range(60))
        messages.append({"role": "assistant", "content": f"look {turn}", "tool_calls": [{"id": turn, "x": None}]})
        messages.append({"role": "tool", "content": lines})
    return messages


def written(messages: list[dict[str, Any]]) -> bytes:
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":")).encode()


def test_prompts_come_back_to_the_byte_in_another_process(open_place: Open) -> None:
    store = PromptStore(open_place())
    ids = {}
    for run in range(12):
        for turn in range(1, 8):
            ids[store.put(history(turn, run))] = written(history(turn, run))
        if run % 4 == 3:
            store.flush()
    raw = sum(map(len, ids.values()))
    for opened in (store, PromptStore(open_place())):
        assert {prompt_id: opened.get(prompt_id) for prompt_id in ids} == ids
    stats = store.stats()
    assert stats.packs == 3 and stats.put_bytes == raw - sum(len(json.loads(text)) + 1 for text in ids.values())
    assert stats.stored_bytes < raw / 8
    again = PromptStore(open_place())
    assert [again.put(history(turn, run)) for run in range(12) for turn in range(1, 8)] == list(ids)
    again.flush()
    assert again.stats().stored_bytes == stats.stored_bytes  # nothing was new


def test_a_store_hears_of_what_others_write(open_place: Open) -> None:
    one, other = PromptStore(open_place()), PromptStore(open_place())
    prompt_id = one.put(history(3))
    with pytest.raises(NotFound):
        other.get(prompt_id)
    one.flush()
    assert other.get(prompt_id) == written(history(3))
    longer = other.put(history(4))
    other.flush()
    assert PromptStore(open_place()).get(longer) == written(history(4))


def test_the_first_message_that_differs_is_found_without_reading(tmp_path: Path) -> None:
    store = PromptStore(FolderObjects(tmp_path))
    one = history(6)
    changed = [*one[:5], {"role": "tool", "content": "other"}, *one[6:]]
    ids = [*(store.put(messages) for messages in (one, changed, one[:9])), store.put_text("a text")]
    store.flush()
    bare = PromptStore(FolderObjects(tmp_path))
    bare._entries._content = bare._entries._dictionary = None  # type: ignore[assignment]  # whoever reads a text now fails
    assert bare.first_difference(ids[0], ids[1]) == bare.first_difference(ids[1], ids[0]) == 5
    assert bare.first_difference(ids[0], ids[2]) == 9
    assert bare.first_difference(ids[0], ids[0]) is None
    assert bare.first_difference(ids[0], ids[3]) == 0
    assert [json.loads(m) for m in store.messages_from(ids[1], 5)] == changed[5:]


def test_what_is_damaged_is_said_and_never_returned(tmp_path: Path) -> None:
    store = PromptStore(FolderObjects(tmp_path))
    prompt_id = store.put(history(4))
    store.flush()
    (path,) = tmp_path.glob("blobs/*.pack")
    sound = path.read_bytes()
    chance, told = random.Random(3), 0
    for _ in range(60):
        broken = bytearray(sound)
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            read = PromptStore(FolderObjects(tmp_path)).get(prompt_id)
        except (StorageError, NotFound):
            told += 1
        else:
            assert read == written(history(4))
    assert told > 40
    path.write_bytes(sound[:-1])
    with pytest.raises(StorageError, match=path.name):
        PromptStore(FolderObjects(tmp_path))


def test_only_live_prompts_stay(open_place: Open) -> None:
    store = PromptStore(open_place())
    ids = [store.put(history(5, run)) for run in range(8)]
    store.flush()
    text = store.put_text("kept")
    assert store.collect([ids[2], text]) > 0
    for opened in (store, PromptStore(open_place())):
        assert opened.get(ids[2]) == written(history(5, 2)) and opened.get(text) == b"kept"
        with pytest.raises(NotFound):
            opened.get(ids[3])
    assert len(list(open_place().list("blobs/"))) == 1
    assert store.collect([]) > 0 and list(open_place().list("blobs/")) == []
    with pytest.raises(NotFound):
        store.get(ids[2])


def test_secrets_are_masked_before_they_are_hashed(tmp_path: Path) -> None:
    def mask(text: str) -> str:
        return "[masked: secret]" if text.startswith("password=") else text.replace("hunter2", "[masked: secret]")

    store = PromptStore(FolderObjects(tmp_path), mask)
    messages = [{"role": "user", "content": "it is hunter2", "arguments": {"password": "abc", "deep": ["hunter2"]}}]
    kept = json.loads(store.get(store.put(messages)))
    assert kept == [
        {
            "role": "user",
            "content": "it is [masked: secret]",
            "arguments": {"password": "[masked: secret]", "deep": ["[masked: secret]"]},
        }
    ]
    assert store.get(store.put_text("say hunter2")) == b"say [masked: secret]"
    assert store.put(messages) == store.put(kept)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_lists_of_messages_in_any_spelling_share_their_messages(
    tmp_path: Path, separators: tuple[str, str], ascii_only: bool
) -> None:
    store = PromptStore(FolderObjects(tmp_path))
    texts = [
        json.dumps(
            [{"role": "user", "content": f"grüße {n} \U0001f525"} for n in range(size)],
            separators=separators,
            ensure_ascii=ascii_only,
        )
        for size in range(1, 30)
    ]
    ids = [store.put_text(text) for text in texts]
    assert [store.get(prompt_id).decode() for prompt_id in ids] == texts
    assert store.stats().chunks == 29


@given(
    st.one_of(
        st.text(),
        st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=3), max_size=4).map(json.dumps),
    )
)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    store = PromptStore(FolderObjects(tmp_path_factory.getbasetemp() / "any"))
    assert store.get(store.put_text(text)).decode("utf-8", "surrogatepass") == text


@given(st.integers(0, 60_000), st.integers(1, 256), st.integers(0, 9))
def test_chunks_are_the_content_and_bounded(size: int, kinds: int, seed: int) -> None:
    chance = random.Random(seed)
    content = bytes(byte % kinds for byte in chance.randbytes(size))
    chunks = split_content(content)
    assert b"".join(chunks) == content
    assert all(SMALLEST <= len(chunk) <= LARGEST for chunk in chunks[:-1])


def test_a_changed_line_costs_few_chunks() -> None:
    chance = random.Random(5)
    content = b"".join(chance.randbytes(60).hex().encode() + b"\n" for _ in range(3_000))
    before = split_content(content)
    after = split_content(content[:100_000] + b"one more line\n" + content[100_000:])
    assert len(before) > 40 and len(set(after) - set(before)) <= 2


def test_several_threads_may_put_at_once(tmp_path: Path) -> None:
    store = PromptStore(FolderObjects(tmp_path))
    found: dict[int, list[str]] = {}

    def work(number: int) -> None:
        found[number] = [store.put(history(turn, number % 2)) for turn in range(1, 6)]
        store.flush()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[2] == found[4] and found[1] == found[3]
    opened = PromptStore(FolderObjects(tmp_path))
    assert all(opened.get(prompt_id) for ids in found.values() for prompt_id in ids)


@pytest.mark.parametrize("prompt_id", ["", "x" * 40, "0" * 40, "../../etc/passwd"])
def test_a_prompt_that_is_not_there(tmp_path: Path, prompt_id: str) -> None:
    with pytest.raises(NotFound):
        PromptStore(FolderObjects(tmp_path)).get(prompt_id)


def test_places_are_named_by_an_address(tmp_path: Path) -> None:
    objects = open_objects(str(tmp_path))
    objects.put("blobs/a", b"1")
    assert (objects.get("blobs/a"), [name for name, _ in objects.list("")]) == (b"1", ["blobs/a"])
    objects.delete("blobs/a")
    objects.delete("blobs/a")
    with pytest.raises(NotFound):
        objects.get("blobs/a")
    for name in ("../x", "/x", "", "a\nb"):
        with pytest.raises(StorageError):
            objects.put(name, b"")
    with pytest.raises(SettingsError):
        open_objects("s3:///x")
    with pytest.raises(StorageError):
        read_pack("x", b"CGP1" + bytes(20))
    with pytest.raises(StorageError, match="empty"):
        PromptStore(objects).put([])
