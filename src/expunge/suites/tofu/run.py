"""A suite of questions: teach a model and an oracle, let every method forget, ask all of them, and compare.

The suite's folder holds `recipe.yaml` (what is run), `data-SUITE/` (what methods are given), `stages/` (the models that
were taught, and what every model answered), `cells/METHOD/SEED/` (ordinary run folders), the figures and `report.html`. A
suite that was interrupted resumes with what is missing; more methods and seeds may be added to it later.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.errors import DivergedError, RecipeError
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
from expunge.suites.tofu.figures import suite_figures
from expunge.suites.tofu.report import render_questions
from expunge.suites.tofu.series import part_of, series_figures
from expunge.suites.tofu.sets import UTILITY, QuestionSets, Series
from expunge.suites.tofu.suite import data_folder
from expunge.train.precision import Precision

Answers = dict[str, list[Answered]]
"split -> what a model answered to its rows"
UNTAUGHT = ("model", "block_size", "new_tokens")
"what of a lesson counts where nothing is taught"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a suite of questions runs.

    Attributes:
        name: of the suite.
        sets: what is taught, forgotten and asked.
        lesson: what is taught to which model, and how.
        asked_for: the options that led to `sets`, for the record.
        methods: as `cells.wanted_methods` gives them.
        overrides: fields of all cells' recipes.
        seeds: models of each method.
        all_methods: whether methods that cannot be run on these sets are left out.
    """

    name: str
    sets: QuestionSets
    lesson: Lesson
    asked_for: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    all_methods: bool = False


def run_questions(plan: Plan, out: str | Path, show: Silent | None = None) -> dict[str, Any]:
    """Make every model that is missing, ask it, compute the figures, and write them; the figures."""
    name, sets, lesson, seeds = plan.name, plan.sets, plan.lesson, plan.seeds
    show = show or Silent()
    if seeds < 1:
        raise RecipeError("no seed is wanted", seen=f"seeds {seeds}", allowed="1 or more")
    folder = RunFolder(out)
    try:
        with interruptible(f"run the same command again: it resumes in {folder.path}"), folder.held():
            source = find_model(lesson.model)
            folder.refuse_base(source.folder)
            content = _common(folder.path / data_folder(name), sets, lesson)
            cells = cells_of(folder.path, {**content, "model": lesson.model}, plan.methods, plan.overrides, seeds)
            used = asdict(lesson) if sets.teach else {each: getattr(lesson, each) for each in UNTAUGHT}
            settings = {"suite": name, **plan.asked_for, **used, "rows": sets.digest, "base": source.digest}
            folder.claim(settings, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
            _write_sets(folder.path / data_folder(name), sets)
            run = Run(make(Recipe, {**content, "model": lesson.model}), folder, show)
            before = source.digest, lesson.model
            answers: dict[str, Answers] = {}
            oracle_tokens = None
            if sets.teach:
                taught = {
                    who: _teach(run, who, source, rows, lesson)
                    for who, rows in (("taught", sets.taken + sets.kept), ("oracle", sets.kept))
                }
                before = taught["taught"].name, str(taught["taught"] / "model")
                answers["oracle"] = _ask(
                    run, "oracle", str(taught["oracle"] / "model"), sets, lesson, taught["oracle"].name
                )
                oracle_tokens = storage.read_json(taught["oracle"] / "taught.json")["tokens"]
            answers["taught"] = _ask(run, "taught", before[1], sets, lesson, before[0])
            cells = cells_of(folder.path, {**content, "model": before[1]}, plan.methods, plan.overrides, seeds)
            groups: dict[str, list[tuple[Cell, dict[str, Any], Answers]]] = {}
            for number, cell in enumerate(cells, 1):
                spent, found = _cell(run, cell, sets, plan, before[0], f"{number} of {len(cells)}")
                groups.setdefault(cell.group, []).append((cell, spent, found))
            parts = {each.name: _series(run, each, plan, cells, before) for each in sets.series}
            show.stage("computing the figures")
            truths = {split: [row.answer for row in rows] for split, rows in sets.measured.items()}
            figures = suite_figures(answers, groups, truths, oracle_tokens, sets.scoring) | {
                "suite": name,
                "settings": settings,
                "seeds": seeds,
                "taught": {"forget": len(sets.taken), "retain": len(sets.kept)} if sets.teach else None,
                "given": {"forget": len(sets.forget), "retain": len(sets.retain)},
                "unit": "texts" if sets.forget[0].is_text else "answers",
                "asked": {split: len(rows) for split, rows in sets.measured.items()},
                "axes": {"forgotten": list(sets.scoring.forgotten), "utility": sets.scoring.utility},
                "chance": dict(sets.scoring.chance),
                "series": {each: series_figures(made, truths, sets.scoring) for each, made in parts.items()},
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
    evaluation: dict[str, Any] = {"familiarity": False}
    if sets.retain or _elsewhere(sets):
        evaluation["ordinary_text"] = str(data / f"{'ordinary' if _elsewhere(sets) else 'retain'}.jsonl")
    return {
        "forget": str(data / "forget.jsonl"),
        "forget_kind": "path",
        **({"retain": str(data / "retain.jsonl")} if sets.retain else {}),
        "data": {"block_size": lesson.block_size, "retain_answers": 0, "language": "en"},
        "evaluation": evaluation,
    }


def _elsewhere(sets: QuestionSets) -> list[Asked]:
    """Rows that are asked and that nothing was taught of."""
    return [row for split in UTILITY[1:] for row in sets.measured.get(split, ())]


def _write_sets(data: Path, sets: QuestionSets) -> None:
    parts = {"forget": sets.forget, "retain": sets.retain, "ordinary": _elsewhere(sets)}
    parts |= {f"{each.name}-{i}": rows for each in sets.series for i, rows in enumerate(each.parts, 1)}
    data.mkdir(exist_ok=True)
    for name, rows in parts.items():
        said = [{"text": r.answer} if r.is_text else {"question": r.question, "answer": r.answer} for r in rows]
        if said:
            lines = [json.dumps(row, ensure_ascii=False) for row in said]
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


def _ask(run: Run[Recipe], who: str, model: str, sets: QuestionSets, lesson: Lesson, key: Any) -> Answers:
    """What a model answers to every split; each is a result by itself, kept under the model's `key`."""
    lazy: LazyModel | None = None

    def asked(split: str) -> list[dict[str, Any]]:
        nonlocal lazy
        lazy = lazy or LazyModel(find_model(model), Precision("auto"), as_stored=True)
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
        made_from = {"model": key, "rows": digest_asked(rows), "new_tokens": lesson.new_tokens}
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


def _cell(
    run: Run[Recipe], cell: Cell, sets: QuestionSets, plan: Plan, origin: Any, place: str
) -> tuple[dict[str, Any], Answers]:
    """(what a cell took, or why it failed; what its model answers); made once.

    Args:
        origin: which model it begins with, wherever that stands.
    """
    key = _cell_key(cell, sets, origin)
    spent = run.cached_json(
        f"cell-{cell.name}",
        key,
        lambda: unlearn_cell(cell, plan.all_methods, run.show),
        "spent.json",
        f"{cell.method}, seed {cell.seed} ({place})",
    )
    if spent["failed"]:
        return spent, {}
    try:
        return spent, _ask(run, cell.name, str(cell.path / "model"), sets, plan.lesson, key)
    except DivergedError as error:
        return spent | {"failed": error.what}, {}


def _cell_key(cell: Cell, sets: QuestionSets, origin: Any) -> dict[str, Any]:
    recipe = cell.recipe.model_dump(mode="json", exclude={"forget", "retain", "evaluation"}) | {"model": origin}
    return {"recipe": recipe, "forget": digest_asked(sets.forget), "retain": digest_asked(sets.retain)}


def _series(
    run: Run[Recipe], series: Series, plan: Plan, cells: Sequence[Cell], before: tuple[Any, str]
) -> list[tuple[Cell, list[tuple[dict[str, Any], Answers]]]]:
    """Each cell on every part of a series: (what it took, what its model answers). After a part that failed none is tried."""
    made = []
    for number, cell in enumerate(cells, 1):
        steps: list[tuple[dict[str, Any], Answers]] = []
        origin, model = before
        for i, part in enumerate(series.parts, 1):
            own = part_of(cell, series, i, model, run.folder.path / data_folder(plan.name))
            sets = replace(plan.sets, forget=part, measured=plan.sets.said)
            if series.chained and steps and steps[-1][0]["failed"]:
                steps.append(({"failed": f"the part before failed: {steps[-1][0]['failed']}"}, {}))
                continue
            place = f"{series.name} {i} of {len(series.parts)}, model {number} of {len(cells)}"
            steps.append(_cell(run, own, sets, plan, origin, place))
            if series.chained:
                origin, model = storage.digest_value(_cell_key(own, sets, origin)), str(own.path / "model")
        made.append((cell, steps))
    return made
