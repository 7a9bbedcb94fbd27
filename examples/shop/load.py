"""The customers: a seeded, open stream of requests, which does not slow down when the shop does."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from examples.shop.layout import PRODUCTS
from examples.shop.state import HOST

TIMEOUT_S = 8.0
CUSTOMERS = 96


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a customer, and the route that it counts for."""

    method: str
    path: str
    body: str

    @property
    def route(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"


@dataclass(slots=True)
class RouteStats:
    """How the requests of one route went. `seconds` is the sum of their durations."""

    requests: int = 0
    ok: int = 0
    failed: int = 0
    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)

    def minus(self, earlier: "RouteStats | None") -> "RouteStats":
        """What was added since `earlier`."""
        if earlier is None:
            return self
        statuses = {status: count - earlier.statuses.get(status, 0) for status, count in self.statuses.items()}
        return RouteStats(
            self.requests - earlier.requests,
            self.ok - earlier.ok,
            self.failed - earlier.failed,
            self.seconds - earlier.seconds,
            {status: count for status, count in statuses.items() if count},
        )

    @property
    def failed_share(self) -> float:
        return self.failed / self.requests if self.requests else 0.0


class Load:
    """Sends `rps` visits per second to the storefront until it is stopped."""

    def __init__(self, port: Callable[[], int], seed: int, on_failure: Callable[[Visit], None] | None = None) -> None:
        self._port = port
        self._dice = random.Random(f"{seed}/load")
        self._on_failure = on_failure
        self._stats: dict[str, RouteStats] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(CUSTOMERS, thread_name_prefix="customer")
        self.rps = 0.0

    def start(self, rps: float) -> None:
        """Begin, or go on at another rate. 0 pauses."""
        self.rps = rps
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="load", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def stats(self) -> dict[str, RouteStats]:
        """A copy of the counts so far, by route."""
        with self._lock:
            return {
                route: RouteStats(entry.requests, entry.ok, entry.failed, entry.seconds, dict(entry.statuses))
                for route, entry in sorted(self._stats.items())
            }

    def _run(self) -> None:
        number = 0
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            if self.rps <= 0:
                due = time.monotonic() + 0.05
                continue
            number += 1
            self._pool.submit(self._visit, draw_visit(self._dice, number))
            due = max(due + self._dice.uniform(0.5, 1.5) / self.rps, time.monotonic() - 1.0)

    def _visit(self, visit: Visit) -> None:
        started = time.monotonic()
        status = send(self._port(), visit)
        with self._lock:
            entry = self._stats.setdefault(visit.route, RouteStats())
            entry.requests += 1
            entry.ok += status == 200
            entry.failed += status != 200
            entry.seconds += time.monotonic() - started
            entry.statuses[status] = entry.statuses.get(status, 0) + 1
        if status != 200 and self._on_failure:
            self._on_failure(visit)


def draw_visit(dice: random.Random, number: int) -> Visit:
    """The next customer: 40 % look at products, 20 % at recommendations, 40 % check out."""
    kind = dice.random()
    customer = f"cust-{dice.randrange(5000):04d}"
    if kind < 0.4:
        return Visit("GET", f"/products?session=ses-{dice.getrandbits(32):08x}", "")
    if kind < 0.6:
        return Visit("GET", f"/recommendations?customer={customer}", "")
    lines = [
        {"sku": f"SKU-{sku:05d}", "quantity": dice.randint(1, 3)}
        for sku in dice.sample(range(PRODUCTS), dice.choice([1, 2, 2, 3]))
    ]
    cart = {
        "cart_id": f"cart-{number:06d}-{dice.getrandbits(24):06x}",
        "customer": customer,
        "currency": dice.choice(["EUR", "EUR", "USD", "GBP"]),
        "lines": lines,
        "gift_card": _draw_gift_card(dice),
    }
    return Visit("POST", "/checkout", json.dumps(cart))


def _draw_gift_card(dice: random.Random) -> dict[str, object] | None:
    """Most carts come with a gift card. The older ones were issued in the currency of the shop, and do not name it."""
    kind = dice.random()
    value = dice.choice([5, 10, 25])
    if kind < 0.40:
        return None
    card: dict[str, object] = {"code": f"GC-{dice.getrandbits(32):08X}", "value": value}
    if kind > 0.92:
        card["currency"] = "EUR"
    return card


def send(port: int, visit: Visit) -> int:
    """The status of the answer, 0 when there was none."""
    connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
    try:
        connection.request(visit.method, visit.path, visit.body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return 0
    else:
        return response.status
    finally:
        connection.close()
