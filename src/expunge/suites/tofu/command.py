"""`expunge suite tofu`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json

if TYPE_CHECKING:
    from expunge.suites.tofu.sets import QuestionSets


@dataclass(frozen=True)
class Teaching:
    """How the model and the oracle are taught, and what is asked of all models."""

    epochs: float = 5.0
    "Times the model and the oracle read what they are taught."
    learning_rate: float = 1e-4
    "Highest learning rate of teaching."
    batch: int = 8
    "Rows in a step of teaching."
    rows: int | None = None
    "Ask at most so many questions of each split, evenly spread; if not given, all."
    new_tokens: int = 200
    "Tokens of an answer, at most."
    controls: str = ""
    "Controls that are asked too, weights unchanged: prompt_guardrail, in_context, or all; names with commas between them."
    seed: int = 0
    "Seed of the order of teaching."


TEACHING = Teaching()


def tofu(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    model: str = "smollm2-135m",
    forget: str = "forget05",
    authors: int | None = None,
    methods: str = "all",
    seeds: int = 1,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    out: Path = Path("runs/tofu"),
    printed: Printed = WORDS,
) -> int:
    """TOFU: teach a model invented authors, let methods forget some of them, and compare with one that never saw these.

    For example:

        expunge suite tofu --data FOLDER --model smollm2-135m --forget forget05 --methods all --out runs/tofu

        expunge suite tofu --data FOLDER --authors 40 --methods npo,simnpo,gradient_difference --seeds 3

        expunge suite tofu --data FOLDER --methods npo --controls prompt_guardrail,in_context

    What is finished stays, and the same command resumes. More methods or seeds may be added later. Fields of the runs'
    recipes can be given as --PART.FIELD VALUE, such as --training.max_steps 50; they hold for all methods.

    Parameters
    ----------
    data:
        A folder with the files of TOFU (JSON lines, JSON, Parquet), or a Hugging Face dataset id (locuslab/TOFU).
    model:
        The model that is taught: a starter's name, a folder, or an id.
    forget:
        Which rows are to be forgotten: forget01, forget05 or forget10.
    authors:
        Use so many authors in all, in the forget set's proportion; if not given, all.
    methods:
        Names with commas between them, or all.
    seeds:
        Models of each method.
    out:
        The suite's folder.
    """
    from expunge.suites.tofu.reading import read_tofu

    sets = read_tofu(data, forget, authors)
    asked_for = {"forget": forget, "authors": authors}
    return carry_out("tofu", data, sets, asked_for, model, methods, seeds, teaching, options, out, printed)


def carry_out(
    name: str,
    data: str,
    sets: QuestionSets,
    asked_for: Mapping[str, Any],
    model: str,
    methods: str,
    seeds: int,
    teaching: Teaching,
    options: Sequence[str],
    out: Path,
    printed: Printed,
) -> int:
    """Run a suite of questions as its command has it, and print its table."""
    from expunge.runs.overrides import read_overrides
    from expunge.suites.tofu.cells import wanted_methods
    from expunge.suites.tofu.controls import wanted_controls
    from expunge.suites.tofu.report import print_questions
    from expunge.suites.tofu.run import Lesson, run_questions

    taught = {each: value for each, value in asdict(teaching).items() if each not in ("rows", "controls")}
    figures = run_questions(
        name,
        sets.spread(teaching.rows),
        Lesson(model=model, **taught),
        out,
        asked_for={"data": os.path.abspath(data) if os.path.exists(data) else data, **asked_for},
        methods=wanted_methods(methods),
        controls=wanted_controls(teaching.controls),
        overrides=read_overrides(options),
        seeds=seeds,
        all_methods=methods == "all",
        show=printed.show(),
    )
    if printed.json:
        print_json(figures)
    if printed.json or printed.quiet:
        return 0
    print_questions(figures)
    print(f"Figures: {out / f'{name}.json'}")
    print(f"Report:  {out / 'report.html'}")
    return 0
