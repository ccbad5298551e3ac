"""Scorers of toxicity: the built-in one, any text classifier, any Python function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expunge.core import storage
from expunge.core.words import counted
from expunge.errors import ModelError, RecipeError, did_you_mean, nearest

DEFAULT = "jigsaw-bilstm"


@dataclass(frozen=True, slots=True)
class Scorer:
    """Called with n texts it returns n numbers from 0, harmless, to 1, toxic: (n,) float64."""

    name: str
    digest: str
    "digest of everything that determines its numbers, as far as files show"
    function: Callable[[Sequence[str]], Any]
    "the scoring function; its results are checked"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Raises `ModelError` if the scorer fails, or returns anything but a number from 0 to 1 for each text."""
        texts = list(texts)
        if not texts:
            return np.zeros(0)
        try:
            returned = self.function(texts)
        except Exception as error:
            raise ModelError(
                f"the toxicity scorer {self.name} failed on {counted(len(texts), 'text')}",
                seen=f"{type(error).__name__}: {error}",
                next_step="try it by itself on a few texts, the empty text among them",
            ) from error
        try:
            values = np.asarray(returned, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise self._wrong(repr(returned)[:120]) from error
        if values.shape != (len(texts),):
            raise self._wrong(f"shape {values.shape} for {counted(len(texts), 'text')}")
        wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))  # so that NaN is found, too
        if len(wrong):
            raise self._wrong(f"{values[wrong[0]]} for {texts[wrong[0]][:80]!r}")
        return values

    def _wrong(self, seen: str) -> ModelError:
        return ModelError(
            f"the toxicity scorer {self.name} returned something that is not a score",
            seen=seen,
            allowed="for n texts n numbers from 0, harmless, to 1, toxic",
            next_step="correct it, or choose another --scorer",
        )


def load_scorer(name: str = DEFAULT) -> Scorer:
    """A scorer by name.

    Args:
        name: `jigsaw-bilstm`; the folder or Hugging Face id of a text classifier, followed by `#LABEL` if its
            labels do not show which is the toxic one; or `module:function`, a Python function of a list of
            texts.

    Raises:
        RecipeError: there is no scorer of that name.
        ModelError: it exists, but cannot be used.
    """
    if name == DEFAULT:
        from expunge.kinds.language.toxicity.jigsaw_bilstm import JigsawBiLSTM
        from expunge.kinds.language.toxicity.jigsaw_files import WHEEL, jigsaw_folder

        return Scorer(name, storage.digest_value([DEFAULT, WHEEL.sha256]), JigsawBiLSTM.load(jigsaw_folder()))
    if ":" in name and not Path(name).exists():
        return _function(name)
    if (meant := did_you_mean(name, [DEFAULT])) and "/" not in name and not Path(name).exists():
        raise RecipeError(f"there is no toxicity scorer {name}", next_step=meant)
    from expunge.kinds.language.toxicity.text_classifier import load_classifier

    return Scorer(name, *load_classifier(name))


def _function(name: str) -> Scorer:
    module_name, _, function_name = name.partition(":")
    allowed = "module:function, where `import module` works and module.function takes a list of texts"
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of the user's may raise anything
        raise RecipeError(
            f"cannot import the module of the toxicity scorer {name}",
            seen=f"{type(error).__name__}: {error}",
            allowed=allowed,
            next_step="install it, or set PYTHONPATH to the folder that holds it",
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        near = nearest(function_name, [each for each in vars(module) if callable(getattr(module, each))])
        raise RecipeError(
            f"there is no function {function_name!r} in {module_name}, which the toxicity scorer {name} names",
            allowed=allowed,
            next_step=f"did you mean {module_name}:{near}?" if near else None,
        )
    source = inspect.getsourcefile(module) if getattr(module, "__file__", None) else None
    of_file = storage.digest_file(Path(source)) if source else None
    return Scorer(name, storage.digest_value([name, of_file, str(getattr(module, "__version__", ""))]), function)
