"""An audit of any model of pictures: the questions, and the two sides of every attack."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch

from expunge.data.images.image_set import ImageSet
from expunge.data.images.request import means_a_group
from expunge.kinds.classifier.attacks.examples import Examples, evenly
from expunge.kinds.classifier.attacks.picture_side import PictureSide
from expunge.kinds.classifier.audit_rates import measured_rates
from expunge.kinds.classifier.audited_pictures import asked_and_like, refuse_trained_on
from expunge.kinds.classifier.damage import damage_findings, summed_up
from expunge.kinds.classifier.parts import PEOPLE
from expunge.kinds.classifier.picture_story import PictureStory
from expunge.kinds.classifier.task import Pictures
from expunge.models.source import ModelSource
from expunge.runs.attacking import AnyAttack, AnyAudit
from expunge.runs.audit import AS_IS, SHOWN, Trial, in_groups
from expunge.runs.findings import Finding
from expunge.runs.work import Work
from expunge.train.precision import found_device

MEASURED = 2000
"pictures of the retain set and of the held-back ones to measure damage on, at most"

S = TypeVar("S", bound=PictureSide[Any])

SIDES = {
    "unlearned": "the unlearned model",
    "control": "the control",
    "base": "the base model",
    "control_base": "the base model on the control's pictures",
}
CONTROLS = {
    "retrained": "a model that never saw the forget set",
    "holdout": "pictures of the same classes that no model saw, instead of the forget set",
}


class PictureAuditing(AnyAudit[S]):
    """The audit of one model on the pictures of a run.

    Args:
        story: the run whose sets are used.
        subject: the model that is audited.
        control: a model that never saw the forget set; holdout: pictures of the same kind that no model saw; without
            them the run's retrained model and its held-back pictures are.

    Attributes:
        excerpts: whether single pictures are named, by id and class; none is shown.
        asked: the pictures to ask for, and `holdout` similar ones that no model saw, class by class.
        control: the kind of control; see `CONTROLS`.
    """

    words = SIDES
    side: ClassVar[type[Any]]
    known_as: ClassVar[str]
    "definition of how well a picture is known, in words"
    damage_splits: ClassVar[Mapping[str, str]]
    "name of the damage -> the split that it is measured on"
    damage_words: ClassVar[Mapping[str, str]]
    "name of the damage -> title of the finding"
    explained: ClassVar[str]
    "what was measured before and after, with places for `before` and `after`"

    wanted: int | None = None
    "pictures to ask for, given enough time"

    def __init__(self, story: PictureStory, subject: str, control: str | None, holdout: str | None) -> None:
        run = self.run = story.run
        recipe = run.recipe
        self.story, self.sets = story, story.sets
        self.settings, self.seed, self.excerpts = recipe.audit, recipe.seed, recipe.excerpts
        self.base, self.subject = story.make_base().source, story.locate(subject)
        self.retrained: ModelSource | None = None
        if control is not None:
            self.retrained = story.locate(control)
        elif (oracle := story.make_oracle()) is not None:
            self.retrained = oracle.source
        self._loaded: dict[str, Any] = {}
        self._retain = self.sets.parts["retain"].digest()
        for source in (self.subject, self.retrained):
            if source is not None:  # models that do not match the pictures are refused before anything is made
                self._look(source)
        self._not_seen, self._like = self._unseen(holdout)
        self._ask(self.settings.pictures)

    def _ask(self, number: int) -> None:
        """Choose the pictures to ask for, at most `wanted`, and the control."""
        self.asked, self.holdout = asked_and_like(
            self.sets.parts["forget"],
            self._not_seen,
            number,
            matching=self._like and self.retrained is None,
            identity=self.identity(),
        )
        self.control = "retrained" if self.retrained else "holdout" if self._like and self.holdout else None
        self.others = self.holdout if self.control == "holdout" else None

    @abstractmethod
    def values(self, task: Any, asked: Examples) -> list[float]:
        """How well a model knows each picture, from 0 to 1."""

    @abstractmethod
    def kept_values(self, task: Any, split: str, pictures: Pictures) -> list[float]:
        """(pictures,) from 0 to 1, the measure of damage."""

    @abstractmethod
    def said(self, task: Any, numbers: Sequence[int]) -> list[str]:
        """A model's answer to each of these pictures, in words."""

    @abstractmethod
    def holdout_classed(self, path: str) -> ImageSet:
        """The user's unseen pictures, with the run's labels."""

    def _unseen(self, holdout: str | None) -> tuple[ImageSet, bool]:
        """(pictures that no model saw, whether they are similar enough to the forget set to replace it)."""
        if holdout is not None:
            given = self.holdout_classed(holdout)
            refuse_trained_on(given, self.sets.parts, holdout)
            return given, True
        # None of a group were held back: the test pictures are others, which may be known better or worse.
        return self.sets.parts["test"], not self._group

    @property
    def _group(self) -> bool:
        return means_a_group(self.run.recipe.forget)

    def identity(self) -> str | None:
        """The column of the person on a picture: the request's, or one of the usual names."""
        columns = self.sets.parts["forget"].columns
        asked = self.run.recipe.forget.strip().removeprefix("identity:").rpartition(":")[0]
        return next((name for name in (asked, *PEOPLE) if name in columns), None)

    def groups(self) -> dict[str, list[int]]:
        """Group pictures of one person."""
        every = {"facts": self.asked, "control": self.others, "holdout": self.holdout}
        people = {name: each.people for name, each in every.items() if each is not None}
        found = {name: None if of is None else in_groups(of) for name, of in people.items()}
        return {name: numbers for name, numbers in found.items() if numbers is not None}

    def _look(self, source: ModelSource) -> Any:
        """A model for inference; it is loaded once."""
        if source.digest not in self._loaded:
            self._loaded[source.digest] = self.story.load(source)
        return self._loaded[source.digest]

    @property
    def asked_number(self) -> int:
        """The pictures to ask for."""
        return len(self.asked)

    @property
    def paired(self) -> bool:
        """Whether the control is asked for the same pictures."""
        return self.others is None

    def key(self) -> dict[str, Any]:
        """Key of all results."""
        return {
            "subject": self.subject.digest,
            "base": self.base.digest,
            "facts": self.asked.digest,
            "arithmetic": found_device().type,
            "seed": self.seed,
            **self.story.read_through,
        }

    def about(self) -> dict[str, Any]:
        """The audited model, the control and the pictures, for the record."""
        return {
            "model": self.subject.shown_name,
            "digests": {"model": self.subject.digests, "base": self.base.digests}
            | ({} if self.retrained is None else {"control": self.retrained.digests}),
            "control": None if self.control is None else {"kind": self.control, "words": CONTROLS[self.control]},
            "paired": self.paired,
            "things": "pictures",
            "known_as": self.known_as,
            "facts": self.asked_number,
            "facts_wanted": self.wanted or self.asked_number,
            "held_back": len(self.asked.held_back),
            "sets": self.sets.digests(),
        }

    def sides(self, attack: AnyAttack[S] | None = None) -> Iterator[tuple[str, S]]:
        """The unlearned side, then the control's if there is one; for an attack with a scale of its own also the base
        model's on their pictures. Models are loaded when needed."""
        yield "unlearned", self._side(self.subject, self.asked)
        if self.control is not None:
            yield "control", self._side(self.retrained or self.subject, self.others or self.asked)
        if attack is not None and attack.own_scale:
            yield "base", self._side(self.base, self.asked)
            if self.others is not None:
                yield "control_base", self._side(self.base, self.others)

    def _side(self, source: ModelSource, asked: Examples) -> S:
        retrained = self.retrained
        made: S = self.side(
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
            **self.more(),
        )
        return made

    def more(self) -> dict[str, Any]:
        """Further attributes of a side."""
        return {}

    def known(self) -> dict[str, Trial]:
        """What the subject, the base model and the control know without an attack (see `excess.Known`)."""
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
        key = {"model": source.digest, "asked": asked.digest, "device": found_device().type, **self._through}
        found: list[float] = self._cached(
            f"known-{which}", key, lambda: self.values(self._look(source), asked), "asking for the pictures"
        )
        return found

    @property
    def _through(self) -> dict[str, Any]:
        """Further inputs of values, in addition to model and pictures."""
        return dict(self.story.read_through)

    def ask_fewer(self, number: int) -> None:
        """Ask for only this many of the pictures, evenly spread over the classes."""
        self.wanted = self.asked_number
        self._ask(number)

    def measured(self, work: Work) -> Work:
        """Seconds per unit of each kind of work on this machine, measured on a first piece of each."""
        return measured_rates(work, self._side(self.subject, self.asked))

    def asking(self) -> Work:
        """The cost of asking for the pictures."""
        models = 2 if self.retrained is None and self.others is None else 3 if self.others is None else 4
        return Work(read=self._looked_at(models * self.asked_number))

    def around(self) -> Work:
        """The cost of an audit after its attacks: damage, and the pictures shown."""
        kept = sum(min(MEASURED, len(self.sets.tensors[split])) for split in self.damage_splits.values())
        return Work(read=self._looked_at(2 * kept)) + self.answering()

    def answering(self) -> Work:
        """The cost of the pictures shown."""
        models = 0 if not self.excerpts else 2 if self.retrained is None else 3
        return Work(read=self._looked_at(models * min(SHOWN, self.asked_number)))

    def _looked_at(self, pictures: int) -> float:
        """Pictures run forward to measure how well a model knows a number of pictures."""
        return pictures * self._side(self.subject, self.asked).asking() / self.asked_number

    def names(self) -> list[str]:
        """All attacks, in their order."""
        return [attack.name for attack in self.every()]

    def attacks(self, names: Sequence[str] = ()) -> list[tuple[AnyAttack[S], str | None]]:
        """(attack, why it cannot run), for these or for all."""
        found = []
        for attack in self.every():
            missing = None
            if not names or attack.name in names:
                missing = attack.missing(next(self.sides(attack))[1])
            found.append((attack, missing))
        return found

    @abstractmethod
    def every(self) -> list[AnyAttack[S]]:
        """Every attack on such models."""

    def _key_of(self, attack: AnyAttack[S], which: str) -> dict[str, Any]:
        """Key of the results of an attack on a side."""
        return {
            **self.key(),
            "control": [self.control, self.retrained and self.retrained.digest, self.holdout and self.holdout.digest],
            "retain": self._retain,
            "version": attack.version,
            "settings": self.settings.model_dump(include={"relearning_steps"}),
            "side": which,
        }

    def damage(self) -> dict[str, Any]:
        """Damage: results on the retain set and on held-back pictures, for the base model and the
        subject."""
        models = {"before": self.base, "after": self.subject}
        key = {name: source.digest for name, source in models.items()} | {"sets": self.sets.digests(), **self._through}

        def make() -> dict[str, dict[str, list[float]]]:
            found = {}
            for name, split in self.damage_splits.items():
                pictures = self.sets.tensors[split]
                some = pictures.take(torch.from_numpy(evenly(len(pictures), MEASURED)))
                found[name] = {
                    which: self.kept_values(self._look(source), split, some) for which, source in models.items()
                }
            return found

        found = self._cached("damage", key | {"device": found_device().type}, make, "measuring damage")
        return {name: summed_up(**values) for name, values in found.items()}

    def damaged(self, damage: dict[str, Any]) -> list[Finding]:
        """The results of `damage` with their limits; not yet judged."""
        return damage_findings(self.settings, damage, self.damage_words, self.explained)

    def shown(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The shown part of each of these pictures: its id and true class, and the models' answers."""
        if not numbers:
            return []
        models = {"base": self.base, "unlearned": self.subject}
        models |= {} if self.retrained is None else {"control": self.retrained}
        some, classes = self.asked.some(list(numbers)), self.sets.classes
        said = {which: self.said(self._look(source), numbers) for which, source in models.items()}
        return [
            {
                "source": self.asked.ids[number],
                "prompt": f"picture {self.asked.ids[number]}",
                "true": classes[int(some.labels[place])] if classes else "",
                "said": {which: words[place] for which, words in said.items()},
            }
            for place, number in enumerate(numbers)
        ]

    def release(self) -> None:
        """Release all weights."""
        self._loaded.clear()
