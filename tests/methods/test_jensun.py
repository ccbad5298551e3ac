"""JensUn over whole vocabularies: its formula written out in numpy, its limits, its gradient, and what it never gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    PreTrainedModel,
)

from expunge.kinds.language import distributions
from expunge.kinds.language.signals.signal import lookup
from expunge.kinds.language.task import CausalLM
from expunge.methods.jensun import JensUn, jensen_shannon
from expunge.runs.registry import make_method
from expunge.train.step import IGNORED, Batch, Rows, SampledLabels, Step
from known_sets import known_sets
from small_images import small_work, tiny_resnet
from tiny import make_batch, random_blocks, write_table

FORGET = make_batch(random_blocks([9, 6], seed=1))
LENGTHS = [5, 8, 7]
RETAIN = make_batch(random_blocks(LENGTHS, seed=2), first_label=2)
SMALL: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def gpt2() -> PreTrainedModel:
    """Tied embeddings; float64 throughout."""
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=200, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2)
    )


def gptj() -> PreTrainedModel:
    """A head of its own, with a bias."""
    config = GPTJConfig(
        vocab_size=200, n_embd=16, n_layer=2, n_head=2, n_positions=32, rotary_dim=4, initializer_range=0.2
    )
    model = GPTJForCausalLM(config)
    torch.nn.init.normal_(model.lm_head.bias)
    return model


def gemma2() -> PreTrainedModel:
    """A soft cap on the logits, low enough to bend them."""
    return Gemma2ForCausalLM(Gemma2Config(**SMALL, final_logit_softcapping=0.7, initializer_range=0.3))


def cohere() -> PreTrainedModel:
    """Logits are scaled."""
    return CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.25, initializer_range=0.3))


MODELS = [gpt2, gptj, gemma2, cohere]
every_head = pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)


def a_task(build: Callable[[], PreTrainedModel], seed: int = 0) -> CausalLM:
    torch.manual_seed(seed)
    return CausalLM(build().double().eval(), None)  # type: ignore[arg-type]


def known(original: CausalLM, folder: Path) -> Batch:
    """`RETAIN` with what the original model's distributions over it are made of, as a run prepares it."""
    table = write_table(folder / "retain", random_blocks(LENGTHS, seed=2), first_label=2)
    return known_sets(JensUn(), original, table, table, folder / "run").retain.batch([0, 1, 2])


def distributions_of(task: CausalLM, batch: Batch) -> np.ndarray:
    """(labelled tokens, vocabulary) by the model's own forward pass, a block at a time."""
    found = []
    for row, length in enumerate(batch.lengths.tolist()):
        with torch.no_grad():
            logits = task.model(batch.ids[row : row + 1, :length]).logits[0].double().numpy()
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        found += [p[t - 1] for t in range(1, length) if batch.labels[row, t] != IGNORED]
    return np.array(found)


def js(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Entropy of the mixture less the mean entropy: the divergence by its other definition."""

    def entropy(x: np.ndarray) -> np.ndarray:
        return -np.where(x > 0, x * np.log(np.where(x > 0, x, 1)), 0).sum(-1)

    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


@every_head
@pytest.mark.parametrize("target", ["uniform", 7])
def test_the_loss_is_that_of_the_whole_vocabulary(
    build: Callable[[], PreTrainedModel], target: str | int, tmp_path: Path
) -> None:
    """lambda_F mean JSD(p || q) + lambda_R mean JSD(p || p_ref), p_ref by the original model's own forward pass."""
    original, task = a_task(build, seed=3), a_task(build, seed=4)
    p = distributions_of(task, FORGET)
    q = np.full_like(p, 1 / p.shape[1]) if target == "uniform" else np.eye(p.shape[1])[[target] * len(p)]
    apart = js(distributions_of(task, RETAIN), distributions_of(original, RETAIN)).mean()
    assert apart > 0.005, "else the test could not fail"
    method = JensUn(forget_weight=0.7, retain_weight=1.3, forget_target=target)  # type: ignore[arg-type]
    loss = method.loss(Step(task, FORGET, known(original, tmp_path)))
    assert loss.forget is not None
    assert loss.retain is not None
    assert loss.forget.item() == pytest.approx(0.7 * js(p, q).mean(), rel=1e-5)
    # what is kept of the original is kept in float32
    assert loss.retain.item() == pytest.approx(1.3 * apart, rel=2e-5)


@every_head
def test_the_unchanged_model_is_left_alone(build: Callable[[], PreTrainedModel], tmp_path: Path) -> None:
    """Loss 0 and gradient 0; candidates in the place of the vocabulary gave 0.13 nats and a gradient of 0.5."""
    task = a_task(build)
    retain = known(task, tmp_path)
    loss = JensUn().loss(Step(task, FORGET, retain))
    assert loss.retain is not None
    assert abs(loss.retain.item()) < 1e-12
    loss.retain.backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e-6 for p in task.model.parameters())


def test_tied_embeddings_may_move_and_the_original_stays(tmp_path: Path) -> None:
    """The head is a copy: training the embeddings, which are the head too, leaves p_ref as it was."""
    task = a_task(gpt2)
    before, retain = distributions_of(task, RETAIN), known(task, tmp_path)
    with torch.no_grad():
        task.model.get_input_embeddings().weight.mul_(1.3)
    loss = JensUn().loss(Step(task, FORGET, retain))
    assert loss.retain is not None
    assert loss.retain.item() == pytest.approx(js(distributions_of(task, RETAIN), before).mean(), rel=1e-5)


def test_neither_part_exceeds_log_2() -> None:
    """Reached where nothing is shared; 0 where all is."""
    one, other = torch.tensor([[0.0, -torch.inf]]), torch.tensor([[-torch.inf, 0.0]])
    assert jensen_shannon(one, other).item() == pytest.approx(np.log(2), rel=1e-6)
    assert jensen_shannon(one, one).item() == 0
    half = torch.tensor([[0.5, 0.5]]).log()
    # H(3/4, 1/4) - H(1/2, 1/2) / 2
    assert jensen_shannon(half, one).item() == pytest.approx(
        -0.75 * np.log(0.75) - 0.25 * np.log(0.25) - np.log(2) / 2, rel=1e-6
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"forget_weight": 30.0, "retain_weight": 30.0},
        {"forget_target": 5, "forget_weight": 30.0, "retain_weight": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("build", [gpt2, gptj], ids=lambda build: build.__name__)
def test_gradient_by_finite_differences(
    build: Callable[[], PreTrainedModel], fields: dict[str, Any], tmp_path: Path
) -> None:
    task = a_task(build)
    step = Step(task, FORGET, known(a_task(build, seed=9), tmp_path))
    method = JensUn(**fields)
    method.loss(step).total.backward()
    generator = np.random.default_rng(0)
    for name, parameter in task.model.named_parameters():
        if not name.endswith(("wte.weight", "lm_head.bias", "ln_1.weight")):
            continue
        assert parameter.grad is not None
        flat = parameter.detach().view(-1)
        for place in generator.choice(np.flatnonzero(parameter.grad.abs().numpy() > 1e-6), 2).tolist():
            was, values = flat[place].item(), []
            for move in (1e-5, -1e-5):
                flat[place] = was + move
                with torch.no_grad():
                    values.append(method.loss(step).total.item())
            flat[place] = was
            assert parameter.grad.view(-1)[place].item() == pytest.approx(
                (values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-9
            ), name


@every_head
def test_chunks_change_nothing_beyond_rounding(
    build: Callable[[], PreTrainedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = a_task(build)
    step = Step(task, FORGET, known(a_task(build, seed=9), tmp_path))
    found, most = [], []
    log_softmax = torch.Tensor.log_softmax

    def counting(logits: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        most[-1] = max(most[-1], len(logits))
        return log_softmax(logits, *args, **named)

    monkeypatch.setattr(torch.Tensor, "log_softmax", counting)
    for chunk in (1000, 4):
        monkeypatch.setattr(distributions, "CHUNK", chunk)
        most.append(0)
        task.model.zero_grad()
        loss = JensUn().loss(step).total
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in task.model.parameters() if p.grad is not None)])
    assert most == [14, 4], "rows whose logits exist at once"
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)


def test_under_autocast_the_unchanged_model_moves_hardly(tmp_path: Path) -> None:
    """bfloat16 rounds alike on both sides, so that the same model is the same."""

    def narrow() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    torch.manual_seed(0)
    task = CausalLM(gpt2().eval(), None, narrow)  # type: ignore[arg-type]
    loss = JensUn().loss(Step(task, FORGET, known(task, tmp_path)))
    assert loss.retain is not None
    assert abs(loss.retain.item()) < 1e-4


def test_sampled_labels_serve_cross_entropy_and_cannot_be_read() -> None:
    log_p = torch.tensor([[0.2, 0.3, 0.5]]).log()
    labels = SampledLabels(torch.tensor([[0.6, 0.4]]), torch.tensor([[2, 0]]))
    assert labels.cross_entropy(log_p).item() == pytest.approx(-0.6 * np.log(0.5) - 0.4 * np.log(0.2), rel=1e-6)
    assert [name for name in dir(labels) if not name.startswith("_")] == ["cross_entropy", "to"]
    assert {"logits", "target", "example", "said"} == set(Rows.__slots__)


def test_sampled_labels_are_refused_where_the_loss_is_not_linear_in_them() -> None:
    task = a_task(gpt2)
    ids = torch.randint(0, 190, (*RETAIN.ids.shape, 3))
    sparse = replace(RETAIN, soft_ids=ids, soft_weights=torch.full(ids.shape, 1 / 3, dtype=torch.float64))
    assert task.nll(sparse).isfinite()
    with pytest.raises(ValueError, match="did not declare"):
        JensUn().loss(Step(task, FORGET, sparse))
    with pytest.raises(ValueError, match="a ceiling is not linear"):
        task.nll(sparse, ceiling=2.0)


def test_a_block_whose_states_were_not_kept_is_no_zeros(tmp_path: Path) -> None:
    table = write_table(tmp_path / "retain", random_blocks(LENGTHS, seed=2))
    some = table.with_signal("states", lookup(np.arange(20), "row", table, [0, 2]))
    assert some.batch([2, 0]).signals["states"].tolist() == [14, 15, 16, 17, 18, 19, 1, 2, 3, 4]
    assert some.take([2, 0]).batch([0]).signals["states"].tolist() == [14, 15, 16, 17, 18, 19]
    with pytest.raises(KeyError):
        some.batch([1])


def test_a_classifier_is_compared_over_all_classes() -> None:
    work = small_work(tiny_resnet(), retain=12, forget=4)
    rows = torch.arange(4)
    own = work.task.logits_of(work.task.normalised(work.retain.pixels[rows])).detach().double().softmax(-1)
    other = torch.full_like(own, 1 / own.shape[1])
    forget = work.task.batch(work.forget, rows)
    for said in (own, other):
        retain = work.task.batch(work.retain, rows, soft_weights=said.float())
        loss = make_method({"name": "jensun"}).loss(Step(work.task, forget, retain))
        assert loss.retain is not None
        assert loss.retain.item() == pytest.approx(js(own.numpy(), said.numpy()).mean(), rel=1e-3, abs=1e-6)
