"""What records mean that rules do not read: the sense of an exception, of a changed configuration. A model reads, code checks.

The model chooses a meaning from a list and copies the words that show it. The sentence is code's. What is not copied letter by
letter, or does not speak of such a thing, is cut. A remark stands beside the verdict and changes nothing of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.grounding import speaks_to_reader
from agents.models import READ, Meaning, Reading
from domain.evidence import Evidence
from domain.verdict import Claim, Verdict
from inference.desk import ModelDesk
from tracing.trace import current_trace

_RECORDS = 4
_CHARACTERS = 1_500
_CONFIGURATION = re.compile(r"^(?:config|flag)\b")
_TROUBLE = re.compile(
    r"\b\w*(?:Error|Exception|Failure|Fault|Panic)\b|\b(?:errno|traceback|panic|fatal|refused|denied|timed? ?out)\b"
)
_FROM_TO = re.compile(r"(\d+(?:\.\d+)?)[^\d]{0,12}?(?:->|=>|→|\bto\b|\binto\b)[^\d]{0,6}(\d+(?:\.\d+)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Sense:
    """How a meaning is told, and the words of which a quotation of it has at least one."""

    told: str
    shown_by: re.Pattern[str]


def _sense(told: str, shown_by: str) -> _Sense:
    return _Sense(told, re.compile(shown_by, re.IGNORECASE))


_OF_LOGS: Mapping[Meaning, _Sense] = {
    "missing": _sense("something is looked up that is not there", r"key|not found|missing|no such|undefined|index|unknown|absent"),
    "null_value": _sense("a value is used that is not there", r"null|none|nil|undefined"),
    "wrong_type": _sense("a value is of another type than is expected", r"type|cast|convert|expected|instance"),
    "bad_input": _sense("an input has a form that is refused", r"invalid|pars|decod|format|syntax|json|malformed|illegal|value"),
    "timeout": _sense("something was waited for too long", r"tim(?:e|ed)[ -]?out|deadline|expired|too long"),
    "refused": _sense("nobody accepts the connection", r"refus|connect|reset|unreachable|no route|broken pipe"),
    "name_not_found": _sense("a name does not resolve to an address", r"resol|dns|host|name|lookup|getaddrinfo"),
    "certificate": _sense("a certificate is not accepted", r"cert|x509|tls|ssl"),
    "credentials": _sense("somebody is not let in", r"auth|denied|forbid|40[13]|password|token|permission|credential|access"),
    "exhausted": _sense("something has run out", r"pool|memory|space|full|quota|limit|exhaust|too many|capacity|heap"),
    "lock": _sense("work waits for a lock", r"lock"),
    "mismatch": _sense("two sides do not fit together", r"version|schema|protocol|column|field|compatib|mismatch|migration"),
}  # fmt: skip
_OF_CHANGES: Mapping[Meaning, _Sense] = {
    "lowered": _sense("a number was made smaller", r"\d"),
    "raised": _sense("a number was made larger", r"\d"),
    "address": _sense("it talks to somebody else", r"url|host|addr|endpoint|port|dns|://|\.\w+:\d"),
    "switched": _sense("something was switched on or off", r"true|false|\bon\b|\boff\b|enabl|disabl|flag"),
    "version": _sense("another version is in use", r"version|image|tag|v?\d+\.\d+"),
}


async def read_records(
    desk: ModelDesk, verdict: Verdict, found: Mapping[str, Evidence], records: Mapping[str, bytes]
) -> tuple[Claim, ...]:
    """Return remarks on the records that the verdict's causes rest on, each with its record; none without a model."""
    chosen = choose_records(desk, verdict, found, records)
    if not chosen or not desk.has("explain"):
        return ()
    marked = desk.guard.mark(chosen, _CHARACTERS)
    what = "what a language model reads in exceptions and changes"
    reply = await desk.ask("explain", READ, Reading, marked.block, rule=marked.rule, what=what, max_tokens=600)
    if reply is None:
        return ()
    texts = {i: desk.guard.clean(text, _CHARACTERS) for i, text in chosen}
    remarks: list[Claim] = []
    cut: list[str] = []
    for remark in reply.remarks:
        i = marked.ids.get(remark.evidence, "")
        quote = desk.guard.clean(remark.quote, 240)
        if fault := fault_of_remark(remark.meaning, quote, found.get(i), texts.get(i, "")):
            cut.append(f"{quote[:80]} ({fault})")
        elif not any(i in other.evidence for other in remarks):
            remarks.append(
                Claim(f'{found[i].service}: "{quote}" reads as: {_meanings(found[i])[remark.meaning].told}', (i,))
            )
    current_trace().decide(
        what=f"{len(remarks)} of {len(reply.remarks)} remarks of the model stand",
        why="each copies words of its record that speak of what it says",
        confidence=len(remarks) / max(1, len(reply.remarks)),
        alternatives=cut,
    )
    return tuple(remarks)


def choose_records(
    desk: ModelDesk, verdict: Verdict, found: Mapping[str, Evidence], records: Mapping[str, bytes]
) -> list[tuple[str, str]]:
    """Return (id, text) of the causes' exceptions and changes of configuration; none that speaks to its reader."""
    chosen = []
    for i in dict.fromkeys(i for cause in verdict.causes for i in cause.evidence):
        evidence = found.get(i)
        if evidence is None or i not in records or not _is_for_a_reader(evidence):
            continue
        text = _text_of(evidence, records[i])
        if not speaks_to_reader(desk.guard.clean(text, 4_000)):
            chosen.append((i, text))
    return chosen[:_RECORDS]


def fault_of_remark(meaning: Meaning, quote: str, evidence: Evidence | None, text: str) -> str:
    """Return why a remark is cut, or ""."""
    if evidence is None or not text:
        return "it cites a record that it was not shown"
    sense = _meanings(evidence).get(meaning)
    if sense is None:
        return "such a record has no such meaning"
    if quote not in text:
        return "it quotes what the record does not say"
    if not sense.shown_by.search(quote):
        return "the words that it quotes do not say so"
    if meaning in ("lowered", "raised"):
        numbers = _FROM_TO.search(quote)
        if (
            numbers is None
            or (float(numbers[2]) < float(numbers[1])) != (meaning == "lowered")
            or numbers[1] == numbers[2]
        ):
            return "the numbers that it quotes do not say so"
    return ""


def _meanings(evidence: Evidence) -> Mapping[Meaning, _Sense]:
    return _OF_CHANGES if evidence.kind == "change" else _OF_LOGS


def _is_for_a_reader(evidence: Evidence) -> bool:
    if evidence.kind == "change":
        return _CONFIGURATION.match(evidence.text) is not None
    return evidence.kind == "log" and _TROUBLE.search(evidence.text) is not None


def _text_of(evidence: Evidence, record: bytes) -> str:
    held = json.loads(record)
    parts: Sequence[object] = (
        (held.get("kind"), held.get("version"), held.get("summary"))
        if evidence.kind == "change"
        else (held.get("message"), (held.get("attributes") or {}).get("exception.message"))
    )
    return " ".join(str(part) for part in parts if part)
