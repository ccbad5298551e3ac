"""A model that is in memory already, instead of one that is loaded from a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.core import processes, storage
from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.lazy import GIVEN, LazyModel
from expunge.kinds.language.lora import adapted
from expunge.kinds.language.saving import MAX_LOST_SHARE
from expunge.kinds.language.task import CausalLM
from expunge.models.checkpointing import enable_checkpointing, is_checkpointing
from expunge.models.source import ModelSource
from expunge.models.text_alone import prepare_for_text
from expunge.models.tokenizers import check_tokenizer
from expunge.ops.narrow import hold_narrow
from expunge.train.precision import Precision

NARROW = (torch.bfloat16, torch.float16)
NAME = "the script's"
"by which all processes know the model that each was given"


class HeldModel(LazyModel):
    """A given model; calling it gives the task.

    Args:
        model: a transformers model, or a peft model, of which only the adapter is trained.
        digested: whether what is made from the model is kept for longer than this call: then its weights are read once.

    Attributes:
        adapted: whether it has adapters already.
    """

    def __init__(self, model: Any, tokenizer: Any, precision: Precision, digested: bool) -> None:
        self.whole: Any = model
        self.model: PreTrainedModel = inner_model(model)
        self.adapted, self._came_as = is_adapted(model), self.model.dtype
        weights = _digest(model) if digested else "held"
        digests = {"model.safetensors": weights, "tokenizer.json": _tokenizer_digest(tokenizer)}
        super().__init__(ModelSource(type(self.model).__name__, Path(), digests), precision)
        self._tokenizer = tokenizer
        self._own = set(self.model.modules())
        self._trained = {weight for weight in self.model.parameters() if weight.requires_grad}
        self._hook: Any = None

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    def __call__(self) -> CausalLM:
        if self._task is None:
            if self._hook is None:
                self._hook = prepare_for_text(self.model, self.source.name)
            self._task = CausalLM(self.model, self._tokenizer, self.precision.autocast)
            self._task.notices = self.notices
            if NAME in GIVEN:
                self._task.stored = {"given": NAME, "in_parts": False}
        return self._task

    @property
    def stored_dtype(self) -> torch.dtype:
        return self._came_as

    def load_whole(self) -> CausalLM:
        return self()

    def to_train(self, dtype: torch.dtype = torch.float32) -> CausalLM:
        """The task; what is trained of it is float32, or its matrices and embeddings are of the type that is given."""
        if dtype != torch.float32:
            ids = torch.tensor([[1, 5, 2, 7]], device=self.model.device)
            hold_narrow(self.model, lambda: self.model(input_ids=ids, use_cache=False), trained=dtype)
        task = self()
        task.stored = None
        return task

    def under_adapter(self, bits: int | None = None, whole: bool = False) -> CausalLM:
        """The task, for an adapter on top; frozen weights are held in the type that they came in where that is narrow.

        Raises:
            RecipeError: they were to be quantised.
        """
        if bits is not None:
            raise RecipeError(
                "the weights of a given model are not quantised here",
                seen=f"training.quantization {bits}bit",
                next_step="load it quantised (AutoModelForCausalLM.from_pretrained(..., quantization_config=...)), and add "
                "an adapter: peft.get_peft_model",
            )
        return self()

    def copy(self) -> CausalLM:
        raise NotImplementedError("a given model is not copied")

    def release(self) -> None:
        """Remove wrappers put around its layers, and restore `requires_grad`; weights stay."""
        self._task = None
        for name, module in list(self.model.named_modules()):
            if module not in self._own and hasattr(module, "get_base_layer") and not name.endswith(".base_layer"):
                parent, _, leaf = name.rpartition(".")
                setattr(self.model.get_submodule(parent), leaf, module.get_base_layer())
        if not self.adapted and hasattr(self.model, "peft_config"):
            del self.model.peft_config
        for parameter in self.model.parameters():
            parameter.requires_grad_(parameter in self._trained)

    @contextmanager
    def as_it_came(self, under_adapter: bool) -> Iterator[None]:
        """Inside, the model is on the device of the training, in evaluation mode, its weights float32; what is frozen
        under an adapter stays narrow. On exit its modes, dtypes, device and `requires_grad` are restored.

        Args:
            under_adapter: an adapter will be added, and all weights are frozen under it.
        """
        whole, device = self.whole, self.model.device
        modes = {module: (module.__class__, module.training) for module in whole.modules()}
        weights = {weight: (weight.dtype, weight.requires_grad) for weight in whole.parameters()}
        buffers = {name: buffer.dtype for name, buffer in whole.named_buffers()}
        checkpointing = is_checkpointing(self.model)
        whole.eval()
        self.model.to(self.precision.device)
        if self.adapted and not any(needed for _, needed in weights.values()) and hasattr(whole, "set_requires_grad"):
            whole.set_requires_grad(whole.active_adapters)
        self._trained = {weight for weight in whole.parameters() if weight.requires_grad}
        before = {weight: weight.detach().to("cpu", copy=True) for weight in self._trained if weight.dtype in NARROW}
        self._widen(under_adapter)
        if self._is_everywhere():
            GIVEN[NAME] = self
        try:
            yield
        finally:
            GIVEN.pop(NAME, None)
            self.release()
            if self._hook is not None:
                self._hook.remove()
            self._note_rounding(before)
            for module, (kind, training) in modes.items():
                module.__class__, module.training = kind, training
            for weight, (dtype, needed) in weights.items():
                weight.grad = None
                if weight.dtype != dtype:
                    weight.data = weight.data.to(dtype)
                weight.requires_grad_(needed)
            for name, buffer in whole.named_buffers():
                if buffer.dtype != buffers[name]:
                    buffer.data = buffer.data.to(buffers[name])
            self.model.to(device)
            if checkpointing and not is_checkpointing(self.model):
                enable_checkpointing(self.model)

    def _is_everywhere(self) -> bool:
        """Whether all processes were given the same weights, so that they can look at the model for the first one."""
        if processes.world() == 1:
            return False
        values = (value.detach().float() for value in (*self.whole.parameters(), *self.whole.buffers()))
        figures = torch.stack([torch.stack((value.sum(), value.norm())) for value in values]).tolist()
        same = all(each == figures for each in processes.gathered(figures))
        if not same:
            self.notices.append(
                "the processes were given models of different weights: those of the first one count, and it looks at it alone"
            )
        return same

    def _widen(self, under_adapter: bool) -> None:
        """Make float32 what is trained, and the rest unless it is frozen under an adapter."""
        if not any(weight.dtype in NARROW for weight in self.whole.parameters()):
            return
        widened = [*self.whole.parameters(), *self.whole.buffers()]
        if self.adapted or under_adapter:
            widened = list(self._trained) if self.adapted else []
            if not is_quantised(self.model):
                modules = self.whole.modules() if self.adapted else ()
                ids = torch.tensor([[1, 5, 2, 7]], device=self.model.device)
                apart = {m for m in modules if self._trained & set(m.parameters(recurse=False))}
                hold_narrow(self.model, lambda: self.model(input_ids=ids, use_cache=False), apart)
            for weight in self.whole.parameters():
                weight.requires_grad_(self.adapted and weight in self._trained)
        for weight in widened:
            if weight.dtype in NARROW:
                weight.data = weight.data.float()

    def _note_rounding(self, before: dict[Tensor, Tensor]) -> None:
        """Say so where the type that the weights go back to undoes much of the change."""
        error = update = 0.0
        for value, old in before.items():
            new = value.detach().cpu().float()
            error += (new.to(old.dtype).float() - new).double().square().sum().item()
            update += (new - old.float()).double().square().sum().item()
        if update and (lost := (error / update) ** 0.5) > MAX_LOST_SHARE:
            name = str(next(iter(before.values())).dtype).removeprefix("torch.")
            self.notices.append(
                f"rounding to the model's {name} undoes {min(lost, 1):.0%} of the change to the weights: give it in "
                "float32 (model.float()), or train an adapter, or with weight_dtype bfloat16, which rounds by chance"
            )


def check_given(model: Any, tokenizer: Any) -> None:
    """Raise unless this is a language model with its tokenizer that can be trained in memory.

    Raises:
        ModelError: what it is instead of that.
    """
    inner = inner_model(model)
    if not isinstance(inner, PreTrainedModel):
        raise ModelError(
            "this is not a language model of transformers, nor a peft model of one",
            seen=f"{type(model).__module__}.{type(model).__name__}",
            allowed="a PreTrainedModel, or a PeftModel; image classifiers and generators are trained by recipes: expunge.run",
            next_step="give the model itself, not its wrapper: accelerator.unwrap_model(model), model._orig_mod, ..."
            if hasattr(model, "module") or hasattr(model, "_orig_mod")
            else "give AutoModelForCausalLM.from_pretrained(...)",
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelError(
            "a language model needs its tokenizer",
            seen=type(tokenizer).__name__,
            allowed="a tokenizer of transformers",
            next_step="give AutoTokenizer.from_pretrained(...); of a processor, processor.tokenizer",
        )
    if inner is not model and model.active_peft_config.is_prompt_learning:
        raise ModelError(
            "an adapter of prompts changes what the model is given, and no layer of it",
            seen=str(model.active_peft_config.peft_type),
            allowed="an adapter within the layers: LoRA and its like",
            next_step="give a LoRA adapter, or the plain model",
        )
    if is_quantised(inner) and not is_adapted(inner):
        raise ModelError(
            "the model's weights are quantised, and quantised weights cannot be trained",
            seen=str(
                getattr(getattr(inner, "hf_quantizer", None), "quantization_config", "weights that are not floats")
            ),
            next_step="add an adapter (peft.get_peft_model), or load the model in bfloat16",
        )
    devices = {parameter.device for parameter in inner.parameters()}
    if len(devices) > 1 or "meta" in {device.type for device in devices}:
        raise ModelError(
            "the model's weights lie on several devices",
            seen=", ".join(sorted(map(str, devices))),
            allowed="one device",
            next_step="load it without device_map; where it does not fit, with an adapter in bfloat16",
        )
    check_tokenizer(tokenizer, known_tokens(inner), type(inner).__name__)


def refuse_on_adapter(method: Any, adapter_rank: int | None) -> None:
    """Raise if a method, or a training, wants more of a peft model than to train its adapter."""
    if not method.has_loss():
        raise RecipeError(
            f"{type(method).__name__} changes the weights themselves, and of a peft model only the adapter is trained",
            next_step="merge the adapter first: model = model.merge_and_unload()",
        )
    if adapter_rank is not None:
        raise RecipeError(
            "the model has an adapter already",
            seen=f"training.adapter_rank {adapter_rank}",
            next_step="leave adapter_rank out; or merge the adapter first: model = model.merge_and_unload()",
        )


def known_tokens(model: PreTrainedModel) -> int:
    """How many tokens a model knows: the rows of its embedding."""
    return int(model.get_input_embeddings().weight.shape[0])


def inner_model(model: Any) -> Any:
    """The transformers model in a peft model; any other model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def is_adapted(model: nn.Module) -> bool:
    """Whether adapters are within the layers."""
    return bool(adapted(model))


def is_quantised(model: nn.Module) -> bool:
    """Whether weights are held in a type that cannot be trained."""
    return bool(getattr(model, "is_quantized", False)) or not all(p.is_floating_point() for p in model.parameters())


def _digest(model: Any) -> str:
    """sha256 of a model's weights and configuration."""
    said = {name: str(value) for name, value in inner_model(model).config.to_dict().items() if name != "_name_or_path"}
    whole = hashlib.sha256(storage.digest_value(said).encode())
    for name, value in model.state_dict().items():
        whole.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        whole.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _tokenizer_digest(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    said = backend.to_str() if backend is not None else tokenizer.get_vocab()
    return storage.digest_value([said, str(tokenizer.chat_template)])
