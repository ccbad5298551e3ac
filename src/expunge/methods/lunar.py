from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.invented_questions import invented_questions
from expunge.kinds.language.layers.matrix_inputs import InputSums, input_sums
from expunge.kinds.language.session import spread_evenly
from expunge.runs.method import Method, Needs
from expunge.train.step import IGNORED, Batch

if TYPE_CHECKING:
    from expunge.kinds.language.layers.structure import Writer
    from expunge.kinds.language.session import LanguageWork
    from expunge.kinds.language.token_dataset import TokenTable


class LUNAR(Method):
    r"""LUNAR, redirection of activations, in closed form (Shen et al. 2025, arXiv:2502.07218).

    $$\min_\Delta \; \sum_{t \in F} \lVert \Delta x_t - c \, r \rVert_2^2
          + \alpha \sum_{t \in R} \lVert \Delta x_t \rVert_2^2 + \rho \lVert \Delta \rVert_2^2, \qquad
      \Delta = c \, r \Big(\sum_{t \in F} x_t\Big)^{\!\top} \Big(\sum_{t \in F} x_t x_t^\top
          + \alpha \sum_{t \in R} x_t x_t^\top + \rho I\Big)^{-1}$$

    $$r = \frac{1}{|Q|} \sum_{q \in Q} h(q) - \frac{1}{|F|} \sum_{x \in F} h(x), \qquad W \leftarrow W + \Delta$$

    W is the last matrix of the MLP of one layer and x are its inputs; h are hidden states after the layer, and Q
    questions that the model cannot answer and says so. The outputs on the forget set move towards those on such
    questions, those on the retain set stay: one step of linear least squares, which the authors' code approaches by 20
    epochs of AdamW (learning rate 0.01, falling by a tenth an epoch). The closed form is ours; so are alpha, which is 1
    there as a token counts as one, and the small $\rho$, for inputs of fewer tokens than dimensions. Nothing is
    trained, so the recipe's `training` has no effect. The change is of rank one.

    Of a forget set with prompts x are the inputs at the prompts' tokens and h the states at their last ones, as in the
    paper; of a text without a prompt, all of its tokens, and of Q then all tokens, too (ours). The retain set counts
    with all tokens (there: its questions). Q are 199 questions about things that do not exist in the authors' code;
    here they are about invented names, or given as `questions`. How far the forget set and the retain set were moved is
    logged as the event "redirected".
    """

    coefficient: PositiveFloat = 2.0
    "c; 2 in the authors' code"
    layer: PositiveInt | None = None
    """layers after which the states are redirected; null: 23 of 32, the authors' choice for Llama 3 8B, as a share of
    the depth"""
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the authors' code"
    ridge: PositiveFloat = 1e-4
    "rho, as a share of the mean square of an input, times all tokens; ours"
    questions: tuple[str, ...] = Field(default=())
    "Q; empty: questions about invented names"
    blocks: PositiveInt = 512
    "blocks of each set to use, at most, evenly spread; ours"

    needs: ClassVar[Needs] = Needs(retain="weighted", retain_labels=False, kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        writer = self.writer(work)
        module = work.task.model.get_submodule(writer.name.rpartition(".")[0])
        forget = spread_evenly(work.forget, self.blocks)

        def found() -> dict[str, Tensor]:
            inputs = input_sums(work.task, forget, module, redirected)
            kept = None
            if self.draws_retain:
                kept = input_sums(work.task, spread_evenly(work.retained(), self.blocks), module)
            along = self.coefficient * self.direction(work, forget, writer)
            answer = self.answer(inputs, kept)
            work.log(
                "redirected",
                forget=float(answer @ inputs.plain) / inputs.count,
                retain=None
                if kept is None
                else float((answer @ kept.squares @ answer / kept.count).clamp(min=0).sqrt()),
            )
            return {"change": torch.outer(along.double(), answer.cpu())}

        change = work.cached("redirection", found)["change"]
        weight = work.weights()[writer.name]
        work.put({writer.name: weight + (change if writer.axis == 0 else change.T).to(weight)})

    def writer(self, work: LanguageWork) -> Writer:
        """The last matrix of the layer's MLP.

        Raises:
            RecipeError: the model has no such layer.
            ModelError: the layer has no such matrix, or several.
        """
        depth = len(work.task.layers)
        layer = max(1, round(depth * 23 / 32)) if self.layer is None else self.layer
        if layer > depth:
            raise RecipeError("the model has no such layer", seen=f"method.layer {layer}", allowed=f"1 to {depth}")
        every = work.task.structure().outputs(layer - 1)
        able = [each for each in every if self._is_matrix(work, each)]
        if len(able) != 1:
            raise ModelError(
                f"layer {layer - 1} of {type(work.task.model).__name__} has no single matrix at the end of its MLP",
                seen=", ".join(each.name for each in every) or "none",
                allowed="a linear layer that is added to the residual stream as it is: no norm between, no experts",
                next_step="use another method, such as rmu",
            )
        return able[0]

    def _is_matrix(self, work: LanguageWork, writer: Writer) -> bool:
        weight = work.task.model.get_parameter(writer.name)
        return weight.dim() == 2 and writer.norm is None and writer.name.endswith(".weight") and not writer.mixes

    def direction(self, work: LanguageWork, forget: TokenTable, writer: Writer) -> Tensor:
        """(width,) r, on the CPU."""
        task, layer = work.task, work.task.layer_of(writer.name)
        assert layer is not None
        prompted = [bool(first_label(forget.batch([row]))[0] > 1) for row in range(len(forget))]
        asked = any(prompted)
        theirs = []
        for row in range(len(forget)):
            batch = forget.batch([row])
            theirs.append(task.example_states(batch, last_of(batch) if prompted[row] else None)[0, layer].cpu())
        own = []
        for question in self.questions or invented_questions(work.seed):
            ids = torch.tensor([task.encode_prompt(question, chat=asked)])
            lengths = torch.tensor([ids.shape[1]])
            batch = Batch(ids=ids, labels=torch.full_like(ids, IGNORED), lengths=lengths, normaliser=1.0)
            last = torch.zeros_like(ids, dtype=torch.bool)
            last[:, -1] = True
            own.append(task.example_states(batch, last if asked else None)[0, layer].cpu())
        return torch.stack(own).mean(0) - torch.stack(theirs).mean(0)

    def answer(self, forget: InputSums, retain: InputSums | None) -> Tensor:
        """(inputs,) the vector that an input is multiplied with: (sum_F x x^T + alpha sum_R x x^T + rho I)^-1 sum_F
        x."""
        moment, count = forget.squares, forget.count
        if retain is not None:
            moment, count = moment + self.retain_weight * retain.squares, count + retain.count
        square = forget.squares.diagonal().mean() / forget.count
        loaded = moment + self.ridge * square * count * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
        found: Tensor = torch.linalg.solve(loaded, forget.plain)
        return found


def first_label(batch: Batch) -> Tensor:
    """(blocks,) the place of each block's first label; its length if there is none."""
    there = batch.labels != IGNORED
    return torch.where(there.any(1), there.int().argmax(1), batch.lengths.to(batch.labels.device))


def redirected(batch: Batch) -> Tensor:
    """(blocks, time) bool: the tokens of each block's prompt; of one without, all of its tokens."""
    places = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    first, lengths = first_label(batch), batch.lengths.to(batch.ids.device)
    return places < torch.where(first > 1, first, lengths)[:, None]


def last_of(batch: Batch) -> Tensor:
    """(blocks, time) bool: the last token of each block's prompt."""
    return torch.arange(batch.ids.shape[1], device=batch.ids.device) == (first_label(batch) - 1)[:, None]
