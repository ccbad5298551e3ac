"""Image classifiers: what is measured, and what each threshold of the verdict compares."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from expunge.kinds.classifier.recipe import ImageVerdict
from expunge.runs.check import Case, Check, Judge, Threshold, ratio_at_least, recorded_at_most
from expunge.runs.measure import Declared, Measure

_apart = partial(Measure, unit="distance")
_share = partial(Measure, unit="share", percent=True)

MEASURES = (
    _share(
        "image_accuracy",
        "Accuracy",
        "Pictures whose likeliest class is the right one. On pictures to keep and on new ones higher is better; on the "
        "forget set best is the value of a model that never saw them, which is seldom 0.",
        higher_is="better",
        on_forget="worse",
        axis="named rightly",
        aim="as retrained",
    ),
    _share(
        "balanced_accuracy",
        "Balanced accuracy",
        "The same, as the mean over the classes, so that frequent classes do not hide rare ones. Higher is better.",
        higher_is="better",
        family="utility",
        axis="named rightly",
    ),
    Measure(
        "membership_auc",
        "Membership attack",
        "How well one rule, fitted on the model's outputs, tells forgotten pictures from pictures the model never "
        "saw: the area under the curve, 1 always and 0.5 by chance. It overestimates safety: pictures that leak are "
        "outvoted by those that do not.",
        unit="area under the curve",
        family="forgetting",
        axis="area under the curve, 0.5 is chance",
        aim="near 0.5",
    ),
    _share(
        "membership_tpr",
        "Membership attack, at 1 % false alarms",
        "Forgotten pictures that the same attack finds while taking 1 % of new pictures for forgotten ones. 1 % is "
        "chance; lower is better.",
        family="forgetting",
        axis="found at 1 % false alarms",
    ),
    Measure(
        "entropy",
        "Entropy",
        "How undecided the model is between the classes, in nats; 0 is certain. On the forget set best is the value "
        "of a retrained model.",
        unit="nats",
        on_forget="better",
        axis="nats, 0 is certain",
        aim="as retrained",
    ),
    _apart(
        "activation_distance",
        "Distance to the retrained model",
        "How far the model's probabilities lie from those of the retrained model, from 0, the same, to 1.41. Lower is "
        "better.",
        axis="0 is the same",
    ),
    _apart(
        "feature_distance",
        "Distance to the retrained model's features",
        "The same for the inputs of the last layer, relative to the length of the retrained model's features; 0 is "
        "the same. Two trainings from different random weights are far apart whatever they saw: what counts is the "
        "change. Lower is better.",
        axis="0 is the same, of the features",
    ),
    _apart(
        "weight_distance",
        "Distance to the retrained model's weights",
        "How far all weights together lie from the retrained model's, over the length of these; 0 is the same. Two "
        "trainings are far apart, so only a very small distance is informative. Lower is better.",
        axis="0 is the same, of the weights",
    ),
    Measure(
        "zrf",
        "Zero-retrain forgetting",
        "How similar the outputs on the forget set are to those of a model with random weights, 1 being the same. "
        "Best is not 1 but the value of a retrained model.",
        unit="share",
        higher_is="better",
        family="forgetting",
        axis="1 is as random weights",
        aim="as retrained",
    ),
)


def exact(case: Case) -> Check | None:
    """Whether the weights are those of the retrained model: for a method that retrains the shards with forgotten
    pictures.

    Its forgetting is judged only by that, and not by the outputs on the pictures, of which there may be only one.
    """
    found = case.record.get("exact")
    if found is None:
        return None
    equal = found["equal_to_retrained"]
    reasons = {
        True: "the weights are bit for bit those of the model that was trained without the pictures",
        False: "the weights are not those of the model that was trained without the pictures",
        None: "no reused weights were trained on the pictures; --retrained train compares them bit for bit",
    }[equal]
    return case.check(0.0 if equal is False else 1.0, "at least", reasons)


def unless_exact(judged: Judge) -> Judge:
    """No check if exactness is judged."""
    return lambda case: judged(case) if case.record.get("exact") is None else None


def forget_gap(case: Case) -> Check | None:
    """Distance of accuracy on the forget set from the retrained model's; without one, from that on test pictures."""
    after, aim = (case.score("image_accuracy", "forget", model) for model in ("unlearned", "retrained"))
    against = "of the retrained model"
    if aim is None:
        aim, against = case.score("image_accuracy", "test", "unlearned"), "of this model on test pictures"
    if after is None or aim is None:
        return case.failed("not measured")
    explain = f"{after.value:.1%} on the forget set, {aim.value:.1%} {against}"
    return case.check(abs(after.value - aim.value), "at most", explain)


def membership(case: Case) -> Check | None:
    """Membership inference AUC of forgotten against test pictures, in either direction: low confidence leaks, too."""
    auc = case.score("membership_auc", "forget", "unlearned")
    if auc is None:
        return case.failed("not measured: too few pictures")
    explain = f"forgotten and test pictures are distinguished with an AUC of {auc.value:.3f}; 0.5 is chance"
    return case.check(max(auc.value, 1 - auc.value), "at most", explain)


_of = partial(Threshold.of, ImageVerdict)
_kept: Callable[..., Judge] = partial(
    ratio_at_least,
    measure="image_accuracy",
    explain="{before:.1%} {reference}, {after:.1%} after",
    to_reference=True,
    missing="not measured",
)

DECLARED = Declared(
    measures=MEASURES,
    thresholds=(
        _of("retain_accuracy", "Pictures to keep", _kept(split="retain"), unit="share of the reference"),
        _of("test_accuracy", "New pictures", _kept(split="test"), unit="share of the reference"),
        Threshold(
            "exact",
            "Exactness",
            "at least: whether the weights are those of a training that never had the forgotten pictures",
            exact,
            unit="share of the weights",
            default=1.0,
        ),
        _of("forget_gap", "Forgotten pictures", unless_exact(forget_gap), unit="points"),
        _of("membership_auc", "Membership attack", unless_exact(membership), unit="area"),
        _of(
            "share_of_retraining",
            "Compute",
            recorded_at_most("cost", "share_of_retraining", "{value:.1%} of the image passes of retraining"),
            unit="share of retraining",
        ),
    ),
    splits={"weights": "all weights"},
)
