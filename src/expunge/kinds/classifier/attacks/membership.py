"""Membership: can pictures that were trained on be distinguished from similar ones that no model saw?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from expunge.kinds.classifier.attacks.attack import Attack, Side
from expunge.kinds.classifier.attacks.examples import Examples
from expunge.kinds.classifier.attacks.picture_side import PictureSide
from expunge.kinds.classifier.task import ImageClassifier
from expunge.measures.privacy.confidence import logit_scaled_confidence
from expunge.measures.privacy.membership import features, membership
from expunge.measures.privacy.roc import placements
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

SURE, CERTAIN = "confidence in the true class", "certainty (entropy below 0)"
"scores of one model; with a retrained one there are more"

P = TypeVar("P", bound=PictureSide[Any])
Groups = tuple[np.ndarray, np.ndarray]
"scores of the attacked pictures, and of those that no model saw"


class Membership(Attack):
    """Confidence, entropy and, with a retrained model, each picture's confidence compared with that of the
    base model (Chen et al. 2021, arXiv:2005.02205, see both) and of the retrained one (Watson et al. 2022,
    arXiv:2111.08440, so allow for hard pictures)."""

    name = "membership"
    title = "Membership"
    sentence = (
        "Scores of each picture that are meant to tell pictures that were trained on from others: the area under the "
        "ROC curve against pictures of the same classes that no model saw. 0.5 is chance; far below it, the model "
        "gives away what it forgot."
    )
    order = 15
    version = 2

    def missing(self, side: Side) -> str | None:
        if side.holdout is not None:
            return None
        return "it needs pictures of the same classes that no model saw: give --holdout PATH"

    def pieces(self, side: Side) -> list[Piece]:
        models = 1 if side.reference is None else 3
        read = models * (len(side.asked) + (0 if side.holdout is None else len(side.holdout)))
        return [Piece(words="all scores", work=Work(read=read), trials=None)]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        """Values are each picture's contribution to the area: the share of unseen pictures that score below it."""
        return membership_trials(side, (SURE, CERTAIN), scores)

    def notes(self, side: Side) -> dict[str, object]:
        """The result of a rule fitted on both groups. It is not judged: scores of a rule that was fitted on the same
        pictures are not independent, and their area is not 0.5 by chance."""
        if side.holdout is None or side.asked is side.holdout:
            return {}
        groups = [
            features(_logits(side.look(), each), each.pictures.labels.numpy()) for each in (side.asked, side.holdout)
        ]
        rule = membership(groups[0], groups[1], seed=side.seed % (1 << 31))
        area = float(placements(np.array(rule.forget_scores), np.array(rule.test_scores)).mean())
        return {"A rule fitted on confidence and entropy of both groups": {"area (not judged)": area}}


def membership_trials(side: P, alone: Sequence[str], scores: Callable[[P], Mapping[str, Groups]]) -> Iterator[Trial]:
    """Trials of scores: for each picture the share of unseen ones that score below it, and for each unseen one the
    share of pictures above.

    Args:
        alone: names of the scores of one model, without a retrained one.
        scores: returns them by name, for both groups; higher means trained on.
    """
    numbers = list(range(len(side.asked)))
    if side.asked is side.holdout:  # against itself, every score is chance
        chance = [0.5] * len(numbers)
        yield from (Trial(setting=name, values=chance, facts=numbers, others=chance) for name in alone)
        return
    for name, (seen, unseen) in scores(side).items():
        below, above = placements(seen, unseen), 1 - placements(unseen, seen)
        yield Trial(setting=name, values=below.tolist(), facts=numbers, others=above.tolist())


def scores(side: Side) -> dict[str, Groups]:
    """Attack -> scores of both groups; higher means trained on."""
    assert side.holdout is not None
    groups = side.asked, side.holdout
    own = [_logits(side.look(), each) for each in groups]
    labels = [each.pictures.labels.numpy() for each in groups]
    seen = [features(logits, label) for logits, label in zip(own, labels, strict=True)]
    sure = [logit_scaled_confidence(logits, label) for logits, label in zip(own, labels, strict=True)]
    found: dict[str, Groups] = {
        SURE: (sure[0], sure[1]),
        CERTAIN: (-seen[0][:, 1], -seen[1][:, 1]),
    }
    if side.reference is not None:
        for words, look in (("base", side.base), ("retrained", side.reference)):
            theirs = [
                logit_scaled_confidence(_logits(look(), each), label)
                for each, label in zip(groups, labels, strict=True)
            ]
            found[f"confidence compared with the {words} model's"] = (sure[0] - theirs[0], sure[1] - theirs[1])
    return found


def _logits(task: ImageClassifier, examples: Examples) -> np.ndarray:
    """(pictures, classes); 0 for a picture with NaN outputs: maximally uncertain."""
    logits = task.outputs(examples.pictures).cpu().double().numpy()
    return np.where(np.isfinite(logits).all(1, keepdims=True), logits, 0.0)
