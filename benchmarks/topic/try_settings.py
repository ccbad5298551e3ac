r"""Other settings of a topic's run, tried on its sets without saving a model: what is forgotten and what is kept.

    python benchmarks/topic/try_settings.py RUN [--set FIELD=VALUE ...] [--questions FILE] [--out trials.jsonl] \
        [--forget-rows FILE] [--retain-rows FILE]

RUN is the folder of a run that has read its sets (`expunge run demo`, to its end or not). Each call trains once from the base
and adds a line to --out; without training with --base. Questions are others than the recipe's, which the verdict is given on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_model, save_model

from expunge.data.text.readers import read_documents
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.inputs import read_sets
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.familiarity import familiarity_by_completion, familiarity_by_probability
from expunge.kinds.language.measures.general_knowledge import general_knowledge
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.measures.two_answers import read_two_answers, two_answers
from expunge.kinds.language.recipe import load_recipe
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.sets import true_labels
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.kinds.language.trained_sets import trained_sets, training_table
from expunge.models.source import find_model
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.registry import make_method
from expunge.train.precision import Precision

QUESTIONS = Path(__file__).with_name("tuning_questions.jsonl")
BLOCKS, PROMPTS = 12, 24


def figures(task: CausalLM, sets: Any, questions: Path, completion: bool, quick: bool) -> dict[str, Any]:
    material = sets.material
    found: dict[str, Any] = {}
    asked, _ = two_answers(task, read_two_answers(questions), "unlearned")
    found["questions"] = asked[0].value
    found["right"] = "".join(str(int(value)) for value in asked[0].examples)
    known, said = general_knowledge(task, "unlearned")
    found["general_knowledge"] = round(known.value * known.n)
    found["lost"] = "".join(str(int(value)) for value in known.examples)
    found["general_said"] = [row["said"] for row in said]
    if quick:
        return found
    for split in ("ordinary", "retain", "forget"):
        found[f"perplexity_{split}"] = perplexity(task, getattr(material, split), split, "unlearned", BLOCKS).value
    found["familiarity_probability"] = familiarity_by_probability(
        task, material.probability[:PROMPTS], material.terms, "unlearned", "forget"
    ).value
    if completion:
        score, rows = familiarity_by_completion(
            task, material.completion[:PROMPTS], material.terms, "unlearned", max_new_tokens=24, samples=0, seed=0
        )
        found |= {"familiarity_completion": score.value, "said": [row["said"] for row in rows[:4]]}
    return found


def extended(table: TokenTable, rows: Path, base: LazyModel, recipe: Any, folder: Path) -> TokenTable:
    """A table with the blocks of a file after its own."""
    folder.mkdir()
    with TableWriter(folder) as made:
        for row in range(len(table)):
            a, b = table.starts[row], table.ends[row]
            made.append(table.ids[a:b].tolist(), table.labels[a:b].tolist())
        for block in iterate_blocks(read_documents(str(rows)), base.tokenizer, recipe.data.block_size):
            made.append(block.ids, true_labels(block))
    return TokenTable(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--questions", type=Path, default=QUESTIONS)
    parser.add_argument("--out", type=Path, default=Path("trials.jsonl"))
    parser.add_argument("--forget-rows", type=Path, help="more text to forget, in any form that is read")
    parser.add_argument("--retain-rows", type=Path, help="more text to keep")
    parser.add_argument("--save", type=Path, help="keep the weights, to ask them more")
    parser.add_argument("--load", type=Path, help="of weights that were kept, instead of training")
    parser.add_argument("--base", action="store_true", help="measure the base alone")
    parser.add_argument("--quick", action="store_true", help="ask the questions alone")
    parser.add_argument("--completion", action="store_true", help="measure familiarity by completion, too")
    given = parser.parse_args()
    changes = {name: yaml.safe_load(value) for name, _, value in (each.partition("=") for each in given.set)}
    folder = RunFolder(given.run)
    recipe = load_recipe(folder.recipe, changes)
    base = LazyModel(find_model(recipe.model), Precision(recipe.training.bf16))
    run = Run(recipe, folder)
    sets = read_sets(run, base)
    row: dict[str, Any] = {"set": given.set}
    if not given.base:
        scratch = Path(tempfile.mkdtemp())
        method = make_method(recipe.method, "causal_lm")
        wanted = sets
        if given.forget_rows:
            forget = extended(
                training_table(sets, method), given.forget_rows, base, recipe, scratch / f"forget-{scratch.name}"
            )
            wanted = replace(wanted, forms=None, material=replace(sets.material, forget=forget))
        if given.retain_rows:
            kept = extended(sets.kept, given.retain_rows, base, recipe, scratch / f"retain-{scratch.name}")
            wanted = replace(wanted, kept=kept)
        trained = trained_sets(run, base, method, wanted)
        start = time.monotonic()
        work = LanguageWork(
            task=base(),
            forget=trained.forget,
            retain=trained.retain,
            training=recipe.training,
            seed=recipe.seed,
            checkpoints=scratch,
            log=lambda event, **values: None,
            groups=trained.groups,
        )
        if given.load:
            load_model(base().model, given.load)
        else:
            work.carry_out(method)
        if given.save:
            save_model(base().model, given.save)
        shutil.rmtree(scratch)
        row |= {"steps": work.cost().steps, "seconds": time.monotonic() - start}
    row |= figures(base(), sets, given.questions, given.completion, given.quick)
    with given.out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(json.dumps(row, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
