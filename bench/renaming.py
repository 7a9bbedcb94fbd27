"""Other names for every service of a recording, to show that an answer does not lean on what things are called."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bench.replay import Recording, Row

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_NAMES = ("service", "pod", "name", "body")


@dataclass(frozen=True)
class Renaming:
    """Which word stands for which service. An empty one leaves everything as it is."""

    words: Mapping[str, str]

    @cached_property
    def _names(self) -> re.Pattern[str]:
        longest_first = sorted(self.words, key=lambda name: (-len(name), name))
        return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, longest_first))})(?![A-Za-z0-9])")

    def text(self, text: str) -> str:
        """Replace every name that stands in a text as a word, also within a pod's or a host's name."""
        return self._names.sub(lambda found: self.words[found.group(0)], text) if self.words else text

    def recording(self, recording: Recording) -> Recording:
        """Replace every name in a recording: services, pods, operations, log texts and calls."""
        if not self.words:
            return recording
        return Recording(
            logs=tuple(map(self._row, recording.logs)),
            spans=tuple(map(self._row, recording.spans)),
            metrics=tuple(map(self._row, recording.metrics)),
            calls=tuple((self.text(caller), self.text(callee)) for caller, callee in recording.calls),
            skipped=recording.skipped,
        )

    def _row(self, row: Row) -> Row:
        return row | {field: self.text(row[field]) for field in _NAMES if row.get(field)}

    def original(self, word: str) -> str:
        """Return the service that a word stands for; a word that stands for none is returned as it is."""
        return next((name for name, other in self.words.items() if other == word), word)


def services_of(recording: Recording) -> set[str]:
    """Return every service that a recording names."""
    rows = itertools.chain(recording.logs, recording.spans, recording.metrics)
    return {row["service"] for row in rows} | {service for call in recording.calls for service in call}


def draw_names(recording: Recording, seed: int) -> Renaming:
    """Draw a word for every service of a recording, no two alike; the same seed draws the same words."""
    rng = random.Random(seed)
    names = sorted(services_of(recording))
    words: set[str] = set()
    drawn = {}
    for name in names:
        word = _word(rng)
        while word in words or word in names:
            word = _word(rng)
        words.add(word)
        drawn[name] = word
    return Renaming(drawn)


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(4))
