"""Serialise JSON values with arrays to bytes, for messages between processes. No pickle is written or read."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

ARRAY = "array at"
"the only key of an array's placeholder in the text: [where its bytes begin, type, shape]"


def packed(value: Any) -> bytes:
    """A JSON value, which may contain arrays, as bytes: the length of the text, the text, and the arrays end to end."""
    np = sys.modules.get("numpy")  # does not load it by itself
    arrays: list[bytes] = []
    length = 0

    def aside(each: Any) -> dict[str, Any]:
        nonlocal length
        if np is None or not isinstance(each, np.ndarray) or each.dtype.hasobject:
            raise TypeError(f"{type(each).__name__} is neither JSON nor an array of numbers")
        arrays.append(each.tobytes())
        length += each.nbytes
        return {ARRAY: [length - each.nbytes, each.dtype.str, list(each.shape)]}

    text = json.dumps(value, default=aside).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *arrays])


def unpacked(data: bytes | memoryview) -> Any:
    """The value that `packed` packed; tuples become lists."""
    np = sys.modules.get("numpy")
    end = 8 + int.from_bytes(data[:8], "little")

    def found(each: dict[str, Any]) -> Any:
        if np is None or each.keys() != {ARRAY}:
            return each
        start, kind, shape = each[ARRAY]
        return np.frombuffer(data, np.dtype(kind), math.prod(shape), end + start).reshape(shape).copy()

    return json.loads(bytes(data[8:end]), object_hook=found)
