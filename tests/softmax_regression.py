"""A linear classifier in float64, and the same in numpy, so that whole methods can be written down a second time.

Sets are one batch each: the order of pictures has no say.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageClassifier, Pictures

CLASSES, SIDE, ALL = 4, 4, 1000


class Regression(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * SIDE * SIDE, CLASSES).double()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.copy_(0.2 * torch.randn(CLASSES, 3 * SIDE * SIDE, generator=generator))
            self.head.bias.copy_(0.2 * torch.randn(CLASSES, generator=generator))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(pixels.flatten(1))


def random_pictures(count: int, seed: int) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    return Pictures(
        pixels=torch.randint(256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8),
        labels=torch.randint(CLASSES, (count,), generator=generator),
    )


def regression_work(seed: int = 0, weights: int = 0, forget: int = 7, **more: object) -> Work:
    return Work(
        task=ImageClassifier(Regression(weights).eval()),
        retain=random_pictures(12, 1),
        forget=random_pictures(forget, 2),
        validation=random_pictures(9, 3),
        classes=CLASSES,
        seed=seed,
        **more,  # type: ignore[arg-type]
    )


def features(pictures: Pictures) -> np.ndarray:
    """(n, 48) pixels from -1 to 1."""
    return (pictures.pixels.numpy().astype(np.float64).reshape(len(pictures), -1) / 255 - 0.5) / 0.5


def one_hot(labels: Tensor | np.ndarray, classes: int = CLASSES) -> np.ndarray:
    return np.eye(classes)[np.asarray(labels)]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(logits))


class Sheet:
    """The model's weights as one array (classes, 49), the last column the bias, with SGD or Adam."""

    def __init__(self, model: nn.Module) -> None:
        self.theta = weights_of(model)
        self.velocity, self.first, self.second, self.steps = 0.0, 0.0, 0.0, 0

    def logits(self, x: np.ndarray) -> np.ndarray:
        return x @ self.theta[:, :-1].T + self.theta[:, -1]

    def p(self, x: np.ndarray) -> np.ndarray:
        return softmax(self.logits(x))

    def gradient(self, x: np.ndarray, of_logits: np.ndarray) -> np.ndarray:
        """Gradient of a loss with respect to the weights, from that with respect to the logits."""
        return of_logits.T @ np.hstack([x, np.ones((len(x), 1))])

    def cross_entropy(self, x: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean -sum target * log p, and its gradient."""
        loss = -(target * log_softmax(self.logits(x))).sum(1).mean()
        return loss, self.gradient(x, (self.p(x) - target) / len(x))

    def sgd(self, gradient: np.ndarray, rate: float, decay: float = 0.0) -> None:
        self.velocity = 0.9 * self.velocity + gradient + decay * self.theta
        self.theta = self.theta - rate * self.velocity

    def adam(self, gradient: np.ndarray, rate: float) -> None:
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first, second = self.first / (1 - 0.9**self.steps), self.second / (1 - 0.999**self.steps)
        self.theta = self.theta - rate * first / (np.sqrt(second) + 1e-8)

    def forget_velocity(self) -> None:
        self.velocity, self.first, self.second, self.steps = 0.0, 0.0, 0.0, 0


def weights_of(model: nn.Module) -> np.ndarray:
    head = model.head
    assert isinstance(head, nn.Linear)
    return np.hstack([head.weight.detach().numpy(), head.bias.detach().numpy()[:, None]]).copy()


def finite_difference(function: object, place: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Gradient of a function of an array, element by element."""
    result = np.zeros_like(place)
    for index in np.ndindex(place.shape):
        moved = [place.copy(), place.copy()]
        moved[0][index] += step
        moved[1][index] -= step
        result[index] = (function(moved[0]) - function(moved[1])) / (2 * step)  # type: ignore[operator]
    return result
