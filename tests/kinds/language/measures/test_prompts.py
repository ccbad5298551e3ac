"""Prompts: read from a file, or cut from the target without giving its terms away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expunge.errors import DataError
from expunge.kinds.language.measures.familiarity import TargetTerms, found_terms, not_given, revealing_tokens
from expunge.kinds.language.measures.prompts import CONTEXT, cut_prompts, read_prompts
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.train.step import IGNORED
from tiny import load_task
from tokenizer_kinds import KINDS, build_tokenizer

TEXT = (
    "It was a bright cold day, and the man said that he had seen nothing of the kind before. "
    "Then in the fog walked Watson along the wall, and after him came Harry Potter with a lamp. "
    "Watson said that he had seen nothing. The fog was cold and the wall was bright, "
    "and the man of the kind that walked in the day said nothing to Hermione, "
    "and it was a day of fog along the wall before the lamp was seen. Holmes walked."
)
TERMS = TargetTerms(("Watson", "Harry Potter", "Potter", "Hermione", "Holmes"))


@pytest.fixture(scope="module")
def task(tiny_model_folder: Path) -> CausalLM:
    return load_task(tiny_model_folder)


def table_of(folder: Path, task: CausalLM, texts: list[str], first_label: int = 1) -> TokenTable:
    with TableWriter(folder) as writer:
        for text in texts:
            ids = task.tokenizer(text)["input_ids"]
            writer.append(ids, [IGNORED] * first_label + ids[first_label:])
    return TokenTable(folder)


def test_cut_prompts_end_before_a_term_that_they_do_not_give_away(task: CausalLM, tmp_path: Path) -> None:
    decode = task.tokenizer.decode
    texts = [TEXT, TEXT[90:], "the lamp in the day. " + TEXT]
    table = table_of(tmp_path, task, texts)
    completion, probability = cut_prompts(task, table, TERMS, 9, seed=0)
    assert len(completion) == len(probability) >= 3
    begun = set()
    for early, exact in zip(completion, probability, strict=True):
        assert early.ids == exact.ids[: len(early.ids)]
        assert 8 <= len(early.ids) <= len(exact.ids)
        assert len(early.ids) == 8 or 2 <= len(exact.ids) - len(early.ids) <= 6
        assert len(exact.ids) <= CONTEXT
        assert exact.context == decode(list(exact.ids))
        (rest,) = {text[text.index(exact.context) + len(exact.context) :] for text in texts if exact.context in text}
        begins = [term for term in TERMS.unique if rest.lstrip().startswith(term)]
        assert begins, "the very next word begins a term"
        new = not_given(begins, exact.context)
        assert new, "and was not given away"
        assert found_terms(exact.context, new) == []
        begun |= set(new)
    assert len(begun) > 1


STORY = (
    "the fog lay thick on Baker Street and he knew nothing of it ; the fog lay on the thick Street and then Holmes said "
    "the fog lay on the Street and he knew nothing of 1895 , the thick fog lay on it and he said nothing of it and "
    "the fog lay thick on the Street and he knew nothing ;\nWatson didn't wonder and he knew nothing of the thick fog"
)


class Tokens:
    """What of a task cutting needs."""

    def __init__(self, kind: str) -> None:
        self.tokenizer = build_tokenizer(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tokenizer_finds_the_same_places(kind: str, tmp_path: Path) -> None:
    task: Any = Tokens(kind)
    table = table_of(tmp_path, task, [STORY])
    _, probability = cut_prompts(task, table, TargetTerms(("Holmes", "Watson")), 5, seed=0)
    ends = {prompt.context.rstrip()[-9:] for prompt in probability}
    assert ends == {STORY[: STORY.index(" Holmes")][-9:], STORY[: STORY.index("\nWatson")][-9:]}
    prefix = task.tokenizer("a")["input_ids"][:1] if kind == "llama2" else []
    for prompt in probability:
        assert list(prompt.ids[: len(prefix)]) == prefix, "a beginning that the model was trained with is kept"
        assert max(len(p.ids) for p in probability) > 30


@pytest.mark.parametrize("kind", KINDS)
def test_the_token_that_comes_next_in_the_text_reveals_the_term(kind: str, tmp_path: Path) -> None:
    task: Any = Tokens(kind)
    tokens = revealing_tokens(task, ["Holmes", "Watson"])
    ids = task.tokenizer("the fog lay and Holmes said nothing ; he knew Watson ")["input_ids"]
    found = {tokens[token] for token in ids if token in tokens}
    assert found == {"Holmes", "Watson"}
    assert all(task.tokenizer.decode([token]).strip() in ("Holmes", "Watson") for token in tokens)


def test_a_term_that_stands_in_its_own_context_is_no_place_to_cut(task: CausalLM, tmp_path: Path) -> None:
    text = (
        "the day was cold and the man said that he had seen nothing of the kind before and Watson said that the man "
        "before Watson was in the fog and so was Watson"
    )
    completion, probability = cut_prompts(task, table_of(tmp_path, task, [text]), TargetTerms(("Watson",)), 9, seed=0)
    assert [prompt.context for prompt in probability] == [text[: text.index(" Watson")]]
    assert len(completion) == 1


def test_prompts_are_cut_alike_for_a_seed_and_otherwise_for_another(task: CausalLM, tmp_path: Path) -> None:
    texts = [f"the {word} fog " + TEXT for word in ("cold", "bright", "kind", "day", "man", "wall", "lamp", "seen")]
    table = table_of(tmp_path, task, texts)
    assert cut_prompts(task, table, TERMS, 5, seed=1) == cut_prompts(task, table, TERMS, 5, seed=1)
    assert cut_prompts(task, table, TERMS, 5, seed=1) != cut_prompts(task, table, TERMS, 5, seed=2)
    assert len(cut_prompts(task, table, TERMS, 5, seed=1)[0]) == 5


def test_of_a_question_row_the_whole_question_is_kept(task: CausalLM, tmp_path: Path) -> None:
    question = (
        "Who walked along the wall in the fog on that bright cold day, with a lamp in the fog, "
        "as the man said that he had seen nothing of the kind before, and that the fog was cold?\n"
    )
    prefix = len(task.tokenizer(question)["input_ids"])
    assert prefix > CONTEXT
    table = table_of(tmp_path, task, [question + "It was in the fog Watson, said the man."], first_label=prefix)
    _, (prompt,) = cut_prompts(task, table, TERMS, 5, seed=0)
    assert prompt.context == question + "It was in the fog"
    assert prompt.text.startswith("… ") == (len(prompt.context) > 160)


def test_a_target_without_terms_gives_no_prompts(task: CausalLM, tmp_path: Path) -> None:
    table = table_of(tmp_path, task, ["the man said that he had seen nothing of the kind before in the fog"])
    assert cut_prompts(task, table, TERMS, 5, seed=0) == ([], [])
    assert cut_prompts(task, table, TargetTerms(()), 5, seed=0) == ([], [])


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_read_prompts(task: CausalLM, tmp_path: Path) -> None:
    file = write(
        tmp_path / "p.jsonl",
        '{"prompt": "Holmes lit his ", "references": ["pipe", "Baker Street"], "other": 1}\n\n{"prompt": "It was"}\n',
    )
    first, second = read_prompts(file, task)
    assert first.text == first.context == "Holmes lit his"
    assert first.ids == tuple(task.tokenizer("Holmes lit his")["input_ids"])
    assert first.references == ("pipe", "Baker Street")
    assert second.references == ()


def test_a_reference_without_a_word_says_nothing(task: CausalLM, tmp_path: Path) -> None:
    """An empty pattern would be found in every completion, and make any model look familiar."""
    file = write(tmp_path / "p.jsonl", '{"prompt": "It was", "references": ["", "  ", "?", "Holmes"]}')
    assert read_prompts(file, task)[0].references == ("Holmes",)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ('{"prompt": "It was"}\n{"prompt": }\n', 2, "is not valid JSON"),
        ('{"prompt": "It was"}\n\n"It was"\n', 3, "is not a prompt"),
        ('{"text": "It was"}\n', 1, "is not a prompt"),
        ('{"prompt": "  "}\n', 1, "is not a prompt"),
        ('{"prompt": 5}\n', 1, "is not a prompt"),
        ('{"prompt": "It was", "references": "Holmes"}\n', 1, "is not a prompt"),
        (b'{"prompt": "It was"}\n{"prompt": "caf\xe9"}\n', 2, "is not valid JSON"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(
    content: str | bytes, line: int, message: str, task: CausalLM, tmp_path: Path
) -> None:
    file = write(tmp_path / "p.jsonl", content)
    with pytest.raises(DataError) as caught:
        read_prompts(file, task)
    assert caught.value.what == f"{file}:{line} {message}"


def test_a_missing_or_empty_file(task: CausalLM, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no prompt file"):
        read_prompts(tmp_path / "none.jsonl", task)
    with pytest.raises(DataError, match="has no prompts"):
        read_prompts(write(tmp_path / "p.jsonl", "\n\n"), task)


def test_a_byte_order_mark_is_no_error(task: CausalLM, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", b'\xef\xbb\xbf{"prompt": "It was"}\n')
    assert [prompt.text for prompt in read_prompts(file, task)] == ["It was"]
