"""Shared scoring equals scoring every choice alone; answers and normalised answers are counted as in the field."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from expunge.errors import DataError, ModelError
from expunge.kinds.language.measures.benchmarks import Question
from expunge.kinds.language.measures.choice_tokens import Choice, encoded
from expunge.kinds.language.measures.multiple_choice import choice_log_probs, score
from expunge.kinds.language.measures.token_trees import continuation_scores
from expunge.ops.narrow import hold_narrow

LONG = "It was a bright cold day, and the man said that he had seen nothing of the kind before. " * 4
QUESTIONS = [
    Question(
        ("Harry Potter went to",), (" Hogwarts with Ron", " Hogwarts with Hermione", " Paris", " Baker Street."), 0
    ),
    Question((LONG + "Answer:",), (" no", " yes"), 1),
    Question(("The man saw Harry, since Harry", "The man saw Harry, since Ron"), (" walked along.",), 0),
    Question(("Ron",), (" a", " b"), 0),
    Question(("the capital of France is ",), ("Paris.", "the fog, and it was a bright cold day before."), 0),
    Question(("Doctor",), (" Watson", " Watson", " Watson walked"), 2),
    Question(("",), ("Sherlock Holmes", "Ron"), 0),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model_folder)


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Any:
    return sharpened(AutoModelForCausalLM.from_pretrained(tiny_model_folder))


def sharpened(model: Any) -> Any:
    """Random weights predict nearly the same everywhere; larger ones make a wrong mask or position show."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return model.eval()


def alone(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    """One choice, one forward, no padding, every logit: independent of the code under test."""
    split = len(context.rstrip())
    before = tokenizer.encode(context[:split]) or [tokenizer.bos_token_id]
    after = tokenizer.encode(context + continuation)[len(tokenizer.encode(context[:split])) :]
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) - 1 + i, token]) for i, token in enumerate(after))


def assert_equal_to_alone(model: Any, tokenizer: Any, log_probs: list[tuple[float, ...]]) -> None:
    expected = [[alone(model, tokenizer, *choice) for choice in question.choices()] for question in QUESTIONS]
    assert [len(values) for values in log_probs] == [len(values) for values in expected]
    for values, right in zip(log_probs, expected, strict=True):
        assert values == pytest.approx(right, abs=1e-5, rel=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, 60, 512, 10_000])
def test_equals_scoring_every_choice_alone_at_any_batch_size(model: Any, tokenizer: Any, batch_tokens: int) -> None:
    assert_equal_to_alone(model, tokenizer, choice_log_probs(model, tokenizer, QUESTIONS, batch_tokens))


def test_a_context_is_run_once(model: Any, tokenizer: Any) -> None:
    """Tokens that enter the model: the context, and what the choices do not share, without their last tokens."""
    question = QUESTIONS[0]
    widths, heads = [], []
    hooks = [
        model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: widths.append(tuple(inputs[0].shape))),
        model.lm_head.register_forward_hook(lambda _, inputs, __: heads.append(inputs[0].shape[-2])),
    ]
    try:
        choice_log_probs(model, tokenizer, [question])
    finally:
        for hook in hooks:
            hook.remove()
    context = tokenizer.encode(question.contexts[0])
    full = [tokenizer.encode(question.contexts[0] + text) for text in question.continuations]
    prefixes = {tuple(tokens[:end]) for tokens in full for end in range(1, len(tokens))}
    assert widths[-1] == (1, len(prefixes))
    assert heads[-1] == len({prefix for prefix in prefixes if len(prefix) >= len(context)})
    assert len(prefixes) < sum(len(tokens) - 1 for tokens in full) / 2


def test_one_token_choices_need_no_token_beyond_the_context(model: Any, tokenizer: Any) -> None:
    text = tokenizer.decode(tokenizer.encode(LONG)[:30])
    letters = Question((text,), ("A", "B", "C"), 0)
    assert {len(tokenizer.encode(text + letter)) for letter in "ABC"} == {31}
    widths = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: widths.append(inputs[0].shape[1]))
    try:
        (values,) = choice_log_probs(model, tokenizer, [letters])
    finally:
        hook.remove()
    assert widths[-1] == 30
    assert values == pytest.approx([alone(model, tokenizer, text, letter) for letter in "ABC"], abs=1e-5)


def test_progress_and_training_mode(model: Any, tokenizer: Any) -> None:
    seen: list[tuple[int, int]] = []
    model.train()
    try:
        choice_log_probs(model, tokenizer, QUESTIONS, 1, lambda done, total: seen.append((done, total)))
        assert model.training
    finally:
        model.eval()
    assert seen == [(n, len(QUESTIONS)) for n in range(1, len(QUESTIONS) + 1)]
    assert choice_log_probs(model, tokenizer, []) == []


def test_too_long_a_context_loses_its_beginning(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.config, "max_position_embeddings", 20)
    (values,) = choice_log_probs(model, tokenizer, [Question((LONG,), (" Ron and Hermione", " fog."), 0)])
    for value, text in zip(values, (" Ron and Hermione", " fog."), strict=True):
        tokens = tokenizer.encode(LONG.rstrip() + " " + text)
        after = len(tokens) - len(tokenizer.encode(LONG.rstrip()))
        kept = torch.tensor([tokens[-21:]])
        with torch.no_grad():
            logits = model(kept[:, :-1]).logits[0].double().log_softmax(-1)
        right = logits.gather(1, kept[0, 1:, None])[-after:].sum()
        assert value == pytest.approx(float(right), abs=1e-5)
    with pytest.raises(DataError, match=r"cannot be scored[\s\S]*1 to 20 tokens"):
        choice_log_probs(model, tokenizer, [Question(("Ron",), (LONG,), 0)])


def test_a_choice_without_tokens_is_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"cannot be scored[\s\S]*'', 0 tokens"):
        choice_log_probs(model, tokenizer, [Question(("Ron",), ("", " a"), 0)])


def test_nan_weights_are_reported(tiny_model_folder: Path, tokenizer: Any) -> None:
    broken = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        choice_log_probs(broken, tokenizer, QUESTIONS)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 500}
LLAMA_LIKE = SMALL | {"intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16}


@pytest.mark.parametrize(
    ("build", "shares"),
    [
        (lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=500)), True),
        (lambda: Gemma2ForCausalLM(Gemma2Config(**LLAMA_LIKE, final_logit_softcapping=5.0)), True),
        (lambda: MistralForCausalLM(MistralConfig(**LLAMA_LIKE, sliding_window=8)), False),
        (lambda: BloomForCausalLM(BloomConfig(hidden_size=32, n_layer=2, n_head=2, vocab_size=500)), False),
        (lambda: MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=500)), False),
    ],
    ids=["learned positions", "soft-capped logits", "sliding window", "alibi", "recurrent"],
)
def test_other_architectures(tokenizer: Any, caplog: pytest.LogCaptureFixture, build: Any, shares: bool) -> None:
    torch.manual_seed(0)
    model = sharpened(build())
    with caplog.at_level(logging.WARNING, "expunge"):
        log_probs = choice_log_probs(model, tokenizer, QUESTIONS, 300)
    assert ("scored one by one" not in caplog.text) == shares
    assert_equal_to_alone(model, tokenizer, log_probs)


@pytest.mark.parametrize("shares", [True, False])
def test_each_token_by_itself(tokenizer: Any, model: Any, shares: bool) -> None:
    torch.manual_seed(0)
    if not shares:
        model = sharpened(MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=500)))
    choices = encoded(tokenizer, QUESTIONS, 1000)
    said = choices[0][0].tokens[:4]
    with torch.no_grad():
        for _ in range(2):
            said = [*said, int(model(torch.tensor([said])).logits[0, -1].argmax())]
    choices.append([Choice(said, 2), Choice([*said, 5], 3)])
    values, first = continuation_scores(model, choices, each_token=True, batch_tokens=300)
    sums, all_first = continuation_scores(model, choices, batch_tokens=300)
    start = 0
    for number, choice in enumerate(choice for of_question in choices for choice in of_question):
        with torch.no_grad():
            logits = (
                model(torch.tensor([choice.tokens])).logits[0].double().log_softmax(-1)[-choice.continuation - 1 : -1]
            )
        wanted = torch.tensor(choice.tokens[-choice.continuation :])
        own = slice(start, start := start + choice.continuation)
        assert values[own].tolist() == pytest.approx(
            # weights six times as large enlarge rounding, too: by 1.4e-6 of the value on some processors
            logits.gather(1, wanted[:, None])[:, 0].tolist(),
            abs=1e-5,
            rel=5e-6,
        )
        assert first[own].tolist() == (logits.argmax(-1) == wanted).tolist()
        assert sums[number] == pytest.approx(values[own].sum(), abs=1e-5, rel=1e-6)
        assert all_first[number] == first[own].all()
    assert start == len(values) == len(first)
    assert all_first[-2:].tolist() == [True, first[-1]]
    assert not first.all()


class DeafLlama(LlamaForCausalLM):
    """Ignores the mask it is given."""

    def forward(self, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


def test_a_model_that_ignores_the_mask_is_found_out(
    model: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    deaf = DeafLlama(model.config)
    deaf.load_state_dict(model.state_dict())
    log_probs = choice_log_probs(deaf.eval(), tokenizer, QUESTIONS)
    assert "a log-probability differs by" in caplog.text
    assert_equal_to_alone(model, tokenizer, log_probs)


def test_bfloat16_shares(model: Any, tiny_model_folder: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    half = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.bfloat16)
    choice_log_probs(half, tokenizer, QUESTIONS)
    assert not caplog.text


def test_weights_that_are_held_narrow_share(
    tiny_model_folder: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Hidden states are float32 there, and so are queries, whatever the first weight is."""
    held = sharpened(AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.bfloat16))
    assert hold_narrow(held, lambda: held(input_ids=torch.tensor([[1, 5, 2, 7]]), use_cache=False))
    assert held.dtype == torch.bfloat16
    log_probs = choice_log_probs(held, tokenizer, QUESTIONS)
    assert not caplog.text
    assert_equal_to_alone(held, tokenizer, log_probs)


def test_products_in_bfloat16_share(model: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    plain = [list(map(float, values)) for values in choice_log_probs(model, tokenizer, QUESTIONS)]
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        narrow = choice_log_probs(model, tokenizer, QUESTIONS)
        alone_too = [[alone(model, tokenizer, *choice) for choice in question.choices()] for question in QUESTIONS]
    assert not caplog.text
    for values, right, wide in zip(narrow, alone_too, plain, strict=True):
        assert values != pytest.approx(wide, abs=1e-6), "products were not narrow"
        assert values == pytest.approx(right, rel=0.02, abs=0.1)


def test_accuracy_and_normalised_accuracy_by_hand() -> None:
    questions = [
        Question(("c",), (" ab", " abcdefgh"), 0),  # -2.0 and -4.0; a character: -1.0 and -0.5
        Question(("c",), (" ab", " abcdefgh"), 1),  # the same, and the other one is right
        Question(("c",), (" abcd", " efgh"), 0),  # a tie: the first counts
        Question(("c",), (" ", " abcd"), 0),  # no characters: never the normalised answer
    ]
    log_probs = [(-2.0, -4.0), (-2.0, -4.0), (-3.0, -3.0), (-1.0, -2.0)]
    accuracy, normalised = score("arc_easy", questions, log_probs, "base")
    assert (accuracy.measure, accuracy.examples, accuracy.value) == ("accuracy", (1.0, 0.0, 1.0, 1.0), 0.75)
    assert normalised.measure == "accuracy_normalised"
    assert (normalised.examples, normalised.value) == ((0.0, 1.0, 1.0, 0.0), 0.5)
    assert (accuracy.split, accuracy.model, accuracy.n, accuracy.unit) == ("arc_easy", "base", 4, "share")
    assert accuracy.higher_is == "better"
    assert 0 <= accuracy.low < 0.75 < accuracy.high <= 1


@pytest.mark.parametrize("name", ["boolq", "winogrande"])
def test_choices_of_equal_length_are_not_normalised(name: str) -> None:
    scores = score(name, [Question(("a", "b"), (" c",), 1)], [(-2.0, -1.0)], "unlearned")
    assert [(s.measure, s.value) for s in scores] == [("accuracy", 1.0)]


def test_a_shared_context_needs_as_many_contexts_as_continuations() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        Question(("a", "b"), (" c", " d", " e"), 0).choices()
