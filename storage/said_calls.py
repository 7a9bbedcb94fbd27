"""Calls that log lines tell of: whom a service says that it connects to, as observations of the topology.

Only lines of templates that may name an address are read, and of these at most so many different ones a turn: a storm of
hostile lines costs a bounded effort. A name that exists here is taken as it is; one that does not only where it stands as
an address, and only so many of them per service.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Protocol

from domain.telemetry import Level
from storage.database import Transaction

MOST_LINES = 5_000
MOST_UNKNOWN = 20

_IDS = 1000
_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class SaidAddress:
    """A host as a line names it, lower case, and the names by which it may be known here, likeliest first.

    `sure` where the line leaves no doubt that it is an address, so that a host is taken that nothing here is known by.
    A host without names is the bare address of a machine or a pod.
    """

    host: str
    names: tuple[str, ...]
    sure: bool


@dataclass(frozen=True, slots=True)
class SaidCall:
    """Lines of a service that say that it calls another: how many, how many of level ERROR or above, from when to when."""

    environment: str
    caller: str
    callee: str
    first_us: int
    last_us: int
    count: int
    errors: int


class LineReader(Protocol):
    """What can be read from log lines and their templates."""

    def may_say_address(self, template: str) -> bool:
        """Say whether lines of a template may name a host that their service calls."""
        ...

    def read_said_addresses(self, message: str) -> Sequence[SaidAddress]:
        """Return the hosts that a line says its service calls."""
        ...


class SaidCalls:
    """Finds the calls that new log lines tell of. Remembers which templates may tell of any."""

    def __init__(self, reader: LineReader) -> None:
        self._reader = reader
        self._speaking: dict[int, bool] = {}

    def find(
        self, tx: Transaction, after: int, upto: int, templates: Collection[int], window_us: int
    ) -> list[SaidCall]:
        """Return the calls that the lines of some ingest batches tell of; `templates` are those of these lines."""
        speaking = self._speaking_among(tx, templates)
        if not speaking:
            return []
        rows = tx.fetch(
            "topology_said_lines", (int(Level.ERROR), after, upto, json.dumps(speaking), window_us, MOST_LINES)
        )
        read = [
            (str(row[0]), str(row[1]).rstrip(" "), self._reader.read_said_addresses(row[2]), row[3:]) for row in rows
        ]
        by_environment: defaultdict[str, set[SaidAddress]] = defaultdict(set)
        for environment, _, said, _ in read:
            by_environment[environment].update(said)
        targets = {name: _Targets(tx, name, said) for name, said in by_environment.items()}
        return [
            SaidCall(environment, caller, callee, *map(int, numbers))
            for environment, caller, said, numbers in read
            for callee in dict.fromkeys(targets[environment].of(caller, address) for address in said)
            if callee and callee != caller
        ]

    def _speaking_among(self, tx: Transaction, templates: Collection[int]) -> list[int]:
        new = sorted(set(templates) - self._speaking.keys())
        if len(self._speaking) + len(new) > _REMEMBERED:
            self._speaking.clear()
            new = sorted(set(templates))
        for part in batched(new, _IDS):
            for key, text in tx.fetch("topology_template_texts", (json.dumps(part),)):
                self._speaking[int(key)] = self._reader.may_say_address(text)
        return sorted(key for key in set(templates) if self._speaking.get(key))


class _Targets:
    """What the hosts of one environment's lines are the addresses of."""

    def __init__(self, tx: Transaction, environment: str, said: Iterable[SaidAddress]) -> None:
        self._tx = tx
        self._environment = environment
        addresses = list(said)
        names = sorted({name for address in addresses for name in address.names})
        self._known = {
            str(row[0]).rstrip(" ")
            for part in batched(names, _IDS)
            for row in tx.fetch(
                "topology_known_names", (json.dumps(part, ensure_ascii=False), environment, environment)
            )
        }
        self._on_node = _lone_services(tx, environment, sorted({a.host for a in addresses if not a.names}))
        self._unknown: dict[str, set[str]] = {}

    def of(self, caller: str, address: SaidAddress) -> str:
        """Return the service at an address, "" where it cannot be told or is one too many."""
        if not address.names:
            return self._on_node.get(address.host, "")
        for name in address.names:
            if name in self._known:
                return name
        if not address.sure:
            return ""
        told = self._told_by(caller)
        name = address.names[0]
        if name not in told and len(told) >= MOST_UNKNOWN:
            return ""
        told.add(name)
        return name

    def _told_by(self, caller: str) -> set[str]:
        """Return whom the lines of a service named before."""
        if caller not in self._unknown:
            rows = self._tx.fetch("topology_said_targets", (self._environment, caller))
            self._unknown[caller] = {str(row[0]).rstrip(" ") for row in rows}
        return self._unknown[caller]


def _lone_services(tx: Transaction, environment: str, hosts: Sequence[str]) -> Mapping[str, str]:
    """Return, per address of a node on which a single service was ever seen, that service."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for part in batched(hosts, _IDS):
        for node, service in tx.fetch("topology_services_on", (json.dumps(part), environment)):
            found[str(node)].add(str(service).rstrip(" "))
    return {node: next(iter(services)) for node, services in found.items() if len(services) == 1}
