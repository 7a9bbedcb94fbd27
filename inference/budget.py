"""What models may take in one investigation: seconds, tokens, money."""

from __future__ import annotations

from dataclasses import dataclass

from domain.errors import BudgetSpent
from domain.settings import Settings

_LEAST_SECONDS = 1.0
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What models took so far."""

    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class Budget:
    """Counts what models took. Not wall time: what two calls take at once counts twice."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.seconds = 0.0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cost = 0.0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def spent(self) -> Spent:
        """All of it at once."""
        return Spent(self.seconds, self.prompt_tokens, self.completion_tokens, self.cost)

    def count_from(self, spent: Spent) -> None:
        """Go on from what was spent already; never back."""
        self.seconds = max(self.seconds, spent.seconds)
        self.prompt_tokens = max(self.prompt_tokens, spent.prompt_tokens)
        self.completion_tokens = max(self.completion_tokens, spent.completion_tokens)
        self.cost = max(self.cost, spent.cost)

    @property
    def seconds_left(self) -> float:
        """Seconds that the next call may take."""
        return max(0.0, self.settings.chat_budget_seconds - self.seconds)

    def check(self, tokens: int) -> None:
        """Raise BudgetSpent unless a call of about so many tokens may be made."""
        if self.seconds_left < _LEAST_SECONDS:
            raise BudgetSpent(f"Models have taken {self.seconds:.0f} s: CAUSEGRAPH_CHAT_BUDGET_SECONDS is used up.")
        if self.tokens + tokens > self.settings.chat_budget_tokens:
            raise BudgetSpent(
                f"Models have taken {self.tokens} tokens and this would take about {tokens}: more than "
                "CAUSEGRAPH_CHAT_BUDGET_TOKENS."
            )
        if 0 < self.settings.chat_budget_cost <= self.cost:
            raise BudgetSpent(f"Models have cost {self.cost:.4f}: CAUSEGRAPH_CHAT_BUDGET_COST is used up.")

    def spend(self, prompt_tokens: int, completion_tokens: int, seconds: float) -> float:
        """Count a call and return what it cost."""
        prices = self.settings.chat_price_prompt, self.settings.chat_price_answer
        cost = (prompt_tokens * prices[0] + completion_tokens * prices[1]) / _MILLION
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.seconds += seconds
        self.cost += cost
        return cost
