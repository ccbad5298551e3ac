"""What a run works on: its sets as text and tokens, the target's terms, and the prompts of the measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expunge import storage
from expunge.data.sets import TextSet, blocks, forget_set, general_set, ordinary_set, own_text, retain_set, token_table
from expunge.data.tables import TokenTable
from expunge.errors import RecipeError
from expunge.measures.familiarity import TargetTerms
from expunge.measures.prompts import cut_prompts, read_prompts
from expunge.measures.suite import Material
from expunge.measures.terms import target_terms
from expunge.models.lazy import LazyModel
from expunge.preparation.anchor_terms import build_dictionary
from expunge.preparation.reference import reference_labels
from expunge.preparation.stage import stage
from expunge.progress import Silent
from expunge.recipe import Recipe
from expunge.run_folder import RunFolder

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

    def digests(self) -> dict[str, str]:
        return {
            f"{name} set": text.digest
            for name, text in (("forget", self.forget), ("retain", self.retain), ("ordinary", self.ordinary))
        }

    def sizes(self) -> dict[str, dict[str, int | str | bool]]:
        tables = {"forget": self.material.forget, "retain": self.material.retain, "ordinary": self.material.ordinary}
        texts = {"forget": self.forget, "retain": self.retain, "ordinary": self.ordinary}
        return {
            name: {
                "documents": sum(not document.continues for document in texts[name].documents()),
                "blocks": len(table),
                "tokens": table.tokens,
                "source": "sampled from the model" if texts[name].generated else texts[name].target,
            }
            for name, table in tables.items()
        }


def read_sets(recipe: Recipe, folder: RunFolder, base: LazyModel, show: Silent) -> Sets:
    """Read, ask for or sample the sets, find the target's terms, and cut prompts."""
    forget = forget_set(recipe, folder, base, show)
    tokenizer, tokenizer_digest = (
        base.tokenizer,
        storage.digest_value(
            {name: digest for name, digest in base.source.digests.items() if not name.endswith((".safetensors", ".md"))}
        ),
    )
    forget_table = token_table(folder, [forget], recipe, tokenizer, tokenizer_digest)

    def find_terms(path: Path) -> None:
        show.stage("finding the target's terms")

        def texts() -> Iterator[str]:
            return (own_text(block)[0] for block in blocks(forget, recipe, tokenizer))

        without_gains = ((text, ()) for text in texts())
        found = target_terms(texts(), build_dictionary(without_gains, MAX_TERMS, recipe.seed))
        storage.write_json(path / "terms.json", {"unique": found.unique, "typical": found.typical})

    content = storage.read_json(
        stage(folder, "terms", {"tokens": forget_table.folder.name, "seed": recipe.seed}, find_terms) / "terms.json"
    )
    terms = TargetTerms(tuple(content["unique"]), tuple(content["typical"]))
    named = [*terms.unique, recipe.forget]
    given = retain_set(recipe, forget, show)
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
    retain_table = token_table(folder, kept[:1], recipe, tokenizer, tokenizer_digest, limit)
    ordinary_table = token_table(folder, [ordinary], recipe, tokenizer, tokenizer_digest, recipe.evaluation.max_blocks)
    # Cutting needs a tokenizer only, but prompts are encoded by the task, which is loaded for measuring anyway.
    wanted = recipe.evaluation.max_prompts
    completion, probability = cut_prompts(base(), forget_table, terms, wanted, recipe.seed)
    if recipe.evaluation.prompts is not None:
        completion = read_prompts(Path(recipe.evaluation.prompts), base(), wanted)
    material = Material(
        terms=terms,
        completion=completion,
        probability=probability,
        forget=forget_table,
        retain=retain_table,
        ordinary=ordinary_table,
    )
    return Sets(forget, retain, ordinary, kept_table, material)


def reference_table(recipe: Recipe, folder: RunFolder, base: LazyModel, sets: Sets, show: Silent) -> TokenTable:
    """What is kept, labelled with what the base model says there."""

    def make(path: Path) -> None:
        show.stage("noting what the base model says of what is kept")
        reference_labels(base(), sets.kept, path, recipe.seed, show.update)

    made_from = {
        "model": base.digest,
        "kept": sets.kept.folder.name,
        "bf16": base.precision.bf16,
        "seed": recipe.seed,
    }
    return TokenTable(stage(folder, "reference", made_from, make))
