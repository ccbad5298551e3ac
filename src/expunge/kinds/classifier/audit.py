"""An audit of an image classifier: what is asked, the two sides of every attack, and damage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from expunge.data.images.duplicates import exact_copies
from expunge.data.images.request import means_a_group
from expunge.errors import DataError, RunError
from expunge.kinds.classifier.attacks.attack import Attack, Side, attacks
from expunge.kinds.classifier.attacks.examples import FEWEST, Examples, evenly, known, matched
from expunge.kinds.classifier.audit_rates import measured_rates
from expunge.kinds.classifier.damage import damage_findings, right, summed_up
from expunge.kinds.classifier.parts import of_classes, read_as_asked
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import tensors
from expunge.kinds.classifier.story import ClassifierStory
from expunge.kinds.classifier.task import ImageClassifier
from expunge.models.source import ModelSource
from expunge.runs.artifacts import unlearned_model
from expunge.runs.attacking import AnyAudit
from expunge.runs.audit import AS_IS, SHOWN, Trial
from expunge.runs.findings import Finding
from expunge.runs.work import Work
from expunge.train.precision import found_device

MEASURED = 2000
"pictures of the retain set and of the test set that damage is measured on, at most"

SIDES = {
    "unlearned": "the unlearned model",
    "control": "the control",
    "base": "the base model",
    "control_base": "the base model on the control's pictures",
}
CONTROLS = {
    "retrained": "a model that never saw the forget set",
    "holdout": "pictures of the same classes that no model saw, in the place of the forget set",
}


class ImageAuditing(AnyAudit[Side]):
    """The audit of one model on the pictures of a run.

    Args:
        story: its sets are read.
        subject: the model that is audited.
        control: a model that never saw the forget set; holdout: pictures of the same kind that no model saw; without them
            the run's retrained model and its test pictures are.

    Attributes:
        excerpts: whether single pictures are named, by id and class; none is shown.
        asked: the pictures that are asked for, and `holdout` those like them that no model saw, class by class.
        control: which control there is; see `CONTROLS`.
    """

    words = SIDES

    wanted: int | None = None
    "pictures that would be asked for, if there were the time"

    def __init__(self, story: ClassifierStory, subject: str, control: str | None, holdout: str | None) -> None:
        run = self.run = story.run
        recipe: ImageRecipe = run.recipe
        self.story, self.sets = story, story.sets
        self.settings, self.seed, self.excerpts = recipe.audit, recipe.seed, recipe.excerpts
        self.base, self.subject = story.make_base().source, story.locate(subject)
        self.retrained: ModelSource | None = None
        if control is not None:
            self.retrained = story.locate(control)
        elif (oracle := story.make_oracle()) is not None:
            self.retrained = oracle.source
        self._loaded: dict[str, ImageClassifier] = {}
        self._retain = self.sets.parts["retain"].digest()
        for source in (self.subject, self.retrained):
            if source is not None:  # what does not fit the pictures is refused before anything is made
                self._look(source)
        # Of a group none were held back: the test pictures are others, which may be known better or worse.
        like = holdout is not None or recipe.images.only_train or not means_a_group(recipe.forget)
        self._given, self._matching = holdout, like and self.retrained is None
        self.asked, self.holdout = self._examples(holdout, self._matching)
        self.control = "retrained" if self.retrained else "holdout" if like and self.holdout else None
        self.others = self.holdout if self.control == "holdout" else None

    def _examples(self, holdout: str | None, matching: bool) -> tuple[Examples, Examples | None]:
        """(pictures of the forget set, as many of the same classes that no model saw, where there are enough).

        Args:
            matching: ask only for pictures that have a counterpart, which is their control.
        """
        forget, wanted = self.sets.parts["forget"], self.settings.pictures
        if len(forget) < FEWEST:
            raise DataError(
                "the forget set has too few pictures to be audited",
                seen=str(len(forget)),
                allowed=f"at least {FEWEST}; some hundreds give useful intervals",
            )
        unseen = self.sets.parts["test"] if holdout is None else self._given_holdout(holdout)
        rows, others = matched(forget.labels, unseen.labels, wanted)
        like: Examples | None = None
        if len(others) >= FEWEST:
            like = Examples(tensors(unseen.take(others)), unseen.take(others).ids)
        if not matching or like is None:
            rows = evenly(len(forget), wanted)
        chosen = forget.take(rows)
        return Examples(tensors(chosen), chosen.ids), like

    def _given_holdout(self, path: str) -> Any:
        """Pictures that a user gives as unseen. Raises `DataError` where some were trained on, or have other classes."""
        recipe = self.run.recipe
        read = read_as_asked(path, self.sets.size, recipe.images.model_copy(update={"limit": None}))
        given = of_classes(read, self.sets.classes, f"the holdout pictures {path}", recipe.data)
        for name in ("forget", "retain"):
            copies = exact_copies(given.pixels, self.sets.parts[name].pixels)
            if copies:
                raise DataError(
                    f"{len(copies)} of the holdout pictures {path} are in the {name} set, too",
                    seen=given.ids[copies[0][0]],
                    allowed="pictures that no model saw",
                    next_step="leave them out",
                )
        return given

    def _look(self, source: ModelSource) -> ImageClassifier:
        """A model for looking; it is loaded once."""
        if source.digest not in self._loaded:
            self._loaded[source.digest] = self.story.load(source)
        return self._loaded[source.digest]

    @property
    def asked_number(self) -> int:
        """Pictures that are asked for."""
        return len(self.asked)

    @property
    def paired(self) -> bool:
        """Whether the control is asked for the same pictures."""
        return self.others is None

    def key(self) -> dict[str, Any]:
        """What all results depend on."""
        return {
            "subject": self.subject.digest,
            "base": self.base.digest,
            "facts": self.asked.digest,
            "arithmetic": found_device().type,
            "seed": self.seed,
        }

    def about(self) -> dict[str, Any]:
        """What is audited, with what, for the record."""
        return {
            "model": self.subject.name,
            "digests": {"model": self.subject.digests, "base": self.base.digests}
            | ({} if self.retrained is None else {"control": self.retrained.digests}),
            "control": None if self.control is None else {"kind": self.control, "words": CONTROLS[self.control]},
            "paired": self.paired,
            "things": "pictures",
            "known_as": "the probability that the model gives its true class",
            "facts": self.asked_number,
            "facts_wanted": self.wanted or self.asked_number,
            "held_back": len(self.asked.held_back),
            "sets": self.sets.digests(),
        }

    def sides(self, attack: Attack | None = None) -> Iterator[tuple[str, Side]]:
        """The unlearned side, then the control's where there is one; of an attack with a scale of its own also the base
        model's on their pictures. Models are loaded when they are asked for."""
        yield "unlearned", self._side(self.subject, self.asked)
        if self.control is not None:
            yield "control", self._side(self.retrained or self.subject, self.others or self.asked)
        if attack is not None and attack.own_scale:
            yield "base", self._side(self.base, self.asked)
            if self.others is not None:
                yield "control_base", self._side(self.base, self.others)

    def _side(self, source: ModelSource, asked: Examples) -> Side:
        retrained = self.retrained
        return Side(
            look=partial(self._look, source),
            fresh=partial(self.story.load, source),
            base=partial(self._look, self.base),
            reference=None if retrained is None else partial(self._look, retrained),
            asked=asked,
            retain=self.sets.tensors["retain"],
            holdout=self.holdout,
            settings=self.settings,
            seed=self.seed,
            show=self.run.show.update,
        )

    def known(self) -> dict[str, Trial]:
        """What is known without an attack: of the subject, the base model, and the control (see `excess.Known`)."""
        wanted = {"unlearned": (self.subject, self.asked), "base": (self.base, self.asked)}
        if self.retrained is not None:
            wanted["control"] = (self.retrained, self.asked)
        elif self.others is not None:
            wanted |= {"control": (self.subject, self.others), "control_base": (self.base, self.others)}
        found = {}
        for which, (source, asked) in wanted.items():
            values = self._known(which, source, asked)
            found[which] = Trial(setting=AS_IS, values=values, facts=list(range(len(asked))))
        if self.retrained is not None:
            found["control_base"] = found["control"]
        return found

    def _known(self, which: str, source: ModelSource, asked: Examples) -> list[float]:
        key = {"model": source.digest, "asked": asked.digest, "device": found_device().type}
        found: list[float] = self._cached(
            f"known-{which}", key, lambda: known(self._look(source), asked.pictures), "asking for the pictures"
        )
        return found

    def ask_fewer(self, number: int) -> None:
        """Ask for so many of the pictures alone, evenly spread over the classes."""
        self.wanted = self.asked_number
        self.settings = self.settings.model_copy(update={"pictures": number})
        self.asked, self.holdout = self._examples(self._given, self._matching)
        self.others = self.holdout if self.control == "holdout" else None

    def measured(self, work: Work) -> Work:
        """What one of each kind of this work takes here, in seconds: a first piece of each is done."""
        return measured_rates(work, self._look(self.subject), partial(self.story.load, self.subject), self.sets.tensors)

    def asking(self) -> Work:
        """What asking for the pictures takes."""
        models = 2 if self.retrained is None and self.others is None else 3 if self.others is None else 4
        return Work(read=models * self.asked_number)

    def around(self) -> Work:
        """What an audit takes after its attacks: damage, and the pictures that are shown."""
        read = 2.0 * sum(min(MEASURED, len(self.sets.tensors[name])) for name in ("retain", "test"))
        return Work(read=read) + self.answering()

    def answering(self) -> Work:
        """What those that are shown take."""
        return Work(read=3.0 * SHOWN)

    def names(self) -> list[str]:
        """Of all attacks, in their order."""
        return [attack.name for attack in attacks()]

    def attacks(self, names: Sequence[str] = ()) -> list[tuple[Attack, str | None]]:
        """(attack, why it cannot be carried out); of these, or of all."""
        found = []
        for attack in attacks():
            missing = None
            if not names or attack.name in names:
                missing = attack.missing(next(self.sides(attack))[1])
            found.append((attack, missing))
        return found

    def _key_of(self, attack: Attack, which: str) -> dict[str, Any]:
        """What the results of an attack on a side depend on."""
        return {
            **self.key(),
            "control": [self.control, self.retrained and self.retrained.digest, self.holdout and self.holdout.digest],
            "retain": self._retain,
            "version": attack.version,
            "settings": self.settings.model_dump(include={"relearning_steps"}),
            "side": which,
        }

    def damage(self) -> dict[str, Any]:
        """What forgetting cost: accuracy on the retain set and on the test set, of the base model and the subject."""
        models = {"before": self.base, "after": self.subject}
        key = {name: source.digest for name, source in models.items()} | {"sets": self.sets.digests()}

        def make() -> dict[str, dict[str, list[float]]]:
            found = {}
            for name in ("retain", "test"):
                pictures = self.sets.tensors[name]
                some = pictures.take(torch.from_numpy(evenly(len(pictures), MEASURED)))
                found[name] = {which: right(self._look(source), some) for which, source in models.items()}
            return found

        found = self._cached("damage", key | {"device": found_device().type}, make, "measuring damage")
        return {name: summed_up(**values) for name, values in found.items()}

    def damaged(self, damage: dict[str, Any]) -> list[Finding]:
        """What `damage` gave, beside the limits; not yet judged."""
        return damage_findings(self.settings, damage)

    def shown(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """What is shown of each of these pictures: its id and true class, and what the models take it for."""
        models = {"base": self.base, "unlearned": self.subject}
        models |= {} if self.retrained is None else {"control": self.retrained}
        some, classes = self.asked.some(list(numbers)), self.sets.classes
        outputs = {which: self._look(source).outputs(some).cpu().double().softmax(-1).numpy()
                   for which, source in models.items()}  # fmt: skip
        return [
            {
                "source": self.asked.ids[number],
                "prompt": f"picture {self.asked.ids[number]}",
                "true": classes[int(some.labels[place])],
                "said": {which: _answer(p[place], classes) for which, p in outputs.items()},
            }
            for place, number in enumerate(numbers)
        ]

    def release(self) -> None:
        """Release all weights."""
        self._loaded.clear()


def _answer(p: np.ndarray, classes: Sequence[str]) -> str:
    """The likeliest class with its probability."""
    if not np.isfinite(p).all():
        return "no answer: the outputs are no numbers"
    return f"{classes[int(p.argmax())]}, {p.max():.0%}"


def make_audit(story: ClassifierStory, subject: str | None, control: str | None, holdout: str | None) -> ImageAuditing:
    """The audit of a run's model, or of another one on the run's pictures.

    Args:
        subject: the model; None: the run's own.

    Raises:
        RunError: the run has no unlearned model.
    """
    folder = story.run.folder
    found = unlearned_model(folder)
    if subject is None and found is None:
        raise RunError(
            f"{folder.path} has no unlearned model, or one that was changed since",
            next_step="run the command that started it again, to the end",
        )
    story.reread(found[1] if found is not None and subject is None else None)
    return ImageAuditing(story, subject or str(folder.model), control, holdout)
