"""Make gated adapters: an adapter that is trained and detached, and a detector of the forget set, attached to a
model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from expunge.core import storage
from expunge.core.processes import spread
from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.lora import ADAPTER, adapted, targets
from expunge.kinds.language.session import STATES, LanguageWork, spread_evenly
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.detector import Detector, made
from expunge.models.digest import GATED, digest_model
from expunge.models.gate import KEEPS, Gate, GatedAdapter, put_gate
from expunge.models.gate_files import read_gate
from expunge.ops.checksum import checksum
from expunge.runs.method import Method

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KEEPS", "Detecting", "earlier_digest", "earlier_matrices", "gated"]
PHASE = "adapter"
"name of its training"
BLOCKS, PLACES = 128, 4
"blocks of a set whose states are used, at most, and places of each"
SHORTEST = 8
"tokens of a mean, at least, if a block has that many: a mean of a few tokens says little about the text"
POOR = 0.8
"area under the ROC curve below which a notice says that the detector separates the sets badly"


@dataclass(frozen=True, slots=True)
class Detecting:
    """How a detector is made.

    Attributes:
        layers: number of first layers to use; None: half of them.
        boundary, steepness: see `Detector`.
    """

    layers: int | None
    boundary: float | None
    steepness: float


def earlier_folder(name: str) -> Path:
    """The folder with the gated adapters of a model, given by its folder or that of its run.

    Raises:
        RecipeError: there is none.
    """
    found = next((each for each in (Path(name), Path(name) / "model") if (each / GATED).is_file()), None)
    if found is None:
        raise RecipeError(
            f"{name} has no model with gated adapters",
            seen=f"no {GATED} in it",
            allowed="the folder of a run with method o3, or its model folder",
            next_step="leave --method.earlier out for the first request",
        )
    return found


def earlier_digest(name: str) -> str:
    """A digest of the adapters in such a folder, and of their base. Raises as `earlier_folder`."""
    return storage.digest_value(digest_model(earlier_folder(name)))


def earlier_matrices(name: str) -> dict[str, list[Tensor]]:
    """A (rank, inputs) of each adapter in such a folder, by the name of the linear layer. Raises as `read_gate`."""
    found: dict[str, list[Tensor]] = {}
    for adapter in read_gate(earlier_folder(name)).every:
        for place, (a, _) in adapter.matrices.items():
            found.setdefault(place, []).append(a.detach())
    return found


def gated(work: LanguageWork, loss: Method, rank: int, how: Detecting, earlier: str | None) -> None:
    """Train an adapter with a loss, detach it, and attach it to the model with a detector of the forget set.

    The model's own weights do not change.

    The adapter is trained on the whole forget set, and may spoil other text, which it will not see: the
    guard only checks for finite numbers.

    Args:
        earlier: folder of a model with earlier adapters, which are kept.

    Raises:
        RecipeError: the earlier adapters are another model's, the model has no linear layers, or fewer than the
            detector looks at, or its weights are sharded over processes.
    """
    if spread():
        raise RecipeError(
            "gated adapters are not trained on weights that are sharded over processes",
            seen="FSDP",
            next_step="start without --use_fsdp: then each process has the whole model",
        )
    task, base = work.task, _checksum(work.task)
    before = [] if earlier is None else _kept(earlier, base, task)
    layers = _looked_at(task, how)
    kept = work.retain if work.retain is not None and len(work.retain) else None

    def statistics() -> dict[str, Tensor]:
        return made(_features(task, work.forget, layers), None if kept is None else _features(task, kept, layers))

    tensors = work.cached("detector", statistics)
    detector = Detector(dict(tensors), how.boundary, how.steepness)
    _log_separation(work, detector, layers)

    def trained() -> dict[str, Tensor]:
        places = _places(task)
        with work.passing_adapter([f"{each}.weight" for each in places], rank, 2 * rank, PHASE):
            unguarded = {"max_retain_increase": math.inf, "stop_forget_loss": None, "adapter_rank": None}
            training = work.training.model_copy(update=unguarded)
            alone: dict[str, Any] = dict.fromkeys(("probe", "on_adapter", "choice"))
            replace(work, training=training, ends=False, **alone).carry_out(loss, PHASE)
            found: dict[str, Tensor] = {}
            for name, module in adapted(task.model).items():
                found |= {f"A.{name}": module.lora_A[ADAPTER].weight, f"B.{name}": module.lora_B[ADAPTER].weight}
            return {name: each.detach().clone() for name, each in found.items()}

    matrices = work.cached("adapter", trained)
    places = [name.removeprefix("A.") for name in matrices if name.startswith("A.")]
    adapter = GatedAdapter({each: (matrices[f"A.{each}"], matrices[f"B.{each}"]) for each in places}, 2.0, detector)
    gate = Gate([*before, adapter], task.decoder.prefix, base).to(task.device)
    put_gate(task.model, gate)
    vars(task).pop("head", None)
    task.plain_head, task.stored = False, None  # as of a task that is made of all


def _kept(earlier: str, base: str, task: CausalLM) -> list[GatedAdapter]:
    """The earlier adapters."""
    gate = read_gate(earlier_folder(earlier))
    if gate.base != base:
        raise RecipeError(
            f"the adapters in {earlier} belong to another model",
            seen=f"weights with the checksum {gate.base}; those of {type(task.model).__name__} have {base}",
            allowed="the model that the earlier run began with",
            next_step="give that one as --model, or leave --method.earlier out",
        )
    return gate.every


def _checksum(task: CausalLM) -> str:
    return storage.digest_value({name: checksum(each.detach()) for name, each in task.model.named_parameters()})[:16]


def _looked_at(task: CausalLM, how: Detecting) -> int:
    whole = max(1, len(task.layers) - 1)  # the last one's output is not among the model's hidden states
    layers = max(1, len(task.layers) // 2) if how.layers is None else how.layers
    if layers > whole:
        raise RecipeError(
            "the model has fewer layers than the detector would use",
            seen=f"{layers} of {whole}",
            allowed=f"1 to {whole}",
            next_step="leave --method.layers out: half of them",
        )
    return layers


def _places(task: CausalLM) -> list[str]:
    """The linear layers whose inputs are whole texts, (rows, time, inputs): those of experts are not."""
    able, seen = targets(task).modules, set[str]()

    def note(name: str) -> Any:
        return lambda _module, given: seen.add(name) if given[0].dim() == 3 else None

    with hooked(task.model.get_submodule(name).register_forward_pre_hook(note(name)) for name in able):
        task.run_on_few_tokens()
    if not seen:
        raise ModelError(
            f"{type(task.model).__name__} has no linear layers that a gated adapter can be added to",
            next_step="choose a method that changes the weights: npo, simnpo",
        )
    return [name for name in able if name in seen]


@torch.no_grad()
def _features(task: CausalLM, table: TokenTable, layers: int) -> tuple[Tensor, Tensor]:
    """((places, layers, width) mean hidden states over the tokens up to a few places of each block, (places,) their
    blocks)."""
    table, features, texts = spread_evenly(table, BLOCKS), [], []
    task.model.eval()
    for start in range(0, len(table), STATES):
        rows = list(range(start, min(start + STATES, len(table))))
        batch = table.batch(rows).to(task.device)
        wanted = task.labelled(batch)
        with _states(task, layers) as states, task.autocast():
            task.model(input_ids=batch.ids, use_cache=False)
        means = torch.stack([each.float().cumsum(1) for each in states], 2)  # rows, time, layers, width
        means /= torch.arange(1, means.shape[1] + 1, device=means.device)[:, None, None]
        for at, row in enumerate(rows):
            able = wanted[at].nonzero()[:, 0].tolist()
            places = _spread([place for place in able if place + 1 >= SHORTEST] or able[-1:])
            features.append(means[at, places].cpu())
            texts += [row] * len(places)
    found = torch.cat(features)
    if len(found) < 4:
        raise RecipeError(
            "a detector needs more text than a set has",
            seen=f"{len(found)} places",
            allowed="4 or more labelled tokens",
            next_step="give more text, to forget or to retain",
        )
    return found, torch.tensor(texts)


def _spread(places: Sequence[int]) -> list[int]:
    """The first of some places, the last, and others evenly between them; at most `PLACES`."""
    count = min(PLACES, len(places))
    return [places[round(at * (len(places) - 1) / max(1, count - 1))] for at in range(count)]


@contextmanager
def _states(task: CausalLM, layers: int) -> Iterator[list[Tensor]]:
    """Context in which the list is filled with the hidden states after each of the first layers."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _given: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    with hooked(task.layers[number].register_forward_hook(keep) for number in range(layers)):
        yield found


def _log_separation(work: LanguageWork, detector: Detector, layers: int) -> None:
    """Log how well the detector separates the sets, on the blocks themselves; a notice if it does so badly."""
    weights = {}
    for name, table in (("forget", work.forget), ("retain", work.retain)):
        if table is None or not len(table):
            continue
        features, _ = _features(work.task, table, layers)
        score = sum(
            (detector.part(layer, features[:, layer]) for layer in range(1, layers)), detector.part(0, features[:, 0])
        )
        weights[name] = detector.weight(score).double()
    figures: dict[str, Any] = {f"{name}_weight": float(each.mean()) for name, each in weights.items()}
    if "retain" in weights:
        one, other = weights["forget"][:, None], weights["retain"]
        figures["area"] = float((one > other).double().mean() + (one == other).double().mean() / 2)
    work.log("detector", layers=layers, boundary=detector.boundary, **figures)
    if figures.get("area", 1.0) < POOR:
        text = (
            "the detector separates the forget set from the retain set badly: mean weights "
            f"{figures['forget_weight']:.2f} and {figures['retain_weight']:.2f}, area under the ROC curve "
            f"{figures['area']:.2f}; the adapter also affects other text, or does not affect the forget set"
        )
        work.log("notice", text=text)
