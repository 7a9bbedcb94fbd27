"""Who may do what: API keys on requests, sessions on pages.

A session is a signed cookie that names a key, so that revoking the key ends it. It is not the key: a cookie goes to
every port of its host. A login link is a signed token of the same kind that works once, for a few minutes.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs

from blake3 import blake3
from fastapi import Request
from fastapi.responses import Response

from domain.errors import AccessError, PayloadTooLarge
from storage.keys import Key, KeyStore, Role

COOKIE = "causegraph_session"
SESSION_SECONDS = 7 * 24 * 3600
LINK_SECONDS = 15 * 60
_FORM_BYTES = 64 * 1024
_SECRET_BYTES = 32
# The second and third are what Datadog's agents and Amazon's Firehose send.
_KEY_HEADERS = ("x-api-key", "dd-api-key", "x-amz-firehose-access-key")
_KEYS_REMEMBERED_SECONDS = 5.0


class LoginNeeded(Exception):
    """A page was asked for without a session."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who logged in: with which key, and the token that their forms must carry."""

    key: Key
    csrf: str


class Gate:
    """Checks keys, sessions and forms for one application."""

    def __init__(self, keys: KeyStore, data_dir: Path) -> None:
        self._keys = keys
        self._secret = _read_or_make_secret(data_dir / "run" / "session-secret")
        self._used: dict[str, float] = {}
        self._by_id: tuple[float, dict[str, Key]] = (0.0, {})

    # API keys

    def require(self, role: Role | str) -> Callable[[Request], Awaitable[Key]]:
        """Return a FastAPI dependency that refuses callers whose key lacks a role."""

        async def check(request: Request) -> Key:
            return await self.check_key(request, role)

        return check

    async def check_key(self, request: Request, role: Role | str) -> Key:
        """Return the caller's key; raises AccessError."""
        secret = _secret_of(request)
        if not secret:
            raise AccessError
        key = await self._keys.check(secret)
        if key is None:
            raise AccessError("This API key is unknown or was revoked: see `causegraph keys list`.")
        request.state.key = key
        _demand(key, role)
        return key

    async def check_alert_key(self, request: Request, token: str) -> Key:
        """Return the key of a sender of alerts: from a header, basic authentication, or the address; raises AccessError.

        Addresses end in logs and settings of others, so a key that may do more than send alerts is refused there.
        """
        if not token:
            return await self.check_key(request, "alert")
        key = await self._keys.check(token)
        if key is None or key.role != "alert":
            raise AccessError("An address may hold a key of the role `alert` alone: see `causegraph keys create`.")
        request.state.key = key
        return key

    # Sessions

    def open_session(self, request: Request, response: Response, key_id: str) -> None:
        """Give the browser a session."""
        token = self._sign("session", key_id, SESSION_SECONDS)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, SESSION_SECONDS, httponly=True, samesite="strict", secure=secure)

    async def session(self, request: Request) -> Session | None:
        """Return the session of a request; None if there is none, or it ended, or its key was revoked."""
        token = request.cookies.get(COOKIE, "")
        key_id = self._verify("session", token)
        key = await self._key(key_id) if key_id else None
        if key is None or key.revoked_us is not None:
            return None
        request.state.key = key
        return Session(key, self._mac("csrf", token))

    async def page(self, request: Request) -> Session:
        """Return the session that a page needs (a FastAPI dependency); raises LoginNeeded or AccessError."""
        session = await self.session(request)
        if session is None:
            raise LoginNeeded
        _demand(session.key, "read")
        return session

    async def form(self, request: Request, session: Session | None) -> dict[str, str]:
        """Return the fields of a form, after checking that it came from a page of this session (if there is one)."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise AccessError("This form was sent by another site.")
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _FORM_BYTES:
                raise PayloadTooLarge("The form is too large.")
        read = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=32)
        # Browsers end the lines of a text field with both signs.
        fields = {name: values[-1].replace("\r\n", "\n") for name, values in read.items()}
        if session is not None and not compare_digest(fields.get("csrf", "").encode(), session.csrf.encode()):
            raise AccessError("This form is out of date: go back, reload the page, and send it again.")
        return fields

    async def login(self, secret: str) -> Key | None:
        """Return the key that somebody typed, if it may read."""
        key = await self._keys.check(secret.strip())
        return key if key is not None and key.may("read") else None

    # Login links

    def make_link_token(self, key: Key) -> str:
        """Return a token that opens one session of a key within a quarter of an hour."""
        return self._sign("link", key.id, LINK_SECONDS)

    async def redeem_link_token(self, token: str) -> Key | None:
        """Return the key of a token that was never redeemed here before."""
        key_id = self._verify("link", token)
        now = time.time()
        self._used = {used: until for used, until in self._used.items() if until > now}
        if not key_id or token in self._used:
            return None
        self._used[token] = now + LINK_SECONDS
        return await self._key(key_id)

    # Signing

    def _sign(self, purpose: str, key_id: str, seconds: int) -> str:
        body = f"{key_id}.{int(time.time()) + seconds}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._mac(purpose, body)}"

    def _verify(self, purpose: str, token: str) -> str:
        body, _, mac = token.rpartition(".")
        if not compare_digest(mac.encode("utf-8", "replace"), self._mac(purpose, body).encode()):
            return ""
        key_id, until, _ = body.split(".", 2)
        return key_id if int(until) > time.time() else ""

    def _mac(self, purpose: str, text: str) -> str:
        return blake3(f"{purpose}\n{text}".encode("utf-8", "replace"), key=self._secret).hexdigest(length=20)

    async def _key(self, key_id: str) -> Key | None:
        until, known = self._by_id
        if time.monotonic() >= until or key_id not in known:
            known = {key.id: key for key in await self._keys.list()}
            self._by_id = (time.monotonic() + _KEYS_REMEMBERED_SECONDS, known)
        return known.get(key_id)


def _demand(key: Key, role: Role | str) -> None:
    if not key.may(cast(Role, role)):
        raise AccessError(f"This key has the role {key.role!r}; this needs {role!r}: see `causegraph keys create`.")


def _secret_of(request: Request) -> str:
    for name in _KEY_HEADERS:
        if header := request.headers.get(name, ""):
            return header.strip()
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            return _password(value)
    return ""


def _password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def _read_or_make_secret(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(_SECRET_BYTES))
    try:
        # The name appears with its content or not at all; whoever comes second takes the first one's.
        path.hardlink_to(temporary)
    except FileExistsError:
        if path.stat().st_size != _SECRET_BYTES:  # a crash of the machine left it empty: anyone could sign with that
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path.read_bytes()
