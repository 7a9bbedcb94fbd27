"""checkout: turns a cart into an order: price it, reserve the stock, charge the customer, store the order, and wait
until the warehouse accepted it."""

import time
import zlib

from opentelemetry.trace import get_current_span

from examples.shop.layout import Json
from examples.shop.server import Request
from examples.shop.service import RefusedError, Service
from examples.shop.state import State
from examples.shop.values import read_number, read_text


def build(state: State) -> Service:
    service = Service(state, "checkout")
    service.route("POST", "/checkouts", Checkout(service).check_out)
    return service


class Checkout:
    """The steps of a checkout, one after the other."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.call_timeout_s = read_number(service.config, "call_timeout_s")
        self.reserve_timeout_s = read_number(service.config, "reserve_timeout_s")
        self.accept_timeout_s = read_number(service.config, "accept_timeout_s")

    def check_out(self, request: Request) -> Json:
        cart_id = read_text(request.body, "cart_id")
        order_id = f"ord-{zlib.crc32(cart_id.encode()):08x}"
        get_current_span().set_attribute("order.id", order_id)
        started = time.monotonic()
        total = read_number(self._call("catalog", "/quotes", request.body, f"quote of cart {cart_id}"), "total")
        self.service.call(
            "inventory",
            "POST",
            "/reservations",
            {"order_id": order_id, "lines": request.body["lines"]},
            timeout_s=self.reserve_timeout_s,
            purpose=f"reservation for order {order_id}",
        )
        charge: Json = {
            "order_id": order_id,
            "total": total,
            "currency": request.body["currency"],
            "gift_card": request.body.get("gift_card"),
        }
        charged = self._call("payment", "/charges", charge, f"charge for order {order_id}")
        order: Json = {"order_id": order_id, "total": total, "lines": request.body["lines"]}
        self._call("orders", "/orders", order, f"storing order {order_id}")
        self._await_acceptance(order_id)
        self.service.log.info(
            "order %s accepted: total %.2f, charge %s, %d ms",
            order_id,
            total,
            charged["charge_id"],
            (time.monotonic() - started) * 1000,
        )
        return {"order_id": order_id, "total": total}

    def _call(self, peer: str, path: str, body: Json, purpose: str) -> Json:
        return self.service.call(peer, "POST", path, body, timeout_s=self.call_timeout_s, purpose=purpose)

    def _await_acceptance(self, order_id: str) -> None:
        order = self.service.call(
            "orders",
            "GET",
            f"/orders/{order_id}?wait_s={self.accept_timeout_s}",
            timeout_s=self.accept_timeout_s + 1.5,
            purpose=f"acceptance of order {order_id}",
        )
        if order["status"] != "accepted":
            raise RefusedError(
                504, f"order {order_id} is still {order['status']} after {self.accept_timeout_s:.1f} s, giving up"
            )
