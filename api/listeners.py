"""The ways in that are not HTTP, opened beside it by `causegraph serve`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from agents.services import Services
from api.otlp_grpc import OtlpGrpc
from domain.addresses import parse_address
from domain.errors import SettingsError

logger = logging.getLogger(__name__)


@asynccontextmanager
async def listening(services: Services) -> AsyncIterator[None]:
    """Listen on everything that the settings ask for, for as long as the block lasts. Raises SettingsError.

    A default port that another program has taken is left to it, and named in `services.sources`.
    """
    async with AsyncExitStack() as stack:
        await _open_grpc(services, stack)
        yield


async def _open_grpc(services: Services, stack: AsyncExitStack) -> None:
    settings = services.settings
    address = parse_address("grpc_listen", settings.grpc_listen)
    if address is None:
        return
    source = services.sources.add("otlp-grpc", str(address))
    stack.callback(services.sources.remove, source)
    server = OtlpGrpc(services.ingest, services.keys, source, services.projection.notify)
    try:
        source.address = str(await stack.enter_async_context(server.listening(address)))
    except SettingsError as exc:
        if "grpc_listen" in settings.model_fields_set:
            raise
        source.problem = str(exc)
        logger.warning("OTLP over gRPC is not available.", extra={"reason": str(exc)})
