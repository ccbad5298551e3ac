"""The order of the numbers in memory changes no logit and no gradient beyond rounding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from expunge.errors import ModelError
from expunge.kinds.classifier.task import ImageClassifier
from expunge.ops.layers import head
from small_images import pictures, tiny_resnet, tiny_vit


@pytest.mark.parametrize("make", [tiny_resnet, tiny_vit])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-12)])
def test_the_layout_of_pixels_changes_nothing(make: object, dtype: torch.dtype, tolerance: float) -> None:
    model = make().model.to(dtype)  # type: ignore[operator]
    task, few = ImageClassifier(model), pictures(12)
    pixels = task.normalised(few.pixels)
    assert pixels.is_contiguous()
    plain, ours = model(pixels).logits, task.logits_of(pixels)
    torch.testing.assert_close(ours, plain, rtol=tolerance, atol=tolerance)
    weights = list(model.parameters())
    expected = torch.autograd.grad(F.cross_entropy(plain, few.labels), weights)
    F.cross_entropy(ours, few.labels).backward()
    for weight, gradient in zip(weights, expected, strict=True):
        assert weight.grad is not None
        assert weight.grad.is_contiguous(), "as safetensors needs for saving"
        torch.testing.assert_close(weight.grad, gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("make", [tiny_resnet, tiny_vit])
def test_features_are_what_the_logits_are_made_of(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.kinds.classifier.task.EVALUATION_BATCH", 2)
    task, some = make(), pictures(5)  # type: ignore[operator]
    features, last = task.features(some), head(task.model)
    assert features.shape == (5, last.in_features)
    torch.testing.assert_close(last(features), task.outputs(some))
    assert not last._forward_pre_hooks


def test_a_model_without_a_linear_layer_has_no_features() -> None:
    task = ImageClassifier(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 16), torch.nn.Flatten()))
    with pytest.raises(ModelError, match="no linear layer"):
        task.features(pictures(2))
