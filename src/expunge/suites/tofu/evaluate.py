"""`expunge evaluate --suite`: the questions of a suite, asked of any model; nothing is taught."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.processes import agreed, first_alone
from expunge.core.progress import Silent
from expunge.errors import DataError, RecipeError, did_you_mean
from expunge.kinds.language import helping  # noqa: F401 - jobs of other processes for the first one
from expunge.kinds.language.measures.question_answers import NEW_TOKENS
from expunge.models.source import ModelSource, find_model
from expunge.report.compare import text_table
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.format import FORMAT
from expunge.runs.plugins import reference
from expunge.runs.suite import EVALUATION, suites
from expunge.runs.versions import versions
from expunge.suites.tofu.asking import Answers, Origin, ask
from expunge.suites.tofu.figures import model_figures
from expunge.suites.tofu.report import chances, heading, shown
from expunge.suites.tofu.sets import QuestionSets
from expunge.train.precision import found_device

OF_NO_RUN = "evaluation.json"
"a marker file that no run writes: a folder of answers so far is accepted again, and a run's is refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The questions for a model.

    Attributes:
        suite: the suite of the questions.
        data: its folder or id; forget: which of its forget sets; mmlu: folder or id of MMLU, if the suite uses it.
        oracle: a model that never saw the forget set.
        rows: this many questions of each split; None: all.
        new_tokens: tokens of an answer, at most.
    """

    suite: str
    data: str | None = None
    forget: str | None = None
    mmlu: str | None = None
    oracle: str | None = None
    rows: int | None = None
    new_tokens: int = NEW_TOKENS


def evaluate_model(
    model: str, asked: Questions, show: Silent | None = None, so_far: Path | None = None
) -> dict[str, Any]:
    """Ask a model, and the oracle if there is one; return the measures, in the format of `expunge compare`.

    Args:
        so_far: a folder to cache answers, split by split; cached ones are not asked again. The caller
            deletes it. None: an interruption loses everything.

    Raises:
        RecipeError: no such suite, or one that asks no questions.
        DataError: missing or invalid data; raised before a model is loaded.
        RunError: `so_far` has something else, or another process is at work there.
    """
    show = show or Silent()
    again = "type the same command again"
    try:
        with interruptible(again if so_far is None else f"{again}: it resumes with what {so_far} holds"):
            for name, value in (("--rows", asked.rows), ("--new-tokens", asked.new_tokens)):
                if value is not None and value < 1:
                    raise RecipeError(f"with this {name} nothing is asked", seen=value, allowed="1 or more")
            sets = _sets(asked)
            sources = {"model": find_model(model)} | (
                {} if asked.oracle is None else {"oracle": find_model(asked.oracle)}
            )
            found_device()  # joins a launcher's processes

            def asked_all() -> tuple[dict[str, Answers], list[str]]:
                with _kept(so_far) as folder:
                    run = Run[Any](None, folder, show)  # without a recipe: nothing is trained
                    answers = {
                        who: ask(run, who, Origin(source.digest, source.name, source), sets, asked.new_tokens)
                        for who, source in sources.items()
                    }
                    return answers, run.notices()

            answered = first_alone(asked_all)
            found = {} if answered is None else _result(asked, sets, sources, *answered)
            return agreed(found)
    finally:
        show.close()


def _result(
    asked: Questions,
    sets: QuestionSets,
    sources: Mapping[str, ModelSource],
    answers: Mapping[str, Answers],
    notices: list[str],
) -> dict[str, Any]:
    """The measures of what was answered."""
    truths = {split: [row.answer for row in rows] for split, rows in sets.measured.items()}
    measures = model_figures([answers["model"]], truths, answers.get("oracle"), sets.scoring)
    others = {"oracle": model_figures([answers["oracle"]], truths, None, sets.scoring)} if asked.oracle else {}
    left_out = [*chances(sets.scoring.chance, measures, "the model"), *sets.left_out]
    if asked.oracle is None and (names := _against_an_oracle(sets)):
        left_out.append(f"{names} not measured: there is no oracle (--oracle MODEL)")
    return {
        "kind": EVALUATION,
        "format": FORMAT,
        "suite": asked.suite,
        "models": {who: {"name": each.shown_name, "digest": each.digest} for who, each in sources.items()},
        "forget": asked.forget,
        "new_tokens": asked.new_tokens,
        "rows": sets.digest,
        "asked": {split: len(rows) for split, rows in sets.measured.items()},
        "measures": measures,
        **others,
        "left_out": left_out,
        "notices": notices,
        "versions": versions(),
    }


def _sets(asked: Questions) -> QuestionSets:
    able = {name: suite for name, suite in suites().items() if suite.questions is not None}
    if asked.suite not in able:
        raise RecipeError(
            f"there is no suite {asked.suite!r} that asks any model",
            allowed=", ".join(able),
            next_step=did_you_mean(asked.suite, list(able)),
        )
    read = reference(able[asked.suite].questions or "")
    more = {} if asked.mmlu is None else {"mmlu": asked.mmlu}
    if not more.keys() <= signature(read).parameters.keys():
        raise RecipeError(
            f"the suite {asked.suite} does not use MMLU", seen=f"--mmlu {asked.mmlu}", next_step="leave it out"
        )
    sets: QuestionSets = read(asked.data, asked.forget, **more)
    return sets.spread(asked.rows)


def _against_an_oracle(sets: QuestionSets) -> str:
    """The measures of these sets that need an oracle, as the subject of a sentence."""
    measured = sets.measured
    quality = "forget" in measured and bool(measured["forget"][0].perturbed)
    names = ["forget quality"] * quality + ["PrivLeak"] * all(split in measured for split in sets.scoring.members)
    return f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'}" if names else ""


@contextlib.contextmanager
def _kept(so_far: Path | None) -> Iterator[RunFolder]:
    if so_far is None:
        with tempfile.TemporaryDirectory(prefix="expunge-evaluate-") as place:
            yield RunFolder(place).create()
        return
    folder = RunFolder(so_far, known_by=OF_NO_RUN)
    with folder.held():
        yield folder


def answers_folder(model: str, asked: Questions, out: Path | None) -> Path:
    """Where `expunge evaluate` caches answers until all are done: next to its output file, else in `runs`."""
    if out is not None:
        return out.with_name(f"{out.name}-so-far")
    name = f"{asked.suite}-{Path(model).name}-{storage.digest_value([model, asdict(asked)])[:8]}"
    return Path("runs") / f"{name}-so-far"


def evaluation_table(evaluation: Mapping[str, Any]) -> str:
    """A table of the measures, one line each, and a list of those not taken."""
    oracle = evaluation.get("oracle")
    body = []
    for name, found in evaluation["measures"].items():
        row = [heading(name), *shown(found, name), str(found["n"])]
        body.append(row if oracle is None else [*row, *shown(oracle.get(name), name)])
    head = ["measure", "model", "95 % interval", "n", *([] if oracle is None else ["oracle", "95 % interval"])]
    said = [*evaluation["left_out"], *evaluation["notices"]]
    return text_table([head, *body]) + "\n".join(f"Note: {sentence.rstrip('.')}." for sentence in said)


def read_evaluated(path: Path) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """(a model's name, its measures) in a file that `expunge evaluate --suite` wrote: for the model, and for its
    oracle.

    Raises:
        DataError: it was changed and cannot be read.
    """
    found = storage.read_json(path)
    try:
        parts = {"model": found["measures"], "oracle": found.get("oracle")}
        return [
            (
                str(found["models"][who]["name"]) + (" (oracle)" if who == "oracle" else ""),
                {str(name): _measure(each) for name, each in measures.items() if _known(name)},
            )
            for who, measures in parts.items()
            if measures is not None
        ]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path}: the evaluation cannot be read",
            seen=f"{type(error).__name__}: {error}",
            next_step="evaluate the model again: expunge evaluate MODEL --suite NAME --out FILE",
        ) from error


def _known(name: object) -> bool:
    try:
        return bool(heading(str(name)))
    except KeyError:  # of another version
        return False


def _measure(found: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {part: None if found[part] is None else float(found[part]) for part in ("value", "low", "high")}
    if numbers["value"] is None or (numbers["low"] is None) != (numbers["high"] is None):
        raise ValueError("a measure without its value, or with one limit")
    if not all(math.isfinite(each) for each in numbers.values() if each is not None):
        raise ValueError("a value is not a number")
    return {**numbers, "n": found["n"]}
