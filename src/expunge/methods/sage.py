from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from expunge.runs.method import Needs
from expunge.runs.wrapping import Wrapping

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork


class SAGE(Wrapping):
    r"""SAGE: a method's change minus the part that acts on the retain set (Zhang et al. 2026, arXiv:2606.18309).

    $$\Delta W = U(W_0) - W_0, \qquad W = W_0 + \Delta W \, (I - P_r), \qquad P_r = V_r V_r^\top$$

    $$\frac{1}{n} \sum_{t \in R} x_t x_t^\top = V \Lambda V^\top$$

    U is any method. x are the inputs of one matrix at the n tokens of the retain set, W x its outputs, and $V_r$ the
    eigenvectors of the r largest eigenvalues. So each matrix maps these inputs as before, and the change acts on
    the orthogonal complement. From the paper are the setting (the final change of any method is corrected afterwards,
    by the geometry of a small retain set's inputs) and the projection, the latter after a summary: its text was not
    available. It weakens directions by an objective in closed form; here the chosen ones are removed whole. Ours are:
    that the inputs are the original model's, not centred, and all defaults. It applies to the linear layers inside of
    the model's layers. What else the method changed keeps its change: embeddings, head, norms, biases, experts held in
    one tensor.
    """

    energy: Annotated[float, Field(ge=0, le=1)] = 0.9
    "share of the inputs' energy (sum of squares) in the removed directions, the fewest that hold it. 0: none; ours"
    rank: PositiveInt | None = None
    "number of directions of each matrix's inputs, instead of `energy`"
    blocks: PositiveInt = 64
    "blocks of the retain set to use, at most, evenly spread; ours"

    needs: ClassVar[Needs] = Needs(retain="always", retain_labels=False, kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        # Before the method changes the model: these are the original's.
        directions = work.cached("retained inputs", lambda: work.retained_inputs(self.kept, self.blocks))
        base = work.weights()
        work.carry_out(self.carried_out)
        changed = {}
        with torch.no_grad():
            for name, weight in work.task.model.named_parameters():
                if name in directions and directions[name].shape[1] > 0:
                    module = work.task.model.get_submodule(name.rpartition(".")[0])
                    along = directions[name].to(weight)
                    changed[name] = without(weight, base[name], along, inputs_last=isinstance(module, nn.Linear))
        work.put(changed)

    def kept(self, shares: Tensor) -> int:
        """r, given the share of the inputs' squares along each direction: (width,), falling."""
        if self.rank is not None:
            return min(self.rank, len(shares))
        if self.energy == 0:
            return 0
        sums = shares.double().cumsum(0)
        return min(len(shares), 1 + int((sums / sums[-1] < self.energy).sum()))


def without(weight: Tensor, base: Tensor, directions: Tensor, inputs_last: bool) -> Tensor:
    """The weight without the part of its change from `base` that acts along directions of its inputs.

    Args:
        directions: (width, r), orthonormal.
        inputs_last: whether the weight is (outputs, inputs), as of `nn.Linear`; else the other way round.
    """
    change = weight - base if inputs_last else (weight - base).T
    along = change @ directions @ directions.T
    return weight - (along if inputs_last else along.T)
