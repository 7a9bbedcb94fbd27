"""What an OTLP export is answered with: a response, with a partialSuccess where records were rejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ingest.service import Receipt


@dataclass(frozen=True, slots=True)
class OtlpReply:
    """The response of one kind of export; `counter` is the field of its partialSuccess that counts."""

    make: Callable[[], Any]
    counter: str

    def message(self, receipt: Receipt) -> Any:
        """Return the response as a protobuf message."""
        message = self.make()
        if receipt.rejected:
            setattr(message.partial_success, self.counter, receipt.rejected)
            message.partial_success.error_message = "; ".join(receipt.errors)
        return message


LOGS = OtlpReply(ExportLogsServiceResponse, "rejected_log_records")
TRACES = OtlpReply(ExportTraceServiceResponse, "rejected_spans")
METRICS = OtlpReply(ExportMetricsServiceResponse, "rejected_data_points")
