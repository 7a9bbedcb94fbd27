"""The log line that a question means without quoting it: "where is that logged?" after lines were shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from agents.question import Question
from domain.errors import NotFound
from storage.conversations import Turn
from storage.evidence import EvidenceStore

_MEANT = re.compile(
    r"\W*(?:and |so |but )?(?:where(?: in (?:the|our) code)? (?:is|was|does|do we|did)|(?:which|what) (?:line(?: of code)?|code|statement|function|file)"
    r"(?: is| was)?)\s+(?:(?:it|that|this|they|he)(?: (?:line|error|message|log line|exception|one))?\s+)?(?:comes? from|come from|being )?\s*"
    r"(?:logged|logging|logs?|written|writes?|printed|prints?|raised|raises?|thrown|throws?)?\s*(?:it|that|this|them)?(?: (?:line|error|message|log line|exception|one))?"
    r"(?: in (?:the|our) code)?\W*",
    re.IGNORECASE,
)
_VERB = re.compile(r"\b(?:logg|log|writ|print|rais|throw)", re.IGNORECASE)
_LEVEL = re.compile(r"^[A-Z]+ \S+: ")


def means_a_line(text: str) -> bool:
    """Say whether a question asks which code wrote a line that it does not quote."""
    return _VERB.search(text) is not None and _MEANT.fullmatch(text) is not None


async def with_line(question: Question, turns: Sequence[Turn], evidence: EvidenceStore) -> Question | None:
    """Return the question with the line of the conversation that it means; None where none was shown."""
    for turn in reversed(turns):
        ids = [i for claim in turn.answer.get("claims", ()) for i in claim["evidence"]]
        for evidence_id in [i for i in ids if i.startswith("log-")]:
            try:
                held = await evidence.load(question.environment, evidence_id)
            except NotFound:
                continue
            message = " ".join(_LEVEL.sub("", held.text).split())
            return replace(question, text=f'where is "{message}" logged?')
    return None
