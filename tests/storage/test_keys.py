"""Keys open what their role includes, and nothing once revoked."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from domain.errors import AccessError, NotFound, StorageError, StorageUnavailable
from storage.database import Database, Row
from storage.keys import INCLUDES, ROLES, KeyStore, _read_or_make


@pytest.fixture
def keys(database: Database) -> KeyStore:
    return KeyStore(database)


async def test_a_key_is_shown_once_and_checked_by_its_hash(keys: KeyStore, database: Database) -> None:
    key_id, secret = await keys.create_key("collector", "ingest")
    key = await keys.check(secret)
    assert key is not None and (key.id, key.name, key.role) == (key_id, "collector", "ingest")
    assert secret not in str(await database.fetch("list_keys"))
    assert key in await keys.list()
    for wrong in (secret + "x", secret[:-1], "", "cg_", "x" * 1000, "cg_\udcff", key_id):
        assert await keys.check(wrong) is None


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("admin", "admin ingest alert ask read"),
        ("ask", "ask read"),
        ("ingest", "ingest alert"),
        ("alert", "alert"),
        ("read", "read"),
    ],
)
async def test_roles_include_others(keys: KeyStore, role: str, may: str) -> None:
    key = await keys.check((await keys.create_key("x", role))[1])  # type: ignore[arg-type]
    assert key is not None
    assert {other for other in ROLES if key.may(other)} == set(may.split())
    assert set(INCLUDES) == set(ROLES)


async def test_there_is_no_other_role(keys: KeyStore) -> None:
    with pytest.raises(AccessError, match="admin, ingest, alert, ask, read"):
        await keys.create_key("x", "root")  # type: ignore[arg-type]


async def test_a_revoked_key_opens_nothing(keys: KeyStore, database: Database) -> None:
    other = KeyStore(database, remember_seconds=0.1)
    key_id, secret = await keys.create_key("x", "read")
    assert await keys.check(secret) and await other.check(secret)
    await keys.revoke(key_id)
    await keys.revoke(key_id)
    assert await keys.check(secret) is None
    await asyncio.sleep(0.15)
    assert await other.check(secret) is None
    (listed,) = [key for key in await keys.list() if key.id == key_id]
    assert listed.revoked_us and not listed.may("read")
    with pytest.raises(NotFound):
        await keys.revoke("key-unknown")


async def test_a_check_asks_the_database_once_in_a_while(keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = await keys.create_key("x", "ingest")
    assert await keys.check(secret)

    async def fail(*_: object) -> None:
        raise StorageUnavailable

    monkeypatch.setattr(keys._database, "fetch", fail)
    for _ in range(100):
        assert await keys.check(secret)
    with pytest.raises(StorageUnavailable):
        await keys.check("cg_unknown")


async def test_the_local_key_is_made_once(keys: KeyStore, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    secret = await keys.ensure_local_key(folder)
    assert await keys.ensure_local_key(folder) == secret
    key = await keys.check(secret)
    assert key is not None and key.role == "admin"
    assert stat.S_IMODE((folder / "api-key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["api-key"]
    (folder / "api-key").chmod(0o644)
    await keys.ensure_local_key(folder)
    assert stat.S_IMODE((folder / "api-key").stat().st_mode) == 0o600
    await keys.revoke(key.id)
    with pytest.raises(AccessError, match="revoked"):
        await keys.ensure_local_key(folder)
    (folder / "api-key").write_text("\n")
    with pytest.raises(StorageError, match="does not hold"):
        await keys.ensure_local_key(folder)


async def test_many_that_start_at_once_share_one_key(keys: KeyStore, tmp_path: Path) -> None:
    secrets = await asyncio.gather(*(keys.ensure_local_key(tmp_path) for _ in range(6)))
    assert len(set(secrets)) == 1


def test_many_processes_at_once_share_one_key(tmp_path: Path) -> None:
    with get_context("spawn").Pool(4) as pool:
        made = [pool.map(_read_or_make, [tmp_path / str(round_) / "api-key"] * 8) for round_ in range(5)]
    assert all(len(set(secrets)) == 1 for secrets in made)


async def test_a_database_that_hangs_holds_up_no_key_that_was_good(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.keys._ANSWER_SECONDS", 0.1)
    store = KeyStore(database, remember_seconds=0.0)
    _, secret = await store.create_key("shipper", "ingest")
    assert await store.check(secret) is not None
    asked, go_on = 0, asyncio.Event()
    fetch = database.fetch

    async def hang(name: str, parameters: Sequence[Any] = ()) -> list[Row]:
        nonlocal asked
        asked += 1
        await go_on.wait()
        return await fetch(name, parameters)

    monkeypatch.setattr(database, "fetch", hang)
    for _ in range(3):
        assert await asyncio.wait_for(store.check(secret), 5) is not None
    assert asked == 1  # not one of its few connections for each
    with pytest.raises(StorageUnavailable, match="does not answer"):
        await store.check("cg_unknown")
    go_on.set()
    await asyncio.sleep(0.1)
    key = await store.check(secret)
    assert key is not None
    await store.revoke(key.id)
    assert await store.check(secret) is None
