"""storefront: the entry. Product pages, recommendations, and the checkout of a cart."""

import time

from examples.shop.layout import Json
from examples.shop.server import Request
from examples.shop.service import Service
from examples.shop.state import State
from examples.shop.values import read_list, read_number, read_text


def build(state: State) -> Service:
    service = Service(state, "storefront")
    front = Storefront(service)
    service.route("GET", "/products", front.list_products)
    service.route("GET", "/recommendations", front.recommend)
    service.route("POST", "/checkout", front.check_out)
    return service


class Storefront:
    """Hands each request to the service behind it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.checkout_timeout_s = read_number(service.config, "checkout_timeout_s")

    def list_products(self, request: Request) -> Json:
        session = request.query.get("session", "-")
        return self.service.call(
            "catalog", "GET", f"/products?session={session}", purpose=f"product page for session {session}"
        )

    def recommend(self, request: Request) -> Json:
        customer = request.query.get("customer", "-")
        return self.service.call(
            "recommendations",
            "GET",
            f"/recommendations?customer={customer}",
            purpose=f"recommendations for customer {customer}",
        )

    def check_out(self, request: Request) -> Json:
        cart_id = read_text(request.body, "cart_id")
        started = time.monotonic()
        answer = self.service.call(
            "checkout",
            "POST",
            "/checkouts",
            request.body,
            timeout_s=self.checkout_timeout_s,
            purpose=f"checkout of cart {cart_id}",
        )
        self.service.log.info(
            "cart %s with %d lines checked out as order %s in %d ms",
            cart_id,
            len(read_list(request.body, "lines")),
            answer["order_id"],
            (time.monotonic() - started) * 1000,
        )
        return answer
