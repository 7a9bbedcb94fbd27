"""The ways in that are not HTTP, opened beside it by `causegraph serve`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from agents.services import Services
from api.otlp_grpc import OtlpGrpc
from domain.addresses import parse_address
from domain.errors import SettingsError
from ingest.sources import Source
from ingest.syslog_server import SyslogServer
from ingest.syslog_settings import read_networks, read_rules, read_tls

logger = logging.getLogger(__name__)


@asynccontextmanager
async def listening(services: Services) -> AsyncIterator[None]:
    """Listen on everything that the settings ask for, for as long as the block lasts. Raises SettingsError.

    A default port that another program has taken is left to it, and named in `services.sources`.
    """
    async with AsyncExitStack() as stack:
        await _open_grpc(services, stack)
        await _open_syslog(services, stack)
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


def _add_source(services: Services, stack: AsyncExitStack, name: str, address: str) -> Source:
    source = services.sources.add(name, address)
    stack.callback(services.sources.remove, source)
    return source
