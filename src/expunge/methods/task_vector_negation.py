from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.methods.fine_tune import FineTune
from expunge.runs.method import Method, Needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from expunge.kinds.language.session import LanguageWork

Weights = dict[str, Tensor]


class TaskVectorNegation(Method):
    r"""Negation of a task vector: learn it, then subtract it (Ilharco et al. 2023, arXiv:2212.04089).

    $$\tau = \theta_{F} - \theta_{0}, \qquad \theta = \theta_{0} - \lambda \, w_l \, \tau$$

    $$\theta_F = \arg\min_\theta \frac{1}{|F|} \sum_{(x, y) \in F} -\log p_\theta(y \mid x)$$

    trained from $\theta_0$. With `clean`, a second vector $\tau_R$ is trained on the retain set in the same way
    and removed from the first: subtracted ($\tau - \tau_R$), or projected out of each weight
    ($\tau - \tau_R \langle \tau, \tau_R \rangle / \lVert \tau_R \rVert^2$); those two are not in the paper.

    Without a `scale` the scales are tried on prompts and clean text held out for it: the one with the least toxicity is
    taken among those whose perplexity rises by at most `perplexity_limit`. Both figures of every scale are logged.
    """

    scale: PositiveFloat | None = None
    "lambda; default: chosen among `scales`"
    scales: tuple[PositiveFloat, ...] = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    "scales to try if none is given"
    perplexity_limit: NonNegativeFloat = 0.05
    "rise of the perplexity of clean text that a scale may cause, as a share"
    layer_scale: Literal["equal", "even", "rising", "falling"] = "equal"
    "w of layer l of L, from 0: 1; what makes each layer change by the same share of its length; (l + 1) / L; 1 - l / L"
    clean: Literal["ignore", "subtract", "project"] = "ignore"
    "how the vector of the retain set is used"

    needs: ClassVar[Needs] = Needs(kinds=("causal_lm",))

    @property
    def draws_retain(self) -> bool:
        return self.clean != "ignore"

    def apply(self, work: LanguageWork) -> None:
        base = work.weights()
        vector = self.vector(work, base)

        def put(scale: float) -> None:
            work.put({name: base[name] - scale * vector[name].to(base[name]) for name in base})

        put(work.choose(self.scales, put, self.perplexity_limit) if self.scale is None else self.scale)

    def vector(self, work: LanguageWork, base: Weights) -> Weights:
        """The vector to subtract, by weight, after `clean` and `layer_scale`."""

        def learnt(name: str, of_retain: bool) -> Weights:
            work.put(base)
            work.train(FineTune(), name, forget=None, retain=work.retain if of_retain else work.forget)
            after = work.weights()
            return {name: after[name] - base[name] for name in base}

        toxic = work.cached("toxic vector", lambda: learnt("toxic", False))
        if self.clean != "ignore":
            toxic = without(toxic, work.cached("clean vector", lambda: learnt("clean", True)), self.clean)
        return layered(toxic, base, self.layer_scale, work.task.layer_of)


def without(vector: Weights, clean: Weights, how: Literal["subtract", "project"]) -> Weights:
    """A vector without the clean one: subtracted, or projected out of each weight."""
    if how == "subtract":
        return {name: vector[name] - clean[name] for name in vector}
    return {
        name: value - clean[name] * ((value * clean[name]).sum() / clean[name].square().sum().clamp(min=1e-30))
        for name, value in vector.items()
    }


def layered(
    vector: Weights,
    base: Weights,
    how: Literal["equal", "even", "rising", "falling"],
    layer_of: Callable[[str], int | None],
) -> Weights:
    """A vector with a factor for each layer; weights outside of layers (embeddings, the head) keep the factor 1.

    "even" gives every layer's change the same share of the layer's length, with the same mean over layers.
    """
    if how == "equal":
        return vector
    layers = {name: layer_of(name) for name in vector}
    known = sorted({layer for layer in layers.values() if layer is not None})
    if how == "even":
        shares = {layer: _share(vector, base, layers, layer) for layer in known}
        mean = sum(shares.values()) / len(shares)
        factors = {layer: mean / share if share > 0 else 0.0 for layer, share in shares.items()}
    else:
        parts = {layer: (place + 1) / len(known) for place, layer in enumerate(known)}
        factors = parts if how == "rising" else {layer: 1 + 1 / len(known) - part for layer, part in parts.items()}
    return {
        name: value if (layer := layers[name]) is None else value * factors[layer] for name, value in vector.items()
    }


def _share(vector: Weights, base: Weights, layers: dict[str, int | None], layer: int) -> float:
    """Length of a layer's change as a share of the layer's."""
    names = [name for name, each in layers.items() if each == layer]
    change = sum(float(vector[name].double().square().sum()) for name in names)
    return math.sqrt(change / max(sum(float(base[name].double().square().sum()) for name in names), 1e-300))
