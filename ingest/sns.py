"""Messages of Amazon SNS: is a message what SNS signed, and is it of a topic that we asked for?

The host of the signing certificate and of the confirmation are never taken from the message: both are put together from
the region of a topic that the settings allow, and what the message says must be equal to that. So no message can make
the server ask another host.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from domain.errors import AccessError, PayloadError, SettingsError, StorageUnavailable

# Gets the content of an address over https, without following redirects; raises OSError where that fails.
type Fetch = Callable[[str], Awaitable[bytes]]

_TOPIC = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+){1,3}-\d):(\d{12}):([A-Za-z0-9_-]{1,256}(?:\.fifo)?)"
)
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9a-zA-Z]{8,64}\.pem")
_REMEMBERED_SECONDS = 24 * 3600.0
_FAILED_SECONDS = 60.0
_REMEMBERED = 64
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """A message whose signature was checked."""

    kind: str
    id: str
    topic: str
    text: str
    token: str = ""


def read_topics(text: str) -> frozenset[str]:
    """Return the topics of the setting; raises SettingsError for what is no topic's ARN."""
    topics = frozenset(filter(None, (part.strip() for part in text.split(","))))
    for topic in topics:
        if not _TOPIC.fullmatch(topic):
            raise SettingsError(
                f"CAUSEGRAPH_SNS_TOPICS: {topic[:200]!r} is no topic: write arn:aws:sns:REGION:ACCOUNT:NAME."
            )
    return topics


def host_of(topic: str) -> str:
    """Return the host of SNS in a topic's region."""
    found = _TOPIC.fullmatch(topic)
    if found is None:
        raise AccessError(f"{topic[:200]!r} is no SNS topic.")
    return f"sns.{found[2]}.amazonaws.com{'.cn' if found[1] == 'aws-cn' else ''}"


@dataclass(slots=True)
class SnsGate:
    """Checks messages, and confirms subscriptions to the topics that are allowed."""

    topics: frozenset[str]
    fetch: Fetch
    _known: dict[str, tuple[float, rsa.RSAPublicKey | None]] = field(default_factory=dict)
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def check(self, body: bytes) -> SnsMessage:
        """Return the message of a request's body.

        Raises PayloadError for what is no message of SNS, AccessError for one that SNS has not signed or whose topic is
        not allowed, and StorageUnavailable where the certificate cannot be had for now.
        """
        said = _read(body)
        topic = said["TopicArn"]
        if topic not in self.topics:
            raise AccessError(f"The topic {topic[:200]!r} is not in CAUSEGRAPH_SNS_TOPICS.")
        key = await self._key(said["SigningCertURL"], host_of(topic))
        await asyncio.to_thread(_verify, said, key)
        return SnsMessage(said["Type"], said["MessageId"], topic, said["Message"], said.get("Token", ""))

    async def confirm(self, message: SnsMessage) -> None:
        """Confirm the subscription that a message asks about."""
        query = urlencode({"Action": "ConfirmSubscription", "TopicArn": message.topic, "Token": message.token})
        try:
            await self.fetch(f"https://{host_of(message.topic)}/?{query}")
        except OSError as exc:
            raise StorageUnavailable(f"The subscription cannot be confirmed: {exc}") from exc

    async def _key(self, url: str, host: str) -> rsa.RSAPublicKey:
        prefix = f"https://{host}"
        if not url.startswith(prefix) or not _CERTIFICATE_PATH.fullmatch(url.removeprefix(prefix)):
            raise AccessError("The signing certificate is not one of SNS in the topic's region.")
        until, key = self._known.get(url, (0.0, None))
        if until <= time.monotonic():
            # Others wait, but not those whose certificate is known: made-up addresses cannot hold them up.
            async with self._fetching:
                until, key = self._known.get(url, (0.0, None))
                if until <= time.monotonic():
                    key = await self._fetch_key(url)
        if key is None:
            raise AccessError("The signing certificate cannot be used.")
        return key

    async def _fetch_key(self, url: str) -> rsa.RSAPublicKey | None:
        try:
            key = _read_certificate(await self.fetch(url))
        except OSError as exc:
            raise StorageUnavailable(f"The signing certificate cannot be fetched: {exc}") from exc
        while len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[url] = (time.monotonic() + (_REMEMBERED_SECONDS if key else _FAILED_SECONDS), key)
        return key


def _read(body: bytes) -> dict[str, str]:
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PayloadError(f"The body is no message of SNS: {exc}") from exc
    if not isinstance(said, dict) or said.get("Type") not in _SIGNED:
        raise PayloadError("The body is no message of SNS (raw delivery has no signature: switch it off).")
    needed = {*_SIGNED[said["Type"]], "Signature", "SigningCertURL"} - {"Subject"}
    missing = [name for name in sorted(needed) if not isinstance(said.get(name), str)]
    if missing:
        raise PayloadError(f"The message of SNS lacks {', '.join(missing)}.")
    return {name: value for name, value in said.items() if isinstance(value, str)}


def _verify(said: dict[str, str], key: rsa.RSAPublicKey) -> None:
    """Raise AccessError unless the key has signed the message."""
    match said.get("SignatureVersion"):
        case "1":
            digest: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303 - what SNS signs with unless a topic says otherwise
        case "2":
            digest = hashes.SHA256()
        case _:
            raise AccessError("The signature's version is not known.")
    signed = "".join(f"{name}\n{said[name]}\n" for name in _SIGNED[said["Type"]] if name in said)
    try:
        signature = base64.b64decode(said["Signature"], validate=True)
        key.verify(signature, signed.encode("utf-8", "surrogatepass"), padding.PKCS1v15(), digest)
    except (InvalidSignature, binascii.Error, ValueError) as exc:
        raise AccessError("The signature is wrong.") from exc


def _read_certificate(pem: bytes) -> rsa.RSAPublicKey | None:
    """Return the key of a certificate that is valid now; None for what is none."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except ValueError:
        return None
    now = datetime.now(UTC)
    valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    return key if valid and isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048 else None
