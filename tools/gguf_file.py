"""Files of models as llama.cpp reads them (GGUF, version 3): what they are told, and their tensors."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_ALIGNMENT = 32
_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}

type Value = str | bool | int | float | Sequence[str] | Sequence[int]
type Tensor = NDArray[np.float32] | NDArray[np.float16]


def write_gguf(path: Path, told: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> None:
    """Write a file; integers become uint32, those in sequences int32, tensors stay float32 or float16."""
    held = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    head = [b"GGUF", struct.pack("<IQQ", 3, len(held), len(told))]
    head += [_text(name) + _value(value) for name, value in told.items()]
    place = 0
    for name, tensor in held.items():
        sizes = tensor.shape[::-1]
        head.append(_text(name) + struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes))
        head.append(struct.pack("<IQ", _TYPES[tensor.dtype], place))
        place += _padded(tensor.nbytes)
    begun = b"".join(head)
    with path.open("wb") as file:
        file.write(begun.ljust(_padded(len(begun)), b"\0"))
        for tensor in held.values():
            file.write(tensor.tobytes().ljust(_padded(tensor.nbytes), b"\0"))


def _padded(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", _BOOL, value)
        case int():
            return struct.pack("<II", _UINT32, value)
        case float():
            return struct.pack("<If", _FLOAT32, value)
        case str():
            return struct.pack("<I", _STRING) + _text(value)
    if value and isinstance(value[0], str):
        return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(_text(str(part)) for part in value)
    return struct.pack(f"<IIQ{len(value)}i", _ARRAY, _INT32, len(value), *value)
