"""General knowledge: the questions themselves, and how an answer is judged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from expunge.kinds.language.measures.general_knowledge import SHOWN, facts, general_knowledge
from expunge.kinds.language.task import CausalLM
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


CHOSEN = [facts()[i] for i in (0, 7, 21, 40)]


def test_the_likeliest_answer_a_token_is_the_models(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.kinds.language.measures.general_knowledge.facts", lambda: CHOSEN)
    task = load_task(tiny_model_folder)
    score, said = general_knowledge(task, "base")
    expected = []
    for prompt, answers in CHOSEN:
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
    assert [row["prompt"] for row in said] == [prompt for prompt, _ in CHOSEN]
    assert len(CHOSEN) < SHOWN


def test_choices_are_compared_without_autocast(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.kinds.language.measures.general_knowledge.facts", lambda: CHOSEN)
    plain = load_task(tiny_model_folder)
    lowered = CausalLM(plain.model, plain.tokenizer, lambda: torch.autocast("cpu", torch.bfloat16))
    types: set[torch.dtype] = set()
    head = plain.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda *a: types.add(a[2].dtype))
    with monkeypatch.context() as patch:
        patch.setattr(CausalLM, "generate", lambda *a, **k: [[""] for _ in CHOSEN])
        assert general_knowledge(lowered, "base")[0].examples == general_knowledge(plain, "base")[0].examples
    hook.remove()
    assert types == {torch.float32}
