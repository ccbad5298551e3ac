"""A run on a language model: the steps that the spine calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from expunge.core import processes, storage
from expunge.core.score import Score, Which
from expunge.errors import ModelError, RecipeError
from expunge.kinds.language import helping  # noqa: F401 - jobs of other processes for the first one
from expunge.kinds.language.choosing import rule_of
from expunge.kinds.language.claim import claim
from expunge.kinds.language.inputs import Sets, read_sets, read_target
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.limits import check_lengths, check_tokens, fit_lengths
from expunge.kinds.language.measured import measure, measure_again
from expunge.kinds.language.measures.judged import judged_scores
from expunge.kinds.language.measures.scores import Measured, side_by_side
from expunge.kinds.language.narrow_training import check_narrow
from expunge.kinds.language.plan.check import check_memory, planned_for
from expunge.kinds.language.recipe import Recipe, measured_later
from expunge.kinds.language.targets_apart import sizes_of
from expunge.kinds.language.toxicity.measured import toxic_side_by_side, toxicity_digests
from expunge.kinds.language.toxicity.tuning import toxicity_front
from expunge.kinds.language.unlearning import made_from, unlearn
from expunge.models.beside import keeps_of
from expunge.models.digest import digest_model
from expunge.models.source import ModelSource, find_model
from expunge.ops.quantised import require_bitsandbytes
from expunge.runs.artifacts import refuse_changed
from expunge.runs.context import Run
from expunge.runs.story import Outcome, Story
from expunge.train.precision import Precision
from expunge.train.shards import check_spread

ENDLESS = (
    "ascends without end, and only its steps and the guard stop it: with held-out text of the same kind (--holdout "
    "PATH) training stops once the forget set is no likelier than the held-out text"
)


class LanguageStory(Story):
    """A run on a language model."""

    changed_words = {
        "forget": "the forget set",
        "model": "the base model",
        "kept": "the retain set",
        "method": "the recipe's method",
        "training": "the recipe's training",
        "evaluated": "the texts that training is evaluated on",
        "reinforcement": "the recipe's reinforcement",
        "save_dtype": "the recipe's save_dtype",
        "seed": "the recipe's seed",
    }
    run: Run[Recipe]
    source: ModelSource
    base: LazyModel
    sets: Sets
    before: Measured
    endless: str | None = None
    "notice for a method whose loss falls without end"

    def __init__(self, run: Run[Recipe]) -> None:
        super().__init__(run)
        if run.recipe.save != "model" and not (run.recipe.training.adapter_rank and self.method.has_loss()):
            raise RecipeError(
                f"there is no adapter to save (save: {run.recipe.save})",
                seen=f"method {run.recipe.method['name']}, training.adapter_rank {run.recipe.training.adapter_rank}",
                allowed="a method that is a loss, trained with an adapter",
                next_step="give a rank, such as --training.adapter_rank 16, or leave --save out",
            )
        self._check_evaluated()
        if run.recipe.training.bits is not None and not self.method.has_loss():
            raise RecipeError(
                f"{run.recipe.method['name']} changes the weights themselves, and quantised weights cannot be trained",
                next_step="leave training.quantization out",
            )
        if run.recipe.training.bits is not None or run.recipe.training.optim != "adamw_torch":
            require_bitsandbytes()
        check_narrow(run.recipe.training, self.method, run.recipe.method["name"])
        self.precision = Precision(run.recipe.training.bf16)
        if processes.asked_to_spread():
            check_spread()
            if not self.method.has_loss() or run.recipe.training.optim != "adamw_torch":
                raise RecipeError(
                    "weights are sharded over processes only for training with a loss, and float32 moments",
                    seen=f"method {run.recipe.method['name']}, training.optim {run.recipe.training.optim}",
                    next_step="start without --use_fsdp: then each process has the whole model",
                )

    def _check_evaluated(self) -> None:
        """Raise if training would be evaluated on missing text, before anything is read."""
        recipe = self.run.recipe
        if recipe.holdout is not None and recipe.forget_kind == "toxicity":
            raise RecipeError(
                "held-out text is for forgetting texts, and toxicity is a habit",
                seen=f"holdout {recipe.holdout}",
                next_step="leave --holdout out",
            )
        rule = rule_of(recipe, self.method, recipe.holdout is not None)
        stops = rule is not None or recipe.training.stop_at == "none" or recipe.training.stop_forget_loss is not None
        if self.method.has_loss() and self.method.diverges and not stops:
            self.endless = f"{recipe.method['name']} {ENDLESS}"

    def base_folder(self) -> Path | None:
        self.source = find_model(self.run.recipe.model, self.run.recipe.revision)
        if self.source.assisted is not None:
            raise ModelError(
                f"a run begins with a plain model, and {self.source.name} is not",
                seen=f"it {keeps_of(self.source.assisted)}",
                next_step="begin with the model that it was made from, and forget everything in one run",
            )
        return self.source.folder

    def read(self) -> None:
        run = self.run
        recipe, shortened = fit_lengths(run.recipe, self.source)
        self.base = LazyModel(self.source, self.precision)
        planned = None
        if not run.folder.model.exists():
            planned = check_memory(recipe, self.source, lambda: self.base.tokenizer)
        run.recipe = claim(run.folder, recipe)
        if planned is not None:
            planned.announce(run)
        self.base.notices += shortened
        self.sets = read_sets(run, self.base)
        check_tokens(self.sets, self.source)

    def reread(self, made_from: Mapping[str, Any] | None) -> None:
        self.base_folder()
        self.base = LazyModel(self.source, self.precision)
        if made_from is not None:
            # These are known at once; the others only after text was sampled.
            target = read_target(self.run, self.base)[1].folder.name
            self.refuse_changed(made_from, {"forget": target, "model": self.base.digest})
        self.sets = read_sets(self.run, self.base)
        if made_from is not None:
            self.refuse_changed(made_from, self.made_from())

    def refuse_changed(self, made_from: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Raise if the model was made from other inputs than the present ones. The arithmetic may differ."""
        changed = {name: value for name, value in now.items() if name in self.changed_words}
        refuse_changed(self.run.folder, made_from, changed, self.changed_words)

    def made_from(self) -> dict[str, Any]:
        """The inputs that the unlearned model is made from."""
        return made_from(self.run.recipe, self.base, self.method, self.sets)

    def prepare(self) -> None:
        self.before = measure(self.run, self.base, self.sets, "base")

    def unlearn(self) -> dict[str, Any]:
        if self.endless is not None:
            self.run.notice(self.endless)
        if self.method.kept_beside is not None:
            self.run.notice(f"{self.run.recipe.method['name']} {self.method.kept_beside}")
        trained = unlearn(self.run, self.base, self.method, self.sets)
        self.base.release()
        return trained

    def outcome(self, trained: Mapping[str, Any]) -> Outcome:
        self.base.release()
        run, recipe, folder, sets = self.run, self.run.recipe, self.run.folder, self.sets
        unlearned = LazyModel(find_model(str(folder.model)), self.precision, as_stored=True)
        measured: dict[Which, Measured] = {"base": self.before, "unlearned": measure(run, unlearned, sets, "unlearned")}
        front = None
        if recipe.forget_kind == "toxicity":
            front = toxicity_front(run, self.base, unlearned, sets)
            self.base.release()
        unlearned.release()
        if recipe.retrained is not None:
            oracle = LazyModel(find_model(recipe.retrained), self.precision, as_stored=True)
            measured["retrained"] = measure(run, oracle, sets, "retrained")
            oracle.release()
        run.show.stage("writing the report")
        judged, notes = judged_scores({which: one.grades for which, one in measured.items()})
        if recipe.excerpts:
            storage.write_json(folder.answers, side_by_side(list(measured.values())))
        toxic = {which: one.toxic for which, one in measured.items() if one.toxic is not None}
        if toxic and recipe.excerpts:
            storage.write_json(folder.toxicity, toxic_side_by_side(toxic))
        return Outcome(
            scores=[score for one in measured.values() for score in one.scores] + judged,
            base=self.source,
            sets=sets.sizes(),
            digests=sets.digests()
            | ({"adapter": digest_model(folder.adapter)} if folder.adapter.is_dir() else {})
            | (toxicity_digests(recipe.toxicity, toxic["base"]) if toxic else {}),
            notes=[*([trained["warning"]] if trained["warning"] else []), *sets.notes, *run.notices(), *notes],
            record={
                "measured_later": measured_later(recipe, trained),
                "stopped": trained["stopped"],
                "processes": trained.get("processes", 1),
                "language": sets.language.row(),
                "inputs": sets.inputs_read(),
                "arithmetic": self.precision.arithmetic,
                "license": self.source.license,
            }
            | ({} if self.method.kept_beside is None else {"keeps": self.method.kept_beside})
            | planned_for(folder)
            | ({} if front is None else {"front": front})
            | ({"targets": sizes_of(sets.material.targets)} if sets.material.targets else {}),
        )

    def scores_again(self, model: str, wanted: Collection[tuple[str, str]]) -> list[Score]:
        self.base.release()
        return measure_again(self.run, LazyModel(find_model(model), self.precision, as_stored=True), self.sets, wanted)

    def scores_of(self, model: str) -> list[Score]:
        source = find_model(model)
        check_lengths(self.run.recipe, source)
        self.base.release()
        check_tokens(self.sets, source)
        other = LazyModel(source, self.precision, as_stored=True)
        measured = measure(self.run, other, self.sets, "unlearned")
        judged, notes = judged_scores({"unlearned": measured.grades})
        for note in (*other.notices, *notes):
            self.run.show.say(note)
        return measured.scores + judged
