"""One model of the suite under attack: its knowledge before, after relearning, and its damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.data.text.document import Document
from expunge.errors import DivergedError
from expunge.kinds.language.attacks.attack import Side
from expunge.kinds.language.attacks.facts import Facts, read_facts, recall_or_none
from expunge.kinds.language.attacks.relearning import OfTraining
from expunge.kinds.language.audit import ROWS
from expunge.kinds.language.audit_models import text_configuration
from expunge.kinds.language.damage import measured
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.models.source import find_model
from expunge.runs.audit import AS_IS, Audit, Trial
from expunge.runs.context import Run
from expunge.suites.relearn.scaling import Scaling
from expunge.train.precision import Precision

FOUND = "found.json"
"the file of a result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The results of one model with one seed.

    Attributes:
        known: its knowledge of all facts, without an attack.
        trials: attack -> its knowledge of the held-back facts, setting by setting.
        damage: the result of `kinds.language.damage.measured` for the taught model and this one.
        seconds: duration of the attacks.
        scale: factor by which the model's change was lengthened or shortened first; None: not changed.
    """

    known: Trial
    trials: dict[str, list[Trial]]
    damage: dict[str, Any]
    seconds: float
    scale: float | None = None


def facts_of(documents: Sequence[Document], name: str, *, tokenizer: Any, block_size: int, wanted: int = ROWS) -> Facts:
    """At most this many facts of a set, evenly spread. Raises `DataError` if there are fewer than four."""
    return read_facts(lambda: documents, tokenizer, wanted, block_size, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacker:
    """Attacks models on the same facts with the same settings; every result is cached in the suite's folder.

    Attributes:
        base: the taught model, before forgetting.
        facts: one half is given to the attacker, who is tested on the other.
        retain, ordinary: texts to measure damage on.
        scaling: moves methods' models to equal damage first; None: they are attacked as they are.
    """

    run: Run[Recipe]
    base: LazyModel
    facts: Facts
    retain: Facts
    ordinary: Facts
    audit: Audit
    attacks: Sequence[OfTraining]
    scaling: Scaling | None = None

    def to_equal_damage(self, limit: float) -> Attacker:
        """The same, but methods' models are moved to this divergence first, in nats a token."""
        rows = self._rows(self.ordinary)
        return replace(self, scaling=Scaling(run=self.run, base=self.base, ordinary=rows, limit=limit))

    def attack_cell(self, who: str, folder: Path, seed: int) -> Found:
        """`attack` for a method's model, which is moved to equal damage first if `scaling` is set."""
        if self.scaling is None:
            return self.attack(who, folder, seed)
        moved, scale = self.scaling.scaled(who, self._model(folder))
        return replace(self.attack(who, moved, seed), scale=scale)

    def has_found_cell(self, who: str, folder: Path, seed: int) -> bool:
        """Whether all results of `attack_cell` are cached."""
        if self.scaling is None:
            return self.has_found(who, folder, seed)
        model = self._model(folder)
        return self.scaling.is_there(who, model) and self.has_found(who, self.scaling.scaled(who, model)[0], seed)

    def has_found(self, who: str, folder: Path, seed: int) -> bool:
        """Whether all results of `attack` are cached, or the model's outputs are known not to be finite."""
        key = self._key(self._model(folder))
        known = self.run.cache_path(f"known-{who}", key)
        if (known / "stage.json").is_file() and None in storage.read_json(known / FOUND):
            return True
        results = [(f"known-{who}", key), (f"damage-{who}", self._key_of_damage(key))]
        results += [(f"{each.name}-{who}-{seed}", self._key_of(each, key, seed)) for each in self.attacks]
        return all((self.run.cache_path(*each) / "stage.json").is_file() for each in results)

    def attack(self, who: str, folder: Path, seed: int) -> Found:
        """Ask and attack a model, or read cached results.

        Raises:
            DivergedError: the model's outputs are not finite, so its knowledge cannot be measured.
        """
        model = self._model(folder)
        key = self._key(model)
        asked = [fact.asked for fact in self.facts.every]
        known = self._cached(f"known-{who}", key, lambda: recall_or_none(model(), asked), f"asking {who}")
        if None in known:
            raise DivergedError(
                "the model computes no numbers", seen=f"NaN or infinite logits on {known.count(None)} facts"
            )
        trials, seconds = {}, 0.0
        for attack in self.attacks:
            trials[attack.name], took = self._trials(attack, who, model, key, seed)
            seconds += took
        damage = self._cached(
            f"damage-{who}",
            self._key_of_damage(key),
            lambda: measured(self.base(), model(), self._rows(self.retain), self._rows(self.ordinary)),
            f"measuring the damage of {who}",
        )
        self.base.release()
        model.release()
        return Found(
            known=Trial(setting=AS_IS, values=known, facts=range(len(known))),
            trials=trials,
            damage=damage,
            seconds=seconds,
        )

    def _trials(
        self, attack: OfTraining, who: str, model: LazyModel, key: dict[str, Any], seed: int
    ) -> tuple[list[Trial], float]:
        side = Side(
            look=model,
            fresh=model.copy,
            base=self.base,
            config=lambda: text_configuration(model),
            base_config=lambda: text_configuration(self.base),
            tokenizer=self.base.tokenizer,
            facts=self.facts,
            retain=self._rows(self.retain),
            ordinary=self._rows(self.ordinary),
            holdout=None,
            settings=self.audit,
            seed=seed,
            show=self.run.show.update,
        )

        def carry_out() -> list[dict[str, Any]]:
            model.release()  # the attack loads its own copy
            return [trial.row() for trial in attack.carry_out(side)]

        name, what = f"{attack.name}-{who}-{seed}", self._key_of(attack, key, seed)
        rows = self._cached(name, what, carry_out, f"{attack.title.lower()}: {who}, seed {seed}")
        took = storage.read_json(self.run.cache_path(name, what) / "stage.json")["seconds"]
        return [Trial(**row) for row in rows], float(took)

    @staticmethod
    def _model(folder: Path) -> LazyModel:
        return LazyModel(find_model(str(folder)), Precision("auto"), as_stored=True)

    def _key(self, model: LazyModel) -> dict[str, Any]:
        """Key of all results of a model."""
        return {"model": model.digest, "facts": self.facts.digest, "arithmetic": model.precision.arithmetic}

    def _key_of_damage(self, key: dict[str, Any]) -> dict[str, Any]:
        return {**key, "base": self.base.digest, "texts": [self.retain.digest, self.ordinary.digest]}

    def _key_of(self, attack: OfTraining, key: dict[str, Any], seed: int) -> dict[str, Any]:
        """Key of an attack's result."""
        settings = {
            "version": attack.version,
            "steps": self.audit.relearning_steps,
            "ways": [way.words for way in attack.ways],
            "texts": storage.digest_value([self.retain.digest, self.ordinary.digest]),
        }
        return {**key, **settings, "seed": seed}

    @staticmethod
    def _rows(facts: Facts) -> list[Any]:
        return [fact.taught for fact in facts.every]

    def _cached(self, name: str, key: dict[str, Any], make: Any, doing: str) -> Any:
        return self.run.cached_json(name, key, make, FOUND, doing)
