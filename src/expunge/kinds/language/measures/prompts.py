"""Prompts for the familiarity measures: cut from the target, or read from a file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from expunge.core.order import random_seed
from expunge.data.text.thinking import without_thinking
from expunge.data.text.token_stream import Encoder
from expunge.data.text.words import unspaced
from expunge.errors import DataError
from expunge.kinds.language.measures.familiarity import Prompt, TargetTerms, found_terms, not_given
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable

CONTEXT = 48
"tokens of the target in a cut prompt, at most"
SHOWN = 160
"characters of a long prompt shown to readers"


def read_prompts(path: Path, task: CausalLM) -> list[Prompt]:
    """Read prompts from JSONL with `prompt` and, if known, `references` (terms that show familiarity) and `subtlety` (1
    to 10, given to a judge).

    Raises:
        DataError: names the file and line.
    """
    if not path.is_file():
        raise DataError(f"there is no prompt file {path}", next_step="give --prompts a JSONL file with a prompt a line")
    prompts = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number} is not valid JSON", seen=str(error)) from error
            text = row.get("prompt") if isinstance(row, dict) else None
            references = row.get("references", []) if isinstance(row, dict) else []
            if not isinstance(text, str) or not text.strip() or not isinstance(references, list):
                raise DataError(
                    f"{path}:{number} is not a prompt",
                    seen=line.decode(errors="replace").strip()[:120],
                    allowed='{"prompt": "...", "references": ["...", ...]}, references optional',
                )
            text = text.rstrip()
            ids = tuple(task.encode_prompt(text))
            # a term without a word would be found in every completion
            names = tuple(name for name in map(str, references) if re.search(r"\w", name))
            subtlety = row.get("subtlety")
            known = isinstance(subtlety, int | float) and not isinstance(subtlety, bool)
            prompts.append(
                Prompt(ids=ids, text=text, context=text, references=names, subtlety=subtlety if known else None)
            )
    if not prompts:
        raise DataError(f"{path} has no prompts")
    return prompts


def cut_prompts(
    task: CausalLM, table: TokenTable, terms: TargetTerms, wanted: int, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """(for completion, for probability): prompts cut from the target before a unique term that they do not give away.

    Those for completion end a few tokens before the term, those for probability right before it.
    """
    completion: list[Prompt] = []
    probability: list[Prompt] = []
    rows = spread(len(table), max(wanted * 4, 64))
    generator = np.random.default_rng(random_seed(seed, "prompts"))
    generator.shuffle(rows)
    per_row = max(1, -(-wanted // max(1, len(rows))))
    prefix = Encoder(task.tokenizer).prefix  # models trained with a beginning-of-text token expect it
    for row in rows:
        if len(completion) >= wanted:
            break
        for start, at in _places(task, table, row, terms, per_row):
            back = int(generator.integers(2, 7))
            ids = table.ids_of(row)
            exact = (*(prefix if start else ()), *ids[start:at])
            early = exact[: max(8, len(exact) - back)]
            completion.append(_prompt(task, early))
            probability.append(_prompt(task, exact))
    return completion[:wanted], probability[:wanted]


def _prompt(task: CausalLM, ids: Sequence[int]) -> Prompt:
    text = task.tokenizer.decode(list(ids), skip_special_tokens=True)
    text = without_thinking(text.rpartition("\nuser\n")[2])  # without the chat template's text before the question
    shown = text if len(text) <= SHOWN else "… " + text[-SHOWN:]
    return Prompt(
        ids=tuple(ids), text=shown.strip().removesuffix("\nassistant").replace("\nassistant\n", " → "), context=text
    )


def text_of(task: CausalLM, ids: Sequence[int], start: int, end: int) -> str:
    """The text that tokens `start` to `end` add.

    Decoded with the token before them, since SentencePiece-like decoders drop a leading space.
    """
    decode = partial(task.tokenizer.decode, clean_up_tokenization_spaces=False)
    before = decode(list(ids[start - 1 : start]))
    return str(decode(list(ids[start - 1 : end])))[len(before) :]


def _places(task: CausalLM, table: TokenTable, row: int, terms: TargetTerms, wanted: int) -> list[tuple[int, int]]:
    """(first token of the context, token where the term begins) for up to `wanted` terms of a block."""
    ids = table.ids_of(row)
    labelled = np.flatnonzero(table.labels_of(row) >= 0)
    if not len(labelled):
        return []
    plain = labelled[0] <= 1  # a block without a prompt: its context may be cut anywhere
    places: list[tuple[int, int]] = []
    at = int(max(labelled[0] + 2, 12))
    while at < len(ids) and len(places) < wanted:
        start = max(0, at - CONTEXT) if plain else 0
        piece = text_of(task, ids, at, at + 1)
        if piece[:1].isspace() or unspaced(piece[:1]) or text_of(task, ids, at - 1, at).endswith("\n"):
            ahead = text_of(task, ids, at, at + 8)
            said = found_terms(ahead, terms.unique)
            begins = [term for term in said if ahead.lstrip().startswith(term)]
            if begins and not_given(begins, task.tokenizer.decode(ids[start:at], skip_special_tokens=True)):
                places.append((start, at))
                at += CONTEXT
                continue
        at += 1
    return places
