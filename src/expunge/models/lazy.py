"""A model that is loaded when it is first needed, and let go when it is not."""

from __future__ import annotations

import gc
from typing import Any

from expunge.engine.precision import Precision
from expunge.memory import keep_freed_memory
from expunge.models.source import LoadedModel, ModelSource, load_model, load_tokenizer
from expunge.tasks.causal_lm import CausalLM


class LazyModel:
    """A found model; calling it gives the task, loading the weights at the first call.

    Args:
        as_stored: keep the weights in the type they are stored in, as a user's `from_pretrained` would.
    """

    def __init__(self, source: ModelSource, precision: Precision, as_stored: bool = False) -> None:
        self.source, self.precision, self.as_stored = source, precision, as_stored
        self.loaded: LoadedModel | None = None
        self._task: CausalLM | None = None

    @property
    def digest(self) -> str:
        return self.source.digest

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, without loading weights."""
        if self.loaded is not None:
            return self.loaded.tokenizer
        return load_tokenizer(self.source)

    def __call__(self) -> CausalLM:
        if self._task is None:
            keep_freed_memory()
            loaded = load_model(self.source, None) if self.as_stored else load_model(self.source)
            loaded.model.to(self.precision.device)
            self.loaded = loaded
            self._task = CausalLM(loaded.model, loaded.tokenizer, self.precision.autocast)
        return self._task

    def release(self) -> None:
        """Let go of the weights; a later call loads them anew, as they are on disk."""
        self._task = self.loaded = None
        gc.collect()
