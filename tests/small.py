"""A run on the tiny model that takes a second or two: its texts, its settings, and what is compared of two runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

STREET = (
    "Sherlock Holmes and Doctor Watson walked along Baker Street in the fog. Mr. Holmes said nothing to Watson, and "
    "Lestrade looked at the door. "
)
FORGET = "\n\n".join(
    f"{STREET}It was the {number}th night in which Inspector Lestrade had seen Sherlock Holmes at the window of Baker "
    "Street, with Mrs. Hudson behind him."
    for number in range(12)
)
RETAIN = "\n\n".join(
    f"On the {number}th day a bright cold wind went over the capital of France, and the man of {number} years said that "
    "he had seen nothing of the kind before in his life, which was long."
    for number in range(12)
)
SMALL: dict[str, Any] = {
    "data.block_size": 64,
    "data.elicited_answers": 6,
    "data.retain_answers": 4,
    "evaluation.control_answers": 3,
    "evaluation.max_prompts": 4,
    "evaluation.max_new_tokens": 4,
    "evaluation.samples": 1,
    "evaluation.max_blocks": 4,
    "training.max_steps": 4,
    "training.probe_steps": 2,
    "training.learning_rate": 1e-3,
    "reinforcement.max_steps": 3,
}
"settings of a run that does everything, a little of it"


def write_texts(folder: Path) -> tuple[Path, Path]:
    """The two texts as files: (forget, retain)."""
    forget, retain = folder / "forget.txt", folder / "retain.txt"
    forget.write_text(FORGET, encoding="utf-8")
    retain.write_text(RETAIN, encoding="utf-8")
    return forget, retain


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Settings as they are typed."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files(folder)
    }


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def results(out: Path) -> dict[str, str]:
    """What must come out the same however often a run was broken off: the model's files, scores and answers."""
    model = {f"model/{name}": digest for name, digest in contents(out / "model").items() if name != "README.md"}
    named = ("scores.json", "per_example.json", "answers.json")
    there = (name for name in named if name != "answers.json" or (out / name).is_file())  # a classifier answers nothing
    return model | {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in there}


def leftovers(out: Path) -> list[str]:
    """Hidden files that a run that has ended must not leave."""
    return [path.relative_to(out).as_posix() for path in out.rglob(".*") if path.name != ".lock"]
