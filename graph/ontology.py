"""What the topology graph holds: its labels, its edge types, and which properties name a node.

One FalkorDB graph per environment. Every edge is time-valid, half-open [valid_from, valid_to), in microseconds since
1970, and says who observed it. An edge that holds at several times is several edges side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal
from urllib.parse import quote

type EdgeKind = Literal["CALLS", "RUNS_ON", "EMITTED", "CHANGED"]

EDGE_KINDS: Final[tuple[EdgeKind, ...]] = ("CALLS", "RUNS_ON", "EMITTED", "CHANGED")


BATCH = 500
"""Rows of one write: larger batches are not faster and keep readers waiting (notes/storage-and-retrieval.md 3.1)."""


class Label(StrEnum):
    """The labels of nodes. `SERVICE` and `NODE` (a host, or a pod) are named by `name`, the others by `id`."""

    SERVICE = "Service"
    NODE = "Node"
    LOG_TEMPLATE = "LogTemplate"
    CHANGE = "Change"


ENDS: Final[dict[EdgeKind, tuple[Label, Label]]] = {
    "CALLS": (Label.SERVICE, Label.SERVICE),
    "RUNS_ON": (Label.SERVICE, Label.NODE),
    "EMITTED": (Label.SERVICE, Label.LOG_TEMPLATE),
    "CHANGED": (Label.CHANGE, Label.SERVICE),
}


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge over one interval of time. `source` and `target` are what names the nodes at its ends.

    `valid_to_us` None means until further notice. `count` and `errors` are totals over the interval: calls and failed
    calls, records seen on a node, lines and lines of level ERROR or above. A `stated` edge was told by somebody and
    not seen in telemetry: it counts nothing. `level` is the highest level of an EMITTED edge's lines, else 0.
    """

    source: str
    target: str
    kind: EdgeKind
    observed_by: str
    valid_from_us: int
    valid_to_us: int | None
    last_seen_us: int
    count: int = 0
    errors: int = 0
    stated: bool = False
    level: int = 0

    @property
    def family(self) -> EdgeFamily:
        """What all intervals of this edge have in common."""
        return EdgeFamily(self.kind, self.source, self.target, self.observed_by, self.stated)

    def holds(self, moment_us: int) -> bool:
        """Say whether the edge was valid at a moment."""
        return self.valid_from_us <= moment_us and (self.valid_to_us is None or moment_us < self.valid_to_us)


@dataclass(frozen=True, slots=True)
class EdgeFamily:
    """All intervals of one edge that one observer knows of: they are written together."""

    kind: EdgeKind
    source: str
    target: str
    observed_by: str
    stated: bool


@dataclass(frozen=True, slots=True)
class ServiceNode:
    """A service, known by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class ChangeNode:
    """A change, known by the id of its record."""

    id: str
    time_us: int
    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class Emission:
    """A template that a service wrote, over all intervals: times in microseconds, `level` the highest, lines counted."""

    service: str
    template_id: int
    level: int
    first_us: int
    last_us: int
    count: int
    errors: int


def graph_name(environment: str) -> str:
    """Return the key of an environment's graph: different environments never share one."""
    return f"causegraph:{quote(environment, safe='')}"
