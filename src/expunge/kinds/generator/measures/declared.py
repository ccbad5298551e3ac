"""Generators: what is measured, and what each threshold of the verdict compares."""

from __future__ import annotations

from functools import partial

from expunge.kinds.generator.measures.judging import identification, recognition
from expunge.kinds.generator.recipe import GeneratorVerdict
from expunge.runs.check import Threshold, loss_at_most, ratio_at_least, ratio_at_most, recorded_at_most, worst_of
from expunge.runs.measure import FORGET_SPLITS, Declared, Measure

_leak = partial(Measure, unit="share", family="forgetting", axis="identified", percent=True, aim="as retrained")
_like = partial(Measure, higher_is="better", on_forget="worse")
_unlike = partial(Measure, unit="distance", on_forget="better")
_named = partial(Measure, unit="share", higher_is="better", on_forget="worse", percent=True, aim="chance")

MEASURES = (
    _unlike(
        "frechet",
        "Fréchet distance",
        "How far the completions as a whole lie from their originals, in the named network's features; 0 is the "
        "same. On pictures to keep lower is better, on those to forget higher. With few pictures it is too large, "
        "for every model alike.",
        axis="Fréchet distance, 0 is the same",
    ),
    _like(
        "inception",
        "Inception-style score",
        "How sure the network is of the class of each completion while the classes differ; 1 is the lowest. On "
        "pictures to keep higher is better, on those to forget lower.",
        unit="classes",
        axis="from 1 to the number of classes",
    ),
    _like(
        "feature_cosine",
        "Cosine of features",
        "How similar each completion and its original are to the network, 1 being the same. On pictures to keep "
        "higher is better, on those to forget lower.",
        unit="cosine",
        axis="1 is the same",
    ),
    _unlike(
        "perceptual",
        "Perceptual distance",
        "How different each completion and its original are to the network, place by place and summed over several "
        "of its layers; 0 is the same. It is LPIPS without the weights fitted to people's judgement. On pictures to "
        "keep lower is better, on those to forget higher.",
        axis="0 is the same",
    ),
    _like(
        "psnr",
        "PSNR",
        "How near each completion is to its original, pixel by pixel, in decibels; what the model was shown counts "
        "too. On pictures to keep higher is better, on those to forget lower.",
        unit="dB",
        axis="dB",
    ),
    _like(
        "ssim",
        "SSIM",
        "How similar each completion and its original are in brightness, contrast and structure, 1 being the same. On "
        "pictures to keep higher is better, on those to forget lower.",
        unit="similarity",
        axis="1 is the same",
    ),
    _named(
        "identity_recognition",
        "Identification",
        "Completions whose nearest original shows the right person, looking only at what the model drew. On the "
        "forget set best is chance; without names, where each picture is sought among all, the retrained model's "
        "value.",
        axis="identified",
    ),
    _named(
        "class_recognition",
        "Recognition of the class",
        "Completions whose class (such as an age group) the network names correctly, looking only at what the model "
        "drew, as the mean over the classes. On the forget set best is chance.",
        axis="named rightly",
    ),
    Measure(
        "group_recognition",
        "Recognition of the group",
        "Completions that the network takes for pictures of the group that is to be forgotten (such as children), "
        "looking only at what the model drew. On the forget set best is chance, the group's share of all pictures; on "
        "pictures to keep these are mistakes.",
        unit="share",
        axis="taken for the group",
        percent=True,
        aim="chance",
    ),
    _leak(
        "leak_corruption",
        "Leak under another corruption",
        "Forgotten pictures identified from completions under the one of three other corruptions that gives away most. "
        "Best is what the retrained model gives away.",
    ),
    _leak(
        "leak_input",
        "Leak by an optimised input",
        "Forgotten pictures identified after an attacker sought, with other forgotten pictures, one change of what the "
        "model is shown that brings them back. Best is what the retrained model gives away.",
    ),
    _leak(
        "leak_decoder",
        "Leak after training the decoder",
        "Forgotten pictures identified after an attacker trained the decoder on other forgotten pictures. Best is what "
        "the retrained model gives away.",
    ),
    _leak(
        "leak_probe",
        "Leak to a linear probe",
        "Forgotten pictures identified from small pictures that a linear map reads from the encoder's features. Best "
        "is what the retrained model gives away.",
    ),
)

_of = partial(Threshold.of, GeneratorVerdict)

DECLARED = Declared(
    measures=MEASURES,
    thresholds=(
        _of(
            "retain_frechet",
            "Pictures to keep",
            ratio_at_most(
                measure="frechet",
                split="retain_test",
                explain="{before:.4g} before, {after:.4g} after, on pictures held back",
                missing="not measured",
            ),
        ),
        _of(
            "retain_psnr",
            "Sharpness of pictures to keep",
            loss_at_most(
                measure="psnr",
                split="retain_test",
                explain="{before:.2f} dB before, {after:.2f} dB after, on pictures held back",
                missing="not measured",
            ),
            unit="dB",
        ),
        _of(
            "forget_frechet",
            "Pictures to forget",
            worst_of(
                FORGET_SPLITS,
                ratio_at_least(
                    measure="frechet",
                    explain="{before:.4g} before, {after:.4g} after{where}",
                    where={"forget_test": ", on pictures held back"},
                ),
                missing="not measured",
            ),
            unit="times before",
        ),
        _of("forget_recognition", "Recognition of the forgotten", recognition, unit="share of pictures"),
        _of("forget_identification", "Identification of single pictures", identification, unit="share of pictures"),
        _of(
            "share_of_retraining",
            "Compute",
            recorded_at_most(
                "cost",
                "share_of_retraining",
                "{value:.1%} of the image passes of retraining from scratch with the recipe's settings",
            ),
            unit="share of retraining",
        ),
    ),
    splits={
        "retain_test": "retain set, held back",
        "forget_test": "forget set, held back",
        "proxy": "pictures instead of the retain set",
        "leaks": "attacks",
    },
)
