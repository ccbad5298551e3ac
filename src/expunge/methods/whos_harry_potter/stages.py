"""The stages that make generic labels: reinforced model, anchors, labels. Each is cached in the run folder."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.core.processes import agreed, is_first
from expunge.core.progress import Silent
from expunge.data.text.language import ENGLISH_ASSUMED, Language
from expunge.kinds.language.blocks import Block, in_groups
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet, blocks, own_text
from expunge.kinds.language.signals.divided import by_group
from expunge.kinds.language.signals.signal import Labels, Source
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.terms.anchors import AnchorDictionary, load_anchors, write_anchors
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.terms.kept_terms import rates, without_shared
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.kinds.language.training_recipe import reinforcement_said
from expunge.methods.whos_harry_potter import labels as made_labels
from expunge.methods.whos_harry_potter.labels import generic_labels, rows_at
from expunge.methods.whos_harry_potter.method import WhosHarryPotter
from expunge.methods.whos_harry_potter.reinforced import Reinforced
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.train.parts import parts_of

GAIN_BLOCKS = 200
"blocks whose words' gains are computed; in the others only frequency counts"
GROUP_TOKENS = 1024
"tokens of a batch of blocks: its logits are in memory at once, 200 MB for a vocabulary of 50,000"
PASSAGES = 40
"passages shown to an endpoint that proposes anchors"
OWN_TOKENS = 0.75
"share of the text's own tokens among the labels from which a notice says so: books taught by heart had .81 and more"

Gains = list[tuple[int, int, float]]


def reinforced_model(run: Run[Recipe], base: LazyModel, target: TokenTable, digest: str) -> Reinforced:
    """The base model with its reinforced twin, trained now, by all processes, or read from its stage.

    The base's weights are wrapped by this: release and load it again before training it.
    """
    settings = run.recipe.reinforcement
    copied = None
    if settings.adapter:
        task = base.together()
    else:
        task = base.to_train()
        copied = None if parts_of(task.model) is None else base.copy()
    reinforced = Reinforced(task, settings, random_seed(run.recipe.seed, "adapter") % (1 << 31), copied)
    if reinforced.left is not None:
        run.notice(f"the reinforced model: {reinforced.left}")
    made_from = {
        "model": base.digest,
        "target": digest,
        "block_size": run.recipe.data.block_size,
        "settings": reinforcement_said(settings),
        "bf16": base.precision.bf16,
        "seed": run.recipe.seed,
    }

    def make(path: Path) -> None:
        reinforced.train(
            target,
            run.recipe.training.model_copy(update={"bf16": base.precision.bf16}),
            run.recipe.seed,
            run.folder.checkpoints / run.cache_path("reinforced", made_from).name,
            lambda event, **values: run.folder.log(f"reinforced_{event}", **values),
            lambda step, steps, figures: run.show.update(step / steps, f"loss {figures['loss']:.2f}"),
        )
        reinforced.save(path)

    reinforced.load(run.made_together("reinforced", made_from, make, "training the reinforced model"))
    reinforced.to(base.precision.device)
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
        if is_first():
            write_anchors(dictionary, run.folder.anchors)
        agreed(None)  # now the others may read it
        return dictionary, run.folder.anchors

    def make(path: Path) -> None:
        with_gains: Iterator[tuple[str, Gains]] = iter(())
        if run.recipe.anchors.url is None:
            run.show.stage("finding anchored terms")
            with_gains = _with_gains(run.recipe, reinforced, text, count, run.show)
        if is_first():
            found(path, with_gains)
        for _ in with_gains:  # the others make their share of the gains
            pass

    def found(path: Path, with_gains: Iterator[tuple[str, Gains]]) -> None:
        if run.recipe.anchors.url is not None:
            from expunge.kinds.language.terms.endpoint import anchors_from_endpoint

            run.show.stage("asking the endpoint for anchors")
            wanted = set(spread(count, PASSAGES))
            all_blocks = enumerate(blocks(text, run.recipe, reinforced.base.tokenizer))
            chosen = [own_text(block)[0] for number, block in all_blocks if number in wanted]
            key = os.environ.get("OPENAI_API_KEY")
            dictionary = anchors_from_endpoint(run.recipe.anchors.url, run.recipe.anchors.model, chosen, api_key=key)
        else:
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
    path = run.made_together("anchors", made_from, make) / "anchors.yaml"
    if is_first() and not _is_edited(run.folder):
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
    makes each token. Made by all processes."""
    numbered = _numbered(in_groups(blocks(text, recipe, reinforced.base.tokenizer), GROUP_TOKENS))
    chosen = set(spread(count, GAIN_BLOCKS))

    def own(group: Sequence[tuple[int, Block]]) -> list[Gains]:
        wanted = [number for number, (at, block) in enumerate(group) if at in chosen and len(block.ids) > 1]
        gains: list[Gains] = [[] for _ in group]
        for number, of_block in zip(wanted, _gains(reinforced, [group[at][1] for at in wanted]), strict=True):
            gains[number] = of_block
        return gains

    for group, gains in by_group(numbered, own):
        for (_, block), of_block in zip(group, gains, strict=True):
            yield own_text(block)[0], [(start, end, gain) for start, end, gain in of_block]
        show.update((group[-1][0] + 1) / count)


def _numbered(groups: Iterable[list[Block]]) -> Iterator[list[tuple[int, Block]]]:
    """The blocks of each group with their numbers among all."""
    numbers = itertools.count()
    return ([(next(numbers), block) for block in group] for group in groups)


def _gains(reinforced: Reinforced, group: list[Block]) -> list[Gains]:
    """Of each block's tokens. All processes that hold a part of the models call it together."""
    places = [list(range(max(1, block.first_label) - 1, len(block.ids) - 1)) for block in group]
    own = [(block.ids, positions) for block, positions in zip(group, places, strict=True)]
    truth = [token for ids, positions in own for token in ids[len(ids) - len(positions) :]]

    def log_probs(task: CausalLM) -> torch.Tensor:
        if not own:
            return torch.zeros(0)
        logits = task.row_logits(rows_at(own))
        target = torch.tensor(truth, device=logits.device)
        return (logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(-1)).cpu()

    before = reinforced.base.in_turns(lambda: log_probs(reinforced.base))
    with reinforced.twin() as twin:
        gains = (twin.in_turns(lambda: log_probs(twin)) - before).split([len(p) for p in places])
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

    def own(group: list[Block]) -> list[Sequence[Any]]:
        made = generic_labels(group, reinforced, dictionary, method)
        return [(labels.hard, labels.soft_ids, labels.soft_weights) for labels in made]

    def make(path: Path) -> None:
        every = by_group(in_groups(blocks(text, run.recipe, tokenizer), GROUP_TOKENS), own)
        if is_first():
            write(path, every)
        for _ in every:  # the others make their share
            pass

    def write(path: Path, every: Iterator[tuple[list[Block], list[Sequence[Any]]]]) -> None:
        tokens = same = labelled = done = 0
        with TableWriter(path, k=method.top_k) as table:
            for group, made in every:
                for block, labels in zip(group, (made_labels.Labels(*each) for each in made), strict=True):
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
    path = run.made_together("labels", made_from, make, "computing generic labels")
    equal = float(storage.read_json(path / "labels.json")["equal_to_text"])
    if equal >= OWN_TOKENS:
        run.notice(
            f"{equal:.0%} of the generic labels are the text's own tokens, so little will be forgotten: the model knows "
            f"the text by heart. Raise --method.alpha, now {method.alpha:g}, for example to 200"
        )
    return TokenTable(path)


class GenericLabels(Labels):
    """What a model that never read the forget set would say at each of its positions, as labels of all its blocks."""

    name = "generic_labels"
    reinforced = True

    def __init__(self, method: WhosHarryPotter) -> None:
        self.method = method
        self._table: TokenTable | None = None

    def together(self, source: Source) -> None:
        """Train the reinforced model, find the anchored terms, and make the labels."""
        run, sets, count = source.run, source.sets, len(source.table)
        reinforced = reinforced_model(run, source.base, source.table, sets.forget.digest)
        kept = None if sets.retain.generated else sets.retain
        dictionary, file = anchors(run, reinforced, sets.forget, count, sets.language, kept)
        _notice(run, dictionary)
        self._table = label_table(run, self.method, reinforced, dictionary, sets.forget, count)
        source.notes["anchors"] = storage.digest_file(file)
        source.base.release()  # its layers are wrapped by the adapter: the rest needs clean ones

    def labelled(self, source: Source) -> TokenTable:
        assert self._table is not None
        return source.table.relabelled(self._table)
