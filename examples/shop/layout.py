"""What the shop consists of: its services, the nodes they pretend to run on, who calls whom, their first settings."""

from dataclasses import dataclass, field

type Json = dict[str, "JsonValue"]
type JsonValue = str | int | float | bool | list["JsonValue"] | Json | None

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Layout:
    """One service: where it runs, which release it starts with, whom it calls, and its own settings."""

    node: str
    version: str
    peers: tuple[str, ...] = ()
    settings: Json = field(default_factory=dict)


SERVICES: dict[str, Layout] = {
    "bank": Layout("node-c", "1.14.0"),
    "catalog": Layout("node-a", "1.8.3", settings={"page_size": 24}),
    "queue": Layout("node-c", "1.2.1", settings={"lease_s": 3.0}),
    "inventory": Layout("node-c", "3.1.4", settings={"lock_timeout_s": 1.5, "slow_query_ms": 100}),
    "payment": Layout("node-b", "2.3.0", ("bank",), {"bank_timeout_s": 1.5}),
    "orders": Layout("node-b", "6.0.3", ("queue",), {"pool_size": 8, "pool_timeout_s": 1.0, "export_rows_per_s": 250}),
    "worker": Layout("node-b", "2.8.0", ("queue", "orders"), {"retry_delay_s": 0.3}),
    "checkout": Layout(
        "node-b",
        "3.12.0",
        ("catalog", "inventory", "payment", "orders"),
        {"call_timeout_s": 2.0, "reserve_timeout_s": 1.0, "accept_timeout_s": 2.0},
    ),
    "recommendations": Layout("node-a", "5.1.0", settings={"profile_lookups": 1, "similar_items": 6}),
    "storefront": Layout("node-a", "4.7.2", ("catalog", "recommendations", "checkout"), {"checkout_timeout_s": 5.0}),
}
"""In the order in which they are started: those who are called first."""

MEMORY_LIMIT_MB = 160
PRODUCTS = 60
