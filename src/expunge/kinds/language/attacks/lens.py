"""Reading the layers (logit lens): is the answer there before the last layers hide it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from expunge.errors import ModelError
from expunge.kinds.language.attacks.attack import Attack, Side, one_layer, tokens
from expunge.kinds.language.attacks.facts import Row, batch_of, in_batches
from expunge.kinds.language.distributions import CHUNK
from expunge.kinds.language.layers.decoder import first_tensor, hooked
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.task import CausalLM
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

LAYERS = 8
"layers to read, evenly spread, including the last ones"


class LogitLens(Attack):
    """The output layer applied to the hidden states of earlier layers (nostalgebraist 2020, the logit lens). Of the
    cheap measures it is among the most faithful ones (UDS meta-evaluation, 2025)."""

    name = "lens"
    title = "Logit lens"
    sentence = (
        "The model's own output layer is applied to earlier layers' states. A change of only the last layers leaves "
        "the answer legible there."
    )
    order = 40
    by_layer = True

    def missing(self, side: Side) -> str | None:
        if (why := one_layer(side)) is not None:
            return why
        try:
            final_norm(side.look())
            side.look().head  # noqa: B018 - found now, or refused
        except ModelError as error:
            return error.what
        return None

    def pieces(self, side: Side) -> list[Piece]:
        return [Piece(words="all layers", work=Work(read=2.0 * tokens(side.asked()), loaded=1), trials=None)]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task, rows = side.look(), side.asked()
        norm = final_norm(task)
        numbers = _read(len(task.layers))
        values: dict[int, list[float]] = {number: [0.0] * len(rows) for number in numbers}
        side.show(0.0, "reading the layers")
        for chosen in in_batches(rows):
            for number, found in through_lens(task, norm, [rows[i] for i in chosen], numbers).items():
                for i, value in zip(chosen, found, strict=True):
                    values[number][i] = value
        for number in numbers:
            yield Trial(
                setting=f"layer {number} of {len(task.layers)}",
                values=values[number],
                facts=list(range(len(rows))),
                family="layers",
                at=float(number),
            )


def _read(layers: int) -> list[int]:
    """Numbers of layers, from 1; the last one is the model's own output, and is left out."""
    return [at + 1 for at in spread(layers - 1, LAYERS)]


def final_norm(task: CausalLM) -> Callable[[Tensor], Tensor]:
    """The module between the last layer and the output layer, if any; its input are the last layer's states.

    Raises:
        ModelError: there is something else between them.
    """
    last: list[Tensor] = []
    given: list[tuple[nn.Module, Tensor]] = []

    def note_last(_module: nn.Module, _inputs: Any, output: Any) -> None:
        state = first_tensor(output)
        if state is not None:
            last[:] = [state]

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if last and inputs and isinstance(inputs[0], Tensor):
            given.append((module, inputs[0]))

    prefix = task.decoder.prefix
    outside = [m for name, m in task.model.named_modules() if not name.startswith(prefix) and not any(m.children())]
    head_input: list[Tensor] = []
    hooks = [task.layers[-1].register_forward_hook(note_last)]
    hooks += [module.register_forward_pre_hook(note) for module in outside]
    head = task.model.get_output_embeddings()
    if head is not None:
        hooks.append(head.register_forward_pre_hook(lambda _m, inputs: head_input.append(inputs[0])))
    with torch.no_grad(), hooked(hooks):
        ids = (7 * torch.arange(8, device=task.device) + 5) % task.model.config.get_text_config().vocab_size
        with suppress(IndexError):
            task.model(input_ids=ids[None], use_cache=False)
    if not last or not head_input:
        raise ModelError("the module between the last layer and the output layer cannot be found")
    if torch.equal(last[0], head_input[0]):
        return lambda states: states
    for module, state in given:
        if state.shape == last[0].shape and torch.equal(state, last[0]):
            with torch.no_grad():
                if torch.allclose(module(state), head_input[0], rtol=1e-3, atol=1e-4):
                    return module
    raise ModelError("there is more than one module between the last layer and the output layer")


@torch.inference_mode()
def through_lens(
    task: CausalLM, norm: Callable[[Tensor], Tensor], rows: list[Row], numbers: list[int]
) -> dict[int, list[float]]:
    """Layer, counted from 1 -> (rows,) geometric mean probability of each row's labels by that layer's states."""
    head = task.head
    batch = batch_of(rows).to(task.device)
    where = task.labelled(batch)
    target = batch.labels[:, 1:][where[:, :-1]]
    counts = where.sum(1).tolist()
    states: dict[int, Tensor] = {}

    def keep(number: int) -> Callable[..., None]:
        def at(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found = first_tensor(output)
            assert found is not None
            states[number] = found[where]

        return at

    with (
        task.autocast(),
        hooked(task.layers[number - 1].register_forward_hook(keep(number)) for number in numbers),
    ):
        task.model.base_model(input_ids=batch.ids, use_cache=False)
        found = {}
        for number in numbers:
            log_p = torch.cat(
                [
                    logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1)
                    for part, wanted in zip(norm(states[number]).split(CHUNK), target.split(CHUNK), strict=True)
                    for logits in [head.logits(part).float()]
                ]
            )
            found[number] = [float(each.double().mean().exp()) for each in log_p.split(counts)]
    return found
