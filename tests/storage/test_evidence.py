"""Evidence can be read again, record and all, after its source is gone."""

from __future__ import annotations

import pytest

from domain.errors import NotFound
from domain.evidence import Evidence, canonical_bytes, make_evidence
from storage.blobs import BlobStore
from storage.database import Database
from storage.evidence import EvidenceStore

RECORD = {"id": 7, "message": "pool exhausted: käse \U0001f525", "level": 17}


@pytest.fixture
def store(database: Database, blobs: BlobStore) -> EvidenceStore:
    return EvidenceStore(database, blobs)


def make(environment: str, number: int = 7) -> Evidence:
    return make_evidence(
        environment=environment,
        kind="log",
        key={"id": number},
        record={**RECORD, "id": number},
        query="log_examples",
        text="checkout: pool exhausted",
        service="checkout",
        time_us=1_790_000_000_000_000 + number,
        entities=("checkout", "db"),
    )


async def test_evidence_and_its_record_come_back(store: EvidenceStore, environment: str) -> None:
    cited, found = make(environment), make(environment, 8)
    await store.save([cited, found], {cited.id: canonical_bytes(RECORD)}, "trc_20260101_000000_00000000")
    assert await store.load(environment, cited.id) == cited
    assert await store.load(None, found.id) == found
    assert await store.stored_bytes(cited) == canonical_bytes(RECORD)
    with pytest.raises(NotFound, match="not cited"):
        await store.stored_bytes(found)


async def test_saving_again_changes_nothing_and_may_add_the_record(store: EvidenceStore, environment: str) -> None:
    evidence = make(environment)
    first, second = f"trc_{environment}_1"[:40], f"trc_{environment}_2"[:40]
    await store.save([evidence], {}, first)
    await store.save([evidence, evidence], {evidence.id: canonical_bytes(RECORD)}, second)
    assert await store.of_trace(first) == [evidence]
    assert await store.of_trace(second) == []
    assert await store.stored_bytes(evidence) == canonical_bytes(RECORD)
    await store.save([], {}, first)


async def test_other_bytes_than_those_cited_are_refused(store: EvidenceStore, environment: str) -> None:
    evidence = make(environment)
    with pytest.raises(ValueError, match=evidence.id):
        await store.save([evidence], {evidence.id: b"something else"}, "trc")
    with pytest.raises(ValueError, match="log-unknown"):
        await store.save([evidence], {"log-unknown": canonical_bytes(RECORD)}, "trc")
    with pytest.raises(NotFound):
        await store.load(environment, evidence.id)


async def test_nothing_leaks_into_another_environment(store: EvidenceStore, environment: str) -> None:
    evidence = make(environment)
    await store.save([evidence], {}, "trc")
    with pytest.raises(NotFound, match="in environment 'elsewhere'"):
        await store.load("elsewhere", evidence.id)
    with pytest.raises(NotFound, match="come with answers"):
        await store.load(None, "log-000000000000")
