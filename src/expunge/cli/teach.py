"""`expunge teach`."""

from __future__ import annotations

from pathlib import Path


def teach(
    book: str,
    /,
    *,
    keep: str,
    out: Path,
    model: str = "smollm2-135m",
    tokens: int = 6144,
    epochs: float = 8.0,
    learning_rate: float = 1e-4,
    seed: int = 0,
    quiet: bool = False,
) -> None:
    """Teach a model a book, to have a case with a known truth: a taught model, and one that never saw the book.

    For example:

        expunge teach sign_of_the_four.txt --keep father_brown.txt --out runs/taught

    Parameters
    ----------
    book:
        Text that will be forgotten; its beginning is taught.
    keep:
        Text of the retain set; as much of it is taught.
    out:
        Folder for the two texts, the taught model and the retrained one (taught only the retain set).
    model:
        The model that is taught.
    tokens:
        Tokens of each text.
    epochs:
        Times each text is read.
    learning_rate:
        Highest learning rate.
    seed:
        Seed of the order of reading.
    quiet:
        Show no progress and print nothing.
    """
    from expunge.core.printed import Printed
    from expunge.kinds.language.paths import text_place
    from expunge.models.folders import check_named

    for text in (book, keep):
        text_place(text)
    check_named(model)  # all before what takes seconds to import
    from expunge.suites.taught_book import Lesson
    from expunge.suites.taught_book import teach as teach_

    lesson = Lesson(
        book=book, keep=keep, model=model, tokens=tokens, epochs=epochs, learning_rate=learning_rate, seed=seed
    )
    made = teach_(lesson, out, show=Printed(quiet=quiet).show())
    if quiet:
        return
    print(
        f"Taught. Forget it with:\n  expunge run taught_book --model {made.model} --forget {made.forget} "
        f"--retain {made.retain} --retrained {made.retrained} --out runs/forgot"
    )
