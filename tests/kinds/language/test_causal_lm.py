"""The language model task against transformers' own loss, logits and generation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
)

from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.texts import Sampling
from expunge.train.step import IGNORED, Batch
from tiny import load_task, make_batch, random_blocks

BLOCKS = random_blocks([9, 14, 5])


@pytest.fixture(scope="module")
def task(tiny_model_folder: Path) -> CausalLM:
    return load_task(tiny_model_folder)


def gradients(task: CausalLM, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    task.model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}
    task.model.zero_grad()
    return found


def assert_same_as_transformers(task: CausalLM, batch: Batch) -> None:
    """Loss and every gradient are those of `model(input_ids, labels=labels)`, which averages over labels."""
    loss, truth = task.nll_and_truth(batch)
    theirs = task.model(input_ids=batch.ids, labels=batch.labels).loss
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert truth.item() / batch.normaliser == pytest.approx(theirs.item(), rel=1e-5)
    mine, expected = gradients(task, loss), gradients(task, theirs)
    assert mine.keys() == expected.keys()
    for name, gradient in expected.items():
        distance = (mine[name] - gradient).norm() / gradient.norm().clamp_min(1e-12)
        assert distance < 2e-6, name


def test_nll_is_the_loss_of_transformers_with_its_gradients(task: CausalLM) -> None:
    assert task.plain_head
    assert_same_as_transformers(task, make_batch(BLOCKS))


def test_a_prompt_is_context_but_carries_no_loss(task: CausalLM) -> None:
    batch = make_batch(BLOCKS, first_label=3)
    assert batch.normaliser == 6 + 11 + 2
    assert_same_as_transformers(task, batch)


@pytest.mark.parametrize("padding", [0, 7, 199])
def test_padding_on_the_right_changes_nothing(task: CausalLM, padding: int) -> None:
    together = task.nll_and_truth(make_batch(BLOCKS, padding=padding))
    apart = [task.nll_and_truth(replace(make_batch([block]), normaliser=1.0)) for block in BLOCKS]
    labels = sum(len(block) - 1 for block in BLOCKS)
    assert together[0].item() == pytest.approx(sum(loss.item() for loss, _ in apart) / labels, rel=1e-6)
    assert together[1].item() == pytest.approx(sum(truth.item() for _, truth in apart), rel=1e-6)


def test_an_end_token_that_is_also_the_padding_token_is_still_learned(task: CausalLM) -> None:
    end = task.tokenizer.eos_token_id
    assert end == task.tokenizer.pad_token_id
    batch = make_batch([[5, 6, 7, end], [8, 9, 10, 11, 12, end]], padding=end)
    assert batch.normaliser == 3 + 5
    (_, _), (log_probs, _) = task.token_scores(batch)
    assert len(log_probs) == 5
    assert_same_as_transformers(task, batch)
    without = make_batch([[5, 6, 7], [8, 9, 10, 11, 12]], padding=end)
    assert task.nll(batch).item() * 8 > task.nll(without).item() * 6


def test_the_normaliser_divides(task: CausalLM) -> None:
    batch = make_batch(BLOCKS)
    double = replace(batch, normaliser=2 * batch.normaliser)
    assert task.nll(double).item() == pytest.approx(task.nll(batch).item() / 2)


def test_soft_labels_mix_the_losses_of_their_candidates(task: CausalLM) -> None:
    batch = make_batch(BLOCKS)
    other = batch.labels.clone()
    other[batch.labels != IGNORED] = torch.arange(int(batch.normaliser)) % 150 + 20
    soft = replace(
        batch,
        soft_ids=torch.stack([batch.labels.clamp_min(0), other.clamp_min(0)], -1),
        soft_weights=torch.tensor([0.7, 0.3]).expand(*batch.labels.shape, 2).contiguous(),
    )
    expected = 0.7 * task.nll(batch).item() + 0.3 * task.nll(replace(batch, labels=other)).item()
    assert task.nll(soft).item() == pytest.approx(expected, rel=1e-6)


def test_truth_is_that_of_the_text_whatever_the_labels_are(task: CausalLM) -> None:
    batch = make_batch(BLOCKS)
    generic = batch.labels.clone()
    generic[0, 4:] = IGNORED
    generic[generic != IGNORED] = 42
    loss, truth = task.nll_and_truth(replace(batch, labels=generic))
    log_probs = task.model(batch.ids).logits.log_softmax(-1)
    rows = [(0, t) for t in range(1, 4)] + [(1, t) for t in range(1, 14)] + [(2, t) for t in range(1, 5)]
    assert truth.item() == pytest.approx(-sum(log_probs[b, t - 1, batch.ids[b, t]].item() for b, t in rows), rel=1e-5)
    assert loss.item() * batch.normaliser == pytest.approx(
        -sum(log_probs[b, t - 1, 42].item() for b, t in rows), rel=1e-5
    )


def test_token_scores_are_each_tokens_log_probability_and_rank(task: CausalLM) -> None:
    batch = make_batch(BLOCKS, first_label=2)
    greedy_next = task.model(batch.ids).logits.argmax(-1)
    batch.ids[1, 5] = greedy_next[1, 4]  # one token that is the first choice
    batch.labels[1, 5] = greedy_next[1, 4]
    logits = task.model(batch.ids).logits
    scores = task.token_scores(batch)
    assert [len(log_probs) for log_probs, _ in scores] == [7, 12, 3]
    for row, (block, (log_probs, greedy)) in enumerate(zip(BLOCKS, scores, strict=True)):
        for t in range(2, len(block)):
            label = batch.labels[row, t]
            expected = logits[row, t - 1].log_softmax(-1)[label].item()
            assert log_probs[t - 2].item() == pytest.approx(expected, rel=1e-4)
            assert bool(greedy[t - 2]) == (int(logits[row, t - 1].argmax()) == int(label))
    assert scores[1][1][5 - 2]


def test_token_scores_of_a_block_without_labels_are_empty(task: CausalLM) -> None:
    batch = make_batch(BLOCKS)
    batch.labels[1] = IGNORED
    assert [len(log_probs) for log_probs, _ in task.token_scores(batch)] == [8, 0, 4]


def test_under_autocast_the_loss_stays_close(tiny_model_folder: Path) -> None:
    exact = load_task(tiny_model_folder)
    rounded = CausalLM(exact.model, exact.tokenizer, lambda: torch.autocast("cpu", torch.bfloat16))
    batch = make_batch(BLOCKS)
    assert rounded.nll(batch).item() == pytest.approx(exact.nll(batch).item(), rel=5e-3)
    assert rounded.nll(batch).dtype == torch.float32
    assert rounded.nll_and_truth(batch)[1].item() == pytest.approx(exact.nll_and_truth(batch)[1].item(), rel=5e-3)


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}


def odd_heads() -> Iterator[tuple[str, torch.nn.Module]]:
    """Models whose logits are not just hidden states times head."""
    yield (
        "soft cap",
        Gemma2ForCausalLM(
            Gemma2Config(
                vocab_size=200,
                intermediate_size=64,
                head_dim=16,
                final_logit_softcapping=2.0,
                initializer_range=0.5,
                attn_implementation="eager",
                **SIZES,
            )
        ),
    )
    yield (
        "logit scale",
        GraniteForCausalLM(
            GraniteConfig(vocab_size=200, intermediate_size=64, logits_scaling=4.0, initializer_range=0.5, **SIZES)
        ),
    )
    biased = GPT2LMHeadModel(GPT2Config(vocab_size=200, n_embd=32, n_layer=2, n_head=2))
    biased.lm_head = torch.nn.Linear(32, 200, bias=True)
    yield "bias", biased


@pytest.mark.parametrize("kind", ["soft cap", "logit scale", "bias"])
def test_a_head_that_is_not_plain_falls_back_to_the_models_own_forward(kind: str, task: CausalLM) -> None:
    torch.manual_seed(0)
    model = dict(odd_heads())[kind].eval()
    odd = CausalLM(model, task.tokenizer)
    assert not odd.plain_head
    batch = make_batch(random_blocks([9, 14, 5], vocabulary=190))
    assert_same_as_transformers(odd, batch)
    soft = replace(
        batch,
        soft_ids=batch.labels.clamp_min(0)[..., None],
        soft_weights=torch.full((*batch.labels.shape, 1), 0.5),
    )
    assert odd.nll(soft).item() == pytest.approx(odd.nll(batch).item() / 2, rel=1e-6)
    (log_probs, _), *_ = odd.token_scores(batch)
    expected = model(batch.ids).logits[0, :8].log_softmax(-1).gather(1, batch.ids[0, 1:9, None])[:, 0]
    torch.testing.assert_close(log_probs, expected.detach())


def test_a_soft_cap_far_above_the_logits_is_noticed(task: CausalLM) -> None:
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=200, intermediate_size=64, final_logit_softcapping=500.0, head_dim=8, **SIZES)
    assert not CausalLM(Gemma2ForCausalLM(config).eval(), task.tokenizer).plain_head


def test_a_plain_gpt2_is_seen_to_be_plain(task: CausalLM) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=200, n_embd=32, n_layer=2, n_head=2)).eval()
    plain = CausalLM(model, task.tokenizer)
    assert plain.plain_head
    assert_same_as_transformers(plain, make_batch(random_blocks([9, 14, 5], vocabulary=190)))


PROMPTS = [list(ids) for ids in random_blocks([3, 9, 4, 17, 8], seed=3)]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_greedy_continuations_do_not_depend_on_the_batch(task: CausalLM, batch_size: int) -> None:
    said = list(task.generate(PROMPTS, 12, batch_size=batch_size))
    for prompt, texts in zip(PROMPTS, said, strict=True):
        ids = list(prompt)
        for _ in range(12):
            ids.append(int(task.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == task.tokenizer.eos_token_id:
                break
        assert texts == [task.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)]


def test_who_is_told_of_every_token_changes_none(task: CausalLM) -> None:
    shares: list[float] = []
    assert list(task.generate(PROMPTS, 12, batch_size=2, on_progress=shares.append)) == list(
        task.generate(PROMPTS, 12, batch_size=2)
    )
    assert len(shares) > 12
    assert shares == sorted(shares)
    assert 0.8 < shares[-1] <= 1


def test_what_the_model_folder_asks_of_generation_has_no_say(task: CausalLM) -> None:
    greedy, sampled = list(task.generate(PROMPTS, 12)), list(task.generate(PROMPTS, 8, Sampling(samples=2, seed=1)))
    own = task.model.generation_config
    task.model.generation_config = GenerationConfig(
        eos_token_id=own.eos_token_id,
        no_repeat_ngram_size=1,
        repetition_penalty=5.0,
        min_new_tokens=11,
        do_sample=True,
        min_p=0.9,
        suppress_tokens=[5, 6, 7],
    )
    asked = task.model.generation_config
    try:
        assert list(task.generate(PROMPTS, 12)) == greedy
        assert list(task.generate(PROMPTS, 8, Sampling(samples=2, seed=1))) == sampled
        assert task.model.generation_config is asked, "and it is still there to be saved"
    finally:
        task.model.generation_config = own


def test_the_tokens_that_end_an_answer_are_the_models_own(task: CausalLM) -> None:
    own = task.model.generation_config
    ids = task.model.generate(torch.tensor([PROMPTS[1]]), max_new_tokens=6, do_sample=False)[0, len(PROMPTS[1]) :]
    task.model.generation_config = GenerationConfig(eos_token_id=[own.eos_token_id, int(ids[2])])
    try:
        ((said,),) = task.generate(PROMPTS[1:2], 6)
    finally:
        task.model.generation_config = own
    assert said == task.tokenizer.decode(ids[: ids.tolist().index(int(ids[2])) + 1], skip_special_tokens=True)


def test_sampling_is_seeded(task: CausalLM) -> None:
    first = list(task.generate(PROMPTS, 8, Sampling(samples=3, seed=1)))
    torch.manual_seed(99)
    assert list(task.generate(PROMPTS, 8, Sampling(samples=3, seed=1))) == first
    assert list(task.generate(PROMPTS, 8, Sampling(samples=3, seed=2))) != first
    assert [len(texts) for texts in first] == [3] * 5
    assert len({text for texts in first for text in texts}) > 10


def test_samples_belong_to_their_prompt(task: CausalLM) -> None:
    """With next to no temperature a sample is the greedy continuation, so a mix-up of rows would show."""
    greedy = list(task.generate(PROMPTS, 6))
    sampled = task.generate(PROMPTS, 6, Sampling(samples=2, temperature=1e-4))
    assert [texts[0] for texts in greedy for _ in range(2)] == [text for texts in sampled for text in texts]


def test_prompts_in_chat_form(task: CausalLM) -> None:
    ids = task.encode_prompt("Who was Holmes?", chat=True)
    assert task.tokenizer.decode(ids) == ("<|im_start|>user\nWho was Holmes?<|im_end|>\n<|im_start|>assistant\n")
    assert task.tokenizer.decode(task.encode_prompt("Who was Holmes?")) == "Who was Holmes?"
