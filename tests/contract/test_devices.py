"""Classifiers and generators run where Accelerate finds a device: no method, measure or attack leaves a tensor behind."""

from __future__ import annotations

import copy

import pytest
import torch

import test_generator_methods as generators
import test_image_methods as classifiers
from expunge.engine.classifier import unlearn
from expunge.engine.generator_work import GeneratorWork
from expunge.engine.work import Work
from expunge.methods.discovery import make_method
from expunge.tasks.image_classifier import ImageClassifier
from pretended_device import pretended
from small_generators import generator_work, tiny_generator
from small_images import small_work, tiny_resnet


@pytest.mark.parametrize("name", classifiers.METHODS)
def test_a_classifier_forgets_on_another_device(name: str) -> None:
    here = classifiers.run(name, small_work(tiny_resnet(), training=classifiers.ONE_LOSS))
    with pretended() as device:
        task = tiny_resnet()
        task.model.to(device)
        assert task.device == device
        there = classifiers.run(name, small_work(task, training=classifiers.ONE_LOSS))
    assert classifiers.equal(here, there)


@pytest.mark.parametrize("name", generators.METHODS)
def test_a_generator_forgets_on_another_device(name: str) -> None:
    here = generators.run(name, generator_work(tiny_generator()))
    with pretended() as device:
        task = tiny_generator()
        task.model.to(device)
        there = generators.run(name, generator_work(task))
    assert generators.equal(here, there)
