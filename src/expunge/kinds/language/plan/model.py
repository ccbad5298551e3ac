"""The inputs of a run as far as known without weights: the model's kind and dtypes, and amounts of text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from expunge.data.text.document import Document
from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_several
from expunge.errors import ExpungeError, ModelError, first_line
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.elicitation.asking import ANSWER_TOKENS
from expunge.kinds.language.recipe import Recipe
from expunge.models.folders import named_folder
from expunge.models.language_kind import LanguageKind, language_kind
from expunge.models.parts import part_files
from expunge.models.source import ModelSource, narrow_type
from expunge.models.starter import STARTERS, starter_folder
from expunge.models.tokenizers import read_tokenizer
from expunge.models.weights import weight_files

CHARACTERS = 4
"characters of a token, without a tokenizer to count with"
ASSUMED = 256
"blocks assumed for a set that is not read before the run"
MOST = 20_000
"blocks to count, at most"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """A model without its weights.

    Attributes:
        kind: how it is loaded.
        folder: folder of its configuration, with or without weights.
        stored: type of the stored weights.
        narrow: that dtype, if frozen weights are kept in it under an adapter.
        divides: whether its weights can be sharded.
    """

    name: str
    kind: LanguageKind
    folder: Path
    stored: torch.dtype
    narrow: torch.dtype | None
    divides: bool = True


def planned_model(name: str, revision: str | None = None) -> PlannedModel:
    """The model of a recipe; for a hub model the configuration and the tokenizer are fetched, but no weights.

    Raises:
        ModelError: there is none, or it is not a language model.
    """
    folder = starter_folder(name) if name in STARTERS else named_folder(name) or _from_hub(name, revision)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name} has no config.json, which a plan needs", next_step="give a model's folder")
    return in_folder(folder, name)


def in_folder(folder: Path, name: str) -> PlannedModel:
    """The model whose configuration is in a folder."""
    kind = language_kind(folder, name)
    said = kind.config.dtype or getattr(kind.config.get_text_config(), "dtype", None)
    stored = said if isinstance(said, torch.dtype) else torch.float32
    narrow = stored if stored in (torch.bfloat16, torch.float16) else None
    divides = True
    if weight_files(folder):
        source = ModelSource(name, folder, {})
        narrow, divides = narrow_type(source), part_files(source, kind) is not None
    return PlannedModel(name=name, kind=kind, folder=folder, stored=stored, narrow=narrow, divides=divides)


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.model", "*.txt", "*.jinja"])
        )
    except Exception as error:  # the hub has several errors for a missing model
        raise ModelError(
            f"there is no model {name}: no such folder, and nothing found on the hub",
            seen=first_line(error),
            next_step="give a starter (smollm2-135m), or a folder with its config.json; docs/scale.md has the plans of "
            "large models",
        ) from error


@dataclass(frozen=True, slots=True)
class Amount:
    """Amount of text in a set.

    Attributes:
        how: counted, or the basis of the estimate.
    """

    blocks: int
    tokens: int
    how: str

    def batches(self, size: int) -> int:
        """Batches of an epoch."""
        return max(1, math.ceil(self.blocks / size))

    @property
    def mean(self) -> float:
        """Tokens of a block."""
        return self.tokens / max(1, self.blocks)


Counted = Callable[[str, tuple[str, ...]], Amount]
"given a set's name and its files: their text"


def forget_amount(recipe: Recipe, model: PlannedModel, counted: Counted | None = None) -> Amount:
    """The forget set of a recipe whose paths are resolved.

    Args:
        counted: how files are counted; by default they are tokenized.
    """
    if recipe.forget_kind == "topic":
        return _answers(recipe.data.elicited_answers * len(recipe.targets), recipe, "elicited answers")
    if recipe.forget_kind == "toxicity":
        wanted = recipe.statements.toxic or 8000
        return Amount(wanted, wanted * 32, f"{wanted:,} statements of about 32 tokens")
    return _of_target("forget", recipe.targets, recipe, model, counted)


def retain_amount(recipe: Recipe, model: PlannedModel, counted: Counted | None = None) -> Amount:
    """The retain set, with the text that the model writes for it."""
    if recipe.forget_kind == "toxicity" and recipe.retain is None:
        wanted = recipe.statements.clean or 8000
        return Amount(wanted, wanted * 32, f"{wanted:,} statements of about 32 tokens")
    own = _answers(recipe.data.retain_answers, recipe, "sampled answers")
    if recipe.retain is None:
        return own
    given = _of_target("retain", (recipe.retain,), recipe, model, counted)
    copies = max(1, round(given.blocks / max(1, own.blocks))) if own.blocks else 0
    return Amount(given.blocks + copies * own.blocks, given.tokens + copies * own.tokens, given.how)


def _answers(count: int, recipe: Recipe, what: str) -> Amount:
    length = min(ANSWER_TOKENS, recipe.data.block_size)
    return Amount(count, count * length, f"{count} {what} of at most {length} tokens")


def _of_target(
    name: str, targets: tuple[str, ...], recipe: Recipe, model: PlannedModel, counted: Counted | None
) -> Amount:
    size = recipe.data.block_size

    def documents() -> Iterator[Document]:
        return read_several(targets, Notes(recipe.data.read_by(name)))

    if not all(Path(each).exists() for each in targets):
        return Amount(
            ASSUMED,
            ASSUMED * size,
            f"{', '.join(targets)} is not read before the run: {ASSUMED} whole blocks are assumed",
        )
    if counted is not None:
        return counted(name, targets)
    try:
        tokenizer: Any = read_tokenizer(model.folder, model.name)
    except ExpungeError:
        characters = sum(len(document.text) for document in itertools.islice(documents(), 100_000))
        tokens = max(1, characters // CHARACTERS)
        blocks = math.ceil(tokens / size)
        return Amount(blocks, tokens, f"{characters:,} characters, {CHARACTERS} a token: there is no tokenizer")
    lengths = [len(block.ids) for block in itertools.islice(iterate_blocks(documents(), tokenizer, size), MOST)]
    more = f" (the first {MOST:,} blocks)" if len(lengths) == MOST else ""
    return Amount(len(lengths), sum(lengths), f"counted{more}")
