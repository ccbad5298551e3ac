"""Figures of official code as constants, each with the file that it stands in; and settings that tables were made with."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from expunge.methods.sun import parts
from expunge.runs.registry import make_method
from expunge.suites.challenge.models import contest_methods

DEFAULTS: list[tuple[str, str, Any]] = [
    # jpmorganchase/i2i_mage, branch i2i: README, commands of the method and of the baselines
    ("encoder_scrubbing", "alpha", 0.2),
    ("max_loss", "alpha", 0.2),
    ("noisy_label", "alpha", 0.2),
    ("retain_label", "alpha", 0.2),
    ("random_encoder", "alpha", 0.2),
    # the same: main_baseline.py, whose optimizer holds all weights; engine_baseline.py
    ("max_loss", "weights", "all"),
    ("noisy_label", "weights", "all"),
    ("retain_label", "weights", "all"),
    ("retain_label", "labels", "outputs"),
    ("random_encoder", "keeps", "features"),
    # jpmorganchase/i2i_Palette, branch i2i: models/network.py, where the maps' means are added up
    ("encoder_scrubbing", "maps", "alike"),
    ("constrained_scrubbing", "maps", "alike"),
    ("random_encoder", "maps", "alike"),
    # vikram2000b/Fast-Machine-Unlearning: Machine Unlearning.ipynb
    ("unsir", "noise_size", 256),
    ("unsir", "noise_repeats", 20),
    ("unsir", "noise_steps", 5 * 8),
    ("unsir", "noise_mode", "train"),
    # TY-LEE-KR/Boundary-Unlearning-Code: models.py, init_params
    ("boundary_expand", "fresh", "xavier"),
    # if-loops/selective-synaptic-dampening: forget_full_class_main.py
    ("ssd", "batch_size", 128),
    ("random_labels", "batch_size", 128),
    # xcadet/deepunlearn: munl/unlearning/kgltop6.py and kgltop7.py
    ("amnesiacs", "fresh", "pytorch"),
    ("sun", "picked", 9),
    # OPTML-Group/Unlearn-Sparse: unlearn/Wfisher.py
    ("influence", "pictures", 1000),
]


@pytest.mark.parametrize(("name", "field", "value"), DEFAULTS)
def test_defaults_are_the_authors(name: str, field: str, value: Any) -> None:
    assert getattr(make_method({"name": name}), field) == value


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("amnesiacs", "fresh", "fan_out"),
        ("boundary_expand", "fresh", "pytorch"),
        ("random_labels", "batch_size", 64),
        ("ssd", "batch_size", 64),
        ("unsir", "noise_mode", "eval"),
    ],
)
def test_the_contest_keeps_what_its_tables_were_made_with(name: str, field: str, value: Any) -> None:
    assert contest_methods(name)[name]["method"][field] == value


def test_sun_picks_from_22_tensors_of_a_resnet_18() -> None:
    """20 convolutions, weights and bias of the head; 28 in the notebook, with the normalisation of three shortcuts."""
    config = ResNetConfig(
        layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[4, 6, 8, 10], embedding_size=4, num_labels=10
    )
    model = ResNetForImageClassification(config)
    norms, others = parts(model)
    assert len(others) == 22
    assert len(norms) == 2 * 20
    shortcuts = [
        parameter
        for name, module in model.named_modules()
        if "shortcut" in name and isinstance(module, nn.BatchNorm2d)
        for parameter in module.parameters()
    ]
    assert len(others) + len(shortcuts) == 28
