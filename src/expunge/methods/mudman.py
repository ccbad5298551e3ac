from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from expunge.kinds.language.rounds import Round
from expunge.kinds.language.watched import Watched
from expunge.runs.method import Method, Needs
from expunge.train.loop import only_trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from expunge.kinds.language.rounds import Drawn
    from expunge.kinds.language.session import LanguageWork
    from expunge.train.step import Batch

Weights = dict[str, nn.Parameter]
Values = dict[str, Tensor]


class MUDMAN(Method):
    r"""MUDMAN, meta-unlearning with disruption masking and normalisation (Sondej et al. 2025, arXiv:2506.12484).

    $$r \leftarrow \mu \, r + (1 - \mu) \, \nabla_\theta L_R(\theta), \qquad \theta \leftarrow \theta - \eta_r \, r$$

    $$g = \nabla_a L_U(a), \qquad a \leftarrow a - \eta_a \nabla_a L_F(a)$$

    $$\theta \leftarrow \theta - \eta \, \frac{[\mathrm{sgn}\, g = \mathrm{sgn}\, r] \odot g}{\lVert g \rVert_2}$$

    a is an adversary that begins as a copy of the model every `fork_every` steps, and relearns the forget set in
    between: so the gradient of unlearning is taken at what relearning finds. Only the entries whose step also lowers
    the retain loss, to first order, are kept. L_F and L_R are means of -log p over the labelled tokens of a batch of
    either set; L_U is minus the entropy of the outputs (the authors' choice), or -L_F. g is taken where the adversary
    was before its step, and its length is that of all entries, before the mask. Steps, order and defaults are those of
    the authors' `MUDMAN.py`, which trains the gates of the MLPs alone (`weights: gate_proj`); their later code trains
    more, as is done here. Ours are the limit of the retain loss, to which the last fork is scaled back (there a run
    beyond it is thrown away), no dropout, and an entropy over labelled tokens instead of all.
    """

    learning_rate: PositiveFloat = 0.1
    "eta: the length of a step of all weights together, before the mask; 0.1 in the authors' code"
    steps: PositiveInt = 100
    "number of steps; 100 in the authors' code"
    fork_every: PositiveInt = 32
    """steps after which the adversary becomes a copy of the model again; 32 in the authors' code, tuned between 6 and
    300"""
    adversary_learning_rate: NonNegativeFloat = 0.001
    "eta_a; 0.001 in the authors' code"
    retain_learning_rate: NonNegativeFloat = 0.001
    "eta_r; 0.001 in the authors' code"
    retain_momentum: float = Field(default=0.9, ge=0, lt=1)
    "mu; 0.9 in the authors' code"
    unlearning_loss: Literal["entropy", "likelihood"] = "entropy"
    "L_U: minus the entropy of the outputs, or minus L_F"
    retain_limit: PositiveFloat = 0.05
    "rise of the retain loss, in nats a token, at which it ends; 0.05 in the authors' experiments"
    retain_blocks: PositiveInt = 64
    "blocks of the retain set used for it, at most, evenly spread"
    weights: str | None = None
    "which weights are changed, as a regular expression of names; null: the matrices of all MLPs"

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        kept = work.kept("mudman")
        weights = work.mlp_weights(self.weights)
        watched = Watched(work.task, kept, self.retain_blocks, work.training.per_device_train_batch_size)
        allowed = watched.nll() + self.retain_limit
        momentum = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        state: Values = dict(weights) | {f"momentum of {name}": value for name, value in momentum.items()}
        forget, retain = work.drawn(work.forget, "mudman forget"), work.drawn(kept, "mudman retain")

        def fork(number: int) -> Round:
            before = {name: weight.detach().clone() for name, weight in weights.items()}
            steps = range(number * self.fork_every, min(self.steps, (number + 1) * self.fork_every))
            losses, seen = [], 0
            with only_trained(work.task.model, weights.values()):
                for loss, size in self.fork(work, weights, momentum, pairs(forget, retain, steps)):
                    losses.append(loss)
                    seen += size
            share, rose = scaled_back(weights, before, watched.nll, allowed)
            figures = {"forget_truth": sum(losses) / len(losses), "retain_truth": rose, "share": share}
            return Round(
                figures, seen, "" if share == 1 else "the limit of the retain loss (method.retain_limit) is reached"
            )

        work.rounds("mudman", -(-self.steps // self.fork_every), state, fork)

    def fork(
        self, work: LanguageWork, weights: Weights, momentum: Values, batches: Iterator[tuple[Batch, Batch]]
    ) -> Iterator[tuple[float, int]]:
        """The steps from one copy of the model to the next; (the adversary's forget loss, tokens) of each."""
        adversary = {name: weight.detach().clone() for name, weight in weights.items()}
        for forget, retain in batches:
            for name, gradient in gradients(weights, work.task.nll(retain)).items():
                momentum[name].mul_(self.retain_momentum).add_(gradient, alpha=1 - self.retain_momentum)
                weights[name].data.sub_(momentum[name], alpha=self.retain_learning_rate)
            swap(weights, adversary)
            unlearning, relearning, loss = self.gradients(work, weights, forget)
            swap(weights, adversary)
            for name, gradient in relearning.items():
                adversary[name].sub_(gradient, alpha=self.adversary_learning_rate)
            change(weights, unlearning, momentum, self.learning_rate)
            yield loss, forget.size + retain.size

    def gradients(self, work: LanguageWork, weights: Weights, forget: Batch) -> tuple[Values, Values, float]:
        """(gradient of the unlearning loss, of the relearning loss, the latter loss), at the current weights."""
        if self.unlearning_loss == "likelihood":
            loss = work.task.nll(forget)
            relearning = gradients(weights, loss)
            return {name: -gradient for name, gradient in relearning.items()}, relearning, float(loss.detach())
        entropies, _ = work.task.row_values_and_truth(forget, lambda log_p, *_: -(log_p.exp() * log_p).sum(-1))
        unlearning = gradients(weights, -entropies.sum() / forget.normaliser)
        loss = work.task.nll(forget)
        return unlearning, gradients(weights, loss), float(loss.detach())


def pairs(forget: Drawn, retain: Drawn, steps: range) -> Iterator[tuple[Batch, Batch]]:
    """A batch of each set for each step."""
    return ((forget.batch(at), retain.batch(at)) for at in steps)


def gradients(weights: Weights, loss: Tensor) -> Values:
    """Gradients of a loss, by name; 0 for a weight that it does not reach, such as an expert that no token was sent
    to."""
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def swap(weights: Weights, other: Values) -> None:
    """Exchange the weights for other values; nothing is copied."""
    for name, weight in weights.items():
        weight.data, other[name] = other[name], weight.data


def change(weights: Weights, unlearning: Values, momentum: Values, rate: float) -> None:
    """Take a step against the gradient of unlearning, only where its sign agrees with the retain set's."""
    length = torch.stack([gradient.norm() for gradient in unlearning.values()]).norm()
    if length == 0:
        return
    for name, gradient in unlearning.items():
        agrees = gradient.sign() == momentum[name].sign()
        weights[name].data.sub_(gradient * agrees * (rate / length))


def scaled_back(weights: Weights, before: Values, loss: Callable[[], float], allowed: float) -> tuple[float, float]:
    """Go back towards the earlier weights, by halves, until a loss is allowed: (share of the way that is left, the
    loss).

    If no share down to 1 / 1024 will do, the earlier weights are restored.
    """
    found = loss()
    if found <= allowed:
        return 1.0, found
    after = {name: weight.detach().clone() for name, weight in weights.items()}
    put = partial(between, weights, before, after)
    for halvings in range(1, 11):
        put(0.5**halvings)
        found = loss()
        if found <= allowed:
            return 0.5**halvings, found
    put(0.0)
    return 0.0, loss()


@torch.no_grad()
def between(weights: Weights, before: Values, after: Values, share: float) -> None:
    """Set the weights to a point of the line between two."""
    for name, weight in weights.items():
        weight.copy_(before[name] if share == 0 else before[name].lerp(after[name], share))
