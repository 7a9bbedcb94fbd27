"""payment 2.4.0: what is left to charge after the gift card, which may be in another currency than the order."""

from examples.shop.layout import Json
from examples.shop.values import read_number

RATES = {"EUR": 1.0, "USD": 0.92, "GBP": 1.17}


def amount_due(total: float, currency: str, gift_card: Json | None) -> float:
    """The amount to charge to the customer's account, in the currency of the order."""
    if currency not in RATES:
        raise ValueError(f"unknown currency {currency}")
    if gift_card is None:
        return round(total, 2)
    return round(max(0.0, total - convert(gift_card, currency)), 2)


def convert(gift_card: Json, currency: str) -> float:
    """The value of a gift card in the currency of the order."""
    rate = RATES[str(gift_card["currency"])] / RATES[currency]
    return read_number(gift_card, "value") * rate
