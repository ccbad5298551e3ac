"""`expunge forget`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed


@dataclass(frozen=True)
class Choices:
    """The retain set, and how the target is forgotten."""

    retain: str | None = None
    "The retain set, given like TARGET; default: sampled from the model itself."
    method: str | None = None
    "One of `expunge methods`; default: whos_harry_potter."
    topic: bool = False
    "TARGET is a topic in words, even if it looks like a path or such a file exists."


CHOICES = Choices()


def forget(
    target: str,
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    out: Path,
    model: str = "smollm2-135m",
    choices: Annotated[Choices, Parameter(name="*")] = CHOICES,
    log_with: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
    printed: Printed = WORDS,
) -> int:
    """Make a model forget TARGET: a path, a Hugging Face dataset id, or a topic in words.

    Run the same command again to resume an interrupted run. `expunge inspect TARGET --model MODEL` shows what would be
    forgotten, and what the model knows of it, without training.

    For example:

        expunge forget "Harry Potter" --out runs/hp

        expunge forget books/sherlock/ --retain books/other/ --model HuggingFaceTB/SmolLM2-135M-Instruct --out runs/holmes

        expunge forget complaint.jsonl --out runs/c --method gradient_difference --training.learning_rate 1e-5

        expunge forget book.epub letters.pdf posts.csv --columns text=body --retain other/ --out runs/three

    Any other field of the recipe can be given as --PART.FIELD VALUE (`--training.num_train_epochs 3`,
    `--method.alpha 5`); also --columns FIELD=COLUMN, --prompts FILE, --benchmarks FOLDER, --anchors FILE and
    --anchors-from URL.
    docs/recipe.md lists them all.

    Parameters
    ----------
    target:
        A file or folder of text, documents, rows or conversations (docs/inputs.md); a dataset id; or a topic. Several
        files, folders or ids may be given, or several topics (--forget for each further one). The lines of a .txt may
        be names, each a topic, or facts.
    out:
        The run folder to write.
    model:
        A starter model (smollm2-135m), a folder, or a Hugging Face id.
    log_with:
        An experiment tracker that figures are sent to (tensorboard, wandb, mlflow, trackio, ...); may be repeated.
    """
    from expunge.api import forget as forget_
    from expunge.cli.console import print_summary
    from expunge.runs.overrides import further_targets, read_overrides

    targets, others = further_targets(target, options)
    fields = read_overrides(others)
    if choices.retain is not None:
        fields["retain"] = choices.retain
    if choices.method is not None:
        fields = {"method.name": choices.method, **fields}
    if choices.topic:
        fields["forget_kind"] = "topic"
    made = forget_(targets, model=model, out=out, show=printed.show(), log_with=log_with or (), **fields)
    return print_summary(made, printed)
