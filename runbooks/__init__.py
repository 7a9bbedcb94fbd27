"""Runbooks: contracts in Markdown, read from folders and matched to a verdict."""

from runbooks.library import BUILT_IN, Library, load_library
from runbooks.match import match_runbooks
from runbooks.model import Runbook, Step, fill_command, parse_runbook

__all__ = [
    "BUILT_IN",
    "Library",
    "Runbook",
    "Step",
    "fill_command",
    "load_library",
    "match_runbooks",
    "parse_runbook",
]
