"""`expunge teach`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import Printed, Quiet


@dataclass(frozen=True)
class Reading:
    """How the model is trained on the texts."""

    tokens: int = 6144
    "Tokens of each text."
    epochs: float = 8.0
    "Times each text is read."
    learning_rate: float = 1e-4
    "Highest learning rate."
    seed: int = 0
    "Seed of the order of the texts."


READING = Reading()


def teach(
    book: str,
    /,
    *,
    keep: str,
    out: Path,
    model: str = "smollm2-135m",
    reading: Annotated[Reading, Parameter(name="*")] = READING,
    quiet: Quiet = False,
) -> None:
    """Teach a model a book, to have a case with known truth: a model trained on it, and one that never saw the book.

    For example:

        expunge teach sign_of_the_four.txt --keep father_brown.txt --out runs/taught

    Parameters
    ----------
    book:
        Text that will be forgotten; the model is trained on its beginning.
    keep:
        Text of the retain set; the model is trained on the same amount of it.
    out:
        Folder for the two texts, the taught model and the retrained one (taught only the retain set).
    model:
        The model to train.
    """
    from expunge.kinds.language.paths import text_place
    from expunge.models.folders import check_named

    for text in (book, keep):
        text_place(text)
    check_named(model)  # before imports that take seconds
    from expunge.suites.taught_book import Lesson
    from expunge.suites.taught_book import teach as teach_

    made = teach_(Lesson(book=book, keep=keep, model=model, **asdict(reading)), out, show=Printed(quiet=quiet).show())
    if quiet:
        return
    print(
        f"Taught. Forget it with:\n  expunge run taught_book --model {made.model} --forget {made.forget} "
        f"--retain {made.retain} --retrained {made.retrained} --out runs/forgot"
    )
