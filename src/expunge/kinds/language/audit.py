"""An audit of a language model: the questions, the two sides of every attack, and damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from expunge.core import storage
from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.attacks.attack import Side, attacks, missing_on, tokens
from expunge.kinds.language.attacks.facts import Facts, Row, read_facts, recall_or_none
from expunge.kinds.language.attacks.paraphrases import REQUEST, paraphrases
from expunge.kinds.language.attacks.swapped_names import swapped
from expunge.kinds.language.audit_models import AuditModels, text_configuration
from expunge.kinds.language.audit_rates import measured_rates
from expunge.kinds.language.damage import damage_findings, measured, summed_up
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet, given_set
from expunge.kinds.language.story import LanguageStory
from expunge.models.source import find_model
from expunge.runs.attacking import AnyAttack, AnyAudit
from expunge.runs.audit import AS_IS, SHOWN, Trial
from expunge.runs.findings import Finding
from expunge.runs.work import Work

ROWS = 48
"rows of the retain set and of ordinary text that are measured and that an attacker may train on"
NEW = 32
"tokens of each answer shown"

SIDES = {
    "unlearned": "the unlearned model",
    "control": "the control",
    "base": "the base model",
    "control_base": "the base model on the control's facts",
}
CONTROLS = {
    "retrained": "a model that never saw the forget set",
    "holdout": "similar texts that no model saw, instead of the forget set",
    "names": "the forget set's own texts with its names replaced by invented ones, instead of the forget set",
}


class LanguageAudit(AnyAudit[Side]):
    """The audit of one model on the data of a run.

    Args:
        story: the run whose sets are used.
        subject: the model that is audited.
        control: a model that never saw the forget set; holdout: texts of the same kind that no model saw.

    Attributes:
        control: the kind of control; see `CONTROLS`. wanted: number of facts to ask for, given enough time.
    """

    words = SIDES

    def __init__(self, story: LanguageStory, subject: str, control: str | None, holdout: str | None) -> None:
        run = self.run = story.run
        recipe: Recipe = run.recipe
        if recipe.forget_kind == "toxicity":
            raise RecipeError(
                "an audit asks for facts, and toxicity is a habit",
                next_step="measure it with expunge evaluate, with other prompts (--toxicity-prompts FILE)",
            )
        self.settings, self.seed, self.excerpts = recipe.audit, recipe.seed, recipe.excerpts
        self.base, self.sets = story.base, story.sets
        self.subject = LazyModel(find_model(subject), story.precision, as_stored=True)
        control = control or recipe.retrained
        self.retrained = None if control is None else LazyModel(find_model(control), story.precision, as_stored=True)
        self.models = AuditModels(self.base, self.subject, self.retrained)
        self.wanted: int | None = None
        self.destroyed: str | None = None
        "why there is nothing to attack, if so"
        tokenizer, size = self.base.tokenizer, recipe.data.block_size

        def facts(text: TextSet | Callable[[], Any], name: str) -> Facts:
            documents = text.documents if isinstance(text, TextSet) else text
            return read_facts(documents, tokenizer, self.settings.facts, size, name, self.settings.rows_together)

        forget = self.sets.forget
        self.facts = facts(forget, "forget set")
        self.holdout = None
        if holdout is not None:
            self.holdout = facts(given_set("holdout", [holdout], recipe, run.show), "holdout set")
        self.retain = self._rows(self.sets.retain, "retain set")
        self.ordinary = self._rows(self.sets.ordinary, "ordinary text")
        self.control, self.others = self._control(facts, forget)

    def _rows(self, text: TextSet, name: str) -> list[Row]:
        size = self.run.recipe.data.block_size
        found = read_facts(text.documents, self.base.tokenizer, ROWS, size, name)
        return [fact.taught for fact in found.every]

    def _control(self, facts: Callable[..., Facts], forget: TextSet) -> tuple[str | None, Facts | None]:
        """(the kind of control, the facts that it is asked for if they differ)."""
        if self.retrained is not None:
            return "retrained", None
        if self.holdout is not None:
            return "holdout", self.holdout
        names = self.sets.material.terms.unique
        if not names:
            return None, None
        made = swapped(forget.documents, names, self.seed)
        return "names", facts(made, "forget set with other names")

    @property
    def paired(self) -> bool:
        """Whether the control is asked for the same facts."""
        return self.others is None

    def groups(self) -> dict[str, list[int]]:
        """Group questions about one person, and passages of one document."""
        every = {"facts": self.facts, "control": self.others, "holdout": self.holdout}
        found = {name: facts.groups for name, facts in every.items() if facts is not None}
        return {name: groups for name, groups in found.items() if groups is not None}

    def key(self) -> dict[str, Any]:
        """Key of all results."""
        return {
            "subject": self.subject.digest,
            "base": self.base.digest,
            "facts": self.facts.digest,
            "arithmetic": self.subject.precision.arithmetic,
            "seed": self.seed,
        }

    def about(self) -> dict[str, Any]:
        """The audited model, the control and the facts, for the record."""
        return {
            "model": self.subject.source.shown_name,
            "digests": {"model": self.subject.source.digests, "base": self.base.source.digests}
            | ({} if self.retrained is None else {"control": self.retrained.source.digests}),
            "control": None if self.control is None else {"kind": self.control, "words": CONTROLS[self.control]},
            "paired": self.paired,
            "things": "facts",
            "known_as": "the geometric mean probability of its tokens",
            "facts": self.asked_number,
            "facts_wanted": self.wanted or self.asked_number,
            "held_back": len(self.facts.held_back),
            "sets": self.sets.digests(),
            "ordinary": self._ordinary_words(),
            **self.models.kept_beside(),
        }

    def _ordinary_words(self) -> str:
        ordinary, retain = self.sets.ordinary, self.sets.retain
        if ordinary.digest == retain.digest:
            return "the retain set, since no other ordinary text was given"
        return "text that the base model wrote" if ordinary.generated else ordinary.shown

    def sides(self, attack: AnyAttack[Side] | None = None) -> Iterator[tuple[str, Side]]:
        """The unlearned side, then the control's if there is one; for an attack with a scale of its own also the base
        model's on their facts. Models are loaded when needed."""
        yield "unlearned", self._side(self.subject, self.facts)
        if self.control is not None:
            model = self.retrained or self.subject
            yield "control", self._side(model, self.others or self.facts, again=self.others is None)
        if attack is not None and attack.own_scale:
            yield "base", self._side(self.base, self.facts)
            if self.others is not None:
                yield "control_base", self._side(self.base, self.others)

    def _side(self, model: LazyModel, facts: Facts, again: bool = False) -> Side:
        """A side; `again`: its facts are those of another side."""
        return Side(
            look=lambda: self.models.look(model),
            fresh=lambda: self.models.fresh(model),
            base=lambda: self.models.beside(self.base),
            config=lambda: text_configuration(model),
            base_config=lambda: text_configuration(self.base),
            tokenizer=self.base.tokenizer,
            facts=facts,
            retain=self.retain,
            ordinary=self.ordinary,
            holdout=self.holdout,
            settings=self.settings,
            retrained=self.retrained is not None,
            paraphrases=lambda: self._paraphrases(facts),
            rewritten=again or self._there("paraphrases", self._key_of_paraphrases(facts)),
            seed=self.seed,
            show=self.run.show.update,
        )

    def _paraphrases(self, facts: Facts) -> list[str | None]:
        def make() -> list[str | None]:
            return paraphrases(self.models.look(self.base), facts)

        key = self._key_of_paraphrases(facts)
        return list(self._cached("paraphrases", key, make, "rewriting the questions"))

    def _key_of_paraphrases(self, facts: Facts) -> dict[str, Any]:
        return self._of(self.base, facts) | {"request": REQUEST}

    def known(self) -> dict[str, Trial]:
        """What the subject, the base model and the control know without an attack (see `excess.Known`).

        Raises:
            ModelError: the base model or the control computes NaN or infinity. If the subject does, it is destroyed:
                there is nothing to attack, and the damage shows it.
        """
        models = {"unlearned": (self.subject, self.facts), "base": (self.base, self.facts)}
        if self.retrained is not None:
            models |= {"control": (self.retrained, self.facts)}
        elif self.others is not None:
            models |= {"control": (self.subject, self.others), "control_base": (self.base, self.others)}
        found = {}
        for which, (model, facts) in models.items():
            values = self._known(which, model, facts)
            if None in values:
                self._no_numbers(model, values)
            found[which] = Trial(setting=AS_IS, values=[v or 0.0 for v in values], facts=range(len(values)))
        if self.retrained is not None:
            found["control_base"] = found["control"]
        return found

    def _known(self, which: str, model: LazyModel, facts: Facts) -> list[float | None]:
        def make() -> list[float | None]:
            return recall_or_none(self.models.look(model), [f.asked for f in facts.every])

        key, doing = self._of(model, facts) | {"version": 2}, f"asking for the facts, {self.words[which]}"
        found: list[float | None] = self._cached(f"known-{which}", key, make, doing)
        return found

    def _no_numbers(self, model: LazyModel, values: Sequence[float | None]) -> None:
        """Note that the subject is destroyed; raise for another model."""
        seen = f"NaN or infinite logits on {values.count(None)} of {len(values)} facts"
        if model is not self.subject:
            raise ModelError(
                f"{model.source.name} computes no numbers, so nothing can be compared with it",
                seen=seen,
                next_step="give a model that works as --base and --control",
            )
        self.destroyed = f"{model.source.shown_name} computes no numbers: {seen}"

    def _of(self, model: LazyModel, facts: Facts) -> dict[str, Any]:
        return {"model": model.digest, "facts": facts.digest, "arithmetic": model.precision.arithmetic}

    @property
    def asked_number(self) -> int:
        """Facts that are asked for."""
        return len(self.facts.every)

    def ask_fewer(self, number: int) -> None:
        """Ask for only this many of the facts: a sample drawn by the seed, in the order of the text."""
        self.wanted = len(self.facts.every)
        same = self.others is self.holdout
        self.facts = self.facts.some(number, self.seed)
        if self.holdout is not None:
            self.holdout = self.holdout.some(number, self.seed)
        if self.others is not None:
            self.others = self.holdout if same else self.others.some(number, self.seed)

    def measured(self, work: Work) -> Work:
        """Seconds per unit of each kind of work on this machine, measured on a first piece of each."""
        return measured_rates(work, self.models, self.subject, self.facts)

    def asking(self) -> Work:
        """The cost of asking for the facts."""
        own = tokens(fact.asked for fact in self.facts.every)
        if self.others is None:
            models = 2 if self.retrained is None else 3
            return Work(read=models * own, loaded=models)
        return Work(read=2.0 * (own + tokens(fact.asked for fact in self.others.every)), loaded=4)

    def around(self) -> Work:
        """The cost of an audit after its attacks: damage, and the answers shown."""
        return Work(read=2.0 * (tokens(self.retain) + tokens(self.ordinary)), loaded=2) + self.answering()

    def answering(self) -> Work:
        """The cost of the answers shown."""
        models = 0 if not self.excerpts else 2 if self.retrained is None else 3
        return Work(written=models * min(SHOWN, self.asked_number) * NEW, loaded=models)

    def names(self) -> list[str]:
        """All attacks, in their order."""
        return [attack.name for attack in attacks()]

    def attacks(self, names: Sequence[str] = ()) -> list[tuple[AnyAttack[Side], str | None]]:
        """(attack, why it cannot run), for these or for all."""
        found = []
        for attack in attacks():
            missing = None
            if not names or attack.name in names:
                sides = [(SIDES[which], side) for which, side in self.sides(attack)]
                missing = self.destroyed or missing_on(attack, sides)
            found.append((attack, missing))
        return found

    def _key_of(self, attack: AnyAttack[Side], which: str) -> dict[str, Any]:
        """Key of the results of an attack on a side."""
        return {
            **self.key(),
            "version": attack.version,
            "settings": self.settings.model_dump(include={"relearning_steps", "rows_together", "samples", "templates"}),
            "side": [which, self._side_digest(which)],
            "holdout": None if self.holdout is None else self.holdout.digest,
            "texts": self._texts,
        }

    def _side_digest(self, which: str) -> Any:
        if which == "control" and self.retrained is not None:
            return self.retrained.digest
        return self.others.digest if self.others is not None and which in ("control", "control_base") else None

    @cached_property
    def _texts(self) -> str:
        """Digest of the rows that are not facts."""
        return storage.digest_value([[row.ids for row in rows] for rows in (self.retain, self.ordinary)])

    def damage(self) -> dict[str, Any]:
        """Damage: recall of the retain set and perplexity of ordinary text, of the base model and the
        subject, in pairs; and KL(base || subject) on ordinary text, nats a token."""
        key = self.key() | {"texts": self._texts}

        def make() -> dict[str, Any]:
            subject = self.models.look(self.subject)
            return measured(self.models.beside(self.base), subject, self.retain, self.ordinary)

        return summed_up(self._cached("damage", key, make, "measuring damage"))

    def damaged(self, damage: dict[str, Any]) -> list[Finding]:
        """The results of `damage` with their limits; not yet judged."""
        return damage_findings(self.settings, damage, self.sets.ordinary.digest == self.sets.retain.digest)

    def shown(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The part of each of these facts that is shown, with the models' answers."""
        return self.facts.shown(numbers, self._said(numbers)) if numbers else []

    def _said(self, numbers: Sequence[int]) -> dict[str, list[str]]:
        """Model -> its greedy answers to these facts."""
        prompts = [list(self.facts.every[i].asked.ids[: self.facts.every[i].asked.first]) for i in numbers]
        models = {"base": self.base, "unlearned": self.subject}
        models |= {} if self.retrained is None else {"control": self.retrained}

        def said(which: str, model: LazyModel) -> list[str]:
            def make() -> list[str]:
                return [texts[0] for texts in self.models.look(model).generate(prompts, NEW)]

            key = self._of(model, self.facts) | {"prompts": list(numbers)}
            found: list[str] = self._cached(f"said-{which}", key, make, "asking for the worst facts")
            return found

        return {which: said(which, model) for which, model in models.items()}

    def release(self) -> None:
        """Release all weights."""
        self.models.release()
