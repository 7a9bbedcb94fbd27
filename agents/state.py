"""What the agents share during one investigation, and what they work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypedDict

from agents.finding import Finder
from agents.gathered import Gathered, merge_gathered
from agents.model_judge import Opinions
from agents.question import Question, Subject
from agents.runbook_search import RunbookSearch
from agents.told import Told
from diagnosis.ranking import Candidate
from diagnosis.signals import Ref, Signal
from diagnosis.symptom import Symptom
from diagnosis.walks import Blame, Undelivered
from domain.times import Window
from domain.verdict import Claim, Judgement, RunbookMatch, Verdict
from graph.topology import TopologyGraph
from indexer.search import CodeSearch
from inference.desk import ModelDesk
from retrieval.evidence import EvidenceDesk
from retrieval.lookups import SearchLedger
from review.policy import Policy, Ruling
from runbooks.library import Library
from storage.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Plan:
    """What to look at: the stretch searched for the symptom, the symptom, its window and the baseline before it.

    `seq` is the newest ingest batch at the time of asking: cited numbers are read as of it, so that they stay true.
    """

    search: Window
    subject: Subject
    services: tuple[str, ...]
    symptom: Symptom | None
    window: Window
    baseline: Window
    reporting: bool
    spans: int
    seq: int
    elsewhere: tuple[Symptom, ...] = ()
    clarification: str = ""


@dataclass(frozen=True, slots=True)
class Paths:
    """What the topology agent found on request traces and in the graph as of the symptom.

    `alike` says, where it is so, that nearly everything on the way became slow at once.
    `refuted` says that the slow requests are no slower than others of their kind were before: no symptom after all.
    """

    blames: tuple[Blame, ...] = ()
    others: tuple[Blame, ...] = ()
    entries: Mapping[str, int] = field(default_factory=dict)
    undelivered: tuple[Undelivered, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()
    called_at: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    repeated: Mapping[str, str] = field(default_factory=dict)
    traces: int = 0
    baseline: int = 0
    refuted: bool = False
    alike: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What one specialist hands over: signals with record addresses, and what it could not see.

    `unexplained` is, per service that got worse in its metrics, the share that no service it calls explains.
    """

    signals: tuple[Signal, ...] = ()
    not_seen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unexplained: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a policy made of the signals of this answer."""

    policy: Policy
    ruling: Ruling
    signals: Mapping[str, Any]


class PolicySource(Protocol):
    """Knows which policy holds in an environment."""

    async def active_policy(self, environment: str) -> Policy:
        """Return the policy; raises CausegraphError where it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Deps:
    """The stores and desks of one investigation."""

    telemetry: Telemetry
    graph: TopologyGraph
    desk: EvidenceDesk
    ledger: SearchLedger
    library: Library
    lookback_us: int
    models: ModelDesk
    code: CodeSearch | None = None
    runbook_search: RunbookSearch | None = None
    finder: Finder | None = None
    runbook_hosts: tuple[str, ...] = ()
    policies: PolicySource | None = None
    opinions: Opinions | None = None


def merge_reports(old: Mapping[str, Report], new: Mapping[str, Report]) -> Mapping[str, Report]:
    """Keep the newest report of each agent: a second round replaces the first."""
    return {**old, **new}


class State(TypedDict, total=False):
    """The state of the LangGraph graph; one writer per key, except the reports and what was gathered.

    It is kept in checkpoints (`storage/state_bytes.py`), so annotations name every class that a value may be of.
    `behind` is what was not stored yet at the time of asking.
    """

    question: Question
    behind: tuple[str, ...]
    round: int
    plan: Plan
    reports: Annotated[Mapping[str, Report], merge_reports]
    paths: Paths
    ranking: tuple[Candidate, ...]
    cited: Mapping[Ref, str]
    verdict: Verdict
    code: tuple[Claim, ...]
    runbook: RunbookMatch | None
    told: Told | None
    remarks: tuple[Claim, ...]
    doubt: str
    answer: str
    claims: tuple[Claim, ...]
    judgement: Judgement
    decided: Decided
    again: bool
    gathered: Annotated[Gathered, merge_gathered]
