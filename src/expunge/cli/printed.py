"""JSON on standard output."""

from __future__ import annotations

import json
from typing import Any


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
