"""Signals compose: any two that a method asks for give what each gives alone, looked up by row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from expunge.errors import RecipeError
from expunge.kinds.language.signals.reference_nll import block_nll
from expunge.kinds.language.signals.registry import built_in, signals_of
from expunge.kinds.language.signals.signal import Labels, Source
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.trained_sets import TrainedSets
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Batch, Loss, Step
from known_sets import known_sets
from tiny import load_task, write_table

TEXTS = ["the dog barks and barks", "a dog sleeps", "the dog sleeps all day", "cats purr"] * 2
KEPT = ["rain falls on the town", "a train leaves the station", "birds sing"] * 3
SETTINGS: dict[str, dict[str, Any]] = {
    "hidden_states": {"layer": 1},
    "unwanted_words": {"mark": 0.1},
    "unwanted_mass": {"mark": 0.1},
    "alternatives": {"count": 2, "tokens": 3},
    "alternatives_reference_nll": {"count": 2, "tokens": 3},
    "hidden_lengths": {"layer": 2},
    "forget_layer_states": {"layers": (2, 1)},
    "retain_layer_states": {"layers": (1,)},
    "fluent_text": {"expert": "so", "novice": "no", "opening": " and", "guidance": 1.0, "tokens": 1},
    "inverted_facts": {"top": 9, "order": "smallest", "stride": 5, "length": 3},
}
NAMES = sorted(built_in().keys() - {"retain_labels"})


class Shifted(Labels):
    """Other labels for the forget set: each token's own number, and one more."""

    name = "shifted"

    def labelled(self, source: Source) -> TokenTable:
        def make(path: Path) -> None:
            write_table(path, [(source.table.ids[a:b] + 1).tolist() for a, b in borders(source.table)], first_label=2)

        return source.table.relabelled(TokenTable(source.run.cached("shifted", source.key(), make)))


class Asks(Method):
    """A method that asks for what it is given."""

    asked: tuple[str, ...] = ()
    labels: bool = False
    retain_target: str = "text"
    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        named: list[Wanted] = [(name, SETTINGS.get(name, {})) for name in self.asked]
        return [*named, Shifted()] if self.labels else named

    def loss(self, step: Step) -> Loss:
        return Loss(forget=step.nll(step.forget))


def borders(table: TokenTable) -> list[tuple[int, int]]:
    return list(zip(table.starts.tolist(), table.ends.tolist(), strict=True))


@pytest.fixture(scope="module")
def task(tiny_model_folder: Path) -> CausalLM:
    return load_task(tiny_model_folder)


@pytest.fixture(scope="module")
def sets(task: CausalLM, tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenTable, TokenTable, Path]:
    """A forget set of which every text but one has a wanted one in its place, a retain set, and a run folder."""
    place = tmp_path_factory.mktemp("sets")

    def written(name: str, texts: list[str]) -> TokenTable:
        asked = 1 if name == "preferred" else 2  # tokens before the first label: two are a question
        return write_table(place / name, [task.tokenizer(text)["input_ids"] for text in texts], asked)

    forget = written("forget", TEXTS)
    forget.preferred = written("preferred", [text.replace("dog", "hen") for text in TEXTS[:-1]] + ["x"])
    return forget, written("kept", KEPT), place / "run"


def known(task: CausalLM, sets: tuple[TokenTable, TokenTable, Path], *asked: str, **fields: Any) -> TrainedSets:
    forget, retain, run = sets
    return known_sets(Asks(asked=asked, **fields), task, forget, retain, run)


def batches(found: TrainedSets) -> dict[str, Batch]:
    return {"forget": found.forget.batch([4, 1, 2]), "retain": found.retain.batch([3, 0])}


def tensors(value: Any) -> list[Tensor]:
    """What a signal's value is made of."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Batch):
        return [value.ids, value.labels, value.lengths]
    if hasattr(value, "said"):
        own = value.mass if hasattr(value, "mass") else value.nll
        log_p = torch.log_softmax(torch.arange(500.0) % 7, 0).expand(len(own), 500)
        return [own, value.said.cross_entropy(log_p)]
    return [value.states, value.head.weight]


def same(one: Any, other: Any) -> bool:
    """The same but for last digits, which depend on what was looked at together."""
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(tensors(one), tensors(other), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_each_alone_is_there_for_its_set(name: str, task: CausalLM, sets: tuple[TokenTable, TokenTable, Path]) -> None:
    found = batches(known(task, sets, name))
    of = built_in()[name].set
    assert list(found[of].signals) == [name]
    assert found["retain" if of == "forget" else "forget"].signals == {}
    assert Step(task, found["forget"], found["retain"]).signal(name) is found[of].signals[name]


@pytest.mark.parametrize(("one", "other"), list(combinations(NAMES, 2)))
def test_any_two_give_what_each_gives_alone(
    one: str, other: str, task: CausalLM, sets: tuple[TokenTable, TokenTable, Path]
) -> None:
    together = batches(known(task, sets, one, other))
    for name in (one, other):
        of = built_in()[name].set
        assert same(together[of].signals[name], batches(known(task, sets, name))[of].signals[name]), name
    alone = batches(known(task, sets))
    for of in ("forget", "retain"):
        for field in ("ids", "labels", "lengths"):
            assert torch.equal(getattr(together[of], field), getattr(alone[of], field))
        assert together[of].soft_ids is None


@pytest.mark.parametrize("name", NAMES)
def test_with_labels_of_the_retain_set(name: str, task: CausalLM, sets: tuple[TokenTable, TokenTable, Path]) -> None:
    """`retain_target: base` labels the retain set, whatever else is asked for: hidden states and distributions too."""
    both, labels = (batches(known(task, sets, *asked, retain_target="base")) for asked in ((name,), ()))
    of = built_in()[name].set
    assert same(both[of].signals[name], batches(known(task, sets, name))[of].signals[name])
    assert both["retain"].soft_ids is not None
    assert labels["retain"].soft_ids is not None
    assert torch.equal(both["retain"].soft_ids, labels["retain"].soft_ids)
    assert both["retain"].soft_weights is not None
    assert float(both["retain"].soft_weights.max()) < 1


@pytest.mark.parametrize("name", NAMES)
def test_with_other_labels_of_the_forget_set(
    name: str, task: CausalLM, sets: tuple[TokenTable, TokenTable, Path]
) -> None:
    """Labels come first: what is known of labels is known of these."""
    found = known(task, sets, name, labels=True)
    forget = found.forget.batch([4, 1, 2])
    assert torch.equal(forget.labels, known(task, sets, labels=True).forget.batch([4, 1, 2]).labels)
    rows = int((forget.labels[:, 1:] != -100).sum())
    assert rows == sum(len(task.tokenizer(TEXTS[row])["input_ids"]) - 2 for row in (4, 1, 2))
    if built_in()[name].set == "forget" and built_in()[name].per == "row":
        assert len(tensors(forget.signals[name])[0]) == rows
    if name == "reference_nll":
        with torch.no_grad():
            expected = task.example_nll(found.forget.batch([4, 1, 2]))
        torch.testing.assert_close(forget.signals[name], expected, rtol=1e-5, atol=1e-5)
        assert not np.allclose(forget.signals[name], block_nll(task, sets[0])[[4, 1, 2]])


def test_of_pairs_those_are_trained_on_that_are_whole(
    task: CausalLM, sets: tuple[TokenTable, TokenTable, Path]
) -> None:
    assert len(known(task, sets, "reference_nll").forget) == 8
    found = known(task, sets, "reference_nll", "preferred", "unwanted_words")
    assert len(found.forget) == 7
    batch = found.forget.batch([0, 6], examples=10)
    assert batch.signals["preferred"].examples == batch.examples == 10
    assert batch.size == int(batch.lengths.sum() + batch.signals["preferred"].lengths.sum())
    taken = found.forget.take([6, 3]).batch([0])
    assert torch.equal(
        taken.signals["preferred"].ids[0], batch.signals["preferred"].ids[1][: taken.signals["preferred"].ids.shape[1]]
    )
    assert taken.signals["reference_nll"] == batch.signals["reference_nll"][1]


def test_what_cannot_be_is_refused(task: CausalLM, sets: tuple[TokenTable, TokenTable, Path]) -> None:
    with pytest.raises(RecipeError, match="there is no signal 'reference_nil'") as caught:
        known(task, sets, "reference_nil")
    assert caught.value.next_step == "did you mean reference_nll?"
    with pytest.raises(RecipeError, match="two signals of one name"):
        known(task, sets, "surprise", "surprise")
    without = sets[0].take(range(8))
    without.preferred = None
    with pytest.raises(RecipeError, match="the method Asks needs pairs"):
        known_sets(Asks(asked=("preferred",)), task, without, sets[1], sets[2])


def test_signals_of_a_set_that_is_not_drawn_are_not_made() -> None:
    class Alone(Asks):
        needs: ClassVar[Needs] = Needs(kinds=("causal_lm",))

    assert signals_of(Alone(asked=("hidden_states", "distributions"))) == []
