from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator
from torch import Tensor, nn

from expunge.core.processes import spread
from expunge.errors import RecipeError
from expunge.kinds.language.layers.decoder import hooked, plus
from expunge.kinds.language.signals.registry import signals_of
from expunge.runs.registry import make_wrapped
from expunge.runs.wrapping import WrappingLoss
from expunge.train.step import Loss, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from expunge.train.gradients import Gradients


class LAT(WrappingLoss):
    r"""Targeted latent adversarial training (LAT) around any loss (Sheshadri et al. 2024, arXiv:2407.15549).

    $$g = \nabla_\theta \left(L_F(\theta, \delta) + L_R(\theta)\right), \qquad
      \delta = \arg\min_{\lVert \delta_l(t) \rVert_2 \le \epsilon} L_A(\theta, \delta)$$

    The forget term of a method is trained while an adversary perturbs hidden states: $\delta_l(t)$ is added to what
    layer l returns at token t of the forget set, each token's and each layer's of length $\epsilon$ at most. So the
    model has to forget even if something inside of it is turned back on. $L_A$ is the mean of -log p of the forget
    set's labels, or minus $L_F$. As in the authors' code $\delta$ begins at 0, takes AdamW's steps (weight decay 0.01),
    and each vector is scaled back into its ball after each. The retain term $L_R$ is not perturbed. Every batch has its
    own $\delta$, found while the weights stay those of the step; its passes do not count as tokens seen in a step.

    The authors perturb what the MLPs return, which in a model whose layers end with their MLP is the same. Their
    $\epsilon$ is 1.5 to 6 for models whose hidden states are of about those lengths: it is in units of the hidden
    states of the model at hand. Weights sharded over processes (FSDP) are refused: each would search for a $\delta$ in
    passes of its own. So are methods whose forget term reads other text than the forget set's, such as refusals:
    $\delta$ belongs to the forget set's tokens.
    """

    layers: Annotated[tuple[float, ...], Field(min_length=1)] = (0.25, 0.5, 0.75)
    """layers after which it perturbs, as shares of the depth; 8, 16, 24 of 32 in the authors' runs, with 30 and
    embeddings"""
    epsilon: PositiveFloat = 1.5
    "length of each token's perturbation, at most; 1.5 to 6 in the authors' runs"
    iterations: NonNegativeInt = 16
    "steps of the adversary; 16 in the authors' code; 0: the unchanged method"
    inner_learning_rate: PositiveFloat = 0.05
    "of the adversary; 0.05 in the authors' code"
    adversary: Literal["text", "loss"] = "text"
    "L_A: -log p of the forget set's labels, or minus the method's forget term"

    @field_validator("of")
    @classmethod
    def _reads_the_forget_sets_own_text(cls, of: str | dict[str, Any]) -> str | dict[str, Any]:
        signals = signals_of(make_wrapped(of, "lat"))
        if others := [each.name for each in signals if each.set == "forget" and each.is_batch]:
            raise RecipeError(
                f"lat cannot wrap {of if isinstance(of, str) else of['name']}",
                seen=f"its forget term reads other text than the forget set's: {', '.join(others)}",
                allowed="a method whose forget term reads the forget set alone: a perturbation belongs to one token",
                next_step="another method inside: --method.of npo; or another one around: --method.name sure, or tar",
            )
        return of

    def make_gradient(self, gradients: Gradients) -> None:
        if spread():
            raise RecipeError(
                "lat does not train weights that are sharded over processes",
                seen="FSDP",
                next_step="train an adapter without FSDP: --training.adapter_rank 16",
            )
        attack = Attack(gradients.task, self.places(len(gradients.task.layers)))  # type: ignore[attr-defined]

        def attacked(step: Step) -> Loss:
            exposed = replace(step, task=attack.task)
            self.find(attack, exposed)
            return self.part(exposed, "forget", attack.off)

        with attack.there():  # until the backward pass is over, in which layers may be run once more
            self.add_part(gradients, "forget", attacked)
        if self.draws_retain:
            self.add_part(gradients, "retain")

    def places(self, depth: int) -> list[int]:
        """The layers after which states are perturbed, in a model of `depth`."""
        return sorted({min(depth, max(1, round(share * depth))) for share in self.layers})

    def find(self, attack: Attack, step: Step) -> None:
        """Set the perturbation for the forget batch of a step."""
        attack.deltas = {}
        if self.iterations == 0:
            return
        with torch.enable_grad():
            attack.begin(step.forget)
            deltas = list(attack.deltas.values())
            optimizer = torch.optim.AdamW(deltas, lr=self.inner_learning_rate)
            for _ in range(self.iterations):
                if self.adversary == "text":
                    loss = step.task.nll(step.forget)
                else:
                    loss = -self.part(replace(step, truth={}), "forget", attack.off).total
                found = torch.autograd.grad(loss, deltas, allow_unused=True)
                for delta, gradient in zip(deltas, found, strict=True):
                    delta.grad = gradient
                optimizer.step()
                with torch.no_grad():
                    for delta in deltas:
                        delta.div_((delta.norm(dim=-1, keepdim=True) / self.epsilon).clamp(min=1))
        for delta in deltas:
            delta.requires_grad_(False)


class Attack:
    """Perturbations of some layers' outputs, while switched on.

    Args:
        layers: the layers, each as a count from the bottom.
    """

    def __init__(self, task: Any, layers: Sequence[int]) -> None:
        self.task = copy.copy(task)
        self.task.packs = False  # each token has its place
        self.layers, self.on = list(layers), True
        self.deltas: dict[int, Tensor] = {}

    def begin(self, batch: Any) -> None:
        """A perturbation of 0, (blocks, time, width) in float32 at least, of each layer."""
        weight = self.task.model.get_input_embeddings().weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        shape = (*batch.ids.shape, self.task.model.config.get_text_config().hidden_size)
        self.deltas = {
            layer: torch.zeros(shape, dtype=dtype, device=self.task.device, requires_grad=True) for layer in self.layers
        }

    @contextmanager
    def there(self) -> Iterator[None]:
        """Context in which the layers' outputs are perturbed."""

        def add(layer: int) -> Any:
            def at(_module: nn.Module, _inputs: object, output: Any) -> Any:
                return plus(output, self.deltas[layer]) if self.on and layer in self.deltas else output

            return at

        with hooked([self.task.layers[layer - 1].register_forward_hook(add(layer)) for layer in self.layers]):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Context without the perturbation."""
        self.on = False
        try:
            yield
        finally:
            self.on = True
