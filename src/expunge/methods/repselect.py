from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from expunge.core.order import random_seed
from expunge.kinds.language.rounds import Meter, require_finite
from expunge.kinds.language.watched import Said, Watched
from expunge.ops.step_length import longest
from expunge.runs.method import Method, Needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from expunge.kinds.language.session import LanguageWork

Weights = dict[str, nn.Parameter]
Change = dict[str, Tensor]


class RepSelect(Method):
    r"""RepSelect, representation selectivity (Sondej, Yang and Mahdi 2026, arXiv:2606.17168).

    $$G = \nabla_W \frac{1}{|F|} \sum_{(x, y) \in F} -\log p_{W + BA}(y \mid x) \approx U \Sigma V^\top, \qquad
      W \leftarrow W + s \, C_U(C_V(G))$$

    $$C_V(G) = G - G V (I - \sigma_{\min} \Sigma^{-1}) V^\top, \qquad
      C_U(G) = G - U (I - \sigma_{\min} \Sigma^{-1}) U^\top G$$

    $$s = \max \; s' \quad \text{such that} \quad
      \frac{1}{|R|} \sum_{(x, y) \in R} \mathrm{KL}\left(p_{\theta_0}(\cdot \mid x) \,\|\, p_{\theta}(\cdot \mid
      x)\right) \le \epsilon$$

    An ascent on the forget set along directions specific to it. BA is an adapter that was fine-tuned on the forget set
    for an epoch (stochastic gradient descent; rank 8 and scale 1 are peft's defaults), so that the gradient is that of
    a model which recalls it; it is discarded. The leading `components` singular directions of the gradient of each
    matrix, which other text shares and which relearning finds first, are reduced: the i-th one keeps $\sigma_{\min}^2 /
    \sigma_i$ of $\sigma_i$, since both sides are collapsed. W are the matrices of the MLPs, found whatever their names
    are.

    With `directions`, U, $\Sigma$ and V are those of another matrix than G: the retain set's gradient, or the sum of
    both; each is a mean over tokens, the retain set's without the adapter. So the step turns away from what the retain
    set uses, too.

    As in the authors' code, G is taken once, and the model is moved along it until the KL divergence lies between 95 %
    of the limit and the limit. With `rounds` above 1, which are ours, the limit is reached in as many equal parts, each
    with an adapter and a gradient of its own. Ours are also: the retain set instead of WikiText; the mean over the
    forget set instead of a sum of batches' means, which changes the unit of s alone; singular values at rounding
    level are skipped, so that a forget set of few tokens is not a special case; no dropout; and how the length is
    found, by the square root of the KL divergence and bisection (there by factors of 8 and bisection).
    """

    learning_rate: PositiveFloat = 0.05
    "the first s to try; 0.05 in the authors' code"
    kl_limit: PositiveFloat = 0.01
    "epsilon, in nats a token of the retain set; 0.01 in the authors' experiments"
    rounds: PositiveInt = 1
    "number of times that the gradient is taken; 1 in the authors' code"
    components: PositiveInt = 512
    "singular directions of each gradient to collapse; 512 in the authors' code"
    directions: Literal["forget", "retain", "forget_and_retain"] = "forget"
    """the set whose gradient gives the singular directions to collapse: `distribution` in the authors' code, forget
    there too"""
    adversary_epochs: NonNegativeInt = 1
    "passes of the adapter over the forget set; 1 in the authors' code, 0 leaves it out"
    adversary_learning_rate: PositiveFloat = 0.01
    "of the adapter; 0.01 in the authors' code, tuned between 0.005 and 0.5"
    adversary_rank: PositiveInt = 8
    "of the adapter"
    kl_blocks: PositiveInt = 128
    "blocks of the retain set to compare, at most, evenly spread; 128 in the authors' experiments"
    weights: str | None = None
    "which weights are changed, as a regular expression of names; null: the matrices of all MLPs, as in the paper"

    needs: ClassVar[Needs] = Needs(retain="always", retain_labels=False, kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        kept, size = work.kept("repselect"), work.training.per_device_train_batch_size
        weights = work.mlp_weights(self.weights)
        said = Said(work.task, kept, self.kl_blocks, size)
        forget = Watched(work.task, work.forget, self.kl_blocks, size)
        work.log("round", round=0, scale=0.0, kl=said.divergence(), forget_loss=forget.nll())
        first = self.learning_rate
        for number in range(self.rounds):
            change = work.cached(f"change {number + 1}", partial(self.change, work, weights, number, said))
            before = {name: weight.detach().clone() for name, weight in weights.items()}
            put = partial(step, weights, before, change)
            limit = self.kl_limit * (number + 1) / self.rounds

            def found(put: Callable[[float], None] = put, limit: float = limit, first: float = first) -> Change:
                scale = longest(put, said.divergence, limit, first, partial(work.log, "scale_tried"))
                return {"scale": torch.tensor(scale, dtype=torch.float64)}

            scale = float(work.cached(f"scale {number + 1}", found)["scale"])
            put(scale)
            work.log("round", round=number + 1, scale=scale, kl=said.divergence(), forget_loss=forget.nll())
            first = scale or first
            if scale == 0:
                work.stays = number == 0 or work.stays
                work.log("notice", text=f"round {number + 1}: no step kept the limit of the KL divergence")

    def change(self, work: LanguageWork, weights: Weights, number: int, retained: Watched) -> Change:
        """The collapsed gradient that a round moves the weights along, by name."""
        name = f"repselect, round {number + 1}"
        shared = {} if self.directions == "forget" else gradients(work, weights, retained)
        gradient = self.forget_gradients(work, weights, number)
        change = {}
        for key in list(gradient):
            of, seed = gradient.pop(key), random_seed(work.seed, "repselect", number, key)
            spread = of if self.directions == "forget" else shared.pop(key)
            if self.directions == "forget_and_retain":
                spread = spread + of
            found = collapsed(of, self.components, seed, spread)
            require_finite({f"change of {key}": float(found.abs().max())}, name)
            change[key] = found.cpu()
        return change

    def forget_gradients(self, work: LanguageWork, weights: Weights, number: int) -> Change:
        """G of each of the weights, by name, at the model that recalls the forget set."""
        drawn, name = work.drawn(work.forget, f"repselect {number}"), f"repselect, round {number + 1}"
        steps = (self.adversary_epochs + 1) * len(drawn)
        meter = Meter(work, name, steps * self.rounds, steps * number)
        labelled = work.forget.labelled(range(len(work.forget)))
        with work.passing_adapter(weights, self.adversary_rank, self.adversary_rank, name) as adapter:
            for at in range(self.adversary_epochs * len(drawn)):
                batch = drawn.batch(at)
                loss = work.task.nll(batch)
                meter.add(float(loss.detach()), batch.size)
                descend(adapter, loss, self.adversary_learning_rate)
            for parameter in adapter:
                parameter.requires_grad_(False)
            for weight in weights.values():
                weight.requires_grad_(True)
            for at in range(len(drawn)):
                batch = drawn.batch(at, labelled)
                loss = work.task.nll(batch)
                meter.add(float(loss.detach()) * labelled / max(1, work.forget.labelled(batch.rows)), batch.size)
                loss.backward()
        work.trained.append(meter.cost("the limit of the KL divergence is reached"))
        return taken(weights)


def gradients(work: LanguageWork, weights: Weights, watched: Watched) -> Change:
    """The gradient of the mean loss a token of some blocks, by name."""
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for batch in watched.batches:
        loss = work.task.nll(batch.to(work.task.device))
        for name, gradient in zip(
            found, torch.autograd.grad(loss, [*weights.values()], allow_unused=True), strict=True
        ):
            if gradient is not None:
                found[name] += gradient
    return found


def taken(weights: Weights) -> Change:
    """Take the weights' gradients, by name, and clear them."""
    found = {}
    for name, weight in weights.items():
        gradient, weight.grad = weight.grad, None
        found[name] = torch.zeros_like(weight) if gradient is None else gradient
    return found


def descend(parameters: list[nn.Parameter], loss: Tensor, rate: float) -> None:
    """Take a step of plain gradient descent."""
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(gradient, alpha=rate)


def step(weights: Weights, before: Change, change: Change, scale: float) -> None:
    """Set the weights to their earlier values plus a scaled change."""
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(before[name].add(change[name].to(weight), alpha=scale))


def collapsed(gradient: Tensor, components: int, seed: int, of: Tensor | None = None) -> Tensor:
    """A gradient (..., outputs, inputs) with leading singular directions reduced on both sides.

    Args:
        components: how many of them.
        seed: seed of the random draws used if not all of them are computed.
        of: the matrix whose directions they are; None: the gradient's own.
    """
    of = gradient if of is None else of
    if gradient.dim() > 2:
        return torch.stack([collapsed(each, components, seed, other) for each, other in zip(gradient, of, strict=True)])
    wide, spread = (each.to(torch.promote_types(each.dtype, torch.float32)) for each in (gradient, of))
    if components >= min(spread.shape):
        left, sizes, right = torch.linalg.svd(spread, full_matrices=False)
        right = right.mT
    else:
        torch.manual_seed(seed % (1 << 31))
        left, sizes, right = torch.svd_lowrank(spread, q=components)
    there = sizes > sizes.max() * max(wide.shape) * torch.finfo(wide.dtype).eps  # the others are rounding
    if not there.any():
        return wide
    left, sizes, right = left[:, there], sizes[there], right[:, there]
    taken = 1 - sizes.min() / sizes
    wide = wide - (wide @ right * taken) @ right.mT
    return wide - left @ (taken[:, None] * (left.mT @ wide))
