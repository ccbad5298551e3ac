"""A method that changed no weight raises, whatever kind of model it was given."""

from __future__ import annotations

import pytest
import torch

from expunge.errors import DivergedError, UnchangedError
from expunge.train.unchanged import must_change
from small_images import tiny_resnet


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_smallest_change_is_one_and_none_is_none(dtype: torch.dtype) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Linear(3, 2)).to(dtype)
    with pytest.raises(UnchangedError, match="the method ssd changed no weight") as caught, must_change(model, "ssd"):
        model[0].weight.data.mul_(1.0)
    assert caught.value.seen == "4 weights, all as they were"
    weight = model[1].bias.data
    with must_change(model, "ssd"):
        weight[1] = torch.nextafter(weight[1], torch.tensor(9.0, dtype=dtype))
    with must_change(model, "ssd"):
        model[0].weight.data = model[0].weight.data.flip(1)


def test_other_weights_are_a_change_and_running_figures_are_none() -> None:
    model = tiny_resnet()
    model = getattr(model, "model", model)
    with pytest.raises(UnchangedError), must_change(model, "fine_tune"):
        model.train()(torch.randn(4, 3, 32, 32))
    head = torch.nn.Sequential(torch.nn.Linear(3, 2))
    with must_change(head, "boundary_expand"):
        head[0] = torch.nn.Linear(3, 3)


def test_a_model_that_is_meant_to_stay_as_it_was_may() -> None:
    model, reached = torch.nn.Linear(2, 2), False
    with must_change(model, "steering", lambda: True):
        reached = True
    assert reached
    with pytest.raises(UnchangedError), must_change(model, "steering", lambda: False):
        pass


def test_weights_without_numbers_and_narrow_ones_are_compared_too() -> None:
    model = torch.nn.Linear(3, 2)
    model.register_parameter("empty", torch.nn.Parameter(torch.empty(0)))
    model.register_parameter("narrow", torch.nn.Parameter(torch.ones(4).to(torch.float8_e4m3fn), requires_grad=False))
    with pytest.raises(UnchangedError), must_change(model, "ssd"):
        pass
    with must_change(model, "ssd"):
        model.narrow.data = (2 * torch.ones(4)).to(torch.float8_e4m3fn)


def test_an_error_of_the_method_stays_its_own() -> None:
    with pytest.raises(ZeroDivisionError), must_change(torch.nn.Linear(2, 2), "ssd"):
        raise ZeroDivisionError


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_told(value: float) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    with (
        pytest.raises(DivergedError, match="npo left weights that are not numbers") as caught,
        must_change(model, "npo"),
    ):
        model[1].bias.data[1] = value
    assert caught.value.seen == "NaN or infinity in 1 of 4 weights, first in 1.bias"
