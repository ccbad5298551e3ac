"""What JensUn's retain term alone does to a model that it should leave alone: held-out perplexity before and after.

The model is trained with nothing but the distance to itself on a book's first pages, a step on fresh blocks each time, and
measured on later pages. By whole distributions, as the method has them; by 24 likeliest tokens and 8 drawn ones, which it
no longer takes; and by cross-entropy with these, for which they are meant.

    python benchmarks/jensun_retain/run.py --text BOOK.txt [--model smollm2-135m] [--steps 12] [--batch 1] [--block 256]
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expunge.data.text.readers import read_documents
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import true_labels
from expunge.kinds.language.signals.distributions import Distributions
from expunge.kinds.language.signals.retain_labels import reference_labels
from expunge.kinds.language.signals.signal import Source
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.methods.jensun import jensen_shannon
from expunge.models.source import find_model
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.versions import versions
from expunge.train.precision import Precision
from expunge.train.step import IGNORED, Batch, Step

RATE = 2e-5


def whole(step: Step) -> Tensor:
    """The method's retain term."""
    return step.row_mean(step.retain, step.against_original(step.retain, jensen_shannon))


def candidates(step: Step) -> Tensor:
    """The same with the candidates as if they were the distribution."""
    batch: Batch = step.retain
    assert batch.soft_ids is not None
    assert batch.soft_weights is not None
    labelled = batch.labels[:, 1:] != IGNORED
    log_p = step.rows(batch).logits.log_softmax(-1)
    said = torch.zeros_like(log_p).scatter_add(1, batch.soft_ids[:, 1:][labelled], batch.soft_weights[:, 1:][labelled])
    return step.row_mean(batch, jensen_shannon(log_p, said.log()))


def cross_entropy(step: Step) -> Tensor:
    return step.nll(step.retain)


LOSSES: dict[str, Callable[[Step], Tensor]] = {
    "whole distributions": whole,
    "candidates, Jensen-Shannon": candidates,
    "candidates, cross-entropy": cross_entropy,
}


def trained(
    task: CausalLM, table: TokenTable, loss: Callable[[Step], Tensor], steps: int, size: int
) -> dict[str, float]:
    """Loss and norm of its gradient at the first step, and at the last."""
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    figures = {}
    task.model.train()
    for number in range(steps):
        found = loss(Step(task, None, table.batch(range(number * size, number * size + size)).to(task.device)))
        found.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(task.model.parameters(), 1.0))
        if number in (0, steps - 1):
            name = "first" if number == 0 else "last"
            figures |= {f"loss, {name} step": float(found.detach()), f"gradient norm, {name} step": norm}
        optimizer.step()
        optimizer.zero_grad()
    task.model.eval()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--held-out", type=int, default=8)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    rows = list(range(wanted.steps * wanted.batch))
    result: dict[str, Any] = {"text": wanted.text.name, "model": wanted.model, "versions": versions()}
    result |= {"steps": wanted.steps, "learning_rate": RATE, "blocks in a step": wanted.batch, "block": wanted.block}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        base = LazyModel(find_model(wanted.model), Precision("auto"))
        task = base()
        blocks = iterate_blocks(read_documents(str(wanted.text)), task.tokenizer, wanted.block)
        both = list(itertools.islice(blocks, len(rows) + wanted.held_out))
        for name, part in (("kept", both[: len(rows)]), ("held", both[len(rows) :])):
            with TableWriter(place / name) as writer:
                for block in part:
                    writer.append(block.ids, true_labels(block))
        kept, held = TokenTable(place / "kept"), TokenTable(place / "held")
        nothing: Any = None
        run = Run(Recipe(forget="none"), RunFolder(place / "run"))
        source = Source(run=run, base=base, sets=nothing, method=nothing, table=kept, rows=rows)
        (place / "original").mkdir()
        Distributions().make(source, place / "original")
        reference_labels(task, kept, rows, place / "candidates", seed=0)
        before = perplexity(task, held, "retain", "base", wanted.held_out).value
        result["perplexity before"] = before
        for name, loss in LOSSES.items():
            base.release()
            task = base()
            told = name.startswith("candidates")
            original = kept.with_signal("distributions", Distributions().lookup(source, place / "original"))
            table = TokenTable(place / "candidates") if told else original
            found: dict[str, float] = trained(task, table, loss, wanted.steps, wanted.batch)
            after = perplexity(task, held, "retain", "unlearned", wanted.held_out).value
            result[name] = found | {"perplexity after": after, "change": after / before - 1}
            print(name, json.dumps(result[name]), flush=True)
    if wanted.out is not None:
        wanted.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
