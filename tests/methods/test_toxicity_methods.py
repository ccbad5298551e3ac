"""DPO, targeted NPO and RMU against their formulas in numpy and float64, at their limits, and by finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.kinds.language.signals.reference_tokens import TokensSaid
from expunge.kinds.language.signals.unwanted_mass import UnwantedSaid
from expunge.kinds.language.task import CausalLM
from expunge.methods.rmu import RMU
from expunge.runs.registry import make_method
from expunge.train.step import IGNORED, Batch, SampledLabels, Step
from tiny import make_batch, random_blocks

FORGET = make_batch(random_blocks([9, 6], seed=1))
WANTED = make_batch(random_blocks([4, 8], seed=3))
RETAIN = make_batch(random_blocks([5, 8, 7], seed=2), first_label=2)


@pytest.fixture(scope="module")
def task() -> CausalLM:
    """A small GPT-2, since it computes in float64 throughout (Llama's norms do not)."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=200, n_embd=16, n_layer=3, n_head=2, n_positions=32, initializer_range=0.2)
    return CausalLM(GPT2LMHeadModel(config).double().eval(), None)  # type: ignore[arg-type]


def log_p(task: CausalLM, batch: Batch, row: int) -> np.ndarray:
    """(length, vocabulary) float64 log-probabilities of the next token at each position of a block."""
    with torch.no_grad():
        logits = task.model(batch.ids[row : row + 1, : int(batch.lengths[row])]).logits[0].numpy()
    return np.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))


def labelled(batch: Batch) -> list[tuple[int, int, int]]:
    """(block, position, label) of every label, in order."""
    rows, width = batch.labels.shape
    return [
        (r, t, int(batch.labels[r, t])) for r in range(rows) for t in range(1, width) if batch.labels[r, t] != IGNORED
    ]


def example_nll(task: CausalLM, batch: Batch) -> np.ndarray:
    found = np.zeros(len(batch.ids))
    for row, t, label in labelled(batch):
        found[row] -= log_p(task, batch, row)[t - 1, label]
    return found


def loss_of(task: CausalLM, spec: dict[str, Any], forget: Batch, retain: Batch | None = RETAIN) -> float:
    return make_method(spec).loss(Step(task, forget, retain)).total.item()


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def pairs(task: CausalLM, shift: float = 0.0) -> Batch:
    """Pairs whose reference is the model itself, but for a shift of every unwanted text's likelihood."""
    signals = {
        "reference_nll": torch.from_numpy(example_nll(task, FORGET) + shift),
        "preferred": WANTED,
        "preferred_reference_nll": torch.from_numpy(example_nll(task, WANTED)),
    }
    return replace(FORGET, signals=signals, examples=2.0)


@pytest.mark.parametrize(("beta", "alpha", "shift"), [(0.1, 0.0, 0.7), (2.0, 0.5, -1.3), (0.5, 1.0, 0.0)])
def test_dpo(task: CausalLM, beta: float, alpha: float, shift: float) -> None:
    spec = {"name": "dpo", "beta": beta, "retain_weight": alpha, "retain_target": "text"}
    batch = pairs(task, shift)
    gained = batch.signals["preferred_reference_nll"].numpy() - example_nll(task, WANTED)
    lost = batch.signals["reference_nll"].numpy() - example_nll(task, FORGET)
    expected = -np.log(logistic(beta * (gained - lost))).mean() / beta
    kept = np.array([-log_p(task, RETAIN, r)[t - 1, label] for r, t, label in labelled(RETAIN)]).mean()
    assert loss_of(task, spec, batch) == pytest.approx(expected + alpha * kept, rel=1e-10)


def test_dpo_at_its_limits(task: CausalLM) -> None:
    """Where model and reference agree it is log 2 / beta; as beta goes to 0, half the gradient of the difference."""
    assert loss_of(task, {"name": "dpo", "beta": 0.3, "retain_weight": 0}, pairs(task)) == pytest.approx(
        np.log(2) / 0.3
    )
    batch = pairs(task, 0.4)
    found = gradient(task, {"name": "dpo", "beta": 1e-7, "retain_weight": 0}, batch)
    task.model.zero_grad()
    step = Step(task, batch, None)
    (0.25 * (step.example_nll(WANTED) - step.example_nll(batch)).sum()).backward()
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-9)


def with_tokens(task: CausalLM, weights: torch.Tensor, shift: float = 0.0) -> Batch:
    """The forget set with what the model itself says of its tokens as the reference: all classes as candidates."""
    places = labelled(FORGET)
    said = np.array([log_p(task, FORGET, row)[t - 1] for row, t, _ in places])
    nll = torch.tensor([-said[n, label] + shift for n, (_, _, label) in enumerate(places)])
    labels = SampledLabels(torch.from_numpy(np.exp(said)), torch.arange(200).expand(len(places), 200))
    unwanted = torch.stack([weights[row, t] for row, t, _ in places])
    return replace(FORGET, signals={"unwanted_words": unwanted, "reference_tokens": TokensSaid(nll, labels)})


WEIGHTS = torch.linspace(0, 3, FORGET.labels.numel(), dtype=torch.float64).reshape(FORGET.labels.shape)


@pytest.mark.parametrize(("beta", "kappa", "alpha", "mark"), [(1.0, 0.3, 0.5, 1.5), (0.2, 2.0, 0.0, 0.4)])
def test_targeted_npo(task: CausalLM, beta: float, kappa: float, alpha: float, mark: float) -> None:
    spec = {"name": "targeted_npo", "beta": beta, "keep_weight": kappa, "mark": mark, "retain_weight": alpha}
    batch = with_tokens(task, WEIGHTS, shift=0.6)
    values = []
    for row, t, label in labelled(FORGET):
        log_q = log_p(task, FORGET, row)[t - 1]
        if float(WEIGHTS[row, t]) >= mark:
            ratio = log_q[label] - (log_q[label] - 0.6)
            values.append(-2 / beta * np.log(logistic(np.array(-beta * ratio))))
        else:
            values.append(-kappa * (np.exp(log_q) * log_q).sum())
    assert 0 < sum(float(WEIGHTS[r, t]) >= mark for r, t, _ in labelled(FORGET)) < len(values)
    kept = np.array([-log_p(task, RETAIN, r)[t - 1, label] for r, t, label in labelled(RETAIN)]).mean()
    found = loss_of(task, spec | {"retain_target": "text"}, batch)
    assert found == pytest.approx(np.mean(values) + alpha * kept, rel=1e-6)


def test_targeted_npo_at_its_limits(task: CausalLM) -> None:
    """Without an unwanted token the model stays where it is; with nothing but unwanted ones it is NPO, a token an example."""
    spec = {"name": "targeted_npo", "beta": 0.4, "retain_weight": 0.0}
    none = gradient(task, spec, with_tokens(task, torch.zeros_like(WEIGHTS)))
    assert max(float(each.abs().max()) for each in none.values()) < 1e-9
    every = gradient(task, spec | {"keep_weight": 9.0}, with_tokens(task, torch.full_like(WEIGHTS, 5.0)))
    task.model.zero_grad()
    step = Step(task, FORGET, None)
    (-step.row_nll(FORGET).mean()).backward()  # at ratio 1 NPO's weight is 1: ascent
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(every[name], parameter.grad, rtol=1e-6, atol=1e-9)


UNWANTED = [3, 17, 18, 40, 199]


def with_vocabulary(task: CausalLM, shift: float = 0.0) -> Batch:
    """The forget set with what the model itself says as the reference, but for a shift of the unwanted mass's logarithm."""
    said = torch.from_numpy(np.exp([log_p(task, FORGET, row)[t - 1] for row, t, _ in labelled(FORGET)]))
    mass = said[:, UNWANTED].sum(1) * np.exp(shift)
    rest = said.clone()
    rest[:, UNWANTED] = 0
    labels = SampledLabels(rest / rest.sum(1, keepdim=True), torch.arange(200).expand(len(said), 200))
    known = UnwantedSaid(mass, torch.tensor(UNWANTED), labels)
    return replace(FORGET, signals={"unwanted_words": torch.zeros(len(said)), "unwanted_mass": known})


VOCABULARY = {"name": "targeted_npo", "push": "vocabulary", "retain_weight": 0.0}


@pytest.mark.parametrize(
    ("beta", "gamma", "kappa", "rank"), [(1.0, 0.3, 0.5, 4), (0.2, 2.0, 0.0, 0), (0.5, 1.0, 1.0, 9)]
)
def test_targeted_npo_on_the_vocabulary(task: CausalLM, beta: float, gamma: float, kappa: float, rank: int) -> None:
    """Against a sum over places; those whose unwanted mass is below that of the place of this rank are not pushed."""
    batch = with_vocabulary(task, shift=0.6)
    least = float(batch.signals["unwanted_mass"].mass.sort().values[rank]) * (1 - 1e-9)
    values = []
    for row, t, _ in labelled(FORGET):
        p = np.exp(log_p(task, FORGET, row)[t - 1])
        now = p[UNWANTED].sum()
        then = now * np.exp(0.6)
        pushed = -2 / beta * np.log(logistic(np.array(-beta * np.log(now / then)))) if then >= least else 0.0
        others = np.delete(p, UNWANTED)
        values.append(gamma * pushed - kappa * (others / others.sum() * np.log(others)).sum())
    spec = VOCABULARY | {"beta": beta, "push_weight": gamma, "keep_weight": kappa, "least_mass": least}
    assert loss_of(task, spec, batch) == pytest.approx(np.mean(values), rel=1e-6)


def test_targeted_npo_on_the_vocabulary_at_its_limits(task: CausalLM) -> None:
    """Where no place has the mass nothing is pushed; where every place has it, and nothing is kept, it is the descent of the
    mean log mass."""
    batch = with_vocabulary(task)
    still = gradient(task, VOCABULARY | {"least_mass": 2.0, "keep_weight": 0.0}, batch)
    assert max(float(each.abs().max()) for each in still.values()) == 0
    found = gradient(task, VOCABULARY | {"least_mass": 1e-9, "keep_weight": 0.0, "push_weight": 1.0}, batch)
    task.model.zero_grad()
    step = Step(task, FORGET, None)
    log_mass = step.rows(FORGET).logits.log_softmax(-1)[:, UNWANTED].logsumexp(-1)
    log_mass.mean().backward()  # at ratio 1 NPO's weight is 1
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-6, atol=1e-9)


def hidden(task: CausalLM, batch: Batch, layer: int) -> np.ndarray:
    """(tokens, width) of transformers' own hidden states, padding apart."""
    found = []
    for row, length in enumerate(batch.lengths.tolist()):
        with torch.no_grad():
            output = task.model(batch.ids[row : row + 1, :length], output_hidden_states=True)
        found.append(output.hidden_states[layer][0].numpy())
    return np.concatenate(found)


@pytest.mark.parametrize(("layer", "steering", "alpha"), [(1, 20.0, 100.0), (2, 6.5, 0.0)])
def test_rmu(task: CausalLM, layer: int, steering: float, alpha: float) -> None:
    spec = {"name": "rmu", "layer": layer, "trained_layers": 1, "steering": steering, "retain_weight": alpha}
    method = make_method(spec)
    assert isinstance(method, RMU)
    direction = method.direction(16).double().numpy()
    assert np.linalg.norm(direction) == pytest.approx(1, rel=1e-6)
    reference = torch.from_numpy(hidden(task, RETAIN, layer) + 0.25)
    away = ((hidden(task, FORGET, layer) - steering * direction) ** 2).mean()
    kept = ((hidden(task, RETAIN, layer) - reference.numpy()) ** 2).mean()
    assert kept == pytest.approx(0.0625)
    found = loss_of(task, spec, FORGET, replace(RETAIN, signals={"hidden_states": reference}))
    assert found == pytest.approx(away + alpha * kept, rel=1e-6)


def test_rmu_runs_no_layer_above_its_own(task: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("this layer was run")

    monkeypatch.setattr(task.layers[2], "forward", fail)
    whole = task.hidden(FORGET, 2)
    assert whole.shape == (15, 16)
    with pytest.raises(AssertionError, match="this layer"):
        task.hidden(FORGET, 3)


def test_rmu_trains_what_it_names() -> None:
    method = make_method({"name": "rmu", "layer": 7, "trained_layers": 3})
    names = [f"model.layers.{n}.mlp.{part}_proj.weight" for n in range(9) for part in ("up", "down")]
    assert [name for name in names if method.trains(name)] == [
        f"model.layers.{n}.mlp.down_proj.weight" for n in (4, 5, 6)
    ]
    assert not method.trains("model.embed_tokens.weight")


def gradient(
    task: CausalLM, spec: dict[str, Any], forget: Batch, retain: Batch | None = RETAIN
) -> dict[str, torch.Tensor]:
    task.model.zero_grad()
    make_method(spec).loss(Step(task, forget, retain)).total.backward()
    found = {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}
    task.model.zero_grad()
    return found


@pytest.mark.parametrize("name", ["dpo", "targeted_npo", "rmu"])
def test_gradients_by_finite_differences(task: CausalLM, name: str) -> None:
    spec: dict[str, Any] = {"name": name, "retain_weight": 0.7}
    spec |= {"layer": 2, "trained_layers": 1} if name == "rmu" else {"retain_target": "text"}
    forget = pairs(task, 0.5) if name == "dpo" else with_tokens(task, WEIGHTS, 0.5)
    retain = replace(RETAIN, signals={"hidden_states": torch.from_numpy(hidden(task, RETAIN, 2))})
    analytic = gradient(task, spec, forget, retain)
    parameters = dict(task.model.named_parameters())
    generator = np.random.default_rng(0)
    for name_ in ("transformer.wte.weight", "transformer.h.0.attn.c_attn.weight", "transformer.h.1.ln_2.bias"):
        flat = parameters[name_].detach().view(-1)
        places = generator.choice(np.flatnonzero(analytic[name_].view(-1).abs().numpy() > 1e-7), 2)
        for place in places.tolist():
            kept, values = flat[place].item(), []
            for step in (1e-5, -1e-5):
                flat[place] = kept + step
                values.append(loss_of(task, spec, forget, retain))
            flat[place] = kept
            numeric = (values[0] - values[1]) / 2e-5
            assert analytic[name_].view(-1)[place].item() == pytest.approx(numeric, rel=1e-4, abs=1e-8), name_


def test_they_ask_only_for_what_they_declared(task: CausalLM) -> None:
    with pytest.raises(ValueError, match="preferred_reference_nll, which it did not declare"):
        loss_of(task, {"name": "dpo"}, replace(FORGET, signals={"reference_nll": torch.ones(2)}))
    tokens = {"reference_tokens": with_tokens(task, WEIGHTS).signals["reference_tokens"]}
    with pytest.raises(ValueError, match="unwanted_words, which it did not declare"):
        loss_of(task, {"name": "targeted_npo"}, replace(FORGET, signals=tokens))
    with pytest.raises(ValueError, match="hidden_states, which it did not declare"):
        loss_of(task, {"name": "rmu", "layer": 2}, FORGET)
