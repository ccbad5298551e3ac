"""A model that is loaded on first use and released after."""

from __future__ import annotations

import gc
from functools import cached_property
from typing import Any

import torch

from expunge.core import storage
from expunge.core.memory import keep_freed_memory
from expunge.kinds.language.task import CausalLM
from expunge.models.source import LoadedModel, ModelSource, load_model, load_tokenizer, narrow_type
from expunge.models.text_alone import prepare_for_text
from expunge.ops.narrow import hold_narrow
from expunge.train.precision import Precision


class LazyModel:
    """A found model; calling it gives the task, loading the weights at the first call.

    Args:
        as_stored: the weights as a user's `from_pretrained` gives them: rounded to the type that they are stored in.

    Whatever their rounding, weights are held as float32, and every model of a run computes in the same arithmetic: what
    differs between two models is their weights alone. Frozen ones may be held narrow, with the same numbers.
    """

    def __init__(self, source: ModelSource, precision: Precision, as_stored: bool = False) -> None:
        self.source, self.precision, self.as_stored = source, precision, as_stored
        self.loaded: LoadedModel | None = None
        self._task: CausalLM | None = None
        self.notices: list[str] = []
        "what a reader of the results must know of how texts were fitted to the model"

    @property
    def digest(self) -> str:
        return self.source.digest

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, without loading weights."""
        return load_tokenizer(self.source) if self.loaded is None else self.loaded.tokenizer

    @property
    def tokenizer_digest(self) -> str:
        files = self.source.digests.items()
        return storage.digest_value({name: d for name, d in files if not name.endswith((".safetensors", ".md"))})

    def __call__(self) -> CausalLM:
        if self._task is None:
            loaded = self._load(None if self.as_stored else torch.float32)
            if self.as_stored:  # float16 and bfloat16 meet in no product, and not every layer takes them mixed
                loaded.model.float()
            self._begin(loaded)
        assert self._task is not None
        return self._task

    def under_adapter(self) -> CausalLM:
        """The task with frozen weights in the type that they are stored in, for an adapter on top: the same numbers."""
        if narrow_type(self.source) is None:
            return self()
        self.release()
        loaded = self._load(None)
        hold_narrow(loaded.model, lambda: loaded.model(input_ids=torch.tensor([[1, 5, 2, 7]]), use_cache=False))
        self._begin(loaded)
        assert self._task is not None
        return self._task

    def _load(self, dtype: torch.dtype | None) -> LoadedModel:
        keep_freed_memory()
        return load_model(self.source, dtype)

    def _begin(self, loaded: LoadedModel) -> None:
        loaded.model.to(self.precision.device)
        prepare_for_text(loaded.model, self.source.name)
        self.loaded = loaded
        self._task = CausalLM(loaded.model, loaded.tokenizer, self.precision.autocast)
        self._task.notices = self.notices

    def copy(self) -> CausalLM:
        """A copy with weights of its own, loaded now, that may be changed."""
        return LazyModel(self.source, self.precision, self.as_stored)()

    def release(self) -> None:
        """Release the weights; a later call reloads them from disk."""
        self._task = self.loaded = None
        gc.collect()
