"""A model that is loaded on first use and released after."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from expunge.core import processes, storage
from expunge.core.memory import keep_freed_memory
from expunge.kinds.language.layers.decoder import find_decoder
from expunge.kinds.language.part_models import Layout, layout, load_part
from expunge.kinds.language.task import CausalLM
from expunge.models.source import LoadedModel, ModelSource, load_model, load_tokenizer, narrow_type
from expunge.models.text_alone import prepare_for_text
from expunge.ops.checksum import checksum
from expunge.ops.narrow import hold_narrow, widen
from expunge.ops.quantised import hold_quantised, linear_below
from expunge.train.parts import parts_of
from expunge.train.precision import Precision

HELD: dict[str, LazyModel] = {}
"models shared with other processes, by `stored`"

GIVEN: dict[str, LazyModel] = {}
"the models that a script gave on all processes alike, by the name in `stored`"


class LazyModel:
    """A found model; calling it gives the task, loading the weights at the first call.

    Args:
        as_stored: use the weights as plain `from_pretrained` gives them: rounded to their stored dtype.

    Every model of a run computes in the same arithmetic: models differ only in their weights. They are
    held as float32; frozen ones in their narrow stored dtype, if that gives the same numbers as fast.
    """

    def __init__(self, source: ModelSource, precision: Precision, as_stored: bool = False) -> None:
        self.source, self.precision, self.as_stored = source, precision, as_stored
        self.loaded: LoadedModel | None = None
        self._task: CausalLM | None = None
        self.notices: list[str] = []
        "notes for readers on how texts were fitted to the model"

    @property
    def digest(self) -> str:
        return self.source.digest

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, without loading weights."""
        return load_tokenizer(self.source) if self.loaded is None else self.loaded.tokenizer

    @property
    def stored_dtype(self) -> torch.dtype:
        """The dtype that the weights are stored in, once they are loaded."""
        assert self.loaded is not None
        return self.loaded.stored_dtype

    @property
    def tokenizer_digest(self) -> str:
        files = self.source.digests.items()
        return storage.digest_value({name: d for name, d in files if not name.endswith((".safetensors", ".md"))})

    def __call__(self) -> CausalLM:
        """The task for inference: its weights may be frozen and narrow.

        If weights are sharded over processes that wait for this one, each loads its part, and all run it.
        """
        if self._task is None and processes.has_helpers() and processes.asked_to_spread() and self._looks is not None:
            for job in ("hold", "begin"):
                own = partial(self.part, job)
                processes.helped(job, [self._stored(in_parts=True)], processes.count(), own)
        return self._task or self.load_whole()

    def load_whole(self) -> CausalLM:
        """The task with the whole model in this process."""
        if self.loaded is not None and parts_of(self.loaded.model) is not None:
            self.release()
        if self._task is None:
            narrow = self._looks_narrow
            loaded = self._load(None if narrow or self.as_stored else torch.float32)
            if narrow:
                if not self._hold_narrow(loaded):
                    loaded.model.requires_grad_(True)  # autocast keeps no copies of frozen weights
            elif self.as_stored:  # float16 and bfloat16 cannot be multiplied, and not every layer takes a mix
                loaded.model.float()
            self._begin(loaded)
            assert self._task is not None
            self._task.stored = self._stored()
        return self._task

    def _stored(self, in_parts: bool = False) -> dict[str, Any]:
        """Key by which other processes find this model."""
        return {
            "name": self.source.name,
            "folder": str(self.source.folder.resolve()),
            "adapter": None if self.source.adapter is None else str(self.source.adapter.resolve()),
            "assisted": None if self.source.assisted is None else str(self.source.assisted.resolve()),
            "as_stored": self.as_stored,
            "bf16": self.precision.bf16,
            "in_parts": in_parts,
        }

    def together(self) -> CausalLM:
        """The task as it is looked at, for all processes, which call this together: with their parts where they spread it."""
        if not processes.spread():
            return self()
        divided = self._in_parts(self._looks_narrow)
        if divided is not None:
            return divided
        task = self.load_whole()
        task.model.to("cpu")
        return task

    @property
    def _looks_narrow(self) -> bool:
        """Whether weights stay in a narrow type while the model is looked at."""
        # They are cast for products in bfloat16 in any case; for others they would be widened at every turn.
        return self.precision.bf16 and narrow_type(self.source) is not None

    @cached_property
    def _looks(self) -> Layout | None:
        """How the model is divided for inference; None if it cannot be."""
        return layout(self.source, self._looks_narrow)

    def part(self, job: str, numbers: Sequence[int] = ()) -> list[None]:
        """Load this process's part of the model, or start a job on it: all processes do both together.

        Args:
            numbers: numbers of this process's pieces of the job: one.
        """
        key = json.dumps(self._stored(in_parts=True))
        if job == "hold":
            assert self._looks is not None
            self._hold(self._looks, key)
            return [None]
        assert self.loaded is not None
        parts = parts_of(self.loaded.model)
        assert parts is not None
        with parts.in_turns():
            self._begin(self.loaded)
        assert self._task is not None
        self._task.stored = self._stored(in_parts=True)
        return [None]

    def _hold(self, how: Layout, name: str) -> None:
        keep_freed_memory()
        self.loaded = load_part(self.source, how, self.precision.device, self.as_stored, name)

    def _in_parts(self, narrow: bool) -> CausalLM | None:
        """The task with this process's part of the model, to train; None if it cannot be divided."""
        how = layout(self.source, narrow) if processes.spread() else None
        if how is None:
            return None
        self.release()
        self._hold(how, "trained")
        assert self.loaded is not None
        self._begin(self.loaded)
        return self._task

    def to_train(self, dtype: torch.dtype = torch.float32) -> CausalLM:
        """The task with all weights trainable, and float32.

        Args:
            dtype: bfloat16 stores matrices and embeddings in it; those of a model stored in another dtype are rounded.
        """
        if dtype != torch.float32:
            return self._to_train_narrow(dtype)
        if (divided := self._in_parts(narrow=False)) is not None:
            divided.model.requires_grad_(True)
            return divided
        task = self.load_whole()
        widen(task.model)
        task.model.requires_grad_(True)
        task.stored = None
        if processes.spread():
            task.model.to("cpu")
        return task

    def _to_train_narrow(self, dtype: torch.dtype) -> CausalLM:
        self.release()
        loaded = self._load(None if narrow_type(self.source) is not None else torch.float32)
        hold_narrow(loaded.model, lambda: self._run(loaded), trained=dtype)
        loaded.model.requires_grad_(True)
        self._begin(loaded)
        assert self._task is not None
        return self._task

    def under_adapter(self, bits: int | None = None, whole: bool = False) -> CausalLM:
        """The task with frozen weights in their stored dtype, for an adapter on top: the same numbers.

        Args:
            bits: quantise the matrices of the text tower's layers to 8 or 4 bits.
            whole: each process has the whole model, although training is sharded.

        Raises:
            ModelError: they cannot be.
        """
        if bits is None and not whole:
            divided = self._in_parts(narrow=narrow_type(self.source) is not None)
            if divided is not None:
                return divided
        if bits is None and narrow_type(self.source) is None:
            task = self.load_whole()
            if processes.spread():
                task.model.to("cpu")
            return task
        self.release()
        loaded = self._load(None)
        held = self._hold_narrow(loaded)
        if bits is not None:
            layers = find_decoder(loaded.model, lambda: self._run(loaded)).prefix
            linear = linear_below(loaded.model, held, layers)
            sums = {name: checksum(module.weight.detach()) for name, module in linear.items()}
            hold_quantised(linear, bits, self.precision.device)
            for name, module in linear.items():
                module.checksum = sums[name]
        self._begin(loaded)
        assert self._task is not None
        return self._task

    def originals(self) -> nn.Module:
        """A second copy of the model in CPU memory, with weights in their stored dtype."""
        return self._load(None).model

    def _hold_narrow(self, loaded: LoadedModel) -> set[str]:
        return hold_narrow(loaded.model, lambda: self._run(loaded))

    @staticmethod
    def _run(loaded: LoadedModel) -> None:
        loaded.model(input_ids=torch.tensor([[1, 5, 2, 7]]), use_cache=False)

    def _load(self, dtype: torch.dtype | None) -> LoadedModel:
        keep_freed_memory()
        return load_model(self.source, dtype)

    def _begin(self, loaded: LoadedModel) -> None:
        if parts_of(loaded.model) is None:
            # Each device gets its part of sharded weights.
            loaded.model.to("cpu" if processes.spread() else self.precision.device)
        prepare_for_text(loaded.model, self.source.name)
        self.loaded = loaded
        self._task = CausalLM(loaded.model, loaded.tokenizer, self.precision.autocast)
        self._task.notices = self.notices

    def copy(self) -> CausalLM:
        """A copy with weights of its own, loaded now, that may be changed."""
        return LazyModel(self.source, self.precision, self.as_stored).to_train()

    def release(self) -> None:
        """Release the weights, on all processes that hold parts of them; a later call reloads them from disk."""
        parts = None if self.loaded is None else parts_of(self.loaded.model)
        if parts is not None and processes.has_helpers():
            processes.helped("drop", [self._stored(in_parts=True)], processes.count(), lambda _: [None])
        if processes.world() > 1:  # all come here together: the parts held for the first one are no longer needed
            while HELD:
                HELD.popitem()[1].release()
        if parts is not None:
            parts.end()
        self._task = self.loaded = None
        gc.collect()
