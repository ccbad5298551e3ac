"""The suite: teach a model and an oracle, let every method forget, relearn half of it, and ask for the other half.

The suite's folder is that of a suite of questions. `stages/` has the taught models, and what each model knew
before, under and after the attacks; `cells/METHOD/SEED/` are ordinary run folders. An interrupted suite resumes with
the missing parts; more methods and seeds may be added to it later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.data.text.readers import digest_documents, read_documents
from expunge.errors import DivergedError, RecipeError, did_you_mean
from expunge.kinds.language.attacks.relearning import OfTraining
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet, ordinary_set
from expunge.models.source import find_model
from expunge.runs.audit import Audit
from expunge.runs.plugins import named_in
from expunge.runs.recipe import make
from expunge.runs.versions import versions
from expunge.suites.relearn.attacking import Attacker, Found, facts_of
from expunge.suites.relearn.figures import Seeds, method_row, model_row
from expunge.suites.relearn.report import render_relearn
from expunge.suites.relearn.settings import Attack
from expunge.suites.relearn.suite import NAME
from expunge.suites.tofu.cells import Cell
from expunge.suites.tofu.plan import Plan
from expunge.suites.tofu.prepare import Prepared, prepared
from expunge.suites.tofu.run import is_unlearned, unlearned
from expunge.suites.tofu.suite import data_folder
from expunge.train.precision import Precision

Result: TypeAlias = "tuple[dict[str, Any], Found | None]"
"a cell's cost, and the results of its model; None if there is none"


def run_relearn(plan: Plan, attack: Attack, out: str | Path, show: Silent | None = None) -> dict[str, Any]:
    """Make every missing model, attack it, compute and write the figures, and return them.

    Figures and page are also written before each missing model, marked as unfinished.

    Raises:
        ExpungeError: errors that end any run, except a training that diverged or changed nothing; another suite's
            folder.
    """
    attacks, audit = attacks_named(attack.attacks), audit_of(plan.overrides)
    if not attack.kl > 0:
        raise RecipeError(
            "a limit of no damage cannot be used", seen=f"kl {attack.kl}", allowed="above 0, such as 0.01"
        )
    # Limits and strength of the attack are fixed here, before the first one: another choice needs another folder.
    record = {
        **plan.asked_for,
        "attacks": [each.name for each in attacks],
        "kl": attack.kl,
        "audit": audit.model_dump(mode="json"),
        "ordinary": _digest(attack.ordinary),
        **({"equal_damage": True} if attack.equal_damage else {}),
    }
    with prepared(replace(plan, asked_for=record), out, show, {"ordinary_text": attack.ordinary}) as made:
        run = made.run
        ordinary = _ordinary(made)
        attacker = _attacker(made, ordinary, audit, attacks)
        if attack.equal_damage:
            attacker = attacker.to_equal_damage(attack.kl)
        assert made.oracle is not None  # these sets are taught
        base, oracle = (
            {seed: attacker.attack(who, Path(origin.model), seed) for seed in range(plan.seeds)}
            for who, origin in (("taught", made.before), ("oracle", made.oracle))
        )
        evaluation = made.content["evaluation"] | {"ordinary_text": ordinary.target}
        cells = made.cells(evaluation=evaluation)
        so_far = _Figures(made, attack, attacker, ordinary, base, oracle)
        missing = [cell for cell in cells if not _is_there(made, cell, attacker)]
        results: dict[str, Result] = {}
        # Existing cells come first, so that no earlier figures are lost in the intermediate ones.
        for number, cell in enumerate([*(each for each in cells if each not in missing), *missing], 1):
            if cell in missing:
                so_far.write(cells, results, finished=False)
            results[cell.name] = _cell(made, cell, attacker, f"{number} of {len(cells)}")
        run.show.stage("computing the figures")
        return so_far.write(cells, results, finished=True)


@dataclass(frozen=True, slots=True)
class _Figures:
    """The figures of the suite, for the models so far."""

    made: Prepared
    attack: Attack
    attacker: Attacker
    ordinary: TextSet
    base: Seeds
    oracle: Seeds

    def write(self, cells: Sequence[Cell], results: Mapping[str, Result], finished: bool) -> dict[str, Any]:
        """Compute and write figures and page; return the figures.

        Args:
            results: cost and results of a cell, by its name.
        """
        run, facts, attacks = self.made.run, self.attacker.facts, self.attacker.attacks
        groups: dict[str, list[tuple[Cell, dict[str, Any], Found | None]]] = {}
        for cell in cells:
            if cell.name in results:
                groups.setdefault(cell.group, []).append((cell, *results[cell.name]))
        rows = [method_row(of_group, self.oracle, self.base, attacks) for of_group in groups.values()]
        figures: dict[str, Any] = {
            "suite": NAME,
            "unfinished": None if finished else {"made": len(results), "of": len(cells)},
            "settings": self.made.settings,
            "seeds": self.made.plan.seeds,
            "facts": {"asked": len(facts.every), "held_back": len(facts.held_back)},
            "ordinary": "text that the model wrote before it was taught"
            if self.ordinary.generated
            else self.ordinary.shown,
            "kl_limit": self.attack.kl,
            "attacks": {each.name: [each.title, each.sentence] for each in attacks},
            "taught_model": model_row(self.base, self.oracle, self.base, attacks),
            "oracle": model_row(self.oracle, self.oracle, self.base, attacks),
            "methods": [row for row, _ in rows if row is not None],
            "failed": [failed for _, failed in rows if failed is not None],
            "notices": run.notices(),
            "versions": versions(),
        }
        storage.write_json(run.folder.path / f"{NAME}.json", figures)
        render_relearn(run.folder)
        return figures


def _is_there(made: Prepared, cell: Cell, attacker: Attacker) -> bool:
    """Whether a cell's model was made and attacked, or failed to be made."""
    spent = is_unlearned(made, cell, made.plan.sets, made.before)
    if spent is None:
        return False
    return bool(spent["failed"]) or attacker.has_found_cell(cell.name, cell.path / "model", cell.seed)


def _cell(made: Prepared, cell: Cell, attacker: Attacker, place: str) -> Result:
    """(a cell's cost, or why it failed; the results of its model); made once."""
    spent = unlearned(made, cell, made.plan.sets, made.before, place)
    if spent["failed"]:
        return spent, None
    try:
        return spent, attacker.attack_cell(cell.name, cell.path / "model", cell.seed)
    except DivergedError as error:
        return spent | {"failed": error.what}, None


def attacks_named(names: str) -> list[OfTraining]:
    """The attacks that train, of these names.

    Raises:
        RecipeError: there is no such attack, or it does not train.
    """
    from expunge.kinds.language import attacks as room

    able = {kind.name: kind for kind in named_in(room, OfTraining)}
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in wanted:
        if name not in able:
            raise RecipeError(
                f"{name!r} is not an attack that trains",
                allowed=", ".join(able),
                next_step=did_you_mean(name, list(able)),
            )
    if not wanted:
        raise RecipeError("no attack is named", seen=repr(names), allowed=", ".join(able))
    return [able[name]() for name in wanted]


def audit_of(overrides: Mapping[str, Any]) -> Audit:
    """The part `audit` of all cells' recipes."""
    own = {name: value for name, value in overrides.items() if name.partition(".")[0] == "audit"}
    return make(Recipe, {"forget": "facts"}, own, where="options").audit


def _digest(ordinary: str | None) -> str | None:
    return None if ordinary is None else digest_documents(read_documents(ordinary))


def _ordinary(made: Prepared) -> TextSet:
    """Ordinary text: the user's, or sampled from the model before teaching."""
    forget = TextSet.written("forget", made.run.folder.path / data_folder(NAME) / "forget.jsonl")
    before = LazyModel(find_model(made.run.recipe.model), Precision("auto"))
    found = ordinary_set(made.run, forget, [], before)
    before.release()
    return found


def _attacker(made: Prepared, ordinary: TextSet, audit: Audit, attacks: list[OfTraining]) -> Attacker:
    sets = made.plan.sets
    taught = LazyModel(find_model(made.before.model), Precision("auto"), as_stored=True)
    sizes: dict[str, Any] = {"tokenizer": taught.tokenizer, "block_size": made.plan.lesson.block_size}
    return Attacker(
        run=made.run,
        base=taught,
        facts=facts_of([row.document() for row in sets.forget], "forget set", wanted=audit.facts, **sizes),
        retain=facts_of([row.document() for row in sets.retain], "retain set", **sizes),
        ordinary=facts_of(list(ordinary.documents()), "ordinary text", **sizes),
        audit=audit,
        attacks=attacks,
    )
