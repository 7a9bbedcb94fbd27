"""JSON as programs write it that is none by the letter: one bad byte must not cost the records around it.

A byte order mark, bytes that are no UTF-8, halves of surrogate pairs (Python writes them), NaN and Infinity.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from domain.errors import PayloadError

_MARK = b"\xef\xbb\xbf"
_HEX = "[0-9a-fA-F]{2}"
# Every escape is one match, so that the backslash of another escape is never taken for the begin of one.
_ESCAPE = re.compile(rf"\\(?:u[dD][89abAB]{_HEX}\\u[dD][c-fC-F]{_HEX}|(?P<half>u[dD][89a-fA-F]{_HEX})|.)", re.DOTALL)


def read_json(body: bytes) -> Any:
    """Return the value of a JSON text. What cannot be a character becomes U+FFFD, and NaN the text `NaN`.

    Raises PayloadError that says where it stops being JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if not body.strip():
            raise PayloadError("It is empty.") from exc
        try:
            return json.loads(_mend(body), parse_constant=str)
        except (ValueError, RecursionError):
            raise PayloadError(str(exc)) from exc


def _mend(body: bytes) -> str:
    text = body.removeprefix(_MARK).decode("utf-8", "replace")
    return _ESCAPE.sub(lambda found: "\\ufffd" if found["half"] else found[0], text)
