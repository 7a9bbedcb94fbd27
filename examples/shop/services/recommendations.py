"""recommendations: what a customer may like. Popular products when there is no profile, so it never fails; it says so
in the log, a lot."""

import random
import time
import zlib

from examples.shop.layout import PRODUCTS, Json, JsonValue
from examples.shop.server import Request
from examples.shop.service import Service
from examples.shop.state import State
from examples.shop.values import read_int

POPULARITY = {"5.1.0": 1.0, "5.1.1": 1.2}


class ProfileError(Exception):
    """The profile of a customer could not be read."""


def build(state: State) -> Service:
    service = Service(state, "recommendations")
    recommender = Recommender(service)
    service.route("GET", "/recommendations", recommender.recommend)
    service.loop(recommender.refresh_profiles, pause_s=0.4, name="profile refresh")
    return service


class Recommender:
    """Ranks products for a customer."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.lookups = read_int(service.config, "profile_lookups")
        self.similar_items = read_int(service.config, "similar_items")
        self.weight = POPULARITY.get(service.version, 1.0)
        self.refreshes = 0

    def recommend(self, request: Request) -> Json:
        customer = request.query.get("customer", "-")
        started = time.monotonic()
        dice = random.Random(zlib.crc32(customer.encode()))
        for attempt in range(1, self.lookups + 1):
            try:
                read_profile(customer, dice)
            except ProfileError as error:
                self.service.log.error(
                    "profile lookup %d of %d for customer %s failed: %s", attempt, self.lookups, customer, error
                )
        self.service.log.warning(
            "no profile vector for customer %s, falling back to popular items (%d ms)",
            customer,
            (time.monotonic() - started) * 1000,
        )
        ranked = sorted(range(PRODUCTS), key=lambda number: dice.random() * self.weight, reverse=True)
        items: list[JsonValue] = [f"SKU-{number:05d}" for number in ranked[: self.similar_items]]
        return {"customer": customer, "items": items}

    def refresh_profiles(self) -> None:
        self.refreshes += 1
        shard = self.refreshes % 16
        for replica in range(self.lookups):
            self.service.log.error(
                "refresh of profile shard %d from replica %d failed: checksum mismatch at block %d, keeping snapshot",
                shard,
                replica,
                4096 + self.refreshes,
            )
        if self.refreshes % 5 == 0:
            self.service.log.warning("profile snapshot is %d minutes old", 300 + self.refreshes // 150)


def read_profile(customer: str, dice: random.Random) -> None:
    """Look up the customer's vector; most customers have none."""
    if dice.random() < 0.9:
        raise ProfileError(f"key profile:{customer} not found in snapshot")
