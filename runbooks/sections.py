"""A runbook in parts that are searched each for itself: what it is for, each step, each part of its text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from runbooks.model import Runbook, Step

_HEADING = re.compile(r"^#{1,4}\s+(.+?)\s*$", re.MULTILINE)
_CHARACTERS = 600  # what comes later is rarely what a section is about, and costs as much


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a runbook. `heading` is a step's name or a heading of the text; "" for what the runbook is for."""

    runbook: Runbook
    heading: str
    text: str

    @property
    def searched(self) -> str:
        """What is embedded and searched: a section says little without the title of its runbook."""
        return f"{self.runbook.title}. {self.heading}. {self.text}"[:_CHARACTERS]


def split_runbook(runbook: Runbook) -> list[Section]:
    """Return the parts of a runbook, in its order."""
    about = " ".join((*runbook.symptoms, ", ".join(runbook.words)))
    sections = [Section(runbook, "", about)]
    sections += [Section(runbook, step.name, _step_text(step)) for step in runbook.steps]
    parts = _HEADING.split(runbook.text)
    if parts[0].strip():
        sections.append(Section(runbook, "", " ".join(parts[0].split())))
    sections += [
        Section(runbook, heading, " ".join(text.split()))
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
        if text.strip()
    ]
    return sections


def split_runbooks(runbooks: Iterable[Runbook]) -> list[Section]:
    """Return the parts of some runbooks."""
    return [section for runbook in runbooks for section in split_runbook(runbook)]


def _step_text(step: Step) -> str:
    expected = "; ".join(one.what for one in step.expected_evidence)
    return " ".join((step.precondition, f"Expected: {expected}.", f"Then: {step.verify.what}."))
