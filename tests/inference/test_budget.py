"""What models may take in one investigation: a bound of seconds, of tokens and of money, each by itself."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import BudgetSpent
from domain.settings import Settings
from inference.budget import Budget, Spent


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"chat_budget_seconds": 10.0}, "CHAT_BUDGET_SECONDS"),
        ({"chat_budget_tokens": 1_000}, "CHAT_BUDGET_TOKENS"),
        ({"chat_budget_cost": 0.5, "chat_price_prompt": 1_000.0}, "CHAT_BUDGET_COST"),
    ],
)
def test_each_bound_ends_the_calls(bounds: dict[str, Any], said: str) -> None:
    budget = Budget(Settings(chat_budget_seconds=1_000, chat_budget_tokens=100_000).model_copy(update=bounds))
    budget.check(100)
    budget.spend(900, 50, 9.5)
    with pytest.raises(BudgetSpent, match=said):
        budget.check(100)


def test_who_takes_a_run_over_counts_from_what_was_spent() -> None:
    first, second = Budget(Settings()), Budget(Settings())
    first.spend(100, 20, 3.0)
    second.spend(10, 5, 4.0)
    second.count_from(first.spent)
    assert second.spent == Spent(4.0, 100, 20, 0.0)
    second.count_from(Spent())
    assert second.tokens == 120
