"""The stages that make generic labels: reinforced model, anchors, labels. Each is cached in the run folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.core.progress import Silent
from expunge.data.text.language import ENGLISH_ASSUMED, Language
from expunge.kinds.language.blocks import Block, in_groups
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet, blocks, own_text
from expunge.kinds.language.signals.signal import Labels, Source
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.terms.anchors import AnchorDictionary, load_anchors, write_anchors
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.terms.kept_terms import rates, without_shared
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.methods.whos_harry_potter.labels import generic_labels, rows_at
from expunge.methods.whos_harry_potter.method import WhosHarryPotter
from expunge.methods.whos_harry_potter.reinforced import Reinforced
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder

GAIN_BLOCKS = 200
"blocks whose words' gains are computed; in the others only frequency counts"
GROUP_TOKENS = 1024
"tokens of a batch of blocks: its logits are in memory at once, 200 MB for a vocabulary of 50,000"
PASSAGES = 40
"passages shown to an endpoint that proposes anchors"

Gains = list[tuple[int, int, float]]


def reinforced_model(run: Run[Recipe], base: LazyModel, target: TokenTable, digest: str) -> Reinforced:
    """The base model with its reinforced twin, trained now or read from its stage.

    The base's weights are wrapped by this: release and load it again before training it.
    """
    task = base() if run.recipe.reinforcement.adapter else base.to_train()
    reinforced = Reinforced(task, run.recipe.reinforcement, random_seed(run.recipe.seed, "adapter") % (1 << 31))
    if reinforced.left is not None:
        run.notice(f"the reinforced model: {reinforced.left}")
    made_from = {
        "model": base.digest,
        "target": digest,
        "block_size": run.recipe.data.block_size,
        "settings": run.recipe.reinforcement.model_dump(),
        "bf16": base.precision.bf16,
        "seed": run.recipe.seed,
    }

    def make(path: Path) -> None:
        reinforced.train(
            target,
            base.precision.bf16,
            run.recipe.training.gradient_checkpointing,
            run.recipe.seed,
            run.folder.checkpoints / run.cache_path("reinforced", made_from).name,
            lambda event, **values: run.folder.log(f"reinforced_{event}", **values),
            lambda step, steps, figures: run.show.update(step / steps, f"loss {figures['loss']:.2f}"),
        )
        reinforced.save(path)

    reinforced.load(run.cached("reinforced", made_from, make, "training the reinforced model"))
    return reinforced


def _notice(run: Run[Recipe], dictionary: AnchorDictionary) -> None:
    """Record the notes about the terms; they quote some."""
    for note in dictionary.notes if run.recipe.excerpts else ():
        run.notice(note)


def anchors(
    run: Run[Recipe],
    reinforced: Reinforced,
    text: TextSet,
    count: int,
    language: Language = ENGLISH_ASSUMED,
    kept: TextSet | None = None,
) -> tuple[AnchorDictionary, Path]:
    """The anchored terms: the user's, an endpoint's, or found; and the file that lists them as used.

    It is `anchors.yaml` in the run folder, or the file that it is a copy of, unless the copy was edited.

    Args:
        count: blocks of the target.
        language: of the target.
        kept: the retain set of the user: terms that occur in it about as often are left out, unless the user gave them.
    """
    if run.recipe.anchors.path is not None:
        dictionary = load_anchors(Path(run.recipe.anchors.path))
        write_anchors(dictionary, run.folder.anchors)
        return dictionary, run.folder.anchors

    def make(path: Path) -> None:
        if run.recipe.anchors.url is not None:
            from expunge.kinds.language.terms.endpoint import anchors_from_endpoint

            run.show.stage("asking the endpoint for anchors")
            wanted = set(spread(count, PASSAGES))
            found = enumerate(blocks(text, run.recipe, reinforced.base.tokenizer))
            chosen = [own_text(block)[0] for number, block in found if number in wanted]
            key = os.environ.get("OPENAI_API_KEY")
            dictionary = anchors_from_endpoint(run.recipe.anchors.url, run.recipe.anchors.model, chosen, api_key=key)
        else:
            run.show.stage("finding anchored terms")
            with_gains = _with_gains(run.recipe, reinforced, text, count, run.show)
            dictionary = build_dictionary(with_gains, run.recipe.anchors.max_terms, run.recipe.seed, language)
        if kept is not None:
            own = (own_text(block)[0] for block in blocks(text, run.recipe, reinforced.base.tokenizer))
            dictionary = without_shared(dictionary, rates(dictionary, own, kept.documents()))
        write_anchors(dictionary, path / "anchors.yaml")
        _notice(run, dictionary)
        if not len(dictionary):
            run.notice(
                "no anchored terms were found: labels come from the reinforced model alone (give --anchors FILE)"
            )

    made_from = {
        "reinforced": reinforced.digest,
        "target": text.digest,
        "settings": run.recipe.anchors.model_dump(),
        "seed": run.recipe.seed,
        "language": language.code,
        "retain": None if kept is None else kept.digest,
    }
    path = run.cached("anchors", made_from, make) / "anchors.yaml"
    if not _is_edited(run.folder):
        storage.write_bytes(run.folder.anchors, path.read_bytes())
    return load_anchors(path), path


def _is_edited(folder: RunFolder) -> bool:
    """Whether `anchors.yaml` is none that the run found, now or for an earlier target: then it is the user's work."""
    if not folder.anchors.is_file():
        return False
    here = folder.anchors.read_bytes()
    return all(here != path.read_bytes() for path in folder.stages.glob("anchors-*/anchors.yaml"))


def _with_gains(
    recipe: Recipe, reinforced: Reinforced, text: TextSet, count: int, show: Silent
) -> Iterator[tuple[str, Gains]]:
    """(text, [(start, end, gain)]) of each block, without a question: how much likelier, in nats, the reinforced model
    makes each token."""
    task = reinforced.base
    chosen = set(spread(count, GAIN_BLOCKS))
    number = 0
    for group in in_groups(blocks(text, recipe, task.tokenizer), GROUP_TOKENS):
        wanted = [block for i, block in enumerate(group, number) if i in chosen and len(block.ids) > 1]
        gains = dict(zip(map(id, wanted), _gains(reinforced, wanted), strict=True)) if wanted else {}
        for block in group:
            yield own_text(block)[0], gains.get(id(block), [])
        number += len(group)
        show.update(number / count)


def _gains(reinforced: Reinforced, group: list[Block]) -> list[Gains]:
    places = [list(range(max(1, block.first_label) - 1, len(block.ids) - 1)) for block in group]
    batch = rows_at([(block.ids, positions) for block, positions in zip(group, places, strict=True)])
    own = zip(group, places, strict=True)
    truth = torch.cat([torch.tensor(block.ids[len(block.ids) - len(positions) :]) for block, positions in own])

    def log_probs(task: CausalLM) -> torch.Tensor:
        logits = task.row_logits(batch)
        return (logits.gather(1, truth.to(logits.device)[:, None])[:, 0] - logits.logsumexp(-1)).cpu()

    before = log_probs(reinforced.base)
    with reinforced.twin() as twin:
        gains = (log_probs(twin) - before).split([len(p) for p in places])
    found = []
    for block, of_block in zip(group, gains, strict=True):
        cut = own_text(block)[1]
        spans = zip(block.offsets[len(block.ids) - len(of_block) :], of_block.tolist(), strict=True)
        found.append([(start - cut, end - cut, gain) for (start, end), gain in spans])
    return found


def label_table(
    run: Run[Recipe],
    method: WhosHarryPotter,
    reinforced: Reinforced,
    dictionary: AnchorDictionary,
    text: TextSet,
    count: int,
) -> TokenTable:
    """The forget set, of `count` blocks, with generic labels, as integers on disk."""
    tokenizer = reinforced.base.tokenizer

    def make(path: Path) -> None:
        tokens = same = labelled = done = 0
        with TableWriter(path, k=method.top_k) as table:
            for group in in_groups(blocks(text, run.recipe, tokenizer), GROUP_TOKENS):
                for block, labels in zip(group, generic_labels(group, reinforced, dictionary, method), strict=True):
                    table.append(block.ids, labels.hard, labels.soft_ids, labels.soft_weights)
                    tokens += len(block.ids)
                    kept = [i for i, label in enumerate(labels.hard) if label >= 0]
                    labelled += len(kept)
                    same += sum(int(labels.hard[i] == block.ids[i]) for i in kept)
                done += len(group)
                run.show.update(done / count)
        figures = {"tokens": tokens, "labelled": labelled, "equal_to_text": same / max(1, labelled)}
        storage.write_json(path / "labels.json", figures)
        run.folder.log("labels", **figures)

    made_from = {
        "reinforced": reinforced.digest,
        "target": text.digest,
        "anchors": storage.digest_value([a.row() for a in dictionary]),
        "method": method.model_dump(),
        "block_size": run.recipe.data.block_size,
        "end_of_turn": "labelled",
    }
    return TokenTable(run.cached("labels", made_from, make, "computing generic labels"))


class GenericLabels(Labels):
    """What a model that never read the forget set would say at each of its positions, as labels of all its blocks."""

    name = "generic_labels"
    reinforced = True

    def __init__(self, method: WhosHarryPotter) -> None:
        self.method = method

    def labelled(self, source: Source) -> TokenTable:
        run, sets, count = source.run, source.sets, len(source.table)
        reinforced = reinforced_model(run, source.base, source.table, sets.forget.digest)
        kept = None if sets.retain.generated else sets.retain
        dictionary, file = anchors(run, reinforced, sets.forget, count, sets.language, kept)
        _notice(run, dictionary)
        table = label_table(run, self.method, reinforced, dictionary, sets.forget, count)
        source.notes["anchors"] = storage.digest_file(file)
        source.base.release()  # its layers are wrapped by the adapter: the rest needs clean ones
        return source.table.relabelled(table)
