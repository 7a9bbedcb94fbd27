"""What was found, within a budget: each with why it is here, and the short chains of calls between whom it concerns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from domain.terms import read_terms
from domain.times import HOUR_US, MINUTE_US, SECOND_US
from retrieval.items import Candidates, Item, Link, Wanted, item_key
from retrieval.neighbourhood import CallChains
from retrieval.ranking import Hit

CHARACTERS_PER_TOKEN = 3
"""A cautious guess for any model: what fits by it fits in truth."""

_AROUND = 40  # characters beside the text of an item: its mark, its id
_PATHS = 3
_LONGEST_PATH = 6


@dataclass(frozen=True, slots=True)
class EvidencePack:
    """What was found, best first, and chains of services (cause first, who suffers last); `left_out` did not fit."""

    hits: tuple[Hit, ...]
    paths: tuple[tuple[str, ...], ...] = ()
    tokens: int = 0
    left_out: int = 0
    notes: tuple[str, ...] = ()


def make_pack(
    wanted: Wanted,
    candidates: Candidates,
    hits: Sequence[Hit],
    links: Sequence[Link],
    *,
    limit: int,
    tokens: int,
    timed: bool,
) -> EvidencePack:
    """Return the first hits that fit, each with why it is here."""
    kept: list[Hit] = []
    used = 0
    chains = CallChains(links, [item_key("service", name) for name in wanted.named])
    for hit in hits:
        if len(kept) == limit:
            break
        said = replace(hit, why=tell_why(wanted, candidates, hit, chains, timed=timed))
        cost = -(-(len(said.item.title) + len(said.why) + _AROUND) // CHARACTERS_PER_TOKEN)
        if used + cost > tokens:
            continue
        used += cost
        kept.append(said)
    paths = causal_paths(
        links, wanted.named or _first_services(kept), [one for hit in kept for one in hit.item.services]
    )
    return EvidencePack(
        tuple(kept), tuple(paths), used, max(0, len(hits) - len(kept)), tuple(dict.fromkeys(candidates.notes))
    )


def tell_why(wanted: Wanted, candidates: Candidates, hit: Hit, chains: CallChains, *, timed: bool) -> str:
    """Return in words why an item was found; `chains` lead from the services that are named."""
    item, parts = hit.item, []
    if named := candidates.exact.get(item.key):
        parts.append(f"named in the question ({named[:60]})")
    if "words" in hit.by:
        lowered = item.text.lower()
        held = [term for term in read_terms(wanted.words) if term in lowered]
        parts += [f"says {', '.join(held[:5])}"] if held else []
    if item.key in candidates.near and "meaning" in hit.by:
        parts.append(f"near in meaning (distance {candidates.near[item.key]:.2f})")
    if whose := _whose(wanted, item, chains):
        parts.append(whose)
    unwell = [name for name in item.services if name in wanted.unwell]
    if unwell and "graph" in hit.by:
        parts.append(f"of {', '.join(unwell)}, which wrote errors then")
    if timed and item.time_us is not None:
        parts.append(_when(item.time_us - wanted.moment_us))
    return "; ".join(parts) or "near what was found, in the graph"


def _whose(wanted: Wanted, item: Item, chains: CallChains) -> str:
    asked = [name for name in item.services if name in wanted.named]
    if asked:
        return f"of {', '.join(asked)}, which is asked about"
    found = [chains.to(item_key("service", name)) for name in item.services[:3]]
    shortest = min((chain for chain in found if chain), key=len, default=[])
    return (
        f"{len(shortest) - 1} call(s) from {_name(shortest[0])}: {' - '.join(map(_name, shortest))}" if shortest else ""
    )


def _when(distance_us: int) -> str:
    far = abs(distance_us)
    unit, name = (HOUR_US, "h") if far >= HOUR_US else (MINUTE_US, "min") if far >= MINUTE_US else (SECOND_US, "s")
    return f"{far / unit:.0f} {name} {'after' if distance_us > 0 else 'before'} the time asked about"


def causal_paths(links: Iterable[Link], symptoms: Sequence[str], others: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the shortest chains by which one of the symptoms called each of the others: cause first, the shortest first."""
    chains = CallChains(links, [item_key("service", name) for name in symptoms], directed=True)
    found: dict[tuple[str, ...], None] = {}
    for name in dict.fromkeys(others):
        chain = chains.to(item_key("service", name)) if name not in symptoms else []
        if 1 < len(chain) <= _LONGEST_PATH:
            found[tuple(map(_name, reversed(chain)))] = None
    return sorted(found, key=len)[:_PATHS]


def _first_services(hits: Sequence[Hit]) -> list[str]:
    return list(next((hit.item.services[:1] for hit in hits if hit.item.services), ()))


def _name(key: str) -> str:
    return key.partition(":")[2]
