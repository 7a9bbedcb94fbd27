"""OpenTelemetry for one service: traces, logs and metrics to the OTLP/HTTP endpoint that the environment names."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import get_current
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer, format_trace_id, get_current_span
from opentelemetry.util.types import AttributeValue

BATCH_DELAY_MS = 500
METRIC_INTERVAL_MS = 2_000
FLUSH_TIMEOUT_S = 2.0

SEVERITIES = {
    logging.DEBUG: ("DEBUG", SeverityNumber.DEBUG),
    logging.INFO: ("INFO", SeverityNumber.INFO),
    logging.WARNING: ("WARN", SeverityNumber.WARN),
    logging.ERROR: ("ERROR", SeverityNumber.ERROR),
    logging.CRITICAL: ("FATAL", SeverityNumber.FATAL),
}


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a service writes its telemetry with."""

    tracer: Tracer
    meter: Meter
    log: logging.Logger
    _tracing: TracerProvider
    _logging: LoggerProvider
    _metrics: MeterProvider

    def shut_down(self) -> None:
        """Send what is still buffered; give up after two seconds."""
        threads = [
            threading.Thread(target=provider.shutdown, daemon=True)
            for provider in (self._tracing, self._logging, self._metrics)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + FLUSH_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def start_telemetry(service: str, version: str, instance: str, node: str) -> Telemetry:
    """Set up the three signals. Without OTEL_EXPORTER_OTLP_ENDPOINT nothing is sent; the log goes to stderr."""
    resource = Resource.create(
        {
            "service.name": service,
            "service.namespace": "shop",
            "service.version": version,
            "service.instance.id": instance,
            "host.name": node,
            "deployment.environment.name": os.environ.get("SHOP_ENVIRONMENT", "shop"),
            "process.pid": os.getpid(),
        }
    )
    exporting = bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    if exporting:
        _say_once_what_the_exporters_say()
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    log_records = LoggerProvider(resource=resource, shutdown_on_exit=False)
    readers: list[MetricReader] = []
    if exporting:
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=BATCH_DELAY_MS))
        log_records.add_log_record_processor(
            BatchLogRecordProcessor(OTLPLogExporter(), schedule_delay_millis=BATCH_DELAY_MS)
        )
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(), METRIC_INTERVAL_MS))
    metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    meter = metrics.get_meter("shop", version)
    meter.create_observable_up_down_counter(
        "process.memory.usage", [_observe_memory], unit="By", description="Resident memory of the process"
    )
    log = logging.getLogger(service)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [_console_handler(), OtelHandler(log_records.get_logger(service))]
    return Telemetry(tracing.get_tracer("shop", version), meter, log, tracing, log_records, metrics)


class OtelHandler(logging.Handler):
    """Hands a line of the standard log to the OpenTelemetry log SDK, with the current span and what was raised.

    The SDK's own `LoggingHandler` is deprecated in favour of an instrumentation package that the shop does not need.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        severity_text, severity_number = SEVERITIES[record.levelno]
        attributes: dict[str, AttributeValue] = {
            "code.file.path": record.pathname,
            "code.function.name": record.funcName,
            "code.line.number": record.lineno,
            **getattr(record, "attributes", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            attributes["exception.type"] = qualified_name(record.exc_info[1])
            attributes["exception.message"] = str(record.exc_info[1])
            attributes["exception.stacktrace"] = logging.Formatter().formatException(record.exc_info)
        self._logger.emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                observed_timestamp=time.time_ns(),
                context=get_current(),
                severity_text=severity_text,
                severity_number=severity_number,
                body=record.getMessage(),
                attributes=attributes,
            )
        )


class ConsoleFormatter(logging.Formatter):
    """One line with the trace id, for the log file of the service."""

    def format(self, record: logging.LogRecord) -> str:
        trace_id = get_current_span().get_span_context().trace_id
        return f"{super().format(record)} trace_id={format_trace_id(trace_id)}" if trace_id else super().format(record)


def qualified_name(error: BaseException) -> str:
    """`KeyError`, `sqlalchemy.exc.TimeoutError`: as the semantic conventions want `exception.type` and `error.type`."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def resident_bytes() -> int:
    """The resident memory of this process, 0 where /proc does not exist."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def _observe_memory(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(resident_bytes())


def _console_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ConsoleFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    return handler


def _say_once_what_the_exporters_say() -> None:
    handler = _console_handler()
    said: list[str] = []

    def is_first(record: logging.LogRecord) -> bool:
        record.exc_info = None
        if record.levelno < logging.WARNING or said:
            return False
        said.append(record.name)
        return True

    handler.addFilter(is_first)
    for name in ("opentelemetry", "urllib3"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [handler]
