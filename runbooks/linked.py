"""Runbooks that alerts name by a URL: known ones by their name, others fetched from hosts that the operator allows.

What is fetched was written by strangers: it is shown, and nothing of it is ever run.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from domain.errors import ActionError, PayloadError
from runbooks.library import Library
from runbooks.model import LARGEST_FILE, Runbook, parse_runbook
from runbooks.safe_http import Sent, send

_SECONDS = 5.0


def find_named(library: Library, url: str) -> Runbook | None:
    """Return the runbook of the library whose id is the last part of a URL, as in `https://wiki/runbooks/disk-full.md`."""
    name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2].lower()
    for ending in (".md", ".html"):
        name = name.removesuffix(ending)
    return library.runbooks.get(name)


def is_allowed(url: str, hosts: Iterable[str]) -> bool:
    """Say whether a runbook may be fetched from a URL: over https, from one of the hosts, with nothing else in front."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = parts.username is None and parts.password is None and port in (None, 443)
    return parts.scheme == "https" and plain and (parts.hostname or "") in set(hosts)


async def fetch_runbook(url: str, hosts: Iterable[str]) -> Runbook:
    """Return the runbook behind a URL; raises PayloadError if it may not be fetched or is none.

    The address is resolved once; private networks, this machine, metadata services and redirects are refused.
    """
    if not is_allowed(url, hosts):
        raise PayloadError(f"{url[:200]} is not on a host of CAUSEGRAPH_RUNBOOK_HOSTS.")
    try:
        reply = await send(Sent("GET", url, seconds=_SECONDS))
    except ActionError as exc:
        raise PayloadError(f"{url[:200]} cannot be fetched: {exc}") from exc
    if reply.status != 200:
        raise PayloadError(f"{url[:200]} was answered with status {reply.status}.")
    try:
        text = reply.body[: LARGEST_FILE + 1].decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PayloadError(f"{url[:200]} is not text in UTF-8.") from exc
    return parse_runbook(text, url[:200])
