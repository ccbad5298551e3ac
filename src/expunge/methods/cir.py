from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from expunge.errors import ModelError
from expunge.kinds.language.layers.decoder import first_tensor, hooked
from expunge.kinds.language.rounds import Round
from expunge.kinds.language.watched import Watched
from expunge.methods.mudman import gradients, scaled_back, swap
from expunge.ops.packing import text_places
from expunge.runs.method import Method, Needs
from expunge.train.loop import only_trained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from expunge.kinds.language.rounds import Drawn
    from expunge.kinds.language.session import LanguageWork
    from expunge.kinds.language.task import CausalLM
    from expunge.train.step import Batch

WIDEST = 4
"at most one in this many dimensions is removed: otherwise nothing would be left of a narrow model"

Components = dict[str, tuple[Tensor, Tensor]]


class CIR(Method):
    r"""CIR, collapse of irrelevant representations (Sondej and Yang 2025, arXiv:2509.11816).

    $$L = \frac{1}{|\Lambda|} \sum_{l \in \Lambda} \frac{1}{|F|} \sum_{t \in F}
          \max\left(0, \frac{\langle m_l(t), m^0_l(t) \rangle}{\bar m_l^2}\right), \qquad
      \bar m_l = \frac{1}{|F|} \sum_{t \in F} \lVert m^0_l(t) \rVert_2$$

    $$\tilde a = (I - c_k c_k^\top) \cdots (I - c_1 c_1^\top) \, a, \qquad
      \Delta = \sum_{t \in F} \tilde g(t) \, \tilde a(t)^\top, \qquad
      W \leftarrow W - \eta \, \frac{\Delta}{\lVert \Delta \rVert_2}$$

    $$\theta \leftarrow \theta - \eta_r \nabla_\theta \,
          \frac{\sum_{t \in R} \lVert h(t) - h^0(t) \rVert_2}{\sum_{t \in R} \lVert h^0(t) \rVert_2}$$

    $m_l$ are the outputs of the MLPs of the middle layers at the tokens of a batch, $m^0_l$ those of the original
    model; a are the inputs of a matrix of an MLP, and g the gradients of L by its outputs. The direction of the mean of
    a and its principal components, $c_1$ to $c_k$, are removed from a, and those of g from g: what remains is specific
    to a text. The length of the step is that of all matrices together. h are the hidden states above the last of the
    middle layers. The MLPs of all layers up to there are trained; layers above are not run.

    As in the authors' code the components are those of the forget set (there gathered in the epoch before; here taken
    again at the beginning of each epoch), and the first token of a text, with its huge activations, is left out of L,
    of the components and of $\Delta$; the code leaves out the last as well. The layers are the same shares of the depth
    as 6 to 12 of 16. Ours are: components in at most a quarter of a matrix's dimensions, the retain set instead of
    WikiText for the stop, that the epoch beyond the limit is scaled back to it, and no dropout. Experts stored in one
    weight together have no inputs and outputs of their own here; they are not changed.
    """

    update_norm: PositiveFloat = 0.2
    "eta, the length of a step of all matrices together; 0.2 in the authors' code"
    first_layer: float = Field(default=0.375, ge=0, lt=1)
    "where the middle layers begin, as a share of the depth; 6 of 16 in the authors' code"
    last_layer: float = Field(default=0.75, gt=0, le=1)
    "where they end, which is where h is taken; 12 of 16 in the authors' code"
    activation_components: NonNegativeInt = 24
    "k of a, the mean among them; 24 in the authors' code"
    gradient_components: NonNegativeInt = 36
    "k of g, the mean among them; 36 in the authors' code"
    component_tokens: PositiveInt = 1024
    "tokens of the forget set used for the components, at most; the authors take all, which needs much memory"
    retain_learning_rate: NonNegativeFloat = 3e-4
    "eta_r; 3e-4 in the authors' code"
    epochs: PositiveInt = 200
    "passes over the forget set, at most; 200 in the authors' code"
    retain_limit: PositiveFloat = 0.001
    "rise of the retain loss, as a share of it, at which it ends; 0.001 or 0.01 in the authors' code"
    retain_blocks: PositiveInt = 256
    "blocks of the retain set used for it, at most, evenly spread; 256 in the authors' code"

    needs: ClassVar[Needs] = Needs(retain="always", retain_labels=False, kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        kept, task = work.kept("cir"), work.task
        middle = self.middle(len(task.layers))
        parts = Parts(task, middle, list(work.mlp_weights(layers=range(middle.stop))))
        weights = parts.weights
        original = {name: weight.detach().clone() for name, weight in weights.items()}
        watched = Watched(task, kept, self.retain_blocks, work.training.per_device_train_batch_size)
        allowed = watched.nll() * (1 + self.retain_limit)
        forget, retain = work.drawn(work.forget, "cir forget"), work.drawn(kept, "cir retain")

        def epoch(number: int) -> Round:
            before = {name: weight.detach().clone() for name, weight in weights.items()}
            losses, seen = [], 0
            numbers = range(number * len(forget), (number + 1) * len(forget))
            with only_trained(task.model, weights.values()):
                components = self.components(parts, original, forget, numbers)
                for at in numbers:
                    batch, other = forget.batch(at), retain.batch(at)
                    losses.append(self.unlearn(parts, original, components, batch))
                    self.put_back(parts, original, other)
                    seen += batch.size + other.size
            share, rose = scaled_back(weights, before, watched.nll, allowed)
            figures = {"forget_loss": sum(losses) / len(losses), "retain_truth": rose, "share": share}
            return Round(
                figures, seen, "" if share == 1 else "the limit of the retain loss (method.retain_limit) is reached"
            )

        work.rounds("cir", self.epochs, dict(weights), epoch)

    def middle(self, depth: int) -> range:
        """The middle layers of a model of `depth` layers; at least one."""
        first = min(round(self.first_layer * depth), depth - 1)
        return range(first, min(depth, max(first + 1, round(self.last_layer * depth))))

    def components(self, parts: Parts, original: dict[str, Tensor], forget: Drawn, numbers: range) -> Components:
        """Directions removed from the inputs and from the gradients of each matrix, (k, inputs) and (k, outputs)."""
        found: dict[str, list[tuple[Tensor, Tensor]]] = {}
        tokens = 0
        for at in numbers:
            if tokens >= self.component_tokens:
                break
            _, seen = parts.seen(original, forget.batch(at))
            for name, pair in seen.items():
                found.setdefault(name, []).append(pair)
            tokens += max((len(inputs) for inputs, _ in seen.values()), default=0)
        counts = self.activation_components, self.gradient_components
        return {
            name: tuple(  # type: ignore[misc]
                principal(torch.cat([pair[side] for pair in pairs])[: self.component_tokens], counts[side])
                for side in (0, 1)
            )
            for name, pairs in found.items()
        }

    def unlearn(self, parts: Parts, original: dict[str, Tensor], components: Components, batch: Batch) -> float:
        """Take a step that turns the MLPs' outputs on a batch away from the original's; return L before it."""
        loss, seen = parts.seen(original, batch)
        changes: dict[str, Tensor] = {}
        for name, (inputs, outputs) in seen.items():
            if name in components:
                a, g = (without(*each) for each in zip((inputs, outputs), components[name], strict=True))
                changes[name] = parts.as_stored(name, g.mT @ a)
        length = torch.stack([change.norm() for change in changes.values()]).norm() if changes else torch.zeros(())
        if length > 0:
            for name, change in changes.items():
                parts.weights[name].data.sub_(change * (self.update_norm / length))
        return loss

    def put_back(self, parts: Parts, original: dict[str, Tensor], batch: Batch) -> None:
        """Take a step that brings the hidden states of a retain batch back to the original's."""
        if self.retain_learning_rate == 0:
            return
        with parts.as_it_was(original), torch.no_grad():
            was = parts.task.hidden(batch, parts.middle.stop)
        moved = (parts.task.hidden(batch, parts.middle.stop) - was).norm(dim=-1).sum() / was.norm(dim=-1).sum()
        for name, gradient in gradients(parts.weights, moved).items():
            parts.weights[name].data.sub_(gradient, alpha=self.retain_learning_rate)


class Parts:
    """The MLPs of a model: inputs of their matrices, and outputs of the middle layers' MLPs.

    Args:
        middle: the middle layers; `middle.stop` layers are run.
        names: of the matrices that are trained; those that are not linear layers are left out.

    Raises:
        ModelError: no linear layer is among them.
    """

    def __init__(self, task: CausalLM, middle: range, names: list[str]) -> None:
        self.task, self.middle = task, middle
        modules = {name: task.model.get_submodule(name.rpartition(".")[0]) for name in names}
        self.matrices = {name: each for name, each in modules.items() if is_linear(each)}
        if not self.matrices:
            raise ModelError(
                f"the MLPs of {type(task.model).__name__} have no linear layers",
                seen=", ".join(names[:3]),
                allowed="matrices with inputs and outputs of their own; experts in one weight together have none",
                next_step="use another method, such as repselect",
            )
        self.weights = {name: task.model.get_parameter(name) for name in self.matrices}
        self.outputs: dict[int, nn.Module] = {}
        for layer in middle:
            ends = task.structure().outputs(layer)  # none if text does not pass a layer
            for writer in ends[-1:]:
                inside = writer.name.removeprefix(f"{task.decoder.prefix}.{layer}.")
                self.outputs[layer] = task.layers[layer].get_submodule(inside.partition(".")[0])
        if not self.outputs:
            raise ModelError(
                f"no layer from {middle.start} to {middle.stop - 1} of {type(task.model).__name__} has a recognisable MLP",
                next_step="name others: --method.first_layer and --method.last_layer",
            )

    def as_stored(self, name: str, change: Tensor) -> Tensor:
        """(outputs, inputs) as the weight is stored; GPT-2's is transposed."""
        return change if isinstance(self.matrices[name], nn.Linear) else change.mT

    @contextmanager
    def as_it_was(self, original: dict[str, Tensor]) -> Iterator[None]:
        """The original model inside."""
        swap(self.weights, original)
        try:
            yield
        finally:
            swap(self.weights, original)

    def seen(self, original: dict[str, Tensor], batch: Batch) -> tuple[float, dict[str, tuple[Tensor, Tensor]]]:
        """(L, (tokens, inputs) and (tokens, outputs) of each matrix: its inputs, and the gradients of its outputs)."""
        places = text_places(batch.lengths, batch.ids.shape[1]).to(batch.ids.device).clone()
        places[:, 0] = False  # activations are huge there
        there = places.flatten()
        with self.as_it_was(original), torch.no_grad():
            was = self._listen(batch)[0]
        now, passed = self._listen(batch)
        terms = []
        for layer, output in now.items():
            m, m0 = (wide(each.flatten(0, -2))[there] for each in (output, was[layer]))
            terms.append(((m * m0).sum(-1) / m0.norm(dim=-1).mean().square()).clamp(min=0).mean())
        loss = torch.stack(terms).mean()
        whole = {name: pair for name, pair in passed.items() if pair[0].flatten(0, -2).shape[0] == len(there)}
        made = torch.autograd.grad(loss, [pair[1] for pair in whole.values()], allow_unused=True)
        found = {
            name: tuple(wide(each.detach().flatten(0, -2))[there] for each in (pair[0], gradient))
            for (name, pair), gradient in zip(whole.items(), made, strict=True)
            if gradient is not None
        }
        return float(loss.detach()), found  # type: ignore[return-value]

    def _listen(self, batch: Batch) -> tuple[dict[int, Tensor], dict[str, tuple[Tensor, Tensor]]]:
        """(outputs of the MLPs of the middle layers, inputs and outputs of each matrix) of a batch."""
        said: dict[Any, Any] = {}

        def note(key: int | str, _module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            said[key] = first_tensor(output) if isinstance(key, int) else (given[0], output)

        watched: list[tuple[int | str, nn.Module]] = [*self.matrices.items(), *self.outputs.items()]
        with hooked(module.register_forward_hook(partial(note, key)) for key, module in watched):
            self.task.hidden(batch, self.middle.stop)
        return (
            {layer: said[layer] for layer in self.outputs if layer in said},
            {name: said[name] for name in self.matrices if name in said},
        )


def is_linear(module: nn.Module) -> bool:
    """Whether a module multiplies by its weight: torch's linear layers, and transformers' `Conv1D`."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def wide(values: Tensor) -> Tensor:
    """float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def principal(rows: Tensor, count: int) -> Tensor:
    """(count, dimensions) of length 1 each: the mean of rows (tokens, dimensions), then their principal components.

    At most `count`, and at most a fraction of the dimensions.
    """
    count = min(count, rows.shape[1] // WIDEST, len(rows))
    if count == 0:
        return rows[:0]
    mean = nn.functional.normalize(rows.mean(0, keepdim=True))
    # By the smaller of the two products: at most a thousand tokens, however wide the matrix is.
    centred = rows - rows.mean(0)
    tall = len(rows) > rows.shape[1]
    values, vectors = torch.linalg.eigh(centred.mT @ centred if tall else centred @ centred.mT)
    there = values > values.max() * len(values) * torch.finfo(rows.dtype).eps  # the others are rounding
    leading = vectors[:, there].flip(1)[:, : count - 1]
    return torch.cat([mean, nn.functional.normalize((leading if tall else centred.mT @ leading).mT)])


def without(rows: Tensor, components: Tensor) -> Tensor:
    """Rows (tokens, dimensions) with these directions (count, dimensions) removed, one after the other."""
    for each in components:
        rows = rows - (rows @ each)[:, None] * each
    return rows
