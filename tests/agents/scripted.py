"""Models that are scripted: they read their prompts as a real one would, and reply by a plan of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from agents.models import Judging, JudgingTrace

_LINE = re.compile(r"^data-[0-9a-f]{8} (E\d+)\| (.*)$", re.MULTILINE)


def task_of(body: dict[str, Any]) -> str:
    """Say which of our prompts a request holds."""
    system = body["messages"][0]["content"]
    known = {"understand": "You read a question", "word": "You word the result", "doubt": "You review how a program"}
    known |= {"tell": "You put one or two sentences", "read": "You read records of a running"}
    known |= {"judge": "You check ", "pair": "You compare two answers"}
    return next(name for name, start in known.items() if system.startswith(start))


def records_of(body: dict[str, Any]) -> dict[str, str]:
    """Return the marked records of a request by their short ids."""
    return dict(_LINE.findall(body["messages"][1]["content"]))


def verdict_of(body: dict[str, Any]) -> str:
    """Return the line of a request that states the verdict."""
    lines: list[str] = body["messages"][1]["content"].splitlines()
    return next(line for line in lines if line.startswith("Verdict: "))


def agreeing(body: dict[str, Any], **denied: str) -> dict[str, Any]:
    """Reply to the prompt that judges: every criterion holds but those that are named, each with a quotation that is there."""
    lines = [text.partition(": ")[2][:60] for text in records_of(body).values()]
    form = JudgingTrace if "what a program with" in body["messages"][0]["content"] else Judging
    said = {name: {"quote": lines[0], "holds": True} for name in form.model_fields}
    return said | {name: {"quote": quote, "holds": False} for name, quote in denied.items()}


def honest(body: dict[str, Any]) -> Any:
    """Reply as a good model would: every sentence is what its record says."""
    match task_of(body):
        case "understand":
            return {"intent": "why", "language": "de", "minutes_ago": -1, "services": []}
        case "read":
            errors = [short for short, text in records_of(body).items() if "KeyError" in text]
            return {"remarks": [{"evidence": short, "quote": "KeyError", "meaning": "missing"} for short in errors[:4]]}
        case "tell":
            return {"headline": body["messages"][1]["content"].partition("Sentences: ")[2]}
        case "doubt":
            return {"opinion": "agree", "why": "none", "look_at": "nothing"}
        case "judge":
            return agreeing(body)
    cause = re.search(r"Verdict: \w+\. (\S+) is the", verdict_of(body))
    sentences = [
        {"text": text.split(" | ")[0][:300], "evidence": [short]} for short, text in list(records_of(body).items())[:8]
    ]
    return {"headline": f"{cause.group(1) if cause else '?'} failed first", "sentences": sentences}


def wording(*sentences: tuple[str, list[str]], headline: str = "payment failed first") -> dict[str, Any]:
    """Return a reply to the prompt that asks for words."""
    return {"headline": headline, "sentences": [{"text": text, "evidence": ids} for text, ids in sentences]}


def replying(**replies: Any) -> Callable[[dict[str, Any]], Any]:
    """Return a model that replies to each task as given, and honestly where nothing is."""

    def reply(body: dict[str, Any]) -> Any:
        held = replies.get(task_of(body))
        return honest(body) if held is None else held(body) if callable(held) else held

    return reply
