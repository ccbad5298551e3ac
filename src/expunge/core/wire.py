"""JSON values that hold arrays, as bytes: what processes say to each other. No pickle is made or read."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

ARRAY = "array at"
"the only key of what stands in the text in the place of an array: [where its bytes begin, type, shape]"


def packed(value: Any) -> bytes:
    """A JSON value, in which arrays may stand, as bytes: the length of the text, the text, and the arrays end to end."""
    np = sys.modules.get("numpy")  # what needs no arrays does not load it here
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
    """What `packed` packed; tuples are lists."""
    np = sys.modules.get("numpy")
    end = 8 + int.from_bytes(data[:8], "little")

    def found(each: dict[str, Any]) -> Any:
        if np is None or each.keys() != {ARRAY}:
            return each
        start, kind, shape = each[ARRAY]
        return np.frombuffer(data, np.dtype(kind), math.prod(shape), end + start).reshape(shape).copy()

    return json.loads(bytes(data[8:end]), object_hook=found)
