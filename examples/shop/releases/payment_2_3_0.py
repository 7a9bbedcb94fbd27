"""payment 2.3.0: what is left to charge after the gift card."""

from examples.shop.layout import Json
from examples.shop.values import read_number

RATES = {"EUR": 1.0, "USD": 0.92, "GBP": 1.17}


def amount_due(total: float, currency: str, gift_card: Json | None) -> float:
    """The amount to charge to the customer's account, in the currency of the order."""
    if currency not in RATES:
        raise ValueError(f"unknown currency {currency}")
    if gift_card is None:
        return round(total, 2)
    return round(max(0.0, total - read_number(gift_card, "value")), 2)
