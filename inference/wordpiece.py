"""WordPiece as uncased BERT models were trained with: text to token numbers, in plain Python with a word cache.

Words are lower-cased, stripped of accents and split at white space, punctuation and CJK characters; each is then cut into the
longest pieces of the vocabulary, from the left (Schuster and Nakajima 2012; Devlin et al. 2019). A spelling of a control
token inside a text is text like any other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

_LONGEST_WORD = 100
_CACHED_WORDS = 100_000
_ASCII_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """A vocabulary, one piece per line, whose line numbers are the token numbers."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._pieces = {piece: number for number, piece in enumerate(vocabulary)}
        self._begin, self._end = self._pieces["[CLS]"], self._pieces["[SEP]"]
        self._unknown = self._pieces["[UNK]"]
        self._words: dict[str, tuple[int, ...]] = {}

    @classmethod
    def load(cls, path: Path) -> WordPiece:
        """Read a `vocab.txt`."""
        return cls(path.read_text(encoding="utf-8").rstrip("\n").split("\n"))

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """Return the token numbers of a text with [CLS] and [SEP], cut to `max_tokens`."""
        tokens = [self._begin]
        # No token covers more than a word, so what is far behind the cut need not be read.
        for word in _split(text[: max_tokens * (_LONGEST_WORD + 1)]):
            tokens.extend(self._words.get(word) or self._cut(word))
            if len(tokens) >= max_tokens:
                break
        del tokens[max_tokens - 1 :]
        tokens.append(self._end)
        return tokens

    def _cut(self, word: str) -> tuple[int, ...]:
        found = self._longest_pieces(word)
        if len(self._words) >= _CACHED_WORDS:
            self._words.clear()
        self._words[word] = found
        return found

    def _longest_pieces(self, word: str) -> tuple[int, ...]:
        if len(word) > _LONGEST_WORD:
            return (self._unknown,)
        pieces: list[int] = []
        at = 0
        while at < len(word):
            prefix = "##" if at else ""
            for end in range(len(word), at, -1):
                number = self._pieces.get(prefix + word[at:end])
                if number is not None:
                    pieces.append(number)
                    at = end
                    break
            else:
                return (self._unknown,)
        return tuple(pieces)


def _split(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_WORDS.findall(_ASCII_CONTROL.sub("", text).lower())
    # Accents go after the case, as the models were trained: some lower-case letters come with one.
    plain = unicodedata.normalize("NFD", "".join(_keep(char) for char in text).lower())
    spaced = "".join(_space(char) for char in plain if unicodedata.category(char) != "Mn")
    return spaced.split()


def _keep(char: str) -> str:
    if char in "\t\n\r":
        return " "
    category = unicodedata.category(char)
    if char == "\ufffd" or category in ("Cc", "Cf", "Cn", "Co", "Cs"):
        return ""
    if category == "Zs":
        return " "
    return f" {char} " if any(low <= ord(char) <= high for low, high in _CJK) else char


def _space(char: str) -> str:
    punctuation = (33 <= ord(char) <= 126 and not char.isalnum()) or unicodedata.category(char).startswith("P")
    return f" {char} " if punctuation else char
