"""What agents ask models for: the forms of their replies, and the prompts that go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inference.prompts import load_prompt

_PROMPTS = Path(__file__).parent / "prompts"

UNDERSTAND = load_prompt(_PROMPTS / "understand.md")
WORD = load_prompt(_PROMPTS / "word.md")
READ = load_prompt(_PROMPTS / "read.md")
TELL = load_prompt(_PROMPTS / "tell.md")
DOUBT = load_prompt(_PROMPTS / "doubt.md")
JUDGE = load_prompt(_PROMPTS / "judge.md")
JUDGE_TRACE = load_prompt(_PROMPTS / "judge_trace.md")
PAIR = load_prompt(_PROMPTS / "pair.md")

type Intent = Literal["why", "count", "changes", "logs", "templates", "calls", "runbook", "code", "other"]

type Meaning = Literal[
    "missing", "null_value", "wrong_type", "bad_input", "timeout", "refused", "name_not_found", "certificate",
    "credentials", "exhausted", "lock", "mismatch", "lowered", "raised", "address", "switched", "version",
]  # fmt: skip
"""What a record may mean that a model read."""
type Refers = Literal["nothing", "same_time", "before", "after", "before_change", "after_change"]
"""How a question refers to the time of its conversation."""


class _Form(BaseModel):
    # Grammars of model servers hold objects, enums, integers with bounds, and lengths; all else is checked here.
    model_config = ConfigDict(extra="forbid", frozen=True)


class Understanding(_Form):
    """What a question asks for."""

    intent: Intent
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")]
    minutes_ago: Annotated[int, Field(ge=-1, le=43_200)]
    services: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=5)]
    refers: Refers = "nothing"


class Remark(_Form):
    """What one record means, and its words that show it."""

    evidence: Annotated[str, Field(max_length=8)]
    quote: Annotated[str, Field(min_length=3, max_length=240)]
    meaning: Meaning


class Reading(_Form):
    """What records mean."""

    remarks: Annotated[list[Remark], Field(max_length=4)]


class Telling(_Form):
    """The headline of an answer in another language."""

    headline: Annotated[str, Field(min_length=1, max_length=600)]


class Sentence(_Form):
    """One fact and the records that hold it."""

    evidence: Annotated[list[Annotated[str, Field(max_length=8)]], Field(min_length=1, max_length=6)]
    text: Annotated[str, Field(min_length=1, max_length=400)]


class Wording(_Form):
    """An answer in words."""

    headline: Annotated[str, Field(min_length=1, max_length=300)]
    sentences: Annotated[list[Sentence], Field(max_length=8)]


class Doubt(_Form):
    """What a reviewer of numbers thinks of a verdict."""

    look_at: Literal["nothing", "logs", "metrics", "requests", "changes", "topology"]
    opinion: Literal["agree", "too_sure", "need_more"]
    why: Literal["none", "close_rival", "order", "inferred_hops", "few_requests", "missing_sources"]


class Criterion(_Form):
    """Whether a criterion holds, and the words that show it: the words first, so that the answer follows from them."""

    quote: Annotated[str, Field(min_length=8, max_length=300)]
    holds: bool


class Judging(_Form):
    """What a model judge says of an answer: each criterion once."""

    answers_question: Criterion
    cause_shown: Criterion
    nothing_beyond: Criterion
    no_contradiction: Criterion
    sure_enough: Criterion


class JudgingTrace(_Form):
    """What a model judge says of the output of another program: each criterion once."""

    answers_question: Criterion
    grounded: Criterion
    no_contradiction: Criterion


class Preferring(_Form):
    """Which of two answers is better."""

    quote_first: Annotated[str, Field(min_length=8, max_length=300)]
    quote_second: Annotated[str, Field(min_length=8, max_length=300)]
    better: Literal["first", "second", "same"]
