"""What kind of thing a service of the topology is: a service, a database, a queue, a host outside. Pure; for the eye only.

A name of the form `system/name` was made from a client span and says what it is; else the words of a name are those of
common products, where it calls nobody itself. Nothing that is diagnosed depends on it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from domain.telemetry import INGRESS_PREFIX, POD_PREFIX
from graph.ontology import Edge

type ServiceKind = Literal["service", "database", "queue", "external", "ingress"]

# Who tells of calls that nobody else confirms.
_HEARSAY = frozenset({"client spans", "logs"})
# The values of db.system.name and messaging.system in OpenTelemetry's semantic conventions, and everyday short names.
_DATABASES = frozenset(
    "actian.ingres adabas aws.dynamodb aws.redshift azure.cosmosdb cache cassandra clickhouse cockroachdb cosmosdb couchbase "
    "couchdb database db db2 derby dynamodb elasticsearch etcd firebirdsql gcp.spanner h2database hbase hive hsqldb ibm.db2 "
    "influxdb instantdb mariadb memcached microsoft.sql_server mongo mongodb mssql mysql neo4j opensearch oracle oracle.db "
    "pgbouncer postgres postgresql redis redshift sap.hana sap.maxdb softwareag.adabas spanner sqlite sqlserver teradata "
    "trino valkey".split()
)
_QUEUES = frozenset(
    "activemq artemis aws.sns aws_sqs azure_eventhubs azure_servicebus eventhubs gcp_pubsub jms kafka kinesis mq mqtt nats "
    "pubsub pulsar queue rabbitmq redpanda rocketmq servicebus sns sqs".split()
)
_BETWEEN_WORDS = re.compile(r"[-_.\s]+")


@dataclass(frozen=True, slots=True)
class KnownService:
    """A service of a topology: its kind, the hosts and the pods that it runs on (`namespace/name`), sorted."""

    name: str
    kind: ServiceKind
    nodes: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()


def describe_services(edges: Iterable[Edge]) -> list[KnownService]:
    """Return every service at either end of some CALLS and RUNS_ON edges, by name."""
    known = list(edges)
    calls = [edge for edge in known if edge.kind == "CALLS"]
    places: defaultdict[str, set[str]] = defaultdict(set)
    for edge in known:
        if edge.kind == "RUNS_ON":
            places[edge.source].add(edge.target)
    callers = {edge.source for edge in calls}
    told_by: defaultdict[str, set[str]] = defaultdict(set)
    for edge in calls:
        told_by[edge.target].add(edge.observed_by)
    return [
        KnownService(
            name,
            _kind_of(name, told_by[name], calls_others=name in callers, seen=name in places),
            tuple(sorted(place for place in places[name] if not place.startswith(POD_PREFIX))),
            tuple(sorted(p.removeprefix(POD_PREFIX) for p in places[name] if p.startswith(POD_PREFIX))),
        )
        for name in sorted(callers | set(told_by) | set(places))
    ]


def _kind_of(name: str, told_by: set[str], *, calls_others: bool, seen: bool) -> ServiceKind:
    if name.startswith(INGRESS_PREFIX):
        return "ingress"
    system, slash, _ = name.lower().partition("/")
    if slash and system in _QUEUES:
        return "queue"
    if slash and system in _DATABASES:
        return "database"
    if calls_others:
        return "service"
    words = {system, *_BETWEEN_WORDS.split(system)}
    if words & _QUEUES:
        return "queue"
    if words & _DATABASES:
        return "database"
    return "external" if told_by and told_by <= _HEARSAY and not seen and "." in name else "service"
