"""What is measured of one generator: its completions of every split, once, and the scores made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from expunge.core.score import Score, Which
from expunge.kinds.classifier.measures.classification import balanced_accuracy
from expunge.kinds.generator.measures import image_quality as quality
from expunge.kinds.generator.measures.declared import DECLARED
from expunge.measures.statistics import Estimate

SPLITS = ("forget", "forget_test", "retain", "retain_test")
"the splits measured, in the order of the report"


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A network's outputs on pictures.

    Attributes:
        features: (n, width).
        probabilities: (n, classes); (n, 0) of a network without classes.
        drawn: the same for the pictures with the part greyed that the model was shown.
    """

    features: np.ndarray
    probabilities: np.ndarray
    drawn: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Completions:
    """One model's completions of a split, (n, 3, side, side) uint8, and the network's outputs on them.

    Attributes:
        apart: (n,) perceptual distance of each from its original; None for a network without accessible layers.
    """

    pictures: np.ndarray
    seen: Seen
    apart: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Originals:
    """The pictures of a split, what was hidden of them, and their labels.

    Attributes:
        pictures: (n, 3, side, side) uint8.
        drawn: (n, side * side) bool: the pixels that a model has to draw.
        labels: (n,) the network's classes, or None.
        people: (n,) identity of each picture's person, or None if every picture has its own.
    """

    pictures: np.ndarray
    drawn: np.ndarray
    seen: Seen
    labels: np.ndarray | None
    people: np.ndarray | None


def save_completions(completions: Mapping[str, Completions], path: Path) -> None:
    arrays = {f"pictures-{split}": found.pictures for split, found in completions.items()}
    for field in fields(Seen):
        arrays |= {f"{field.name}-{split}": getattr(found.seen, field.name) for split, found in completions.items()}
    arrays |= {f"apart-{split}": found.apart for split, found in completions.items() if found.apart is not None}
    np.savez(path, allow_pickle=False, **arrays)


def load_completions(path: Path) -> dict[str, Completions]:
    with np.load(path, allow_pickle=False) as stored:
        names = [key.removeprefix("pictures-") for key in stored.files if key.startswith("pictures-")]
        return {
            split: Completions(
                stored[f"pictures-{split}"],
                Seen(*(stored[f"{field.name}-{split}"] for field in fields(Seen))),
                stored.get(f"apart-{split}"),
            )
            for split in names
        }


def completion_scores(
    completions: Mapping[str, Completions],
    originals: Mapping[str, Originals],
    which: Which,
    group: np.ndarray | None = None,
) -> list[Score]:
    """Fréchet and perceptual distance, inception-style score, cosine of features, PSNR, SSIM, and recognition, by
    split.

    Args:
        group: (classes,) share of each class that is to be forgotten, if the forget set is a group of classes.
    """
    everyone = _gallery(originals)
    scores: list[Score] = []
    for split in SPLITS:
        if split in completions and len(completions[split].pictures):
            ours, theirs = completions[split], originals[split]
            for measure, found, examples in _measured(ours, theirs, everyone, group):
                n = len(ours.pictures) if examples is None else None
                scores.append(DECLARED[measure].score(split, which, found, () if examples is None else examples, n))
    return scores


def _measured(
    ours: Completions, theirs: Originals, everyone: Gallery | None, group: np.ndarray | None
) -> Iterator[tuple[str, Estimate, np.ndarray | None]]:
    """(measure, value, values of the pictures if any) of one split."""
    if len(ours.pictures) >= quality.FEWEST:
        yield "frechet", quality.frechet(ours.seen.features, theirs.seen.features), None
        if ours.seen.probabilities.shape[1]:
            yield "inception", quality.inception_style(ours.seen.probabilities), None
    for measure, values in (
        ("feature_cosine", quality.cosines(ours.seen.features, theirs.seen.features)),
        ("psnr", quality.psnr(ours.pictures, theirs.pictures)),
        ("ssim", quality.ssim(ours.pictures, theirs.pictures)),
        ("perceptual", ours.apart),
    ):
        if values is not None:
            yield measure, quality.mean(values), values
    right = recognised(ours, theirs, everyone)
    if len(right):
        yield "identity_recognition", quality.share(right), right
    if theirs.labels is not None and ours.seen.drawn.shape[1]:
        yield "class_recognition", balanced_accuracy(ours.seen.drawn.argmax(1), theirs.labels), None
        if group is not None:
            taken = group_recognised(ours, group)
            yield "group_recognition", quality.share(taken), taken


def leak_scores(leaks: Mapping[str, np.ndarray], which: Which) -> list[Score]:
    """Scores of attacks: (n,) 1 where a picture aimed at was identified, else 0, by attack."""
    return [
        DECLARED[measure].score("forget", which, quality.share(values), values)
        for measure, values in leaks.items()
        if len(values)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Originals of every split, in their order: the gallery in which people are looked up."""

    pictures: np.ndarray
    people: np.ndarray
    splits: Sequence[Originals]

    def own_rows(self, split: Originals) -> np.ndarray:
        """(n,) positions of the pictures of a split."""
        ends = np.cumsum([len(each.pictures) for each in self.splits])
        end = next(int(end) for end, each in zip(ends, self.splits, strict=True) if each is split)
        return np.arange(end - len(split.pictures), end)

    def others(self, people: np.ndarray) -> np.ndarray:
        """(n,) number of further pictures of each person."""
        return np.array([(self.people == person).sum() - 1 for person in people])


def _gallery(originals: Mapping[str, Originals]) -> Gallery | None:
    """None if everyone is on one picture only: each split is then its own gallery."""
    named = [found for found in originals.values() if found.people is not None and len(found.pictures)]
    if not named:
        return None
    people = [found.people for found in named if found.people is not None]
    return Gallery(np.concatenate([found.pictures for found in named]), np.concatenate(people), named)


def recognised(ours: Completions, theirs: Originals, everyone: Gallery | None = None) -> np.ndarray:
    """(n,) 1 where the nearest original, over the pixels that the model drew, shows the person, else 0.

    Without names the originals of the split are the gallery, and the right one is the picture itself. With names all
    other pictures are, and pictures of people with one picture only are left out.
    """
    queries = _centred(ours.pictures)
    if everyone is None or theirs.people is None:
        return quality.finds_itself(queries, _centred(theirs.pictures), theirs.drawn)
    own = everyone.own_rows(theirs)
    rows = quality.nearest_rows(queries, _centred(everyone.pictures), theirs.drawn, own)
    right = (everyone.people[rows] == theirs.people).astype(float)
    return right[everyone.others(theirs.people) > 0]


def group_recognised(ours: Completions, group: np.ndarray) -> np.ndarray:
    """(n,) 1 if the network takes what was drawn for a picture of the group, else 0.

    That is, if a picture of the group is likelier than not: the sum of p(class | drawn) times `group`, (classes,) the
    share of each class that belongs to it.
    """
    return np.asarray(ours.seen.drawn @ group > 0.5, dtype=float)


def chance(theirs: Originals, everyone: Gallery | None = None) -> float:
    """Share of a split that `recognised` counts as right if the model always draws the same."""
    if everyone is None or theirs.people is None:
        return 1 / max(1, len(theirs.pictures))
    others = everyone.others(theirs.people)
    others = others[others > 0]
    return float((others / (len(everyone.people) - 1)).mean()) if len(others) else 0.0


def chances(originals: Mapping[str, Originals]) -> dict[str, float]:
    """`chance` of identification of every split."""
    everyone = _gallery(originals)
    return {split: chance(found, everyone) for split, found in originals.items() if len(found.pictures)}


def _centred(pictures: np.ndarray) -> np.ndarray:
    flat = pictures.reshape(len(pictures), pictures.shape[1], -1).astype(np.float32)
    return np.asarray(flat / 127.5 - 1)


def principal_components(groups: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(n, 2) coordinates of each group's features (n, d) on the axes along which the first group varies most."""
    first = next(iter(groups.values()))
    mean = first.mean(0)
    _, _, axes = np.linalg.svd(first - mean, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2, np.abs(axes[:2]).argmax(1)].diagonal())[:, None]
    return {name: (features - mean) @ axes.T for name, features in groups.items()}
