"""payment: takes off the gift card, and has the bank charge what is left."""

import importlib
from collections.abc import Callable

from examples.shop.layout import Json
from examples.shop.server import Request
from examples.shop.service import Service
from examples.shop.state import State
from examples.shop.values import read_number, read_object, read_text


def build(state: State) -> Service:
    service = Service(state, "payment")
    service.trust("bank", str(state.certificates / "ca.pem"))
    service.route("POST", "/charges", Payment(service).charge)
    return service


class Payment:
    """Charges orders."""

    def __init__(self, service: Service) -> None:
        self.service = service
        release = importlib.import_module(f"examples.shop.releases.payment_{service.version.replace('.', '_')}")
        self.amount_due: Callable[[float, str, Json | None], float] = release.amount_due
        self.bank_timeout_s = read_number(service.config, "bank_timeout_s")

    def charge(self, request: Request) -> Json:
        order_id = read_text(request.body, "order_id")
        currency = read_text(request.body, "currency")
        gift_card = read_object(request.body, "gift_card") if request.body.get("gift_card") else None
        amount = self.amount_due(read_number(request.body, "total"), currency, gift_card)
        answer = self.service.call(
            "bank",
            "POST",
            "/transfers",
            {"reference": order_id, "amount": amount, "currency": currency},
            timeout_s=self.bank_timeout_s,
            purpose=f"transfer for order {order_id}",
        )
        charge_id = read_text(answer, "transfer_id").replace("trf", "chg")
        self.service.log.info("charged order %s: %.2f %s, charge %s", order_id, amount, currency, charge_id)
        return {"charge_id": charge_id}
