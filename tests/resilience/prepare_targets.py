"""Script: MODEL RETAIN OUT TARGET... does everything with each target that comes before training.

Prints a JSON list of {"tokens", "terms", "peaks"}: the peak of memory so far, in MiB, after each step.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from transformers import AutoTokenizer

from expunge.core.order import Order
from expunge.data.text.overlap import refuse_overlap
from expunge.data.text.readers import digest_documents, read_documents
from expunge.kinds.language.measures.recall import passages
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet, blocks, own_text, token_table
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.terms.measured_terms import target_terms
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare(target: str, retain: str, out: str, tokenizer: Any) -> dict[str, Any]:
    recipe = Recipe(forget=target)
    folder = RunFolder(out).create()
    text = TextSet("forget", target, digest_documents(read_documents(target)), False)
    peaks = {"reading": peak()}
    table = token_table(Run(recipe, folder), [text], SimpleNamespace(tokenizer=tokenizer, tokenizer_digest=""))
    peaks["token table"] = peak()
    refuse_overlap(text.documents(), read_documents(retain))
    peaks["overlap"] = peak()

    def texts() -> Iterator[str]:
        return (own_text(block)[0] for block in blocks(text, recipe, tokenizer))

    dictionary = build_dictionary(((text, ()) for text in texts()), recipe.anchors.max_terms, 0)
    peaks["anchors"] = peak()
    terms = target_terms(texts(), dictionary)
    peaks["terms"] = peak()
    order = Order(table.lengths, 4, 0, "forget")
    for number in range(0, order.batches_per_epoch * 2, max(1, order.batches_per_epoch // 50)):
        table.batch(order.batch(number))
    passages(table, 32)
    peaks["order"] = peak()
    return {"tokens": table.tokens, "terms": len(terms.unique), "peaks": peaks}


if __name__ == "__main__":
    model, retain, out, *targets = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(model)
    print(json.dumps([prepare(target, retain, out, tokenizer) for target in targets]))
