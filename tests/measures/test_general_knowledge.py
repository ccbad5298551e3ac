"""General knowledge: the questions themselves, and how an answer is judged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from expunge.measures.general_knowledge import SHOWN, facts, general_knowledge
from tiny import load_task


def test_every_fact_has_one_right_and_three_wrong_answers() -> None:
    found = facts()
    assert len(found) >= 50
    assert len({prompt for prompt, _ in found}) == len(found)
    for prompt, answers in found:
        assert prompt == prompt.strip(), prompt
        assert prompt[0].isupper(), prompt
        assert len(answers) == 4, prompt
        assert len({answer.casefold() for answer in answers}) == 4, prompt
        assert all(answer == answer.strip() != "" for answer in answers), prompt
        words = set(re.findall(r"\w+", prompt.casefold()))
        assert not words & set(re.findall(r"\w+", answers[0].casefold())), prompt


def test_the_likeliest_answer_a_token_is_the_models(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    chosen = [0, 7, 21, 40]
    score, said = general_knowledge(task, "base", chosen)
    expected = []
    for prompt, answers in (facts()[i] for i in chosen):
        before = task.tokenizer(prompt)["input_ids"]
        means = []
        for answer in answers:
            ids = task.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                log_p = task.model(torch.tensor([before + ids])).logits[0].log_softmax(-1)
            means.append(sum(log_p[len(before) + i - 1, token].item() for i, token in enumerate(ids)) / len(ids))
        expected.append(float(means[0] == max(means)))
    assert list(score.examples) == expected
    assert score.value == pytest.approx(sum(expected) / 4)
    assert (score.n, score.higher_is, score.split) == (4, "better", "general")
    assert [row["prompt"] for row in said] == [facts()[i][0] for i in chosen]
    assert len(chosen) < SHOWN
