"""A suite of questions: teach a model and an oracle, let every method forget, ask all of them, and compare.

The suite's folder holds `recipe.yaml` (what is run), `data-SUITE/` (what methods are given), `stages/` (the models that
were taught, and what every model answered), `cells/METHOD/SEED/` (ordinary run folders), the figures and `report.html`. A
suite that was interrupted resumes with what is missing; more methods and seeds may be added to it later.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.errors import DataError, DivergedError, RecipeError
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.question_answers import (
    NEW_TOKENS,
    Answered,
    Asked,
    answer_questions,
    digest_asked,
)
from expunge.kinds.language.recipe import Recipe, Training
from expunge.kinds.language.saving import save_model
from expunge.models.source import ModelSource, find_model
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make
from expunge.runs.versions import versions
from expunge.suites.teaching import teach_blocks
from expunge.suites.tofu.cells import Cell, cells_of, unlearn_cell
from expunge.suites.tofu.controls import controlled
from expunge.suites.tofu.figures import control_figures, suite_figures
from expunge.suites.tofu.report import render_questions
from expunge.suites.tofu.sets import UTILITY, QuestionSets
from expunge.suites.tofu.suite import data_folder
from expunge.train.precision import Precision

Answers = dict[str, list[Answered]]
"split -> what a model answered to its rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is taught to which model, and how. The settings of TOFU's authors are 5 epochs in batches of 32.

    Attributes:
        model: starter name, folder or hub id.
        epochs, learning_rate, batch: of teaching, the same for the model and for the oracle.
        new_tokens: of an answer, at most.
        seed: of the order of teaching.
    """

    model: str = "smollm2-135m"
    epochs: float = 5.0
    learning_rate: float = 1e-4
    batch: int = 8
    block_size: int = 512
    new_tokens: int = NEW_TOKENS
    seed: int = 0


def run_questions(
    name: str,
    sets: QuestionSets,
    lesson: Lesson,
    out: str | Path,
    *,
    asked_for: Mapping[str, Any],
    methods: Mapping[str, Mapping[str, Any]],
    controls: Sequence[str] = (),
    overrides: Mapping[str, Any] = {},
    seeds: int = 1,
    all_methods: bool = False,
    show: Silent | None = None,
) -> dict[str, Any]:
    """Make every model that is missing, ask it, compute the figures, and write them; the figures.

    Args:
        name: of the suite.
        asked_for: the options that led to `sets`, for the record.
        methods: as `cells.wanted_methods` gives them.
        controls: names of `controls.CONTROLS`, of which the taught model is asked.
        overrides: fields of all cells' recipes.
        all_methods: whether methods that cannot be run on these sets are left out.
    """
    show = show or Silent()
    if seeds < 1:
        raise RecipeError("no seed is wanted", seen=f"seeds {seeds}", allowed="1 or more")
    folder = RunFolder(out)
    try:
        with interruptible(f"run the same command again: it resumes in {folder.path}"), folder.held():
            source = find_model(lesson.model)
            folder.refuse_base(source.folder)
            content = _common(folder.path / data_folder(name), sets, lesson)
            cells = cells_of(folder.path, {**content, "model": lesson.model}, methods, overrides, seeds)
            settings = {
                "suite": name,
                **asked_for,
                **{field: getattr(lesson, field) for field in lesson.__dataclass_fields__},
                "rows": sets.digest,
                "base": source.digest,
            }
            folder.claim(settings, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
            _write_sets(folder.path / data_folder(name), sets)
            run = Run(make(Recipe, {**content, "model": lesson.model}), folder, show)
            taught = {
                who: _teach(run, who, source, rows, lesson)
                for who, rows in (("taught", sets.taken + sets.kept), ("oracle", sets.kept))
            }
            prompted = {each: controlled(sets, each) for each in controls}  # before the first model is loaded
            answers = {who: _ask(run, who, path / "model", sets, lesson) for who, path in taught.items()}
            prompts = {
                each: _ask_control(run, each, taught["taught"] / "model", asked, lesson)
                for each, asked in prompted.items()
            }
            cells = cells_of(
                folder.path, {**content, "model": str(taught["taught"] / "model")}, methods, overrides, seeds
            )
            groups: dict[str, list[tuple[Cell, dict[str, Any], Answers]]] = {}
            for number, cell in enumerate(cells, 1):
                spent, found = _cell(run, cell, sets, lesson, all_methods, f"{number} of {len(cells)}")
                groups.setdefault(cell.group, []).append((cell, spent, found))
            show.stage("computing the figures")
            oracle = storage.read_json(taught["oracle"] / "taught.json")
            truths = {split: [row.answer for row in rows] for split, rows in sets.measured.items()}
            figures = suite_figures(answers, groups, truths, oracle["tokens"]) | {
                "controls": control_figures(prompts, truths, answers["oracle"]),
                "suite": name,
                "settings": settings,
                "seeds": seeds,
                "taught": {"forget": len(sets.taken), "retain": len(sets.kept)},
                "asked": {split: len(rows) for split, rows in sets.measured.items()},
                "left_out": list(sets.left_out),
                "notices": run.notices(),
                "versions": versions(),
            }
            storage.write_json(folder.path / f"{name}.json", figures)
            render_questions(folder)
    finally:
        show.close()
    return figures


def _common(data: Path, sets: QuestionSets, lesson: Lesson) -> dict[str, Any]:
    """What all cells' recipes have in common: little is measured in the runs themselves."""
    ordinary = "ordinary" if _elsewhere(sets) else "retain"
    return {
        "forget": str(data / "forget.jsonl"),
        "forget_kind": "path",
        "retain": str(data / "retain.jsonl"),
        "data": {"block_size": lesson.block_size, "retain_answers": 0, "language": "en"},
        "evaluation": {"familiarity": False, "ordinary_text": str(data / f"{ordinary}.jsonl")},
    }


def _elsewhere(sets: QuestionSets) -> list[Asked]:
    """Rows that are asked and that nothing was taught of."""
    return [row for split in UTILITY[1:] for row in sets.measured.get(split, ())]


def _write_sets(data: Path, sets: QuestionSets) -> None:
    parts = {"forget": sets.forget, "retain": sets.retain, "ordinary": _elsewhere(sets)}
    data.mkdir(exist_ok=True)
    for name, rows in parts.items():
        lines = [json.dumps({"question": row.question, "answer": row.answer}, ensure_ascii=False) for row in rows]
        if lines:
            storage.write_text(data / f"{name}.jsonl", "\n".join(lines) + "\n")


def _teach(run: Run[Recipe], who: str, source: ModelSource, rows: Sequence[Asked], lesson: Lesson) -> Path:
    """The folder of a model that was taught rows: `model/`, and `taught.json` with what it took."""
    key = {"model": source.digest, "rows": digest_asked(rows), "bf16": Precision("auto").bf16} | {
        name: getattr(lesson, name) for name in ("epochs", "learning_rate", "batch", "block_size", "seed")
    }
    checkpoints = run.folder.checkpoints / run.cache_path(who, key).name

    def make_(path: Path) -> None:
        lazy = LazyModel(source, Precision("auto"))
        blocks = list(iterate_blocks((row.document() for row in rows), lazy.tokenizer, lesson.block_size))
        training = Training(
            learning_rate=lesson.learning_rate,
            num_train_epochs=lesson.epochs,
            per_device_train_batch_size=lesson.batch,
        )
        checkpoints.mkdir(parents=True, exist_ok=True)
        teach_blocks(
            who, lazy, blocks, training, seed=lesson.seed, folder=run.folder, checkpoints=checkpoints, show=run.show
        )
        assert lazy.loaded is not None
        save_model(lazy.loaded, path / "model", lazy.loaded.stored_dtype)
        lazy.release()
        tokens = sum(len(block.ids) for block in blocks)
        storage.write_json(path / "taught.json", {"rows": len(rows), "tokens": round(tokens * lesson.epochs)})

    path = run.cached(who, key, make_, f"teaching the {'model' if who == 'taught' else 'oracle'}")
    shutil.rmtree(checkpoints, ignore_errors=True)  # gigabytes that nobody needs once the model is there
    return path


def _ask(run: Run[Recipe], who: str, model: Path, sets: QuestionSets, lesson: Lesson, key: Any = None) -> Answers:
    """What a model answers to every split; each is a result by itself."""
    lazy: LazyModel | None = None

    def asked(split: str) -> list[dict[str, Any]]:
        nonlocal lazy
        lazy = lazy or LazyModel(find_model(str(model)), Precision("auto"), as_stored=True)
        found = answer_questions(
            lazy(),
            sets.measured[split],
            new_tokens=lesson.new_tokens,
            generate=split != "holdout",
            show=run.show.update,
        )
        return [each.row() for each in found]

    answers = {}
    for split, rows in sets.measured.items():
        made_from = {"model": key or model.parent.name, "rows": digest_asked(rows), "new_tokens": lesson.new_tokens}
        found = run.cached_json(
            f"answers-{who}-{split}",
            made_from,
            lambda split=split: asked(split),  # type: ignore[misc]
            "answers.json",
            f"asking {who}: {split}",
        )
        answers[split] = [Answered.of(row) for row in found]
    if lazy is not None:
        for notice in lazy.notices:
            run.notice(notice)
        lazy.release()
    return answers


def _ask_control(run: Run[Recipe], name: str, model: Path, sets: QuestionSets, lesson: Lesson) -> Answers:
    """What the taught model answers when a control says something before each question."""
    try:
        return _ask(run, name, model, sets, lesson)
    except DataError as error:
        raise RecipeError(
            f"what the control {name} says before a question does not fit: {error.what}",
            seen=error.seen,
            allowed=error.allowed,
            next_step=f"leave {name} out of --controls",
        ) from error


def _cell(
    run: Run[Recipe], cell: Cell, sets: QuestionSets, lesson: Lesson, all_methods: bool, place: str
) -> tuple[dict[str, Any], Answers]:
    """(what a cell took, or why it failed; what its model answers); made once."""
    key: dict[str, Any] = {"recipe": cell.recipe.model_dump(mode="json", exclude={"forget", "retain", "evaluation"}),
           "forget": digest_asked(sets.forget), "retain": digest_asked(sets.retain)}  # fmt: skip
    key["recipe"]["model"] = Path(cell.recipe.model).parent.name  # the folder may have been moved
    spent = run.cached_json(
        f"cell-{cell.name}",
        key,
        lambda: unlearn_cell(cell, all_methods, run.show),
        "spent.json",
        f"{cell.method}, seed {cell.seed} ({place})",
    )
    if spent["failed"]:
        return spent, {}
    try:
        return spent, _ask(run, cell.name, cell.path / "model", sets, lesson, key)
    except DivergedError as error:
        return spent | {"failed": error.what}, {}
