"""A language model sharded over processes: the layers of its text tower by rows, the rest whole in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from expunge.kinds.language.plan.fakes import FakeLM, build, fakes
from expunge.models.language_kind import LanguageKind, language_kind
from expunge.models.parts import PartFiles, empty_model, part_files
from expunge.models.source import LoadedModel, ModelSource, load_tokenizer, stored_dtype
from expunge.ops.narrow import NARROW, hold_narrow
from expunge.train.parts import Parts, mesh_of, own_rows, part

WIDTH = 12
"tokens of the text used to find which modules run"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a model is divided.

    Attributes:
        layers: the name of the list of its layers, which are sharded.
        held: names of the modules whose weights keep their stored dtype.
    """

    kind: LanguageKind
    files: PartFiles
    layers: str
    held: frozenset[str]


def layout(source: ModelSource, narrow: bool) -> Layout | None:
    """How a model is divided; None if it cannot be: then each process that needs it loads it whole.

    Args:
        narrow: whether frozen matrices keep their stored dtype.
    """
    kind = language_kind(source.folder, source.name)
    files = part_files(source, kind)
    if files is None:
        return None
    try:
        with fakes(WIDTH):
            model = build(kind, stored_dtype(source))
            layers, held = FakeLM(model).decoder.prefix, set[str]()
            if narrow:
                ids = torch.tensor([[1, 5, 2, 7]])
                held = hold_narrow(model, lambda: model(input_ids=ids, use_cache=False))
    except Exception:  # a model that cannot run without values: loading it whole shows what is wrong, if anything
        return None
    return Layout(kind, files, layers, frozenset(held))


def load_part(source: ModelSource, how: Layout, device: torch.device, as_stored: bool, name: str) -> LoadedModel:
    """This process's part of a model; all processes load theirs together.

    Args:
        as_stored: round weights to the dtype that plain `from_pretrained` gives them.
        name: its name for all processes.
    """
    mesh, stored = mesh_of(device), stored_dtype(source)
    model = empty_model(how.kind, source.folder, stored)
    model.config.dtype = how.kind.config.dtype
    _fill(model, how, mesh, device, stored if as_stored or how.held else None)
    for held in how.held:
        module = model.get_submodule(held)
        module.__class__ = NARROW[type(module)]
    layers = model.get_submodule(how.layers)
    assert isinstance(layers, nn.ModuleList)
    Parts(model, list(layers), name)
    return LoadedModel(model, load_tokenizer(source), source, stored, None, list(how.files.unread))


def _fill(model: PreTrainedModel, how: Layout, mesh: Any, device: torch.device, through: torch.dtype | None) -> None:
    """Fill a model's tensors with their values. `through`: the dtype that they are rounded to first."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for key, weight in module._parameters.items():
            if weight is not None:
                places.setdefault(id(weight), []).append((module, key))
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = buffer.to(device)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    divided = {name for name, value in parameters.items() if name.startswith(f"{how.layers}.") and value.dim() > 0}
    wanted = {name: own_rows(len(parameters[name])) if name in divided else None for name in how.files.files}
    for name, read in how.files.read(wanted):
        if name in buffers:
            buffers[name].copy_(read)
            continue
        value: Tensor = read if through is None else read.to(through)
        if name.rpartition(".")[0] not in how.held:
            value = value.float()
        value = value.to(device)
        if name in divided:
            value = part(value, parameters[name].shape, mesh)
        made = nn.Parameter(value, requires_grad=False)
        for module, key in places[id(parameters[name])]:
            module._parameters[key] = made


def held_bytes(model: nn.Module) -> int:
    """This process's part of a model's parameters."""
    locals_ = (value.to_local() if isinstance(value, DTensor) else value for value in model.parameters())
    return sum(value.numel() * value.element_size() for value in locals_)
