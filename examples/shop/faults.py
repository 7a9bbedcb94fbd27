"""The faults that can be injected, with what is true of each. Only benches and tests may look at this table."""

from dataclasses import dataclass
from typing import Literal

type FaultClass = Literal[
    "code", "config", "resource", "dependency", "network", "data", "capacity", "certificate", "unknown"
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `root_cause` is None when nothing is broken; `path` runs from the cause to the entry; `mend` is the
    operator's command, empty when there is nothing to mend."""

    name: str
    description: str
    root_cause: str | None
    path: tuple[str, ...]
    fault_class: FaultClass
    mend: str
    breaks_checkout: bool = True


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "slow-dependency",
            "A migration rebuilds inventory's stock ledger and forgets its index, so that reservations take too long.",
            "inventory",
            ("inventory", "checkout", "storefront"),
            "data",
            "create-index",
        ),
        Fault(
            "pool-exhausted",
            "The connection pool of orders is made so small that its two export jobs hold all connections.",
            "orders",
            ("orders", "checkout", "storefront"),
            "capacity",
            "rollback orders",
        ),
        Fault(
            "bad-deploy",
            "A new release of payment raises KeyError on gift cards that carry no currency.",
            "payment",
            ("payment", "checkout", "storefront"),
            "code",
            "rollback payment",
        ),
        Fault(
            "wrong-port",
            "An edit of payment's settings points it at a port where no bank listens.",
            "payment",
            ("payment", "checkout", "storefront"),
            "config",
            "rollback payment",
        ),
        Fault(
            "memory-leak",
            "A new release of catalog keeps every rendered page, and is killed at its memory limit again and again.",
            "catalog",
            ("catalog", "checkout", "storefront"),
            "resource",
            "rollback catalog",
        ),
        Fault(
            "poison-message",
            "A malformed message at the head of the queue fails the worker at every delivery and blocks those behind.",
            "worker",
            ("worker", "queue", "orders", "checkout", "storefront"),
            "data",
            "drop-message head",
        ),
        Fault(
            "cert-expired",
            "The bank's certificate has expired, so that payment refuses to talk to it.",
            "bank",
            ("bank", "payment", "checkout", "storefront"),
            "certificate",
            "renew-cert",
        ),
        Fault(
            "noisy-neighbour",
            "Recommendations logs ten times as many errors as usual; no customer notices.",
            None,
            (),
            "unknown",
            "rollback recommendations",
            breaks_checkout=False,
        ),
        Fault(
            "none", "Nothing is broken; an uninvolved change is made.", None, (), "unknown", "", breaks_checkout=False
        ),
    )
}
