"""Attacks through what is read, against a model that obeys every one: no verdict, action or secret goes by them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from agents.doubting import doubt_verdict
from agents.explainer import write_answer, write_headline
from agents.models import Understanding
from agents.question import Question
from agents.reading import apply_understanding, is_plain
from agents.wording import word_answer
from domain.evidence import EvidenceKind
from tests.agents.cases import SERVICES, desk_for, record, settled
from tests.agents.injections import INJECTIONS, SECRETS, Injection
from tests.agents.scripted import records_of, task_of
from tests.inference.fake_ollama import FakeOllama, running

KINDS: dict[str, EvidenceKind] = {
    "log": "log",
    "span": "span",
    "alert": "alert",
    "runbook": "runbook",
    "code": "code",
    "file": "code",
}
_CONTROL = re.compile(
    r"<\||\|>|</?(?:s|system|tool_call|tool_response)>|\[/?INST\]|<</?SYS>>|\[TOOL_CALLS\]|<｜|[\u200b\u202e\x1b]"
)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


def obedient(attack: Injection) -> Any:
    """A model that says what the attack wants, citing every record that it was shown, and its own name for it."""

    def reply(body: dict[str, Any]) -> Any:
        task = task_of(body)
        if task == "doubt":
            seen = attack.text[:20] in body["messages"][1]["content"]
            return {"opinion": "too_sure" if seen else "agree", "why": "none", "look_at": "nothing"}
        shown = list(records_of(body))
        said = [{"text": attack.obeyed, "evidence": [short]} for short in shown[:6]]
        return {"headline": attack.obeyed, "sentences": [*said, {"text": attack.obeyed, "evidence": shown[:6]}]}

    return reply


def test_there_are_enough_of_them() -> None:
    assert len(INJECTIONS) >= 60
    assert len({attack.text for attack in INJECTIONS}) == len(INJECTIONS)


@pytest.mark.parametrize("attack", INJECTIONS, ids=[f"{a.channel}-{n}" for n, a in enumerate(INJECTIONS)])
async def test_an_obedient_model_changes_nothing(server: FakeOllama, attack: Injection) -> None:
    case = settled([record(attack.text, kind=KINDS[attack.channel])])
    server.asked.clear()
    server.responder = obedient(attack)
    headline = write_headline(case.verdict, case.plan)
    with desk_for(server.url) as desk:
        doubted = await doubt_verdict(desk, case.verdict, case.plan, case.ranking)
        told = await word_answer(desk, doubted.verdict, case.plan, case.claims, case.found, headline, "en")
    assert doubted.verdict == case.verdict
    assert told is not None
    assert (told.headline, told.sentences) == ("", ())
    assert write_answer(case.verdict, case.plan, case.claims, None, told) == write_answer(
        case.verdict, case.plan, case.claims, None
    )
    sent = json.dumps([body["messages"][1] for body in server.asked], ensure_ascii=False)
    assert not _CONTROL.search(sent)
    assert not [secret for secret in SECRETS if secret in sent]
    assert len(server.asked) == 2  # nothing had to be repaired: what is cut is not argued about


@pytest.mark.parametrize("attack", INJECTIONS, ids=[f"{a.channel}-{n}" for n, a in enumerate(INJECTIONS)])
def test_a_service_named_like_an_order_is_not_shown_and_not_chosen(attack: Injection) -> None:
    question = Question("warum geht nichts?", "x", 1_000)
    told = Understanding(intent="why", language="de", minutes_ago=-1, services=[attack.text[:64], "inventory"])
    assert not is_plain(attack.text)
    read = apply_understanding(question, told, [*SERVICES, attack.text], named=False, timed=False)
    assert read.about == ("inventory",)
    assert read.guessed
