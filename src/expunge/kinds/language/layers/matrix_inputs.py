"""Main directions of the inputs of a language model's layer matrices on some blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.train.step import Batch

BYTES = 1 << 30
"bytes of second moments held at once; with more, the blocks are run again"
BLOCKS = 4
"blocks run at once"

Kept = Callable[[Tensor], int]
"number of directions to keep, given the share of the inputs' squares along each: (width,), falling, with sum 1"


Where = Callable[[Batch], Tensor]


@dataclass(frozen=True, slots=True)
class InputSums:
    """Sums over a module's input tokens: (width, width) of x x^T, (width,) of x, and their number; float64."""

    squares: Tensor
    plain: Tensor
    count: int


def main_inputs(task: CausalLM, table: TokenTable, kept: Kept) -> dict[str, Tensor]:
    """The main directions of every layer matrix's inputs on these blocks, by the weight's name: (width, kept),
    orthonormal.

    They are the eigenvectors of the mean of x x^T over all tokens, in main memory. A matrix that no token reached has
    none, and weights outside of linear layers (experts in one tensor) are left out.
    """
    matrices = {
        f"{name}.weight": module
        for name, module in task.layers.named_modules(prefix=task.decoder.prefix)
        if isinstance(module, nn.Linear | Conv1D)
    }
    found: dict[str, Tensor] = {}
    for part in _parts(matrices):
        for name, moment in _second_moments(task, table, part).items():
            found[name] = _main(moment, kept).cpu()
    return found


@torch.no_grad()
def input_sums(task: CausalLM, table: TokenTable, module: nn.Module, where: Where | None = None) -> InputSums:
    """Sums over one module's inputs on these blocks.

    Args:
        where: tokens of a batch that count, (blocks, time) bool; default: all.
    """
    sums: list[Tensor] = []
    count = 0

    def at(mask: Tensor | None, given: Tensor) -> None:
        x = given.flatten(0, 1) if mask is None else given[mask.to(given.device)]
        x = x.double() if x.device.type != "mps" else x.float()
        with torch.autocast(x.device.type, enabled=False):
            found = [x.T @ x, x.sum(0)]
        sums[:] = [a + b for a, b in zip(sums, found, strict=True)] if sums else found

    for rows in _alike(table):
        batch = table.batch(rows).to(task.device)
        mask = None if where is None else where(batch)
        count += batch.ids.numel() if mask is None else int(mask.sum())

        def note(_module: nn.Module, given: tuple[Tensor, ...], mask: Tensor | None = mask) -> None:
            at(mask, given[0])

        with hooked([module.register_forward_pre_hook(note)]), task.autocast():
            task.model.base_model(input_ids=batch.ids, use_cache=False)
    return InputSums(sums[0], sums[1], count)


def input_width(module: nn.Module) -> int:
    """Number of inputs of a linear layer."""
    return int(module.weight.shape[1 if isinstance(module, nn.Linear) else 0])  # type: ignore[index]


def _parts(matrices: Mapping[str, nn.Module]) -> Iterator[dict[str, nn.Module]]:
    """The matrices, in groups that fit into memory."""
    part: dict[str, nn.Module] = {}
    held = 0
    for name, module in matrices.items():
        size = 4 * input_width(module) ** 2
        if part and held + size > BYTES:
            yield part
            part, held = {}, 0
        part[name] = module
        held += size
    if part:
        yield part


@torch.no_grad()
def _second_moments(task: CausalLM, table: TokenTable, matrices: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """(width, width) the sum of x x^T of each matrix's inputs, float32 at least."""
    found: dict[str, Tensor] = {}

    def note(name: str) -> Callable[..., None]:
        def at(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            x = given[0].reshape(-1, given[0].shape[-1])
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            with torch.autocast(x.device.type, enabled=False):
                moment = x.T @ x
            found[name] = found[name] + moment if name in found else moment

        return at

    hooks = (module.register_forward_pre_hook(note(name)) for name, module in matrices.items())
    with hooked(hooks):
        for rows in _alike(table):
            batch = table.batch(rows).to(task.device)
            with task.autocast():
                task.model.base_model(input_ids=batch.ids, use_cache=False)
    return found


def _alike(table: TokenTable) -> Iterator[list[int]]:
    """Batches of blocks of one length, so that the inputs have no padding."""
    order = sorted(range(len(table)), key=lambda row: int(table.lengths[row]))
    for _, rows in itertools.groupby(order, key=lambda row: int(table.lengths[row])):
        alike = list(rows)
        yield from (alike[at : at + BLOCKS] for at in range(0, len(alike), BLOCKS))


def _main(moment: Tensor, kept: Kept) -> Tensor:
    """(width, kept) the eigenvectors of the largest eigenvalues."""
    values, vectors = torch.linalg.eigh(moment)
    shares = values.flip(0).clamp(min=0)
    total = shares.sum()
    if not bool(total > 0):
        return vectors[:, :0]
    return vectors.flip(1)[:, : kept(shares / total)].contiguous()
