"""What a client span calls where no span of a service answers: a database, a queue, a host outside. Pure.

Names follow OpenTelemetry's semantic conventions for spans of databases, messaging and HTTP, the stable ones and those
that came before them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ingest.fields import clean_name

# Addresses that were given to one machine or one pod: ip-10-0-3-7.ec2.internal, 10-0-3-7.shop.pod.cluster.local
_MADE_FROM_AN_IP = re.compile(r"(ip-)?\d{1,3}(-\d{1,3}){3}([.-]|$)")

_decode = msgspec.json.Decoder().decode


def name_peer(peer: str, attributes: str) -> str:
    """Return the name of what a CLIENT or PRODUCER span calls, empty where it cannot be told.

    `peer` is the span's (host:port or a name); `attributes` its attributes as JSON, or empty. A database is
    `postgresql/orders`, a queue or topic `kafka/orders`; then comes the `peer.service`, else the host without its port. An
    address that is bare, of this machine or made for one pod names nothing that would be there tomorrow.
    """
    given: Mapping[str, Any] = _decode(attributes) if attributes else {}

    def said(*keys: str) -> str:
        return next((clean_name(str(given[key])) for key in keys if given.get(key) not in (None, "")), "")

    if database := said("db.system.name", "db.system"):
        return clean_name("/".join(filter(None, (database, said("db.namespace", "db.name")))))
    if destination := said("messaging.destination.template", "messaging.destination.name", "messaging.destination"):
        if given.get("messaging.destination.temporary") is True or given.get("messaging.destination.anonymous") is True:
            return said("messaging.system")
        return clean_name(f"{said('messaging.system') or 'queue'}/{destination}")
    return said("peer.service") or _name_host(peer)


def _name_host(peer: str) -> str:
    host = peer.partition("]")[0].removeprefix("[") if peer.startswith("[") else peer
    if host.count(":") == 1:
        host = host.partition(":")[0]
    host = host.rstrip(".").lower()
    if not host or "/" in host or host == "localhost" or host.endswith((".localhost", ".localdomain")):
        return ""
    if _MADE_FROM_AN_IP.match(host):
        return ""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return clean_name(host)
    return ""
