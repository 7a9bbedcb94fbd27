"""Where users meet the trouble, told by what calls what."""

from __future__ import annotations

from diagnosis.entry import choose_entry, climb, services_below
from diagnosis.symptom import Symptom

CALLS = [("web", "cart"), ("cart", "stock"), ("web", "ads"), ("cron", "ads"), ("stock", "cart")]


def symptom(service: str, evidence: float, start: int = 10) -> Symptom:
    return Symptom(service, "", "logs", start, start + 10, 20, 40, 0.5, 0.0, evidence, False, 1)


def test_the_entry_is_called_by_nobody_and_reaches_most() -> None:
    assert choose_entry(CALLS) == "web"
    assert choose_entry(CALLS, ["cron", "unheard"]) == "cron"
    assert choose_entry([]) == ""


def test_the_loudest_gives_way_to_the_troubled_service_above_it() -> None:
    stock, web, ads = symptom("stock", 90), symptom("web", 20), symptom("ads", 99)
    assert climb(stock, [stock, web, ads], CALLS) == web
    assert climb(stock, [stock, ads], CALLS) == stock
    assert climb(stock, [stock, symptom("web", 20, start=500)], CALLS) == stock


def test_below_is_whatever_is_called_through_others() -> None:
    assert services_below(["web"], CALLS) == {"cart", "stock", "ads"}
    assert services_below(["unheard"], CALLS) == set()
