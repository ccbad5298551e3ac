"""A list of requests is printed before anything slow is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SLOW = ("rich.console", "yaml", "pydantic", "numpy", "torch", "charset_normalizer", "expunge.data.text.text_files")
LIST = """
import sys
from expunge.cli import app
app(["request", "list", "--ledger", sys.argv[1]], result_action="return_value")
print(*sorted(sys.modules))
"""


def test_what_a_list_needs_is_loaded_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("She lives in Ulm.")
    add = [
        sys.executable,
        "-m",
        "expunge",
        "request",
        "add",
        "--subject",
        "A",
        str(file),
        "--ledger",
        str(tmp_path / "l"),
    ]
    subprocess.run(add, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", LIST, str(tmp_path / "l")], check=True, capture_output=True, text=True)
    first, loaded = done.stdout.splitlines()
    assert first.startswith("R000001  open")
    assert [name for name in SLOW if name in loaded.split()] == []
