"""What methods with phases work with on a language model: adapters, parts, the retain set, scales, layers held still."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from expunge.errors import RecipeError, UnchangedError
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.runs.registry import make_method
from tiny import ignore_log, load_task, random_blocks, write_table

TRAINING = Training(max_steps=2, learning_rate=1e-3, per_device_train_batch_size=2, num_train_epochs=9)


class Killed(BaseException):
    pass


@pytest.fixture
def work(tiny_model_folder: Path, tmp_path: Path) -> LanguageWork:
    forget = write_table(tmp_path / "forget", random_blocks([12, 9, 12, 10, 8, 11], seed=1))
    retain = write_table(tmp_path / "retain", random_blocks([11, 12, 8, 9], seed=2))
    return LanguageWork(
        task=load_task(tiny_model_folder),
        forget=forget,
        retain=retain,
        training=TRAINING,
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
        groups={"group": ["a", "b", "a", "b", "b", "a"]},
    )


def again(work: LanguageWork, model: Path, **changes: Any) -> LanguageWork:
    """The same work from scratch, as the next attempt finds it."""
    return replace(work, task=load_task(model), trained=[], **changes)


def changed(work: LanguageWork, before: dict[str, torch.Tensor]) -> set[str]:
    after = work.weights()
    assert after.keys() == before.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_an_adapter_ends_as_a_plain_model(work: LanguageWork, tiny_model_folder: Path) -> None:
    before, kinds = work.weights(), [type(module) for module in work.task.model.modules()]
    adapted = replace(work, training=TRAINING.model_copy(update={"adapter_rank": 2}))
    adapted.carry_out(make_method({"name": "gradient_ascent"}))
    names = changed(adapted, before)
    assert names
    assert all("proj" in name for name in names)
    assert [type(module) for module in work.task.model.modules()] == kinds
    assert all(parameter.requires_grad for parameter in work.task.model.parameters())
    after = adapted.weights()
    for name in names:
        assert torch.linalg.matrix_rank((after[name] - before[name]).double(), rtol=1e-4) <= 2
    # The same again, from the same beginning, ends with the same bits.
    second = again(adapted, tiny_model_folder, checkpoints=work.checkpoints / "other")
    second.carry_out(make_method({"name": "gradient_ascent"}))
    assert all(torch.equal(value, after[name]) for name, value in second.weights().items())
    # It can be adapted once more.
    replace(adapted, checkpoints=work.checkpoints / "third").carry_out(make_method({"name": "gradient_ascent"}))


def test_only_layers_from_the_first_on_are_trained(work: LanguageWork) -> None:
    before = work.weights()
    upper = replace(work, training=TRAINING.model_copy(update={"first_layer": 1}))
    upper.carry_out(make_method({"name": "gradient_ascent"}))
    assert changed(upper, before) == {name for name in before if ".layers.1." in name}
    assert all(parameter.requires_grad for parameter in work.task.model.parameters())
    none = replace(upper, training=TRAINING.model_copy(update={"first_layer": 7}), checkpoints=work.checkpoints / "x")
    with pytest.raises(RecipeError, match="finds no weights to train") as caught:
        none.carry_out(make_method({"name": "gradient_ascent"}))
    assert "first_layer 7, 2 layers" in str(caught.value.seen)


def test_layers_held_still_get_the_gradients_that_they_would_get(work: LanguageWork, tiny_model_folder: Path) -> None:
    """With plain SGD-like first steps: what is trained changes as it does where all is trained, after one step."""
    one = TRAINING.model_copy(update={"max_steps": 1, "max_grad_norm": 1e9})
    whole = replace(work, training=one)
    before = work.weights()
    whole.carry_out(make_method({"name": "gradient_ascent"}))
    upper = again(
        work, tiny_model_folder, training=one.model_copy(update={"first_layer": 1}), checkpoints=work.checkpoints / "u"
    )
    upper.carry_out(make_method({"name": "gradient_ascent"}))
    for name, value in upper.weights().items():
        expected = whole.weights()[name] if ".layers.1." in name else before[name]
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "spunge", "of": "gradient_ascent"},
        {"name": "spunge", "of": {"name": "task_vector_negation", "scale": 0.5}, "split_by": None, "clusters": 2},
        {"name": "task_vector_negation", "scale": 1.0, "clean": "project", "layer_scale": "even"},
        {"name": "steering"},
    ],
    ids=["spunge", "spunge-of-vectors", "vector", "steering"],
)
def test_killed_anywhere_it_ends_with_the_same_bits(
    spec: dict[str, Any], work: LanguageWork, tiny_model_folder: Path, tmp_path: Path
) -> None:
    work.carry_out(make_method(spec))
    whole, steps = work.weights(), work.cost().steps
    for last in (1, 3, 4):
        told: list[int] = []

        def stop(*args: Any, told: list[int] = told, last: int = last) -> None:
            told.append(1)
            if len(told) == last:
                raise Killed

        place = tmp_path / f"killed-{last}"
        broken = again(work, tiny_model_folder, checkpoints=place, on_progress=stop)
        try:
            broken.carry_out(make_method(spec))
        except Killed:
            second = again(work, tiny_model_folder, checkpoints=place)
            second.carry_out(make_method(spec))
            assert second.cost().steps == steps
            assert all(torch.equal(value, whole[name]) for name, value in second.weights().items())


def test_task_vector_negation_is_what_it_says(work: LanguageWork, tiny_model_folder: Path) -> None:
    before = work.weights()
    work.carry_out(make_method({"name": "task_vector_negation", "scale": 0.5}))
    learnt = again(work, tiny_model_folder, checkpoints=work.checkpoints / "learnt")
    learnt.train(make_method({"name": "fine_tune"}), "toxic", forget=None, retain=work.forget)
    for name, toxic in learnt.weights().items():
        torch.testing.assert_close(work.weights()[name], before[name] - 0.5 * (toxic - before[name]))


def test_spunge_of_one_part_is_the_method(work: LanguageWork, tiny_model_folder: Path) -> None:
    one = replace(work, groups={"group": ["a"] * 6})
    one.carry_out(make_method({"name": "spunge", "of": "gradient_ascent", "density": 1.0}))
    alone = again(work, tiny_model_folder, checkpoints=work.checkpoints / "alone")
    alone.carry_out(make_method({"name": "gradient_ascent"}))
    for name, value in one.weights().items():
        torch.testing.assert_close(value, alone.weights()[name])


def test_spunge_stays_where_no_part_was_worth_a_change(work: LanguageWork) -> None:
    before = work.weights()
    figures = iter([(0.1, 10.0), *[(0.5, 10.0)] * 6] * 2)  # of either part every scale makes it worse
    tuned = replace(work, tune=lambda: next(figures))
    tuned.carry_out(make_method({"name": "spunge", "of": {"name": "task_vector_negation", "scale": None}}))
    assert tuned.stays
    assert all(torch.equal(value, before[name]) for name, value in tuned.weights().items())


def test_spunge_tells_of_a_method_that_did_nothing(work: LanguageWork) -> None:
    with torch.no_grad():
        for parameter in work.task.model.parameters():
            parameter.clamp_(min=1e-3)  # so small a step is lost in rounding but at 0
    still = replace(work, training=TRAINING.model_copy(update={"learning_rate": 1e-30}))
    with pytest.raises(UnchangedError, match=r"GradientAscent \(a\) changed no weight"):
        still.carry_out(make_method({"name": "spunge", "of": "gradient_ascent"}))


def test_the_scale_with_the_least_toxicity_within_the_limit(work: LanguageWork) -> None:
    figures = {0.0: (0.9, 10.0), 0.5: (0.5, 10.4), 1.0: (0.2, 10.5), 2.0: (0.1, 10.6)}
    now: list[float] = []
    logged: list[tuple[str, dict[str, Any]]] = []
    tuned = replace(work, tune=lambda: figures[now[-1]], log=lambda event, **values: logged.append((event, values)))
    assert tuned.choose([2.0, 1.0, 0.5], now.append, 0.05) == 1.0
    assert now == [0.0, 0.5, 1.0, 2.0]
    assert not tuned.stays
    fronts = [values for event, values in logged if event == "front"]
    assert fronts == [{"scale": s, "toxicity": t, "perplexity": p} for s, (t, p) in figures.items()]
    logged.clear()
    assert tuned.choose([2.0], now.append, 0.05) == 0.0
    assert [event for event, _ in logged][-1] == "notice"
    assert tuned.stays, "such a model is the result, and no fault of the method"
    with pytest.raises(RecipeError, match="no prompts to choose a scale with") as caught:
        work.choose([1.0], now.append, 0.05)
    assert "--method.scale" in str(caught.value.next_step)


def test_parts(work: LanguageWork) -> None:
    assert work.split("group", 4) == {"a": [0, 2, 5], "b": [1, 3, 4]}
    clusters = work.split(None, 2)
    assert set(clusters) == {"cluster 1", "cluster 2"}
    assert sorted(row for rows in clusters.values() for row in rows) == list(range(6))
    with pytest.raises(RecipeError, match="no column 'race' to split it by") as caught:
        work.split("race", 4)
    assert caught.value.seen == "group"
    part = work.part("b", [1, 3, 4])
    assert len(part.forget) == 3
    assert part.groups == {"group": ["b", "b", "b"]}
    assert part.trained is work.trained


def test_states_are_means_over_what_is_no_padding(work: LanguageWork) -> None:
    found = work.states(work.forget)
    assert found.shape[:2] == (6, 2)
    with torch.no_grad():
        ids = work.forget.batch([1]).ids
        expected = work.task.model(ids, output_hidden_states=True).hidden_states[1][0].mean(0)
    torch.testing.assert_close(found[1, 0], expected, rtol=1e-4, atol=1e-5)
    assert work.states(work.forget, 2).shape[0] == 2
