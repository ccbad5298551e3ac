from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.errors import ModelError, RecipeError
from expunge.ops.names import is_named
from expunge.runs.method import Method, Needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from expunge.kinds.language.layers.structure import Writer
    from expunge.kinds.language.session import LanguageWork
    from expunge.train.step import LayeredTask


class Steering(Method):
    r"""Ablation of a direction from each layer's outputs (Arditi et al. 2024, arXiv:2406.11717).

    $$W \leftarrow W - \lambda \, v_l v_l^\top W, \qquad b \leftarrow b - \lambda \, v_l v_l^\top b$$

    $$v_l \propto \arg\min_{w} \min_{c} \; \frac{1}{n} \sum_i \log\left(1 + e^{-y_i (w^\top h_{il} + c)}\right)
          + \frac{\rho}{2} \lVert w \rVert^2$$

    h is the mean hidden state of a block of forget (y = 1) or retain set (y = -1) after layer l, each coordinate
    brought to standard deviation 1 for the fit; W and b are the matrices and biases through which layer l adds to the
    residual stream, of experts too. They are found by testing which ones move the stream, whatever their names. Behind
    a norm (Gemma 2, OLMo 2) the direction is the one that the norm maps to $v_l$. A model whose direction cannot be
    removed so (one that norms or gates the stream itself: BERT, RWKV) is refused. The paper takes the difference of
    means for v and one direction for all layers; probes by layer are from inference-time intervention (Li et al. 2023,
    arXiv:2306.03341). Nothing is trained, and nothing has to be done at generation: the saved model is a plain one.
    What the layers below wrote before stays in the stream; only what these layers add loses the direction.
    """

    scale: PositiveFloat | None = 1.0
    "lambda; 1 removes the direction completely; null: chosen among `scales`"
    scales: tuple[PositiveFloat, ...] = (0.25, 0.5, 0.75, 1.0, 1.5)
    "scales to try if none is given"
    perplexity_limit: NonNegativeFloat = 0.05
    "rise of the perplexity of clean text that a scale may cause, as a share"
    direction: Literal["probe", "means"] = "probe"
    "v: the probe's, or the difference of the sets' means"
    first_layer: NonNegativeInt = 0
    "the first layer that is changed, from 0"
    last_layer: NonNegativeInt | None = None
    "the last one; default: the model's last"
    blocks: PositiveInt = 256
    "blocks of each set to use, at most"
    ridge: PositiveFloat = 0.1
    "rho, of the probe's fit"
    weights: str | None = None
    "regular expression of the names of W and b to change; null: all through which a layer writes"

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        base = work.weights()
        found = work.cached("directions", lambda: {"directions": self.directions(work)})["directions"]

        writers = self.writers(work.task)

        def put(scale: float) -> None:
            work.put(without(base, writers, found, scale))

        if self.weights is None:
            self.remove_all(work.task, writers, found, put)
        put(work.choose(self.scales, put, self.perplexity_limit) if self.scale is None else self.scale)

    def directions(self, work: LanguageWork) -> Tensor:
        """(layers, width) a direction of length 1 for each layer, from clean to toxic."""
        assert work.retain is not None
        toxic, clean = (work.states(table, self.blocks) for table in (work.forget, work.retain))
        if self.direction == "means":
            found = toxic.mean(0) - clean.mean(0)
        else:
            found = torch.stack([probe(toxic[:, at], clean[:, at], self.ridge) for at in range(toxic.shape[1])])
        return torch.nn.functional.normalize(found.float(), dim=1)

    def writers(self, task: LayeredTask) -> dict[int, list[Writer]]:
        """The weights to change, by layer.

        Raises:
            RecipeError: the method's settings select nothing.
            ModelError: the layers cannot be tested.
        """
        last = len(task.layers) - 1 if self.last_layer is None else min(self.last_layer, len(task.layers) - 1)
        found = {layer: task.structure().writers(layer) for layer in range(self.first_layer, last + 1)}
        chosen = {
            layer: [each for each in writers if self.weights is None or is_named(each.name, self.weights)]
            for layer, writers in found.items()
        }
        if not any(chosen.values()):
            raise RecipeError(
                "steering finds no weights to change in this model",
                seen=f"layers {self.first_layer} to {last} of {len(task.layers)}; weights: {self.weights or 'all'}",
                allowed=", ".join(each.name for writers in found.values() for each in writers)[:300] or None,
                next_step="see method.first_layer, method.last_layer and method.weights",
            )
        return chosen

    def remove_all(
        self, task: LayeredTask, writers: dict[int, list[Writer]], directions: Tensor, put: Callable[[float], None]
    ) -> None:
        """Remove the directions completely, and check that no layer adds anything along its own any more.

        Raises:
            ModelError: one still does.
        """
        structure = task.structure()
        before = {layer: structure.added(layer, directions[layer]) for layer in writers}
        put(1.0)
        for layer, was in before.items():
            left = structure.left(layer, directions[layer], was)
            if left:
                raise ModelError(
                    f"layer {layer} of {type(task.model).__name__} writes to the residual stream through more than "
                    "matrices: a direction cannot be taken out of its weights",
                    seen=f"{left:.0%} of what it adds along the direction is left without it; changed: "
                    + (", ".join(each.name for each in writers[layer]) or "nothing"),
                    allowed="layers that add the outputs of matrices, or their norm, to the stream",
                    next_step="use another method, such as task_vector_negation; or name the weights to change "
                    "yourself: --method.weights REGULAR_EXPRESSION",
                )


def without(
    base: dict[str, Tensor], writers: dict[int, list[Writer]], directions: Tensor, scale: float
) -> dict[str, Tensor]:
    """The weights that are changed, by name."""
    found: dict[str, Tensor] = {}
    for layer, of_layer in writers.items():
        for each in of_layer:
            found[each.name] = each.without(found.get(each.name, base[each.name]), directions[layer], scale)
    return found


def probe(toxic: Tensor, clean: Tensor, ridge: float) -> Tensor:
    """(width,) the weights of a logistic regression that separates `toxic` from `clean` (n, width)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    points = torch.cat([toxic, clean]).double().numpy()
    label = [1] * len(toxic) + [0] * len(clean)
    scaler = StandardScaler().fit(points)
    regression = LogisticRegression(C=1 / (ridge * len(points)), solver="newton-cholesky", tol=1e-12)
    weight = regression.fit(scaler.transform(points), label).coef_[0]
    return torch.from_numpy(weight / scaler.scale_)
