"""Memory grows with the model and the batch, not with the length of the target: everything before training."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from small import RETAIN

SCRIPT = Path(__file__).with_name("prepare_targets.py")


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


def growth(short: int, long: int, model: Path, folder: Path) -> tuple[int, int, float, dict[str, float]]:
    """Prepare a target of so many words, then in the same process a longer one.

    Returns:
        (tokens of the short one, tokens of the long one, MiB more for the long one, the peaks of memory).
    """
    targets = []
    for words in (short, long):
        targets.append(folder / f"{words}.txt")
        write_book(targets[-1], words)
    retain = folder / "retain.txt"
    retain.write_text(RETAIN)
    command = [sys.executable, SCRIPT, model, retain, folder / "run", *targets]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    for target in targets:
        target.unlink()
    first, second = json.loads(done.stdout)
    assert first["terms"] > 20
    assert second["terms"] > 20
    more = second["peaks"]["order"] - first["peaks"]["order"]
    return first["tokens"], second["tokens"], more, second["peaks"]


@pytest.mark.long
def test_a_million_tokens_and_a_hundred_thousand(tiny_model_folder: Path, tmp_path: Path) -> None:
    short, long, more, peaks = growth(18_500, 185_000, tiny_model_folder, tmp_path)
    assert 80_000 < short < 130_000
    assert long / short == pytest.approx(10, rel=0.2)
    assert more < 60, peaks


@pytest.mark.long
def test_ten_million_tokens_and_a_hundred_thousand(tiny_model_folder: Path, tmp_path: Path) -> None:
    short, long, more, peaks = growth(18_500, 1_850_000, tiny_model_folder, tmp_path)
    assert short < 130_000
    assert long > 8_000_000
    assert more < 300, peaks
