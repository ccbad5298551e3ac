"""SCRUB against its formulas written down again, and rewinding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.errors import DataError
from expunge.kinds.classifier.session import Work
from expunge.methods.scrub import Scrub
from expunge.methods.scrub_r import ScrubR, expected_error
from small_images import small_work, tiny_resnet
from softmax_regression import ALL, Sheet, features, log_softmax, one_hot, regression_work, weights_of

SETTINGS = {"alpha": 0.3, "gamma": 0.8, "temperature": 2.0, "epochs": 4, "ascent_epochs": 2, "learning_rate": 0.02}


def by_hand(work: Work) -> tuple[np.ndarray, list[float]]:
    sheet, (x_r, x_f), t = Sheet(work.model), (features(work.retain), features(work.forget)), 2.0
    taught = {name: log_softmax(sheet.logits(x) / t) for name, x in (("r", x_r), ("f", x_f))}

    def kl(name: str, x: np.ndarray) -> tuple[float, np.ndarray]:
        output, target = log_softmax(sheet.logits(x) / t), taught[name]
        value = (np.exp(target) * (target - output)).sum(1).mean() * t**2
        return value, sheet.gradient(x, t * (np.exp(output) - np.exp(target)) / len(x))

    losses = []
    for epoch in range(4):
        if epoch < 2:
            value, gradient = kl("f", x_f)
            losses.append(-value)
            sheet.sgd(-gradient, 0.02, 5e-4)
        value, gradient = kl("r", x_r)
        cross, cross_gradient = sheet.cross_entropy(x_r, one_hot(work.retain.labels))
        losses.append(0.8 * cross + 0.3 * value)
        sheet.sgd(0.8 * cross_gradient + 0.3 * gradient, 0.02, 5e-4)
    return sheet.theta, losses


def test_scrub_by_hand() -> None:
    work = regression_work()
    theta, losses = by_hand(work)
    Scrub(**SETTINGS, batch_size=ALL, forget_batch_size=ALL).apply(work)
    names = ["ascent 1", "descent 1", "ascent 2", "descent 2", "descent 3", "descent 4"]
    assert list(work.losses) == names
    # the teacher's outputs are kept in single precision
    assert [work.losses[name][0] for name in names] == pytest.approx(losses, rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(weights_of(work.model), theta, rtol=1e-5, atol=1e-8)


def test_no_ascent_and_no_divergence_is_fine_tuning() -> None:
    work = regression_work()
    sheet = Sheet(work.model)
    x, target = features(work.retain), one_hot(work.retain.labels)
    Scrub(alpha=0, gamma=1, ascent_epochs=0, epochs=3, learning_rate=0.02, weight_decay=0, batch_size=ALL).apply(work)
    for _ in range(3):
        sheet.sgd(sheet.cross_entropy(x, target)[1], 0.02)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-12)


def test_the_reference_is_weighed_by_the_classes_to_forget() -> None:
    errors, labels = torch.tensor([1.0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 1, 2])
    # class 0 errs on 1/2, class 1 on 1/3; three of four pictures to forget are of class 1; class 2 has no part
    assert expected_error(errors, labels, torch.tensor([1, 0, 1, 1])) == pytest.approx((1 / 2 + 3 * 1 / 3) / 4)
    # class 3 has no held-back picture: the others stand for it
    assert expected_error(errors, labels, torch.tensor([0, 3])) == pytest.approx(1 / 2)


def test_the_epoch_nearest_to_the_reference_is_taken() -> None:
    settings = {"epochs": 5, "ascent_epochs": 5, "learning_rate": 0.3, "alpha": 0.1, "gamma": 0.2, "batch_size": 16}
    work = small_work(tiny_resnet())
    ScrubR(**settings).apply(work)
    found = []
    for epochs in range(1, 6):  # the draws of an epoch do not depend on how many follow
        part = small_work(tiny_resnet())
        Scrub(**settings | {"epochs": epochs}).apply(part)
        wrong = {
            name: (part.task.outputs(pictures).argmax(-1) != pictures.labels).float()
            for name, pictures in (("forget", part.forget), ("validation", part.validation))
        }
        found.append((part, wrong))
    reference = expected_error(found[-1][1]["validation"], work.validation.labels, work.forget.labels)
    distances = [abs(float(wrong["forget"].mean()) - reference) for _, wrong in found]
    best = max(epoch for epoch, distance in enumerate(distances) if distance == min(distances))
    assert len(set(distances)) > 1
    for name, value in found[best][0].model.state_dict().items():
        assert torch.equal(work.model.state_dict()[name], value), name


def test_no_held_back_picture_of_the_classes_is_told() -> None:
    work = regression_work()
    assert work.validation is not None
    work.validation = work.validation.take(~torch.isin(work.validation.labels, work.forget.labels))
    with pytest.raises(DataError, match="no held-back pictures of the classes"):
        ScrubR().apply(work)
