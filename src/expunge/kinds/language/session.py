"""Session of a method that is more than one loss on a language model: weights, phases of training, parts, tuning.

Draws are functions of (seed, name), and results cached before an interruption are read again, so that the same command
ends with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.order import Order, random_seed
from expunge.core.processes import agreed, is_first
from expunge.errors import RecipeError
from expunge.kinds.language.choosing import Choice
from expunge.kinds.language.distilling import Distillation, Recovered, frozen, taught
from expunge.kinds.language.layers.matrix_inputs import Kept, main_inputs
from expunge.kinds.language.lora import Adapter, Targets, adapter, passing_adapter
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.rounds import Drawn, Round, do_rounds
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.training import UNLEARNING, train_language
from expunge.ops.clusters import k_means
from expunge.ops.names import is_named
from expunge.runs.method import Method
from expunge.train.cache import cached_there, file_name, read_cached, write_cached
from expunge.train.callback import Callback
from expunge.train.loop import Trained
from expunge.train.unchanged import must_change

ENDLESS = 1e9
"passes over a set if steps decide"
STATES = 4
"blocks whose hidden states are computed at once"
Log = Callable[..., None]
Tune = Callable[[], tuple[float, float]]


@dataclass(slots=True)
class LanguageWork:
    """A model to change, the sets, and the operations a method may use.

    Attributes:
        task: its `model` is changed in place.
        forget, retain: the sets, with the signals that the method needs.
        groups: the attribute columns of the forget set: name -> a group for each block.
        training: how a loss is trained.
        checkpoints: folder for resuming.
        tune: measures the current model on texts held back for choosing settings: (toxicity, perplexity of clean text).
        log: called with an event ("step", "resumed", "notice") and its figures.
        probe: called with (task, step) before the first step, every `probe_steps`, and at the end, in evaluation
            mode; by all processes if weights are sharded.
        on_progress: called with (step, steps, figures) after each step.
        on_adapter: called with the matrices that a trained adapter was added to, before it is merged.
        choice: evaluation during the training of a method that is a loss.
        rate_field: the recipe's field for the learning rate of `training`.
        ends: whether the user may give `training.stop_step`, which the guard then advises.
        trained: cost of the phases so far.
        originals: loads the model again, if an adapter is trained on quantised weights.
        stays: whether the model is meant to stay unchanged, since no scale helped.
    """

    task: CausalLM
    forget: TokenTable
    retain: TokenTable | None
    training: Training
    seed: int
    checkpoints: Path
    log: Log
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tune: Tune | None = None
    probe: Callable[[CausalLM, int], None] | None = None
    on_progress: Callable[[int, int, dict[str, Any]], None] | None = None
    on_adapter: Callable[[Targets], None] | None = None
    originals: Callable[[], nn.Module] | None = None
    choice: Choice | None = None
    rate_field: str = "training.learning_rate"
    ends: bool = False
    trained: list[Trained] = field(default_factory=list)
    stays: bool = False

    def carry_out(self, method: Method, name: str = UNLEARNING) -> None:
        """Change the model with a method: its loss over the recipe's training, or its own phases.

        Raises:
            UnchangedError: a method that another one uses on a part unexpectedly changed no weight.
        """
        of_part = must_change(self.task.model, f"{type(method).__name__} ({name})", lambda: self.stays)
        with of_part if name != UNLEARNING else nullcontext():
            if method.has_loss():
                self.train(method, name, forget=self.forget, retain=self.retain)
            else:
                method.apply(self)

    def train(
        self,
        method: Method,
        name: str,
        *,
        forget: TokenTable | None,
        retain: TokenTable | None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Train with the loss of `method` and the settings `training`; `name` is unique in a run."""
        named = method.found_in(self.task)  # before an adapter wraps the weights
        with adapter(self.task, Adapter.of(self.training), self.seed % (1 << 31), self.originals) as added:
            if added is not None and (note := added.note()) is not None:
                self.log("notice", text=note)
            # All phases have the same seed: the blocks drawn of the retain set were fixed before.
            sets: dict[str, Any] = {"forget": forget, "retain": retain}
            self.trained.append(train_language(self, method, name, **sets, named=named, callbacks=callbacks))
            if added is not None and self.on_adapter is not None and name == UNLEARNING:
                self.on_adapter(added)

    def cost(self) -> Trained:
        """The cost of all phases together."""
        return Trained(
            steps=sum(each.steps for each in self.trained),
            seconds=sum(each.seconds for each in self.trained),
            seen=sum(each.seen for each in self.trained),
            stopped=self.trained[-1].stopped if self.trained else "nothing was trained",
        )

    def weights(self) -> dict[str, Tensor]:
        """A copy of every current weight, by name; tied ones once."""
        return {name: parameter.detach().clone() for name, parameter in self.task.model.named_parameters()}

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Set weights, by name; others do not change."""
        with torch.no_grad():
            for name, parameter in self.task.model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])

    def cached(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """A cached result of a method, in main memory: computed once, and read in a resumed run."""
        if agreed(cached_there(self.checkpoints, name)):
            values, trained = read_cached(self.checkpoints, name)
            self.trained += [Trained(**each) for each in trained]
            return values
        before = len(self.trained)
        made = {key: value.detach().cpu().contiguous() for key, value in make().items()}
        if is_first():
            write_cached(self.checkpoints, name, made, [asdict(each) for each in self.trained[before:]])
        return made

    def rounds(self, name: str, count: int, state: Mapping[str, Tensor], do: Callable[[int], Round]) -> None:
        """Run the rounds of a method's own loop, 0 to `count` - 1, from the newest checkpoint on.

        Args:
            name: name of the loop; unique in a run.
            state: everything that a round passes on, changed in place, and filled from a checkpoint.
            do: runs a round, which depends only on its number, the state and the sets.

        Raises:
            DivergedError: a figure of a round is not finite.
        """
        do_rounds(self, name, count, state, do)

    def show_progress(self, step: int, steps: int, tokens_per_second: float, **figures: float) -> None:
        """Show the progress of a method's own loop; the figures `forget_truth` and `retain_truth` are shown."""
        if self.on_progress is not None:
            truths: dict[str, Any] = {"forget_truth": None, "retain_truth": None}
            self.on_progress(step, steps, truths | figures | {"tokens_per_second": tokens_per_second})

    def drawn(self, table: TokenTable, stream: str) -> Drawn:
        """A set in the order of a method's own loop, batch by batch."""
        order = Order(table.lengths, self.training.per_device_train_batch_size, self.seed, stream)
        return Drawn(table, order, self.task.device)

    def mlp_weights(self, pattern: str | None = None, layers: range | None = None) -> dict[str, nn.Parameter]:
        """The matrices of the MLPs, by name.

        Args:
            pattern: regular expression of the wanted names, among all weights; None: all MLPs'.
            layers: only these layers.

        Raises:
            RecipeError: there are none.
        """
        inside = range(len(self.task.layers)) if layers is None else layers
        named = dict(self.task.model.named_parameters())
        if pattern is None:
            names = [name for layer in inside for name in self.task.structure().mlp(layer)]
        else:
            names = [name for name in named if is_named(name, pattern) and self.task.layer_of(name) in inside]
        if not names:
            raise RecipeError(
                f"no weights to train are found in {type(self.task.model).__name__}",
                seen=f"layers {inside.start} to {inside.stop - 1}; weights: {pattern or 'matrices of MLPs'}",
                next_step=r"name some of its layers' matrices: --method.weights 'mlp\..*\.weight$'",
            )
        return {name: named[name] for name in names}

    def passing_adapter(
        self, weights: Collection[str], rank: int, alpha: float, name: str
    ) -> AbstractContextManager[list[nn.Parameter]]:
        """Context with an adapter on some weights, detached at the end; yields its parameters."""
        return passing_adapter(self.task, weights, rank, alpha, random_seed(self.seed, name) % (1 << 31))

    def kept(self, method: str) -> TokenTable:
        """The retain set.

        Raises:
            RecipeError: there is none.
        """
        if self.retain is None or not self.retain.labelled(range(len(self.retain))):
            raise RecipeError(
                f"the method {method} needs a retain set, to see its effect on other text",
                seen="none" if self.retain is None else "a retain set without a labelled token",
                next_step="give one: --retain FILE",
            )
        return self.retain

    def part(self, name: str, rows: Sequence[int]) -> LanguageWork:
        """The same session on some blocks of the forget set; its cost counts here too."""
        return replace(
            self,
            forget=self.forget.take(rows),
            groups={column: [values[row] for row in rows] for column, values in self.groups.items()},
            checkpoints=self.checkpoints / file_name(name),
        )

    def split(self, column: str | None, clusters: int) -> dict[str, list[int]]:
        """Blocks of the forget set grouped by a column, or in clusters of similar meaning; name -> blocks.

        Args:
            column: of the data, or None for clusters.
            clusters: number of clusters; k-means over the mean hidden states of the model's middle layer.

        Raises:
            RecipeError: the data has no such column.
        """
        if column is None:
            middle = self.states(self.forget)[:, len(self.task.layers) // 2]
            number = k_means(middle, min(clusters, len(self.forget)), random_seed(self.seed, "clusters"))
            names: Sequence[str] = [f"cluster {each + 1}" for each in number.tolist()]
        elif column in self.groups:
            names = self.groups[column]
        else:
            raise RecipeError(
                f"the forget set has no column {column!r} to split it by",
                seen=", ".join(self.groups) or "no columns",
                next_step="name one of them, or leave method.split_by out: the set is split into clusters",
            )
        parts: dict[str, list[int]] = {name: [] for name in sorted(set(names))}
        for row, name in enumerate(names):
            parts[name].append(row)
        return parts

    def states(self, table: TokenTable, limit: int | None = None) -> Tensor:
        """(blocks, layers, width) mean hidden states after each layer, float32, of at most `limit` blocks, evenly spread."""
        table = table if limit is None else spread_evenly(table, limit)
        order = np.argsort(table.lengths, kind="stable")
        batches = (order[start : start + STATES].tolist() for start in range(0, len(order), STATES))
        found = torch.cat([self.task.example_states(table.batch(rows)).cpu() for rows in batches])
        return found[np.argsort(order)]

    def generator(self, *names: str) -> torch.Generator:
        """Random numbers of a named draw, on the CPU: the same in a resumed run, different for another seed."""
        return torch.Generator().manual_seed(random_seed(self.seed, *names))

    def frozen(self) -> CausalLM:
        """A frozen copy of the current model."""
        return frozen(self.task)

    def distil(self, teacher: CausalLM, steps: int, learning_rate: float, enough: float) -> None:
        """Distil: train the weights to a copy of the model's outputs on the retain set: KL(teacher || model), nats a token.

        Batches and the learning rate schedule are those of `training`.

        Args:
            enough: end with the first step whose loss is at most this.
        """
        own: dict[str, Any] = {"max_steps": steps, "learning_rate": learning_rate}
        own |= {"num_train_epochs": ENDLESS, "first_layer": 0}
        own |= dict.fromkeys(("adapter_rank", "quantization", "stop_step", "stop_forget_loss"))
        work = replace(self, training=self.training.model_copy(update=own), rate_field="method.learning_rate")
        retain = taught(self.retained(), teacher)
        work.train(Distillation(), "distillation", forget=None, retain=retain, callbacks=[Recovered(enough)])

    def retained_inputs(self, kept: Kept, limit: int) -> dict[str, Tensor]:
        """The main directions of the layer matrices' inputs on the retain set, in the current model: see `main_inputs`.

        Args:
            limit: blocks to use, at most, evenly spread.
        """
        return main_inputs(self.task, spread_evenly(self.retained(), limit), kept)

    def retained(self) -> TokenTable:
        """The retain set with its own text as labels, all of it.

        Raises:
            RecipeError: there is none.
        """
        if self.retain is None or not len(self.retain):
            raise RecipeError("the method needs a retain set", next_step="give one: --retain FILE")
        return self.retain.as_written()

    def choose(self, scales: Sequence[float], put: Callable[[float], None], perplexity_limit: float) -> float:
        """The scale with the least toxicity among those that raise the perplexity of clean text by at most a share.

        Both figures of each are logged as event "front". 0, the unchanged model, is chosen if none keeps the limit and
        lowers toxicity.

        Args:
            put: sets the model's weights for a scale.

        Raises:
            RecipeError: there are no texts to choose with.
        """
        if self.tune is None:
            raise RecipeError(
                "there are no prompts to choose a scale with",
                next_step="give one: --method.scale 1.0; or toxic prompts among the data",
            )
        allowed, best, chosen = math.inf, math.inf, 0.0
        for scale in (0.0, *sorted(scales)):
            put(scale)
            toxicity, perplexity = agreed(self.tune())
            self.log("front", scale=scale, toxicity=toxicity, perplexity=perplexity)
            if scale == 0:
                allowed, best = perplexity * (1 + perplexity_limit), toxicity
            elif toxicity < best and perplexity <= allowed:
                best, chosen = toxicity, scale
        self.log("scale", chosen=chosen)
        self.stays = chosen == 0
        if self.stays:
            text = "no scale kept the limit of perplexity and lowered toxicity: the model is unchanged"
            self.log("notice", text=text)
        return chosen


def spread_evenly(table: TokenTable, limit: int) -> TokenTable:
    """At most `count` blocks of a table."""
    if limit >= len(table):
        return table
    return table.take([row * len(table) // limit for row in range(limit)])
