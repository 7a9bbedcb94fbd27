"""Signatures of webhooks, checked on the bytes as they came and in constant time. Pure.

Several secrets may be given, separated by blanks, so that one can be replaced by another without a gap.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from domain.errors import AccessError

REPLAY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a sender signs: hexadecimal HMAC-SHA256 in `header`, after `prefix`.

    `timestamp_header` names the header with the time in epoch seconds, if the sender signs that as well; what is signed is
    then the time, `joint`, and the body. `several` says that the header may hold several signatures, with commas between.
    """

    header: str
    prefix: str = ""
    timestamp_header: str = ""
    joint: str = ":"
    several: bool = False

    def check(self, secrets: str, body: bytes, signature: str, timestamp: str, now: float) -> None:
        """Raise AccessError unless one of the secrets has signed the body, and, where the time is signed, lately."""
        signed = body
        if self.timestamp_header:
            _check_time(timestamp, self.timestamp_header, now)
            signed = f"{timestamp}{self.joint}".encode() + body
        given = signature.split(",") if self.several else [signature]
        found = [self._matches(secret, signed, one.strip()) for secret in secrets.split() for one in given]
        if not any(found):  # all of them were compared: how long that takes tells nothing
            raise AccessError(f"{self.header} does not fit the body: is the secret in the settings the sender's?")

    def sign(self, secret: str, body: bytes, timestamp: str = "") -> str:
        """Return the header's value for a body."""
        signed = f"{timestamp}{self.joint}".encode() + body if self.timestamp_header else body
        return self.prefix + hmac.new(secret.encode(), signed, "sha256").hexdigest()

    def _matches(self, secret: str, signed: bytes, given: str) -> bool:
        expected = self.prefix + hmac.new(secret.encode(), signed, "sha256").hexdigest()
        return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


PAGERDUTY = Scheme("X-PagerDuty-Signature", "v1=", several=True)
SENTRY = Scheme("Sentry-Hook-Signature")
GRAFANA = "X-Grafana-Alerting-Signature"


def _check_time(timestamp: str, header: str, now: float) -> None:
    text = timestamp.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise AccessError(f"{header} holds no time in seconds.")
    if abs(now - int(text)) > REPLAY_SECONDS:
        raise AccessError(f"{header} lies more than {REPLAY_SECONDS:.0f} s away from now: is a clock wrong?")
