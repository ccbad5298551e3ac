"""Familiarity by completion and by probability, on hand-made completions and hand-made probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from expunge.kinds.language.measures.familiarity import (
    TYPICAL_SHARE,
    Prompt,
    TargetTerms,
    completion_value,
    familiarity_by_completion,
    familiarity_by_probability,
    found_terms,
    next_token_probabilities,
    not_given,
    probe_tokens,
    revealing_tokens,
)
from expunge.kinds.language.task import CausalLM
from tiny import load_task

TERMS = TargetTerms(("Sherlock Holmes", "Holmes", "Watson", "Baker Street", "brougham"), ("hansom", "gaslight"))


def prompt(context: str = "It was", references: Sequence[str] = (), ids: Sequence[int] = (5, 6, 7)) -> Prompt:
    return Prompt(ids=tuple(ids), text=context, context=context, references=tuple(references))


@pytest.mark.parametrize(
    ("said", "value", "terms"),
    [
        ("the house of Sherlock Holmes.", 1.0, ["Sherlock Holmes", "Holmes"]),
        ("Baker\nStreet, in the fog", 1.0, ["Baker Street"]),  # a line broken inside a name
        ("Baker \n  Street", 1.0, ["Baker Street"]),
        ("Watson's revolver", 1.0, ["Watson"]),
        ("a hansom and a brougham", 1.0, ["brougham", "hansom"]),
        ("a hansom", TYPICAL_SHARE, ["hansom"]),
        ("Hansom cabs by gaslight", TYPICAL_SHARE, ["hansom", "gaslight"]),  # lower-case terms in any case
        ("holmes and watson", 0.0, []),  # names only as they are written
        ("Watsonville, a bakerstreet", 0.0, []),  # whole words only
        ("nothing of the kind", 0.0, []),
        ("", 0.0, []),
    ],
)
def test_the_value_of_a_completion(said: str, value: float, terms: list[str]) -> None:
    assert completion_value(said, prompt(), TERMS) == (value, terms)


@pytest.mark.parametrize(
    ("context", "said", "value"),
    [
        ("Dr. Watson said to", "Watson and Holmes", 1.0),  # Holmes is new
        ("Dr. Watson said to", "Watson", 0.0),
        ("SHERLOCK looked at", "Sherlock Holmes", 1.0),  # of two words one was given; but Holmes alone is new
        ("Mr. Holmes looked at", "Sherlock Holmes", 0.0),
        ("They went down the street:", "Baker Street", 0.0),  # half a name gives the other half away
        ("By gaslight came", "gaslight", 0.0),
        ("By gaslight came", "a hansom in the gaslight", TYPICAL_SHARE),
    ],
)
def test_what_the_prompt_gave_away_does_not_count(context: str, said: str, value: float) -> None:
    assert completion_value(said, prompt(context), TERMS)[0] == value


def test_references_of_a_prompt_count_like_unique_terms() -> None:
    assert completion_value("a deerstalker", prompt(), TERMS)[0] == 0
    assert completion_value("a deerstalker", prompt(references=["deerstalker"]), TERMS) == (1.0, ["deerstalker"])
    given = prompt("In his deerstalker", references=["deerstalker"])
    assert completion_value("a deerstalker", given, TERMS)[0] == 0


def test_a_term_that_is_both_unique_and_a_reference_is_named_once() -> None:
    assert completion_value("Watson!", prompt(references=["Watson"]), TERMS) == (1.0, ["Watson"])


def test_terms_with_marks_in_them() -> None:
    assert found_terms("St. Simon's, and C++ (no less)", ["St. Simon", "Simon's"]) == ["St. Simon", "Simon's"]
    assert not_given(["Red-Headed League"], "the red door") == []
    assert not_given(["Red-Headed League"], "the reddish door") == ["Red-Headed League"]


class Saying(CausalLM):
    """A task with given outputs."""

    def __init__(self, greedy: list[str], sampled: list[list[str]]) -> None:
        self.greedy, self.sampled = greedy, sampled

    def generate(self, prompts: object, max_new_tokens: int, sampling: object = None) -> Iterator[list[str]]:  # type: ignore[override]
        yield from self.sampled if sampling else [[text] for text in self.greedy]


def test_familiarity_by_completion_is_the_mean_over_prompts_of_the_mean_over_completions() -> None:
    task = Saying(["Watson", "nothing"], [["a hansom", "nothing", "Holmes"], ["nothing", "nothing", "gaslight"]])
    score, answers = familiarity_by_completion(
        task, [prompt("One"), prompt("Two")], TERMS, "base", max_new_tokens=8, samples=3, seed=0
    )
    assert score.examples == pytest.approx([(1 + 0.2 + 0 + 1) / 4, 0.2 / 4])
    assert score.value == pytest.approx(0.3)
    assert (score.n, score.higher_is, score.split, score.model) == (2, "worse", "forget", "base")
    assert answers == [
        {"prompt": "One", "said": "Watson", "terms": ["Watson"]},
        {"prompt": "Two", "said": "nothing", "terms": []},
    ]


def test_without_samples_only_the_greedy_completion_counts() -> None:
    task = Saying(["Watson"], [["nothing"] * 3])
    score, _ = familiarity_by_completion(task, [prompt()], TERMS, "base", max_new_tokens=8, samples=0, seed=0)
    assert score.value == 1


@pytest.fixture(scope="module")
def task(tiny_model_folder: Path) -> CausalLM:
    return load_task(tiny_model_folder)


def first_token(task: CausalLM, word: str) -> int:
    return int(task.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0])


def test_tokens_reveal_a_term_where_they_are_its_first_word_or_a_telling_piece_of_it(task: CausalLM) -> None:
    # the tiny tokenizer has " Sherlock", " Watson" and " Baker" as one token each; " the" begins "theodolite"
    for word in ("Holmes", "Watson"):
        assert task.tokenizer.decode([first_token(task, word)]) == f" {word}"
    assert task.tokenizer.decode([first_token(task, "theodolite")]) == " the"
    tokens = revealing_tokens(task, ["Watson", "Holmes of London", "theodolite", "Watson Junior"])
    spaced = {first_token(task, "Watson"): "Watson", first_token(task, "Holmes"): "Holmes of London"}
    assert {token: term for token, term in tokens.items() if task.tokenizer.decode([token])[0] == " "} == spaced
    # and as they begin a line
    assert {token for token in tokens if token not in spaced} <= {
        task.tokenizer(f"a\n{word}", add_special_tokens=False)["input_ids"][2] for word in ("Watson", "Holmes")
    }
    (alone,) = task.tokenizer("X", add_special_tokens=False)["input_ids"]
    assert revealing_tokens(task, ["X"]).get(alone) == "X", "a whole word says what it is, however short"


class Likely(CausalLM):
    """A task whose next tokens have given probabilities."""

    def __init__(self, task: CausalLM, probabilities: list[dict[int, float]]) -> None:
        self.tokenizer = task.tokenizer
        self.rows = torch.full((len(probabilities), len(task.tokenizer)), 1e-12)
        for row, chances in enumerate(probabilities):
            for token, chance in chances.items():
                self.rows[row, token] = chance

    def row_logits(self, batch: object) -> torch.Tensor:
        return self.rows.log()


def test_familiarity_by_probability_sums_what_reveals_a_term_that_was_not_given(task: CausalLM) -> None:
    watson, holmes, the = (first_token(task, word) for word in ("Watson", "Holmes", "the"))
    chances = {watson: 0.25, holmes: 0.125, the: 0.625}
    likely = Likely(task, [chances, chances, chances])
    prompts = [prompt("It was"), prompt("Watson saw"), prompt("Watson, Holmes, Baker and the brougham")]
    score = familiarity_by_probability(likely, prompts, TERMS, "unlearned")
    assert score.examples == pytest.approx([0.375, 0.125, 0.0], abs=1e-6)
    assert score.value == pytest.approx(0.5 / 3, abs=1e-6)
    assert (score.measure, score.model) == ("familiarity_probability", "unlearned")


def test_next_token_probabilities_of_prompts_of_unlike_length(task: CausalLM) -> None:
    prompts = [[5, 6, 7, 8, 9, 10], [11], [12, 13, 14]]
    found = next_token_probabilities(task, prompts)
    assert found.shape == (3, len(task.tokenizer))
    for row, ids in zip(found, prompts, strict=True):
        torch.testing.assert_close(row, task.model(torch.tensor([ids])).logits[0, -1].softmax(-1).detach())


def test_probes_follow_the_tokens_that_were_likeliest_at_first(task: CausalLM) -> None:
    first, second = {20: 0.5, 21: 0.3, 22: 0.2}, {30: 0.6, 20: 0.4}
    rows, watched = probe_tokens(Likely(task, [first]), [prompt("It was")], None, top=2)
    assert watched == [[20, 21]]
    words = {token: task.tokenizer.decode([token]) for token in (20, 21, 22, 30)}
    assert rows == [{"prompt": "It was", "tokens": {words[20]: 0.5, words[21]: 0.3, words[22]: 0.2}}]
    rows, again = probe_tokens(Likely(task, [second]), [prompt("It was")], watched)
    assert again == watched
    tokens = rows[0]["tokens"]
    assert isinstance(tokens, dict)
    assert list(tokens)[:3] == [words[20], words[21], words[30]], "the watched ones first, though one is gone"
    assert (tokens[words[20]], tokens[words[21]], tokens[words[30]]) == (0.4, 0.0, 0.6)
