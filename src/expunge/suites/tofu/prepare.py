"""A suite's folder with the models that methods begin from: they are taught here, unless they know already."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.errors import RecipeError
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.question_answers import Asked, digest_asked
from expunge.kinds.language.recipe import Recipe, Training
from expunge.kinds.language.saving import save_model
from expunge.models.source import ModelSource, find_model
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make
from expunge.suites.teaching import teach_blocks
from expunge.suites.tofu.asking import Origin
from expunge.suites.tofu.cells import Cell, cells_of
from expunge.suites.tofu.plan import Lesson, Plan
from expunge.suites.tofu.sets import UTILITY, QuestionSets
from expunge.suites.tofu.suite import data_folder
from expunge.train.precision import Precision

UNTAUGHT = ("model", "block_size", "new_tokens")
"what of a lesson counts where nothing is taught"
OWN = ("forget", "forget_kind", "forget_also", "retain", "model")
"fields of a recipe that the suite decides, retain where it has such a set: what is forgotten must be what is asked about"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A suite's folder with the models that methods begin from.

    Attributes:
        plan: what is run.
        run: of the suite; its recipe names the model before it was taught anything.
        settings: what the folder was claimed for.
        content: what all cells' recipes have in common.
        before: the model that methods begin from: the taught one, or the one that was given.
        oracle: the model that was taught all but what is forgotten; None if nothing is taught.
    """

    plan: Plan
    run: Run[Recipe]
    settings: dict[str, Any]
    content: dict[str, Any]
    before: Origin
    oracle: Origin | None

    @property
    def oracle_tokens(self) -> int | None:
        """Tokens that the oracle was trained on."""
        if self.oracle is None:
            return None
        return int(storage.read_json(Path(self.oracle.model).parent / "taught.json")["tokens"])

    def cells(self, **more: Any) -> list[Cell]:
        """The cells; `more` are further parts of their recipes."""
        return _cells(self.run.folder, self.plan, {**self.content, **more, "model": self.before.model})


@contextlib.contextmanager
def prepared(
    plan: Plan, out: str | Path, show: Silent | None = None, evaluation: Mapping[str, Any] | None = None
) -> Iterator[Prepared]:
    """A suite's folder, held, with the models that methods begin from; what already exists is used.

    Args:
        evaluation: fields of the recipes' part, instead of what suites of questions have.

    Raises:
        RecipeError: no seed is wanted, or a field of the recipes does not fit.
        RunError: the folder holds another run.
    """
    show, sets, lesson = show or Silent(), plan.sets, plan.lesson
    if plan.seeds < 1:
        raise RecipeError("no seed is wanted", seen=f"seeds {plan.seeds}", allowed="1 or more")
    if decided := [each for each in OWN if each in plan.overrides and (each != "retain" or sets.retain)]:
        raise RecipeError(
            f"the suite {plan.name} itself decides the forget and retain sets",
            seen=", ".join(f"{each} {plan.overrides[each]}" for each in decided),
            allowed="the suite's own options, and other fields of the runs' recipes",
            next_step=f"leave it out; expunge suite {plan.name} --help lists the options",
        )
    folder = RunFolder(out)
    try:
        with interruptible(f"run the same command again: it resumes in {folder.path}"), folder.held():
            source = find_model(lesson.model)
            folder.refuse_base(source.folder)
            data = folder.path / data_folder(plan.name)
            content = _common(data, sets, lesson)
            content["evaluation"] |= evaluation or {}
            beginning = {**content, "model": lesson.model}
            _cells(folder, plan, beginning)  # wrong options are reported before anything is taught
            used = asdict(lesson) if sets.teach else {each: getattr(lesson, each) for each in UNTAUGHT}
            settings = {"suite": plan.name, **plan.asked_for, **used, "rows": sets.digest, "base": source.digest}
            folder.claim(settings, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
            _write_sets(data, sets)
            run = Run(make(Recipe, beginning), folder, show)
            before, oracle = Origin(source.digest, lesson.model), None
            if sets.teach:
                before = _teach(run, "taught", source, sets.taken + sets.kept, lesson)
                oracle = _teach(run, "oracle", source, sets.kept, lesson)
            yield Prepared(plan=plan, run=run, settings=settings, content=content, before=before, oracle=oracle)
    finally:
        show.close()


def _cells(folder: RunFolder, plan: Plan, content: Mapping[str, Any]) -> list[Cell]:
    return cells_of(folder.path, content, plan.methods, plan.overrides, plan.seeds)


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


def _teach(run: Run[Recipe], who: str, source: ModelSource, rows: Sequence[Asked], lesson: Lesson) -> Origin:
    """A model that was taught rows, in `model/`; beside it `taught.json` with what that took."""
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
    return Origin(path.name, str(path / "model"))
