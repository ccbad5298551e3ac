"""The training sets of a method: the forget set, whole or in part, and the retain set, with the signals that it
needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from expunge.core.order import Order
from expunge.core.processes import count, first_alone
from expunge.kinds.language.guard import watched_rows
from expunge.kinds.language.inputs import Sets
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe, Training
from expunge.kinds.language.signals.divided import offered
from expunge.kinds.language.signals.registry import signals_of
from expunge.kinds.language.signals.signal import Labels, Signal, Source
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.training import plan_steps
from expunge.runs.context import Run
from expunge.runs.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedSets:
    """The training sets of a method, with labels and signals."""

    forget: TokenTable
    retain: TokenTable | None
    groups: dict[str, list[str]]
    "attribute columns of the forget set: name -> a group for each block"
    notes: dict[str, Any]
    "further notes on the unlearned model, by name"


def trained_sets(run: Run[Recipe], base: LazyModel, method: Method, sets: Sets) -> TrainedSets:
    """The sets as the method trains on them; the first process has them made by all processes, and the others read
    them.

    Only as many statements are used as the recipe's steps go through once; signals are computed
    for no others. They are the first ones, as statements are in random order, unless a signal ranks them.

    Raises:
        RecipeError: a signal of the method does not exist, or is not available for this data.
    """
    core = method.carried_out
    every = signals_of(core)
    whole = training_table(sets, core)
    source = Source(run=run, base=base, sets=sets, method=core, table=whole, rows=range(len(whole)))

    def make() -> TrainedSets:
        return _made(source, every)

    for signal in every:
        signal.together(source)
    with offered(source, every):
        found = first_alone(make, make)
    assert found is not None
    return found


def _made(source: Source, every: Sequence[Signal]) -> TrainedSets:
    run, sets, core, whole = source.run, source.sets, source.method, source.table
    wanted = {name: [signal for signal in every if signal.set == name] for name in ("forget", "retain")}
    rows = _chosen(source, wanted["forget"])
    retain = sets.kept
    if wanted["retain"]:
        kept = replace(source, table=sets.kept, rows=range(len(sets.kept)))
        able = list(kept.rows)
        for signal in wanted["retain"]:
            able = signal.choose(kept, able, None)
        drawn = drawn_rows(core, run.recipe.training, whole.take(rows), sets.kept.take(able), run.recipe.seed)
        named = _labelled(replace(kept, rows=[able[row] for row in drawn]), wanted["retain"]).table.take(able)
        retain = _known(replace(kept, table=named, rows=drawn), wanted["retain"])
    labelled = _labelled(source, wanted["forget"]).table.take(rows)
    forget = _known(replace(source, table=labelled, rows=range(len(rows))), wanted["forget"])
    groups = {column: [values[row] for row in rows] for column, values in sets.groups.items()}
    return TrainedSets(forget=forget, retain=retain, groups=groups, notes=source.notes)


def training_table(sets: Sets, method: Method) -> TokenTable:
    """The forget set for training: for a topic with its further forms, unless its labels are made for the answers."""
    if sets.forms is None or any(isinstance(each, Labels) and each.set == "forget" for each in signals_of(method)):
        return sets.material.forget
    return sets.forms[1]


def drawn_rows(method: Method, training: Training, forget: TokenTable, retain: TokenTable, seed: int) -> list[int]:
    """The rows of `retain` that training draws or watches, ascending: most of a large retain set is never used."""
    size = training.per_device_train_batch_size
    main = forget if method.needs.forget else retain
    steps = plan_steps(training, Order(main.lengths, size, seed, "plan").batches_per_epoch, count())
    batches = steps * training.gradient_accumulation_steps * count()
    order = Order(retain.lengths, size, seed, "retain")
    if batches >= order.batches_per_epoch:
        return list(range(len(retain)))
    drawn = {row for number in range(batches) for row in order.batch(number)}
    return sorted(drawn | set(watched_rows(retain.lengths, seed)))


def _chosen(source: Source, signals: Sequence[Signal]) -> list[int]:
    """Numbers of the blocks of the forget set that are trained on."""
    training = source.run.recipe.training
    rows = list(range(len(source.table)))
    for signal in signals:
        rows = signal.choose(source, rows, None)
    if source.run.recipe.forget_kind != "toxicity" or training.max_steps is None:
        return rows
    limit = training.max_steps * training.per_device_train_batch_size * training.gradient_accumulation_steps * count()
    for signal in signals:
        rows = signal.choose(source, rows, limit)
    return rows[:limit]


def _labelled(source: Source, signals: Sequence[Signal]) -> Source:
    """The source with the labels that a signal gives its set."""
    for signal in signals:
        if isinstance(signal, Labels):
            return replace(source, table=signal.labelled(source))
    return source


def _known(source: Source, signals: Sequence[Signal]) -> TokenTable:
    """The source's table with all signals but labels."""
    table = source.table
    for signal in signals:
        if not isinstance(signal, Labels):
            table = table.with_signal(signal.name, signal.made(source))
    return table
