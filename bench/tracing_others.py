"""Run by `bench.tracing` in an environment of its own: what another tracer costs on the same run, without a network."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from bench.tracing_app import Callbacks, measure, untraced


def _provider() -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


def _switched(instrumentor: Any) -> Callable[[], Callbacks]:
    """Switch an instrumentor on for a run and off after it, so that runs with and without it take turns."""
    provider = _provider()

    @asynccontextmanager
    async def traced() -> AsyncIterator[list[Any]]:
        instrumentor.instrument(tracer_provider=provider)
        yield []
        instrumentor.uninstrument()

    return traced


def _use_openinference() -> tuple[str, Callable[[], Callbacks]]:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    return "openinference-instrumentation-langchain", _switched(LangChainInstrumentor())


def _use_openllmetry() -> tuple[str, Callable[[], Callbacks]]:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    # Switched off, it leaves something behind that slows every run: it is switched on once, and stays.
    instrumentor, provider = LangchainInstrumentor(), _provider()

    @asynccontextmanager
    async def traced() -> AsyncIterator[list[Any]]:
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(tracer_provider=provider)
        yield []

    return "opentelemetry-instrumentation-langchain", traced


def _use_langfuse() -> tuple[str, Callable[[], Callbacks]]:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    Langfuse(public_key="pk-x", secret_key="sk-x", host="http://127.0.0.1:9", tracer_provider=_provider())  # noqa: S106

    @asynccontextmanager
    async def traced() -> AsyncIterator[list[Any]]:
        yield [CallbackHandler()]

    return "langfuse", traced


async def _run(name: str, runs: int) -> dict[str, Any]:
    package, use = {
        "openinference": _use_openinference,
        "openllmetry": _use_openllmetry,
        "langfuse": _use_langfuse,
    }[name]()
    # One that stays on is measured after the runs without it, the others in turn with them.
    if name == "openllmetry":
        bare, _ = await measure(untraced, runs)
        _, traced = await measure(use, runs)
    else:
        bare, traced = await measure(use, runs)
    return {"package": package, "version": version(package), "bare_ms": bare, "traced_ms": traced}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1], int(sys.argv[2])))))
