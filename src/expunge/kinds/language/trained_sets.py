"""What a method trains on: the forget set, whole or in part, and what is kept, labelled as the method asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expunge.core import storage
from expunge.errors import RecipeError
from expunge.kinds.language.inputs import Sets, tokenizer_digest
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.signals.reference_labels import ReferenceTable, drawn_rows, reference_labels
from expunge.kinds.language.signals.unwanted_words import covering, own_share, texts_of, token_weights, word_weights
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.toxicity.statements import sides_of
from expunge.runs.context import Run
from expunge.runs.method import Method


def trained_on(
    run: Run[Recipe], base: LazyModel, method: Method, sets: Sets
) -> tuple[TokenTable, dict[str, list[str]]]:
    """(forget set, its attribute columns) as a method trains on them: of pairs only those that are whole.

    Of statements there are no more than the recipe's steps go through once: what has to be known of them before training
    is asked of no others. They are the first, for statements lie in random order; or those that hold all unwanted words.

    Raises:
        RecipeError: the method needs pairs, and there are none.
    """
    forget, training = training_table(sets, method), run.recipe.training
    rows = list(range(len(forget)))
    pairs = forget.preferred
    if method.needs.pairs and pairs is not None:
        rows = [row for row in rows if pairs.lengths[row] > 1]
    elif method.needs.pairs:
        raise RecipeError(
            f"the method {type(method).__name__} needs pairs, an unwanted text and the same as it is wanted",
            seen="a forget set without any",
            next_step="give a folder with a table of such pairs (docs/toxicity.md), or another method",
        )
    unwanted, mark = None, float(getattr(method, "mark", 0))
    if method.needs.unwanted:
        words = unwanted_words(run, base, forget, sets)
        every = [(table, token_weights(table, words, base.tokenizer)) for table in (forget, kept_alone(sets))]
        unwanted = token_weights(forget, words, base.tokenizer, own_share(every, mark))
    if run.recipe.forget_kind == "toxicity" and training.max_steps is not None:
        batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
        wanted = training.max_steps * batch
        rows = rows[:wanted] if unwanted is None else covering(forget, unwanted, mark, wanted)
    taken = forget.take(rows)
    taken.unwanted = unwanted
    if not method.needs.pairs:
        taken.preferred = None
    return taken, {column: [values[row] for row in rows] for column, values in sets.groups.items()}


def training_table(sets: Sets, method: Method) -> TokenTable:
    """The forget set as it is trained on: of a topic with further forms, unless its labels are made for the answers."""
    return sets.material.forget if sets.forms is None or method.needs.labels != "true" else sets.forms[1]


def kept_alone(sets: Sets) -> TokenTable:
    """The user's text to keep, without what the model wrote itself; all where it wrote all."""
    return sets.kept.take(range(sets.own_rows or len(sets.kept)))


def unwanted_words(run: Run[Recipe], base: LazyModel, forget: TokenTable, sets: Sets) -> dict[str, float]:
    """What each word says for a text to forget, of all statements that were read or of the two sets' blocks; a stage."""
    kept = kept_alone(sets)

    def make(path: Path) -> None:
        if sets.read is None:
            tables = [(texts_of(forget, base.tokenizer), texts_of(kept, base.tokenizer))]
        else:
            tables = sides_of(sets.read)
        found = word_weights(tables)
        storage.write_json(path / "words.json", dict(sorted(found.items(), key=lambda item: -item[1])))

    made_from = {
        "text": [forget.folder.name, kept.folder.name, len(kept)] if sets.read is None else sets.read.digest(),
        "tokenizer": tokenizer_digest(base),
    }
    words: dict[str, float] = storage.read_json(run.cached("unwanted-words", made_from, make) / "words.json")
    return words


def with_tokens_known(run: Run[Recipe], base: LazyModel, forget: TokenTable) -> TokenTable:
    """The forget set with what the base model says in the place of each token, for methods that ask for it."""

    def make(path: Path) -> None:
        reference_labels(base(), forget, range(len(forget)), path, run.recipe.seed, run.show.update)

    made_from = {
        "model": base.digest,
        "forget": forget.folder.name,
        "rows": storage.digest_value(forget.starts.tolist()),
        "bf16": base.precision.bf16,
        "seed": run.recipe.seed,
    }
    known = TokenTable(
        run.cached("reference-tokens", made_from, make, "noting what the base model says of the forget set")
    )
    if forget.unwanted is not None:
        blocks = [forget.unwanted[start:end] for start, end in zip(forget.starts, forget.ends, strict=True)]
        known.unwanted = np.concatenate(blocks)
    return known


def whole_tokens(terms: Sequence[str], tokenizer: Any) -> list[int]:
    """Tokens that are a whole word of a term, with or without a space before it."""
    written = {space + word for term in terms for word in term.split() for space in ("", " ")}
    found = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in sorted(written))
    return sorted({ids[0] for ids in found if len(ids) == 1})


def retain_table(run: Run[Recipe], base: LazyModel, method: Method, forget: TokenTable, sets: Sets) -> TokenTable:
    """What is kept, labelled as the method asks; only rows that training draws can be read.

    The user's text is labelled with itself or with what the base model says there, or one half so and the other so (the
    method's `retain_target`). Text that was sampled from the base model stands for all that it would have said: it
    always has the base's distribution. A base that knows its target by heart expects it in other texts, too: `cleared`
    leaves the target's own terms out of what it says.
    """
    target = getattr(method, "retain_target", "text")
    text_rows = int(sets.own_rows * {"text": 1.0, "both": 0.5}.get(target, 0.0))
    if text_rows == len(sets.kept):
        return sets.kept
    rows = drawn_rows(method, run.recipe.training, forget, sets.kept, run.recipe.seed)
    cleared = whole_tokens(sets.material.terms.unique, base.tokenizer) if target == "cleared" else []

    def make(path: Path) -> None:
        reference_labels(base(), sets.kept, rows, path, run.recipe.seed, run.show.update, text_rows, cleared)

    made_from = {
        "model": base.digest,
        "kept": sets.kept.folder.name,
        "rows": storage.digest_value(rows),
        "text_rows": text_rows,
        "bf16": base.precision.bf16,
        "seed": run.recipe.seed,
    }
    if cleared:
        made_from["cleared"] = cleared
    return ReferenceTable(
        run.cached("reference", made_from, make, "noting what the base model says of what is kept"), sets.kept, rows
    )
