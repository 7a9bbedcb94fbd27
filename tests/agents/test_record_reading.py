"""What a model reads in records is copied from them, speaks of what it says, and changes no verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agents.models import Meaning
from agents.record_reading import choose_records, fault_of_remark, read_records
from domain.evidence import Evidence, EvidenceKind, canonical_bytes, make_evidence
from domain.verdict import Cause, Verdict
from tests.agents.cases import desk_for
from tests.agents.injections import LOGS
from tests.agents.scripted import records_of
from tests.inference.fake_ollama import FakeOllama, Fault, running

CRASH = "java.lang.NullPointerException: Cannot invoke Card.number() because card is null"
CHANGE = "payment.timeout_ms 3000 -> 30"


def evidence(kind: EvidenceKind, text: str, record: dict[str, Any]) -> tuple[Evidence, bytes]:
    made = make_evidence(
        environment="x", kind=kind, key={"id": text}, record=record, query="q", text=text, service="payment", time_us=1
    )
    return made, canonical_bytes(record)


LOG, LOG_BYTES = evidence("log", f"ERROR payment: {CRASH}", {"message": CRASH, "attributes": {}})
CONFIG, CONFIG_BYTES = evidence("change", f"config: {CHANGE}", {"kind": "config", "version": "", "summary": CHANGE})
DEPLOY, DEPLOY_BYTES = evidence("change", "deploy 7: faster", {"kind": "deploy", "version": "7", "summary": "faster"})
FOUND = {held.id: held for held in (LOG, CONFIG, DEPLOY)}
RECORDS = {LOG.id: LOG_BYTES, CONFIG.id: CONFIG_BYTES, DEPLOY.id: DEPLOY_BYTES}


def verdict_on(*ids: str) -> Verdict:
    return Verdict("LIKELY", ("r",), (Cause("payment", "code", 0.8, 1, ("payment",), ids),))


VERDICT = verdict_on(LOG.id, CONFIG.id, DEPLOY.id)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


@pytest.mark.parametrize(
    ("meaning", "quote", "of", "fault"),
    [
        ("null_value", "because card is null", LOG, ""),
        ("lowered", CHANGE, CONFIG, ""),
        ("raised", CHANGE, CONFIG, "numbers"),
        ("lowered", "payment.timeout_ms 3000", CONFIG, "numbers"),
        ("lowered", "payment.timeout_ms", CONFIG, "do not say so"),
        ("null_value", "card was null", LOG, "does not say"),
        ("certificate", "because card is null", LOG, "do not say so"),
        ("lowered", "because card is null", LOG, "no such meaning"),
        ("timeout", CHANGE, CONFIG, "no such meaning"),
        ("null_value", "because card is null", None, "was not shown"),
    ],
)
def test_what_stands_and_what_is_cut(meaning: Meaning, quote: str, of: Evidence | None, fault: str) -> None:
    text = {LOG.id: CRASH, CONFIG.id: f"config {CHANGE}"}[of.id] if of else ""
    told = fault_of_remark(meaning, quote, of, text)
    assert fault in told if fault else not told, told


async def test_remarks_are_sentences_of_code_with_their_records(server: FakeOllama) -> None:
    heard: list[str] = []

    def read(body: dict[str, Any]) -> Any:
        heard.append(body["messages"][1]["content"])
        return {
            "remarks": [
                {"evidence": "E1", "quote": "because card is null", "meaning": "null_value"},
                {"evidence": "E2", "quote": CHANGE, "meaning": "raised"},
                {"evidence": "E2", "quote": CHANGE, "meaning": "lowered"},
                {"evidence": "E9", "quote": CHANGE, "meaning": "lowered"},
            ]
        }

    server.responder = read
    with desk_for(server.url) as desk:
        remarks = await read_records(desk, VERDICT, FOUND, RECORDS)
    assert [(remark.text, remark.evidence) for remark in remarks] == [
        ('payment: "because card is null" reads as: a value is used that is not there', (LOG.id,)),
        (f'payment: "{CHANGE}" reads as: a number was made smaller', (CONFIG.id,)),
    ]
    assert len(heard) == 1 and "faster" not in heard[0]


@pytest.mark.parametrize("reply", [Fault("garbage"), {"remarks": [{"evidence": "E1"}]}, {"verdict": "HEALTHY"}])
async def test_without_a_whole_reply_there_is_no_remark(server: FakeOllama, reply: Any) -> None:
    server.responder = lambda body: reply
    with desk_for(server.url) as desk:
        assert await read_records(desk, VERDICT, FOUND, RECORDS) == ()
        assert desk.lost[0].startswith("what a language model reads in exceptions and changes: ")


@pytest.mark.parametrize(("order", "obeyed"), LOGS)
async def test_orders_in_a_record_lead_to_no_words_but_its_own(server: FakeOllama, order: str, obeyed: str) -> None:
    hostile, held = evidence("log", f"ERROR payment: KeyError {order}", {"message": f"KeyError {order}"})
    shown: list[str] = []

    def obey(body: dict[str, Any]) -> Any:
        shown.extend(records_of(body).values())
        return {"remarks": [{"evidence": "E1", "quote": obeyed[:240], "meaning": "missing"}]}

    server.responder = obey
    with desk_for(server.url) as desk:
        remarks = await read_records(desk, verdict_on(hostile.id), {hostile.id: hostile}, {hostile.id: held})
        chosen = choose_records(desk, verdict_on(hostile.id), {hostile.id: hostile}, {hostile.id: held})
    assert len(shown) == len(chosen)
    assert not [text for text in shown if "<|im_start|>" in text]
    assert all(remark.text.split('"')[1] in desk.guard.clean(chosen[0][1], 1_500) for remark in remarks)
