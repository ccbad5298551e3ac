"""What a run works on: its sets as text and tokens, the target's terms, and the prompts of the measures."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from expunge import storage
from expunge.data.sets import (
    TextSet,
    blocks,
    forget_set,
    general_set,
    given_set,
    ordinary_set,
    own_text,
    retain_set,
    token_table,
)
from expunge.data.statements import groups_of, read_statements, sides_of, statement_table
from expunge.data.tables import TokenTable
from expunge.data.toxic_text import ToxicText
from expunge.errors import RecipeError
from expunge.measures.familiarity import TargetTerms
from expunge.measures.perplexity import spread
from expunge.measures.prompts import cut_prompts, read_prompts
from expunge.measures.suite import Material
from expunge.measures.terms import target_terms
from expunge.methods.base import Method
from expunge.models.lazy import LazyModel
from expunge.preparation.anchor_terms import build_dictionary
from expunge.preparation.control import control_prompts, topic_control
from expunge.preparation.control import texts_of as texts_of_control
from expunge.preparation.reference import ReferenceTable, drawn_rows, reference_labels
from expunge.preparation.stage import stage
from expunge.preparation.unwanted_words import covering, own_share, texts_of, token_weights, word_weights
from expunge.progress import Silent
from expunge.recipe import Recipe
from expunge.run_folder import RunFolder

MAX_PROMPTS = 48
"completion prompts cut from the target"
MAX_TERMS = 1500
"terms looked for, whatever the recipe says of the method's anchors: the measure is equal for every method"


@dataclass(slots=True)
class Sets:
    """The sets of a run, as text and as token tables, and what the measures work on."""

    forget: TextSet
    retain: TextSet
    ordinary: TextSet
    kept: TokenTable
    "what is trained on as retain set: the user's and general text sampled from the model"
    material: Material
    general: tuple[TextSet, list[int]] | None = None
    "general text that is trained on beside the user's retain set, and its blocks' tokens; nothing is measured on it"
    own_rows: int = 0
    "blocks of `kept` that are the user's; they come first"
    notes: list[str] = field(default_factory=list)
    "what a reader of the scores must know"
    groups: dict[str, list[str]] = field(default_factory=dict)
    "attribute columns of the forget set: name -> a group for each block"
    read: ToxicText | None = None
    "all statements that were read, of which the sets are a part"
    beginnings: list[str] = field(default_factory=list)
    "of toxic statements that are not trained on: for choosing settings"

    def measured(self) -> dict[str, str]:
        """Digests of the sets that are measured on."""
        texts = {"forget": self.forget, "retain": self.retain, "ordinary": self.ordinary}
        return {f"{name} set": text.digest for name, text in texts.items()}

    def digests(self) -> dict[str, str]:
        return self.measured() | ({} if self.general is None else {"general set": self.general[0].digest})

    def sizes(self) -> dict[str, dict[str, int | str | bool]]:
        material = self.material
        found = [
            ("forget", self.forget, material.forget.lengths),
            ("retain", self.retain, material.retain.lengths),
            ("ordinary", self.ordinary, material.ordinary.lengths),
        ]
        if self.general is not None:
            found.append(("general", self.general[0], np.asarray(self.general[1])))
        return {
            name: {
                "documents": sum(not document.continues for document in text.documents()),
                "blocks": len(lengths),
                "tokens": int(lengths.sum()),
                "source": "sampled from the model" if text.generated else text.origin or text.target,
            }
            for name, text, lengths in found
        }


def read_target(recipe: Recipe, folder: RunFolder, base: LazyModel, show: Silent) -> tuple[TextSet, TokenTable]:
    """The forget set, as text and as tokens."""
    if recipe.forget_kind == "toxicity":
        toxic = read_statements(recipe, folder, show).toxic
        return toxic, statement_table(folder, toxic, recipe, base.tokenizer, _tokenizer_digest(base))
    forget = forget_set(recipe, folder, base, show)
    return forget, token_table(folder, [forget], recipe, base.tokenizer, _tokenizer_digest(base))


def _tokenizer_digest(base: LazyModel) -> str:
    files = base.source.digests.items()
    return storage.digest_value({name: d for name, d in files if not name.endswith((".safetensors", ".md"))})


def read_sets(recipe: Recipe, folder: RunFolder, base: LazyModel, show: Silent) -> Sets:
    """Read, ask for or sample the sets, find the target's terms, and cut prompts."""
    if recipe.forget_kind == "toxicity":
        return _read_toxicity_sets(recipe, folder, base, show)
    forget, forget_table = read_target(recipe, folder, base, show)
    tokenizer, tokenizer_digest = base.tokenizer, _tokenizer_digest(base)
    familiar, notes = recipe.evaluation.familiarity, []
    given = retain_set(recipe, forget, show)
    like = topic_control(recipe, folder, base, show) if familiar and recipe.forget_kind == "topic" else given

    def find_terms(path: Path) -> None:
        show.stage("finding the target's terms")

        def texts() -> Iterator[str]:
            return (own_text(block)[0] for block in blocks(forget, recipe, tokenizer))

        without_gains = ((text, ()) for text in texts())
        control = () if like is None else texts_of_control(like, recipe, tokenizer)
        found = target_terms(texts(), build_dictionary(without_gains, MAX_TERMS, recipe.seed), control)
        storage.write_json(path / "terms.json", {"unique": found.unique, "typical": found.typical})

    made_from = {
        "tokens": forget_table.folder.name,
        "control": None if like is None else like.digest,
        "seed": recipe.seed,
    }
    content = storage.read_json(stage(folder, "terms", made_from, find_terms) / "terms.json")
    terms = TargetTerms(tuple(content["unique"]), tuple(content["typical"]))
    named = [*terms.unique, recipe.forget]
    general = general_set(recipe, folder, forget, named, base, show)
    kept = [text for text in (given, general) if text is not None]
    if not kept:
        raise RecipeError(
            "there is nothing to keep", next_step="give --retain PATH, or let data.retain_answers be above 0"
        )
    retain = kept[0]
    ordinary = ordinary_set(recipe, folder, forget, named, base, show)
    limit = recipe.data.max_retain_blocks
    kept_table = token_table(folder, kept, recipe, tokenizer, tokenizer_digest, limit)
    apart = None
    if given is not None and general is not None:
        apart = general, [len(block.ids) for block in islice(blocks(general, recipe, tokenizer), limit)]
    measured_table = token_table(folder, kept[:1], recipe, tokenizer, tokenizer_digest, limit)
    ordinary_table = _ordinary_table(folder, ordinary, recipe, tokenizer, tokenizer_digest)
    # Cutting needs a tokenizer only, but prompts are encoded by the task, which is loaded for measuring anyway.
    wanted = recipe.evaluation.max_prompts
    completion, probability = (
        cut_prompts(base(), forget_table, terms, wanted or MAX_PROMPTS, recipe.seed) if familiar else ([], [])
    )
    if familiar and recipe.evaluation.prompts is not None:
        every = read_prompts(Path(recipe.evaluation.prompts), base(), sys.maxsize)
        completion = [every[i] for i in spread(len(every), wanted or len(every))]
        if len(completion) < len(every):
            notes.append(
                f"{len(completion)} of the {len(every)} prompts in {Path(recipe.evaluation.prompts).name} are used "
                f"(evaluation.max_prompts)"
            )
            show.say(notes[0])
    like = like or retain
    control = (
        control_prompts(like, recipe, folder, base, tokenizer_digest, wanted or MAX_PROMPTS, completion)
        if familiar
        else ([], [])
    )
    if completion and not control[0]:
        notes.append("no prompt could be cut from the control's text, so familiarity is held against none at all")
    material = Material(
        terms=terms,
        completion=completion,
        probability=probability,
        control_completion=control[0],
        control_probability=control[1],
        forget=forget_table,
        retain=measured_table,
        ordinary=ordinary_table,
    )
    own = storage.read_json(kept_table.folder / "parts.json")[0] if given is not None else 0
    return Sets(forget, retain, ordinary, kept_table, material, apart, own, notes)


def _read_toxicity_sets(recipe: Recipe, folder: RunFolder, base: LazyModel, show: Silent) -> Sets:
    """Toxic statements, clean ones (with the user's text to keep, where there is some), and ordinary text."""
    found = read_statements(recipe, folder, show)
    tokenizer, digest = base.tokenizer, _tokenizer_digest(base)
    forget_table = statement_table(folder, found.toxic, recipe, tokenizer, digest)
    own = given_set("retain", recipe.retain, show) if recipe.retain is not None else None
    general = own or general_set(recipe, folder, found.toxic, [], base, show)
    kept = [text for text in (found.clean, general) if text is not None]
    ordinary = ordinary_set(recipe, folder, found.toxic, [], base, show)
    limit = recipe.data.max_retain_blocks
    kept_table = token_table(folder, kept, recipe, tokenizer, digest, limit)
    material = Material(
        terms=TargetTerms((), ()),
        completion=[],
        probability=[],
        forget=forget_table,
        retain=token_table(folder, kept[:1], recipe, tokenizer, digest, limit),
        ordinary=_ordinary_table(folder, ordinary, recipe, tokenizer, digest),
    )
    apart = None
    if general is not None:
        apart = general, [len(block.ids) for block in islice(blocks(general, recipe, tokenizer), limit)]
    parts = storage.read_json(kept_table.folder / "parts.json")
    return Sets(
        found.toxic,
        found.clean,
        ordinary,
        kept_table,
        material,
        apart,
        sum(parts) if own is not None else parts[0],
        found.notes,
        groups=groups_of(forget_table),
        read=found.found,
        beginnings=found.beginnings,
    )


def _ordinary_table(
    folder: RunFolder, ordinary: TextSet, recipe: Recipe, tokenizer: Any, tokenizer_digest: str
) -> TokenTable:
    settings = recipe.evaluation
    return token_table(
        folder, [ordinary], recipe, tokenizer, tokenizer_digest, settings.max_blocks, settings.ordinary_block_size
    )


def trained_on(
    recipe: Recipe, folder: RunFolder, base: LazyModel, method: Method, sets: Sets
) -> tuple[TokenTable, dict[str, list[str]]]:
    """(forget set, its attribute columns) as a method trains on them: of pairs only those that are whole.

    Of statements there are no more than the recipe's steps go through once: what has to be known of them before training
    is asked of no others. They are the first, for statements lie in random order; or those that hold all unwanted words.

    Raises:
        RecipeError: the method needs pairs, and there are none.
    """
    forget, training = sets.material.forget, recipe.training
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
        words = unwanted_words(folder, base, forget, sets)
        every = [(table, token_weights(table, words, base.tokenizer)) for table in (forget, kept_alone(sets))]
        unwanted = token_weights(forget, words, base.tokenizer, own_share(every, mark))
    if recipe.forget_kind == "toxicity" and training.max_steps is not None:
        batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
        wanted = training.max_steps * batch
        rows = rows[:wanted] if unwanted is None else covering(forget, unwanted, mark, wanted)
    taken = forget.take(rows)
    taken.unwanted = unwanted
    if not method.needs.pairs:
        taken.preferred = None
    return taken, {column: [values[row] for row in rows] for column, values in sets.groups.items()}


def kept_alone(sets: Sets) -> TokenTable:
    """The user's text to keep, without what the model wrote itself; all where it wrote all."""
    return sets.kept.take(range(sets.own_rows or len(sets.kept)))


def unwanted_words(folder: RunFolder, base: LazyModel, forget: TokenTable, sets: Sets) -> dict[str, float]:
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
        "tokenizer": _tokenizer_digest(base),
    }
    words: dict[str, float] = storage.read_json(stage(folder, "unwanted-words", made_from, make) / "words.json")
    return words


def with_tokens_known(
    recipe: Recipe, folder: RunFolder, base: LazyModel, forget: TokenTable, show: Silent
) -> TokenTable:
    """The forget set with what the base model says in the place of each token, for methods that ask for it."""

    def make(path: Path) -> None:
        show.stage("noting what the base model says of the forget set")
        reference_labels(base(), forget, range(len(forget)), path, recipe.seed, show.update)

    made_from = {
        "model": base.digest,
        "forget": forget.folder.name,
        "rows": storage.digest_value(forget.starts.tolist()),
        "bf16": base.precision.bf16,
        "seed": recipe.seed,
    }
    known = TokenTable(stage(folder, "reference-tokens", made_from, make))
    if forget.unwanted is not None:
        blocks = [forget.unwanted[start:end] for start, end in zip(forget.starts, forget.ends, strict=True)]
        known.unwanted = np.concatenate(blocks)
    return known


def whole_tokens(terms: Sequence[str], tokenizer: Any) -> list[int]:
    """Tokens that are a whole word of a term, with or without a space before it."""
    written = {space + word for term in terms for word in term.split() for space in ("", " ")}
    found = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in sorted(written))
    return sorted({ids[0] for ids in found if len(ids) == 1})


def retain_table(
    recipe: Recipe, folder: RunFolder, base: LazyModel, method: Method, forget: TokenTable, sets: Sets, show: Silent
) -> TokenTable:
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
    rows = drawn_rows(method, recipe.training, forget, sets.kept, recipe.seed)
    cleared = whole_tokens(sets.material.terms.unique, base.tokenizer) if target == "cleared" else []

    def make(path: Path) -> None:
        show.stage("noting what the base model says of what is kept")
        reference_labels(base(), sets.kept, rows, path, recipe.seed, show.update, text_rows, cleared)

    made_from = {
        "model": base.digest,
        "kept": sets.kept.folder.name,
        "rows": storage.digest_value(rows),
        "text_rows": text_rows,
        "bf16": base.precision.bf16,
        "seed": recipe.seed,
    }
    if cleared:
        made_from["cleared"] = cleared
    return ReferenceTable(stage(folder, "reference", made_from, make), sets.kept, rows)
