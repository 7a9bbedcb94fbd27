"""The ways in that are not HTTP, opened beside it by `causegraph serve`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from agents.services import Services
from api.otlp_grpc import OtlpGrpc
from domain.addresses import parse_address
from domain.errors import SettingsError
from domain.telemetry import DEFAULT_ENVIRONMENT
from ingest.cluster_client import open_cluster, read_namespaces
from ingest.cluster_watch import ClusterWatch
from ingest.insights import InsightPublisher, insight_queue
from ingest.kafka_client import KafkaTrouble, open_consumer, open_producer, read_options
from ingest.kafka_source import BadMessage, KafkaSource, read_topics
from ingest.sources import Source
from ingest.syslog_server import SyslogServer
from ingest.syslog_settings import read_networks, read_rules, read_tls
from storage.dead_letters import DeadLetter
from storage.topology import TopologyStore

logger = logging.getLogger(__name__)

_STOP_SECONDS = 10.0


@asynccontextmanager
async def listening(services: Services) -> AsyncIterator[None]:
    """Listen on everything that the settings ask for, for as long as the block lasts. Raises SettingsError.

    A default port that another program has taken is left to it, and named in `services.sources`.
    """
    async with AsyncExitStack() as stack:
        await _open_grpc(services, stack)
        await _open_syslog(services, stack)
        await _open_kafka(services, stack)
        await _open_cluster(services, stack)
        yield


async def _open_grpc(services: Services, stack: AsyncExitStack) -> None:
    settings = services.settings
    address = parse_address("grpc_listen", settings.grpc_listen)
    if address is None:
        return
    source = _add_source(services, stack, "otlp-grpc", str(address))
    server = OtlpGrpc(services.ingest, services.keys, source, services.projection.notify)
    try:
        source.address = str(await stack.enter_async_context(server.listening(address)))
    except SettingsError as exc:
        if "grpc_listen" in settings.model_fields_set:
            raise
        source.problem = str(exc)
        logger.warning("OTLP over gRPC is not available.", extra={"reason": str(exc)})


async def _open_syslog(services: Services, stack: AsyncExitStack) -> None:
    settings = services.settings
    udp = parse_address("syslog_udp_listen", settings.syslog_udp_listen)
    tcp = parse_address("syslog_tcp_listen", settings.syslog_tcp_listen)
    if udp is None and tcp is None:
        return
    rules = read_rules(settings.syslog_zone, settings.syslog_environments)
    allowed = read_networks("syslog_allow", settings.syslog_allow)
    tls = read_tls(settings.syslog_certificate, settings.syslog_certificate_key)
    server = SyslogServer(services.ingest, rules, allowed, services.projection.notify)
    await stack.enter_async_context(server.storing())
    if udp is not None:
        source = _add_source(services, stack, "syslog-udp", str(udp))
        source.address = str(await stack.enter_async_context(server.listening_udp(udp, source)))
    if tcp is not None:
        source = _add_source(services, stack, "syslog-tls" if tls else "syslog-tcp", str(tcp))
        source.address = str(await stack.enter_async_context(server.listening_tcp(tcp, source, tls)))


async def _open_kafka(services: Services, stack: AsyncExitStack) -> None:
    settings = services.settings
    topics = read_topics(settings.kafka_topics)
    wanted = topics or settings.kafka_insights_topic
    if not settings.kafka_servers:
        if wanted:
            raise SettingsError("CAUSEGRAPH_KAFKA_SERVERS: topics of Kafka are set, but no brokers.")
        return
    options = read_options(settings.kafka_options)
    if topics:
        source = _add_source(services, stack, "kafka", f"{settings.kafka_servers} {', '.join(topics)}")
        trouble = KafkaTrouble(source)
        consumer = open_consumer(settings.kafka_servers, options, settings.kafka_group, trouble)
        keep = partial(_keep_bad_message, services)
        notify = services.projection.notify
        named = settings.kafka_environment
        reader = KafkaSource(services.ingest, consumer, topics, named, source, trouble, notify, keep)
        await stack.enter_async_context(_running("kafka", reader.run))
    if settings.kafka_insights_topic:
        where = f"{settings.kafka_servers} {settings.kafka_insights_topic}"
        trouble = KafkaTrouble(_add_source(services, stack, "kafka-insights", where))
        producer = open_producer(settings.kafka_servers, options, trouble)
        queue = insight_queue(services.database)
        publisher = InsightPublisher(queue, services.incidents, producer, settings.kafka_insights_topic, trouble)
        await stack.enter_async_context(_running("kafka-insights", publisher.run))


async def _open_cluster(services: Services, stack: AsyncExitStack) -> None:
    settings = services.settings
    if not settings.kubernetes:
        return
    client = await asyncio.to_thread(open_cluster, settings.kubernetes, settings.kubernetes_context)
    source = _add_source(services, stack, "kubernetes", client.address)
    environment = settings.kubernetes_environment or DEFAULT_ENVIRONMENT
    namespaces = read_namespaces(settings.kubernetes_namespaces)
    store = TopologyStore(services.database)
    watch = ClusterWatch(client, namespaces, services.ingest, store, environment, source)
    await stack.enter_async_context(_running("kubernetes", watch.run))


@asynccontextmanager
async def _running(name: str, run: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncIterator[None]:
    """Run something for as long as the block lasts, and let it end in order."""
    stop = asyncio.Event()
    task = asyncio.create_task(_logged(name, run, stop))
    try:
        yield
    finally:
        stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(task, _STOP_SECONDS)


async def _logged(name: str, run: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
    try:
        await run(stop)
    except Exception:  # the outermost loop: nobody awaits it before the end
        logger.exception("A way in has ended.", extra={"source": name})


def _keep_bad_message(services: Services, bad: BadMessage) -> None:
    kind = bad.form.removeprefix("otlp_")
    environment = bad.environment or DEFAULT_ENVIRONMENT
    letter = DeadLetter("", 0, "records", kind, f"kafka {bad.form} {bad.place}", environment, 1, 1, (bad.reason[:500],))
    services.dead_letters.keep(letter, bad.body)


def _add_source(services: Services, stack: AsyncExitStack, name: str, address: str) -> Source:
    source = services.sources.add(name, address)
    stack.callback(services.sources.remove, source)
    return source
