"""The protobuf messages of Prometheus remote write, 1.0 and 2.0, as far as they are read here.

Prometheus publishes them as Go code; the few fields are declared from its specification instead of generated.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]  # ships no types

_TYPES = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _TYPES.TYPE_STRING, "double": _TYPES.TYPE_DOUBLE, "int64": _TYPES.TYPE_INT64,
    "uint64": _TYPES.TYPE_UINT64, "uint32": _TYPES.TYPE_UINT32,
}  # fmt: skip

# message: field -> (number, type, repeated)
_HISTOGRAM = {
    "count_int": (1, "uint64", False),
    "count_float": (2, "double", False),
    "sum": (3, "double", False),
    "timestamp": (15, "int64", False),
}
_SAMPLE = {"value": (1, "double", False), "timestamp": (2, "int64", False)}
_V1 = {
    "Label": {"name": (1, "string", False), "value": (2, "string", False)},
    "Sample": _SAMPLE,
    "Histogram": _HISTOGRAM,
    "TimeSeries": {
        "labels": (1, "Label", True), "samples": (2, "Sample", True), "histograms": (4, "Histogram", True),
    },
    "WriteRequest": {"timeseries": (1, "TimeSeries", True)},
}  # fmt: skip
_V2 = {
    "Sample": _SAMPLE,
    "Histogram": _HISTOGRAM,
    "TimeSeries": {
        "labels_refs": (1, "uint32", True), "samples": (2, "Sample", True), "histograms": (3, "Histogram", True),
    },
    "Request": {"symbols": (4, "string", True), "timeseries": (5, "TimeSeries", True)},
}  # fmt: skip


def _declare(package: str, messages: dict[str, dict[str, tuple[int, str, bool]]], wanted: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = _TYPES.LABEL_REPEATED if repeated else _TYPES.LABEL_OPTIONAL
            declared = message.field.add(name=field, number=number, label=label)
            if kind in _SCALARS:
                declared.type = _SCALARS[kind]
            else:
                declared.type, declared.type_name = _TYPES.TYPE_MESSAGE, f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()  # our own: another library may declare the same names in the shared one
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{wanted}"))


WriteRequest = _declare("prometheus", _V1, "WriteRequest")
WriteRequestV2 = _declare("io.prometheus.write.v2", _V2, "Request")
