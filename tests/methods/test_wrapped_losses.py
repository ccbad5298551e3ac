"""GRU, the entropy term, LAT, TAR and SURE around other losses: against their formulas in float64, and at their limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

import expunge
from expunge.errors import RecipeError
from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.entropy_term import EntropyTerm
from expunge.methods.gru import GRU
from expunge.methods.lat import LAT
from expunge.methods.sure import SURE, row_lengths, threshold
from expunge.methods.tar import TAR
from expunge.runs.method import Method
from expunge.runs.registry import make_method
from expunge.train.step import IGNORED, Batch, Step
from known_sets import known_sets
from small_language import (
    FORGET,
    RETAIN,
    check_by_finite_differences,
    gradient,
    loss_of,
    made,
    nll,
    row_log_p,
    small_gpt2,
)
from tiny import ignore_log, load_task, make_batch, random_blocks, write_table

FOUR = make_batch(random_blocks([9, 6, 7, 8], seed=1))
KEPT = make_batch(random_blocks([5, 8, 7, 6], seed=2), first_label=2)
DIFFERENCE = {"name": "gradient_difference", "forget_weight": 0.7, "retain_weight": 0.3}
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def task() -> CausalLM:
    return small_gpt2()


def losses(task: CausalLM, weights: Weights, batch: Batch) -> tuple[Tensor, Tensor]:
    """(mean -log p of the labels, mean entropy), a block at a time, differentiable."""
    costs, entropies = [], []
    for row, length in enumerate(batch.lengths.tolist()):
        log_p = functional_call(task.model, weights, (batch.ids[row : row + 1, :length],)).logits[0].log_softmax(-1)
        for t in range(1, length):
            if batch.labels[row, t] != IGNORED:
                costs.append(-log_p[t - 1, batch.labels[row, t]])
                entropies.append(-(log_p[t - 1].exp() * log_p[t - 1]).sum())
    return torch.stack(costs).mean(), torch.stack(entropies).mean()


def at(task: CausalLM, of: Callable[[Weights], Tensor], weights: Weights | None = None) -> Weights:
    """The gradient of a scalar of the weights, where they are or elsewhere."""
    start = dict(task.model.named_parameters()) if weights is None else weights
    leaves = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
    found = torch.autograd.grad(of(leaves), list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def check(found: Weights, expected: Weights, rtol: float = 1e-8) -> None:
    size = max(float(each.abs().max()) for each in expected.values())
    assert size > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=1e-10 * size)


def flat(gradients: Weights) -> np.ndarray:
    return np.concatenate([gradients[name].numpy().ravel() for name in sorted(gradients)])


@pytest.mark.parametrize("size", [4, 2, 1])
@pytest.mark.parametrize(("floor", "more"), [(-1.0, 0.0), (-1.0, 0.5), (-0.02, 0.0)])
def test_gru(task: CausalLM, size: int, floor: float, more: float) -> None:
    inner = DIFFERENCE | {"retain_weight": 0.01}
    unlearning = at(task, lambda w: -0.7 * losses(task, w, FOUR)[0] + 0.01 * losses(task, w, KEPT)[0])
    keeping = at(task, lambda w: losses(task, w, KEPT)[0])
    u, r = flat(unlearning), flat(keeping)
    cosine = u @ r / np.sqrt((u @ u) * (r @ r))
    assert cosine < -0.03
    expected = u - max(cosine, floor) * np.sqrt((u @ u) / (r @ r)) * r + more * r
    found, _, sizes = made(task, GRU(of=inner, floor=floor, retain_weight=more), FOUR, KEPT, size)
    np.testing.assert_allclose(flat(found), expected, rtol=1e-8, atol=1e-12 * np.abs(expected).max())
    if floor == -1 and more == 0:
        assert flat(found) @ r == pytest.approx(0, abs=1e-10 * np.sqrt((u @ u) * (r @ r)))
    assert sizes == (int(FOUR.lengths.sum()), 2 * int(KEPT.lengths.sum()))


def test_gru_leaves_alone_what_harms_nothing(task: CausalLM) -> None:
    agrees = {"name": "gradient_difference", "forget_weight": 0.01, "retain_weight": 2.0}
    plain = gradient(task, lambda: make_method(agrees).loss(Step(task, FOUR, KEPT)).total)
    check(made(task, GRU(of=agrees), FOUR, KEPT, 4)[0], plain)
    alone = at(task, lambda w: -losses(task, w, FOUR)[0])
    found, figures, sizes = made(task, GRU(of="gradient_ascent"), FOUR, KEPT, 2)
    u, r = flat(alone), flat(at(task, lambda w: losses(task, w, KEPT)[0]))
    np.testing.assert_allclose(flat(found), u - min(0, u @ r) / (r @ r) * r, rtol=1e-8, atol=1e-12)
    assert sizes == (int(FOUR.lengths.sum()), int(KEPT.lengths.sum()))
    assert {name for part in figures for name in part} >= {"forget_loss", "retain_loss", "retain_truth"}


@pytest.mark.parametrize(("forget", "retain"), [(1.0, -0.25), (0.4, 0.0), (0.0, 2.0)])
def test_the_entropy_term(task: CausalLM, forget: float, retain: float) -> None:
    def entropies(batch: Batch) -> float:
        log_p = row_log_p(task, batch)
        return float(-(np.exp(log_p) * log_p).sum(1).mean())

    method = EntropyTerm(of=DIFFERENCE, forget_entropy=forget, retain_entropy=retain)
    expected = -0.7 * nll(task, FORGET).mean() + 0.3 * nll(task, RETAIN).mean()
    expected += forget * entropies(FORGET) + retain * entropies(RETAIN)
    assert loss_of(task, method) == pytest.approx(expected, rel=1e-8)
    ascent = EntropyTerm(of="gradient_ascent", forget_entropy=forget, retain_entropy=retain)
    assert ascent.draws_retain == (retain != 0)
    names = ("transformer.wte.weight", "transformer.h.1.attn.c_attn.weight")
    check_by_finite_differences(task, lambda: method.loss(Step(task, FORGET, RETAIN)).total, names)


def adam(gradients: list[Weights], rate: float) -> Weights:
    """Where Adam is after steps with these gradients, from 0."""
    place = {name: torch.zeros_like(value) for name, value in gradients[0].items()}
    for name in place:
        m = v = torch.zeros_like(place[name])
        for t, each in enumerate(gradients, 1):
            m, v = 0.9 * m + 0.1 * each[name], 0.999 * v + 0.001 * each[name] ** 2
            place[name] = place[name] - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return place


@pytest.mark.parametrize("size", [4, 2])
@pytest.mark.parametrize(("tamper", "every"), [("entropy", 1), ("method", 1), ("entropy", 3)])
def test_tar(task: CausalLM, size: int, tamper: Any, every: int) -> None:
    rate, weight, steps = 1e-2, 4.0, 3
    method = TAR(of=DIFFERENCE, inner_steps=steps, inner_learning_rate=rate, tamper=tamper, every=every)
    theta = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    expected = at(task, lambda w: 0.3 * losses(task, w, KEPT)[0])
    seen: list[Weights] = []
    here = theta
    for number in range(1, steps + 1):
        seen.append(at(task, lambda w: losses(task, w, FOUR)[0], here))
        here = {name: theta[name] + by for name, by in adam(seen, rate).items()}
        if number % every == 0:
            tampered = at(
                task,
                lambda w: -losses(task, w, FOUR)[1] if tamper == "entropy" else -0.7 * losses(task, w, FOUR)[0],
                here,
            )
            expected = {name: expected[name] + weight / steps * tampered[name] for name in expected}
    found, figures, _ = made(task, method, FOUR, KEPT, size)
    check(found, expected, rtol=1e-6)
    assert all(torch.equal(p, theta[name]) for name, p in task.model.named_parameters())
    logged = {name: sum(float(part.get(name, 0)) for part in figures) for name in ("forget_loss", "retain_loss")}
    assert logged["forget_loss"] == pytest.approx(float(losses(task, theta, FOUR)[0]), rel=1e-9)
    assert logged["retain_loss"] == pytest.approx(0.3 * float(losses(task, theta, KEPT)[0]), rel=1e-9)


def test_tar_takes_the_forget_loss_at_least_once() -> None:
    with pytest.raises(RecipeError, match="never take the forget loss") as caught:
        TAR(every=5)
    assert "at most 4" in str(caught.value)
    assert TAR(every=4).every == 4


def test_an_adversary_that_hardly_moves_leaves_the_methods_gradient(task: CausalLM) -> None:
    method = TAR(of=DIFFERENCE, inner_steps=1, inner_learning_rate=1e-13, tamper="method", tamper_weight=1.0)
    plain = gradient(task, lambda: make_method(DIFFERENCE).loss(Step(task, FOUR, KEPT)).total)
    check(made(task, method, FOUR, KEPT, 4)[0], plain)


@pytest.mark.parametrize("size", [4, 1])
@pytest.mark.parametrize("percentile", [0.0, 60.0, 95.0])
def test_sure(task: CausalLM, size: int, percentile: float) -> None:
    forget = at(task, lambda w: -0.7 * losses(task, w, FOUR)[0])
    retain = at(task, lambda w: 0.3 * losses(task, w, KEPT)[0])
    rows = {name: np.sqrt((g.numpy().reshape(len(g), -1) ** 2).sum(1)) for name, g in forget.items()}
    gamma = np.percentile(np.concatenate(list(rows.values())), percentile)
    expected, left = {}, 0
    for name, lengths in rows.items():
        mask = (lengths >= gamma).astype(float).reshape(-1, *[1] * (forget[name].dim() - 1))
        expected[name] = torch.from_numpy(mask) * (forget[name] + retain[name])
        left += int((mask == 0).sum())
    found, _, sizes = made(task, SURE(of=DIFFERENCE, percentile=percentile), FOUR, KEPT, size)
    check(found, expected)
    assert left == pytest.approx(percentile / 100 * sum(map(len, rows.values())), abs=1)
    both = int(FOUR.lengths.sum()), int(KEPT.lengths.sum())
    assert sizes == (2 * both[0], both[1])


def test_a_threshold_is_numpys_percentile() -> None:
    values = torch.randn(37, generator=torch.Generator().manual_seed(0)).abs()
    for percent in (0.0, 12.3, 50.0, 99.9):
        assert threshold(values, percent) == pytest.approx(np.percentile(values.double().numpy(), percent), rel=1e-12)
    assert row_lengths(torch.tensor(-2.0)).tolist() == [2.0]
    assert row_lengths(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist() == [5.0, 1.0]


def perturbed(task: CausalLM, batch: Batch, layers: list[int], deltas: list[Tensor]) -> Tensor:
    """The mean -log p of the labels with these added after the layers, a padded batch at once."""
    hooks = [
        task.model.transformer.h[layer - 1].register_forward_hook(lambda _m, _i, out, d=delta: out + d)
        for layer, delta in zip(layers, deltas, strict=True)
    ]
    with hooked(hooks):
        log_p = task.model(batch.ids).logits.log_softmax(-1)
    there = batch.labels[:, 1:] != IGNORED
    labels = batch.labels[:, 1:].masked_fill(~there, 0)
    return -log_p[:, :-1].gather(2, labels[..., None])[..., 0][there].mean()


@pytest.mark.parametrize("adversary", ["text", "loss"])
@pytest.mark.parametrize("inner", [DIFFERENCE, {"name": "neggrad_plus", "alpha": 0.3}], ids=str)
def test_lat(task: CausalLM, adversary: Any, inner: dict[str, Any]) -> None:
    """AdamW on delta written out, each token's vector brought back into the ball; then the gradient of both terms."""
    radius, rate, steps, layers = 0.05, 0.02, 4, [1, 3]
    method = LAT(of=inner, layers=(0.3, 1.0), epsilon=radius, iterations=steps, inner_learning_rate=rate)
    method = method.model_copy(update={"adversary": adversary})
    weight = -0.7  # of the forget term in both
    deltas = [torch.zeros(*FOUR.ids.shape, 16, dtype=torch.float64) for _ in layers]
    m, v = [[torch.zeros_like(each) for each in deltas] for _ in range(2)]
    for t in range(1, steps + 1):
        leaves = [each.clone().requires_grad_() for each in deltas]
        cost = perturbed(task, FOUR, layers, leaves)
        grads = torch.autograd.grad(cost if adversary == "text" else -weight * cost, leaves)
        for i, g in enumerate(grads):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g**2
            moved = deltas[i] * (1 - rate * 0.01)
            moved = moved - rate * (m[i] / (1 - 0.9**t)) / ((v[i] / (1 - 0.999**t)).sqrt() + 1e-8)
            deltas[i] = moved / (moved.norm(dim=-1, keepdim=True) / radius).clamp(min=1)
    assert float(perturbed(task, FOUR, layers, deltas)) < float(perturbed(task, FOUR, layers, [d * 0 for d in deltas]))
    expected = gradient(task, lambda: weight * perturbed(task, FOUR, layers, deltas))
    kept = at(task, lambda w: 0.3 * losses(task, w, KEPT)[0])
    expected = {name: expected[name] + kept[name] for name in expected}
    found, figures, _ = made(task, method, FOUR, KEPT, 4)
    check(found, expected, rtol=1e-6)
    logged = {name: sum(float(part.get(name, 0)) for part in figures) for name in ("forget_loss", "retain_loss")}
    assert logged["forget_loss"] == pytest.approx(weight * float(perturbed(task, FOUR, layers, deltas)), rel=1e-6)
    assert not any(layer._forward_hooks for layer in task.layers)


@pytest.mark.parametrize("size", [4, 2])
def test_lat_without_steps_is_the_method(task: CausalLM, size: int) -> None:
    plain = gradient(task, lambda: make_method(DIFFERENCE).loss(Step(task, FOUR, KEPT)).total)
    check(made(task, LAT(of=DIFFERENCE, iterations=0), FOUR, KEPT, size)[0], plain)


def test_lat_reaches_what_reads_hidden_states_alone(task: CausalLM) -> None:
    inner = {"name": "rmu", "layer": 2, "trained_layers": 2, "retain_weight": 0.0}
    alone = made(task, LAT(of=inner, layers=(0.3, 1.0), iterations=0), FOUR, None, 4)[0]
    found = made(task, LAT(of=inner, layers=(0.3, 1.0), iterations=2, adversary="loss"), FOUR, None, 4)[0]
    name = "transformer.h.1.mlp.c_proj.weight"
    assert float((found[name] - alone[name]).abs().max()) > 1e-4 * float(alone[name].abs().max())


WRAPPERS = {
    "entropy_term": {},
    "gru": {},
    "lat": {"iterations": 2},
    "sure": {"percentile": 50.0},
    "tar": {"inner_steps": 2},
}
every_wrapper = pytest.mark.parametrize("name", WRAPPERS)


def trained(method: Method, model: Path, folder: Path, on_progress: Any = None, **training: Any) -> Weights:
    task = load_task(model)
    folder.mkdir(exist_ok=True, parents=True)
    lengths = [4, 30, 9, 21, 6, 17]
    forget = write_table(folder / "forget", random_blocks(lengths, seed=1))
    retain = write_table(folder / "retain", random_blocks(lengths[::-1], seed=2))
    known = known_sets(method, task, forget, retain, folder / "run")
    options = {"max_steps": 3, "num_train_epochs": 9, "learning_rate": 1e-3, "max_retain_increase": 50.0}
    work = LanguageWork(
        task=task,
        forget=known.forget,
        retain=known.retain,
        training=Training(**options | {"per_device_train_batch_size": 2} | training),
        seed=3,
        checkpoints=folder / "checkpoints",
        log=ignore_log,
        on_progress=on_progress,
    )
    work.carry_out(method)
    return work.weights()


class Killed(BaseException):
    pass


RMU = {"name": "rmu", "layer": 2, "trained_layers": 1}
ADAPTER = {"adapter_rank": 2}


@pytest.mark.parametrize(
    ("name", "of", "options"),
    [
        ("entropy_term", "npo", {}),
        ("gru", "npo", ADAPTER),
        ("gru", RMU, {}),
        ("lat", "npo", ADAPTER | {"gradient_checkpointing": True}),
        ("sure", RMU, ADAPTER),
        ("tar", "npo", {}),
    ],
    ids=str,
)
def test_around_other_methods_it_resumes_with_the_same_bits(
    name: str, of: Any, options: dict[str, Any], tiny_model_folder: Path, tmp_path: Path
) -> None:
    method = make_method({"name": name, "of": of, **WRAPPERS[name]})
    options = {"gradient_accumulation_steps": 2, "probe_steps": 1, "save_seconds": 1e-6} | options
    whole = trained(method, tiny_model_folder, tmp_path / "whole", **options)

    def stop(step: int, *_: Any) -> None:
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        trained(method, tiny_model_folder, tmp_path / "killed", stop, **options)
    again = trained(method, tiny_model_folder, tmp_path / "killed", **options)
    assert all(torch.equal(again[each], whole[each]) for each in whole)
    before = load_task(tiny_model_folder).model
    changed = {each for each in whole if not torch.equal(whole[each], before.get_parameter(each))}
    assert changed
    if of is RMU:
        assert changed == {"model.layers.1.mlp.down_proj.weight"}


def test_layers_that_are_run_again_in_the_backward_pass_are_perturbed_again(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    method = LAT(of="gradient_difference", iterations=2, epsilon=5.0, inner_learning_rate=1.0)
    plain, again = (
        trained(method, tiny_model_folder, tmp_path / str(way), max_steps=1, gradient_checkpointing=way)
        for way in (False, True)
    )
    for name, value in plain.items():
        torch.testing.assert_close(again[name], value, rtol=1e-5, atol=2e-6)


@every_wrapper
@pytest.mark.parametrize("of", ["sage", "npo_sam", "fine_tune", "kookmin", "steering", {"name": "gru"}], ids=str)
def test_what_cannot_be_wrapped(name: str, of: Any) -> None:
    with pytest.raises(RecipeError, match="cannot wrap"):
        make_method({"name": name, "of": of})


BATCHES = {
    **{name: "refusals" for name in ("idk_nll", "idk_dpo", "idk_ap", "flat")},
    **{"altpo": "alternatives", "dpo": "preferred", "meow": "inverted_facts", "elm": "fluent_text"},
}


@pytest.mark.parametrize(("name", "signal"), BATCHES.items())
def test_lat_has_no_perturbation_for_other_text_than_the_forget_sets(name: str, signal: str) -> None:
    with pytest.raises(RecipeError, match=f"lat cannot wrap {name}") as caught:
        LAT(of=name)
    assert signal in str(caught.value)
    assert SURE(of=name).wrapped.signal_names == make_method({"name": name}).signal_names


def test_lat_wraps_what_reads_the_forget_set_alone() -> None:
    assert LAT(of={"name": "elm", "fluency_weight": 0.0}).signal_names == ("distributions",)
    assert LAT(of="undial").signal_names == ("distributions",)


def test_a_loss_around_a_loss_around_a_loss(task: CausalLM) -> None:
    """UNDO carries out GRU, which projects the gradient of a loss with an entropy term."""
    inner = {"name": "entropy_term", "of": DIFFERENCE, "retain_entropy": 0.0}
    method = make_method({"name": "undo", "of": {"name": "gru", "of": inner}})
    assert isinstance(method.carried_out, GRU)
    unlearning = at(
        task,
        lambda w: (lambda f: -0.7 * f[0] + f[1])(losses(task, w, FOUR)) + 0.3 * losses(task, w, KEPT)[0],
    )
    u, r = flat(unlearning), flat(at(task, lambda w: losses(task, w, KEPT)[0]))
    found = flat(made(task, method.carried_out, FOUR, KEPT, 2)[0])
    np.testing.assert_allclose(found, u - min(0, u @ r) / (r @ r) * r, rtol=1e-7, atol=1e-11)


def test_what_is_asked_for_is_what_the_other_method_asks_for() -> None:
    method = SURE(of={"name": "npo", "retain_target": "base"})
    assert method.signal_names == ("reference_nll",)
    assert method.retain_target == "base"
    assert method.carried_out is method
    assert SURE(of={"name": "npo", "retain_weight": 0.0}).draws_retain is False
    assert GRU(of="gradient_ascent").draws_retain is True
    assert LAT(of={"name": "circuit_breakers"}).scheduled is True
    assert TAR(of={"name": "rmu", "layer": 3}).trains("model.layers.1.mlp.down_proj.weight")
    assert not TAR(of={"name": "rmu", "layer": 3}).trains("model.layers.1.mlp.up_proj.weight")


@pytest.mark.parametrize("name", ["gru", "lat"])
def test_a_loop_of_ones_own_is_refused(name: str, tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    with pytest.raises(RecipeError, match="is more than a backward pass"):
        expunge.prepare(
            task.model,
            task.tokenizer,
            forget=["Sherlock Holmes walked along Baker Street in the rain."] * 2,
            retain=["The weather was fine all over the country on that day."] * 2,
            method=name,
        )
