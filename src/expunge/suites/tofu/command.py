"""`expunge suite tofu`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json
from expunge.suites.tofu.options import MODELS, TEACHING, Models, Teaching

if TYPE_CHECKING:
    from expunge.suites.tofu.sets import QuestionSets


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Arguments of the commands of all suites of questions.

    Attributes:
        name: of the suite.
        data: a folder or a hub's id; None if the suite makes its own.
        options: fields of the cells' recipes, as typed.
    """

    name: str
    data: str | None
    models: Models
    teaching: Teaching
    options: tuple[str, ...]
    printed: Printed


def tofu(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    forget: str = "forget05",
    authors: int | None = None,
    models: Annotated[Models, Parameter(name="*")] = MODELS,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    printed: Printed = WORDS,
) -> int:
    """TOFU: teach a model invented authors, let methods forget some of them, and compare with one that never saw these.

    For example:

        expunge suite tofu --data FOLDER --model smollm2-135m --forget forget05 --methods all --out runs/tofu

        expunge suite tofu --data FOLDER --authors 40 --methods npo,simnpo,gradient_difference --seeds 3

        expunge suite tofu --data FOLDER --methods npo --controls prompt_guardrail,in_context

    Finished work is kept, and the same command resumes. More methods or seeds may be added later. Fields of the runs'
    recipes can be given as --PART.FIELD VALUE, such as --training.max_steps 50; they hold for all methods.

    Parameters
    ----------
    data:
        A folder with the files of TOFU (JSON lines, JSON, Parquet), or a Hugging Face dataset id (locuslab/TOFU).
    forget:
        The rows to forget: forget01, forget05 or forget10.
    authors:
        Use this many authors in all, in the forget set's proportion; default: all.
    """
    from expunge.suites.tofu.reading import read_tofu

    sets = read_tofu(data, forget, authors)
    command = Command(name="tofu", data=data, models=models, teaching=teaching,
                      options=options, printed=printed)  # fmt: skip
    return carry_out(command, sets, {"forget": forget, "authors": authors})


def as_recorded(data: str) -> str:
    """The data's location for the record of a suite: a folder as an absolute path."""
    return os.path.abspath(data) if os.path.exists(data) else data


def out_of(name: str, models: Models) -> Path:
    """The folder of a suite: the one that was named, or its own in `runs`."""
    return models.out or Path("runs") / name


def carry_out(command: Command, sets: QuestionSets, asked_for: Mapping[str, Any]) -> int:
    """Run a suite of questions with its command's options, and print its table.

    Args:
        asked_for: the suite's own options, which led to `sets`.
    """
    from expunge.runs.overrides import read_overrides
    from expunge.suites.tofu.cells import wanted_methods
    from expunge.suites.tofu.controls import wanted_controls
    from expunge.suites.tofu.plan import Lesson, Plan
    from expunge.suites.tofu.report import print_questions
    from expunge.suites.tofu.run import run_questions

    teaching, data, printed, models = command.teaching, command.data, command.printed, command.models
    out = out_of(command.name, models)
    taught = {each: value for each, value in asdict(teaching).items() if each not in ("rows", "controls")}
    plan = Plan(
        name=command.name,
        sets=sets.spread(teaching.rows),
        lesson=Lesson(model=models.model, **taught),
        asked_for={**({} if data is None else {"data": as_recorded(data)}), **asked_for},
        methods=wanted_methods(models.methods, tuned=not sets.forget[0].is_text),
        controls=wanted_controls(teaching.controls),
        overrides=read_overrides(command.options),
        seeds=models.seeds,
        all_methods=models.methods == "all",
    )
    figures = run_questions(plan, out, printed.show())
    if printed.json:
        print_json(figures)
    if printed.json or printed.quiet:
        return 0
    print_questions(figures)
    print(f"Figures: {out / f'{command.name}.json'}")
    print(f"Report:  {out / 'report.html'}")
    return 0
