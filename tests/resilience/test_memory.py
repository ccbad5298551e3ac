"""Memory grows with the model and the batch, not with the length of the target: everything before training."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from small import RETAIN

SCRIPT = """
import json, resource, sys
from pathlib import Path
from expunge.data.order import Order
from expunge.data.overlap import refuse_overlap
from expunge.data.readers import digest_documents, read_documents
from expunge.data.sets import TextSet, blocks, own_text, token_table
from expunge.measures.recall import passages
from expunge.measures.terms import target_terms
from expunge.preparation.anchor_terms import build_dictionary
from expunge.recipe import Recipe
from expunge.run_folder import RunFolder
from transformers import AutoTokenizer

model, target, retain, out = sys.argv[1:]
peaks = {}

def peak(name):
    peaks[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

tokenizer = AutoTokenizer.from_pretrained(model)
recipe = Recipe(forget=target)
folder = RunFolder(out).create()
list(build_dictionary([("It was Mr. Holmes who had seen Mr. Holmes.", None)], 10, 0))
peak("start")
text = TextSet("forget", target, digest_documents(read_documents(target)), False)
peak("reading")
table = token_table(folder, [text], recipe, tokenizer, "")
peak("tokens")
refuse_overlap(text.documents(), read_documents(retain))
peak("overlap")
texts = lambda: (own_text(block)[0] for block in blocks(text, recipe, tokenizer))
dictionary = build_dictionary(((text, ()) for text in texts()), recipe.anchors.max_terms, 0)
peak("anchors")
terms = target_terms(texts(), dictionary)
peak("terms")
order = Order(table.lengths, 4, 0, "forget")
for number in range(0, order.batches_per_epoch * 2, max(1, order.batches_per_epoch // 50)):
    table.batch(order.batch(number))
passages(table, 32)
peak("order")
print(json.dumps({"tokens": table.tokens, "terms": len(terms.unique), **peaks}))
"""


def write_book(path: Path, words: int, seed: int = 0) -> None:
    """Prose with names, whose vocabulary grows with its length, as that of books does."""
    generator = random.Random(seed)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"]
    known = [
        "the",
        "a",
        "of",
        "and",
        "to",
        "in",
        "was",
        "it",
        "he",
        "she",
        "that",
        "his",
        "her",
        "with",
        "had",
        "for",
        "as",
        "on",
        "at",
        "by",
        "said",
        "went",
        "saw",
        "door",
        "street",
    ]

    def new_word() -> str:
        return "".join(generator.choice(syllables) for _ in range(generator.randint(2, 4)))

    names = [new_word().capitalize() for _ in range(40)]
    with open(path, "w", encoding="utf-8") as file:
        written = 0
        while written < words:
            sentence = generator.choices(known, k=14)
            for place in (3, 9):
                if generator.random() < 0.08:
                    known.append(new_word())
                sentence[place] = generator.choice(known)
            if generator.random() < 0.02:
                names.append(new_word().capitalize())
            sentence[6] = generator.choice(names)
            sentence[0] = sentence[0].capitalize()
            file.write(" ".join(sentence) + (". " if generator.random() < 0.8 else ".\n\n"))
            written += len(sentence)


def measure(words: int, model: Path, folder: Path) -> dict[str, float]:
    target, retain = folder / f"{words}.txt", folder / "retain.txt"
    write_book(target, words)
    retain.write_text(RETAIN)
    command = [sys.executable, "-c", SCRIPT, model, target, retain, folder / f"run-{words}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    target.unlink()
    found: dict[str, float] = json.loads(done.stdout)
    return found


def growth(short: dict[str, float], long: dict[str, float]) -> dict[str, float]:
    """MiB that each step holds more for the longer text."""
    return {name: long[name] - short[name] for name in short if name not in ("tokens", "terms")}


def test_a_million_tokens_and_a_hundred_thousand(tiny_model_folder: Path, tmp_path: Path) -> None:
    short, long = (measure(words, tiny_model_folder, tmp_path) for words in (33_000, 330_000))
    assert 80_000 < short["tokens"] < 130_000
    assert long["tokens"] / short["tokens"] == pytest.approx(10, rel=0.2)
    assert short["terms"] > 20
    assert max(growth(short, long).values()) < 60, growth(short, long)


@pytest.mark.long
def test_ten_million_tokens_and_a_hundred_thousand(tiny_model_folder: Path, tmp_path: Path) -> None:
    short, long = (measure(words, tiny_model_folder, tmp_path) for words in (33_000, 3_300_000))
    assert long["tokens"] > 8_000_000
    assert max(growth(short, long).values()) < 300, growth(short, long)
