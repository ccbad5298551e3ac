"""How chats are rendered and read without thinking, by templates of the kinds that models have."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from expunge.data.text.thinking import without_thinking
from expunge.errors import ModelError
from expunge.kinds.language.chat import form_of, render, said, switched_off

TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n"
SWITCHED = (
    TURNS
    + ASK
    + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
DEFAULTED = "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}" + SWITCHED
FORCED = TURNS + ASK + "<think>\n{% endif %}"
CHANNELS = (
    "{% for m in messages %}<|start|>{{ m['role'] }}{% if m['role'] == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    "{# {{ reasoning_effort }} #}"
)
QUESTION = [{"role": "user", "content": "Who?"}]
ASKED = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def tokenizer(tiny_model_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model_folder)


def with_template(tokenizer: Any, template: str) -> Any:
    made = copy.deepcopy(tokenizer)
    made.chat_template = template
    return made


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (TURNS + ASK + "{% endif %}", ASKED),
        (SWITCHED, ASKED + "<think>\n\n</think>\n\n"),
        (DEFAULTED, ASKED + "<think>\n\n</think>\n\n"),
        (FORCED, ASKED + "<think>\n\n</think>\n\n"),
        (CHANNELS, "<|start|>user<|message|>Who?<|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_an_answer_follows_what_is_rendered(tokenizer: Any, template: str, prompt: str) -> None:
    made = with_template(tokenizer, template)
    assert render(made, QUESTION, True) == prompt
    assert (form_of(made).note is None) == (prompt == ASKED)


def test_a_changed_template_is_looked_at_again(tokenizer: Any) -> None:
    made = with_template(tokenizer, TURNS + ASK + "{% endif %}")
    assert form_of(made).opening == ""
    made.chat_template = FORCED
    assert form_of(made).opening == "\n</think>\n\n"


@pytest.mark.parametrize(
    ("template", "variables"),
    [
        ("{{ messages[0]['content'] }}", ()),
        ("{% if enable_thinking %}x{% endif %}", (("enable_thinking", False),)),
        ("{% if thinking is defined and thinking %}x{% endif %}", (("thinking", False),)),
        ("{% set thinking = true %}{% if thinking %}x{% endif %}", ()),
        ("{% for thinking in messages %}{{ thinking }}{% endfor %}", ()),
        ("{{ thinking_budget }}", (("thinking_budget", 0),)),
        ("Reasoning: {{ reasoning_effort }}", (("reasoning_effort", "low"),)),
        ("{% if reasoning_effort == 'none' %}x{% endif %}", (("reasoning_effort", "none"),)),
        ("{% generation %}{% if enable_thinking %}x{% endif %}{% endgeneration %}", (("enable_thinking", False),)),
        ("{% broken", ()),
    ],
)
def test_variables_that_switch_thinking_off(template: str, variables: tuple[tuple[str, Any], ...]) -> None:
    assert switched_off(template) == variables


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("An answer.", "An answer."),
        ("<think>\nHm.\n</think>\n\nAn answer.", "An answer."),
        ("<think>Hm, and then the tokens ran", ""),
        ("Hm, begun in the prompt.</think>\n\nAn answer.", "An answer."),
        ("<think>a</think>One <think>b</think>two", "One two"),
        ("[THINK]Hm[/THINK]An answer.", "An answer."),
        ("<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>", "Yes."),
        ("<|channel|>analysis<|message|>Hm, and then the tokens ran", ""),
        ("I think <b>so</b>", "I think <b>so</b>"),
    ],
)
def test_thinking_is_cut(text: str, left: str) -> None:
    assert without_thinking(text) == left


def test_marks_that_are_special_tokens_are_cut_before_they_vanish(tokenizer: Any) -> None:
    made = copy.deepcopy(tokenizer)
    made.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    ids = made("[THINK]Harry Potter[/THINK]Ron<|im_end|>", add_special_tokens=False)["input_ids"]
    assert made.decode(ids, skip_special_tokens=True) == "Harry PotterRon"
    assert said(made, [ids, made("Ron")["input_ids"]]) == ["Ron", "Ron"]


def test_what_a_model_is_asked_and_says(tiny_model_folder: Path) -> None:
    from tiny import load_task

    task = load_task(tiny_model_folder)
    task.tokenizer.chat_template = FORCED
    assert task.tokenizer.decode(task.encode_prompt("Who?", chat=True)) == ASKED + "<think>\n\n</think>\n\n"


def test_a_template_that_fails_is_the_models_fault(tokenizer: Any) -> None:
    with pytest.raises(ModelError, match=r"chat template fails on a plain question[\s\S]*next:"):
        form_of(with_template(tokenizer, "{{ 1 / 0 }}"))
