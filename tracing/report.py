"""A run as a Markdown document, for people who have no access here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracing.scorecard import breakdown
from tracing.view import Decision, Query, TraceView

_MARKUP = re.compile(r"[\\`*_\[\]<>|#~]")
_SOURCES = {True: "reporting", False: "silent", None: ""}


def report(view: TraceView) -> str:
    """Return what came of a run, what stands behind it, its decisions, look-ups and cited records."""
    lines = [f"# {_plain(view.question or view.name or view.id)}", "", *_indented(breakdown(view))]
    if view.answer:
        lines += ["", "## Answer", "", *_indented(view.answer)]
    if view.decisions:
        lines += ["", "## Decisions", "", *(line for decision in view.decisions for line in _tell_decision(decision))]
    if view.ledger:
        lines += ["", "## Look-ups", "", "| query | filter | scanned | returned | source |", "|---|---|---|---|---|"]
        lines += [_tell_query(entry) for entry in view.ledger]
    if view.cited:
        lines += ["", "## Cited records", "", ", ".join(_plain(evidence_id) for evidence_id in view.cited)]
    return "\n".join(lines) + "\n"


def _indented(text: str) -> Iterator[str]:
    """Yield a text as a block in which nothing is markup, whatever it holds."""
    yield from (f"    {line}" for line in text.splitlines())


def _tell_decision(decision: Decision) -> Iterator[str]:
    sure = "" if decision.confidence is None else f" ({decision.confidence:.2f})"
    yield f"- **{_plain(decision.what)}**{sure}: {_plain(decision.why)}"
    if decision.alternatives:
        yield f"  Also considered: {_plain('; '.join(decision.alternatives))}"


def _tell_query(entry: Query) -> str:
    source = f"failed: {entry.error}" if entry.error else _SOURCES[entry.reporting]
    cells = (entry.query, entry.filter, str(entry.rows_scanned), str(entry.rows_returned), source)
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Return text as one line in which no sign of Markdown or HTML counts: much of it was written by strangers."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
