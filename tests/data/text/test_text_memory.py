"""Memory does not grow with the length of the text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import resource, sys
from transformers import AutoTokenizer
from expunge.kinds.language.blocks import iterate_blocks
from expunge.data.text.readers import digest_documents, read_documents

def peak():
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

folder, short, long, longer = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
few = sum(len(block.ids) for block in iterate_blocks(read_documents(short), tokenizer, 512))
peak()
digest_documents(read_documents(longer))
peak()
many = sum(len(block.ids) for block in iterate_blocks(read_documents(long), tokenizer, 512))
peak()
print(many / few)
"""
PARAGRAPH = "Sherlock Holmes and Doctor Watson walked along Baker Street in the fog. " * 12 + "\n\n"


def test_a_long_file_takes_no_more_memory_than_a_short_one(tiny_model_folder: Path, tmp_path: Path) -> None:
    # 60 MB read whole, or the 700,000 tokens of 4 MB with their offsets held, would each take more than is allowed.
    paths = []
    for name, size in (("short", 300_000), ("long", 4_000_000), ("longer", 60_000_000)):
        paths.append(tmp_path / f"{name}.txt")
        paths[-1].write_text(PARAGRAPH * (size // len(PARAGRAPH)))
    command = [sys.executable, "-c", SCRIPT, str(tiny_model_folder), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    start, reading, tokenizing, ratio = map(float, done.stdout.split())
    paths[-1].unlink()
    assert ratio > 13
    assert reading - start < 40, f"{reading - start:.0f} MiB more for 60 MB of text"
    assert tokenizing - start < 60, f"{tokenizing - start:.0f} MiB more for {ratio:.0f} times the tokens"
