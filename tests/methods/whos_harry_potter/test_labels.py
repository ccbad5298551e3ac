"""Generic labels, worked out by hand: a word is a token, and what each model says after a word is written down."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from expunge.data.text.document import Document
from expunge.kinds.language.blocks import Block, iterate_blocks
from expunge.kinds.language.recipe import Reinforcement
from expunge.kinds.language.terms.anchors import Anchor, AnchorDictionary
from expunge.methods.whos_harry_potter import WhosHarryPotter
from expunge.methods.whos_harry_potter.labels import (
    Labels,
    align,
    combine,
    generic_labels,
    repeated_tokens,
    rows_at,
    shown_translations,
)
from expunge.methods.whos_harry_potter.reinforced import Reinforced
from expunge.train.step import IGNORED, Batch
from tiny import load_task

WORDS = [
    *("<unk>", "<s>", ".", ",", ":", "Harry", " Harry", " Potter", "Potter", "Jon", " Jon", " Smith", "Smith"),
    *(" met", " Ron", "Ron", " Tom", "Tom", " Old", "Old", " and", " he", " she", " saw", " slept", " ate", " ran"),
    *(" Sue", "Who", "?", " It", "It", " was"),
]
ID = {word: number for number, word in enumerate(WORDS)}
DICTIONARY = AnchorDictionary(
    [Anchor("Harry Potter", "Jon Smith"), Anchor("Harry", "Jon"), Anchor("Potter", "Smith"), Anchor("Ron", "Old Tom")]
)


def word_tokenizer(prefix: bool = False) -> Any:
    """Tokens are words with the space before them, or single marks."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel(ID, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|[^\w\s]"), "isolated")
    if prefix:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


Says = dict[str, dict[str, float]]
"""last word read -> {next word: logit}; every other logit is 0"""


class Told:
    """A task whose logits depend on the last token read, as written down."""

    def __init__(self, says: Says, tokenizer: Any = None) -> None:
        self.says, self.tokenizer = says, tokenizer or word_tokenizer()
        self.read: list[list[str]] = []

    def exact(self) -> Told:
        return self

    def in_turns(self, work: Callable[[], Any]) -> Any:
        return work()

    def row_logits(self, batch: Batch) -> torch.Tensor:
        rows = []
        for ids, labels, length in zip(batch.ids, batch.labels, batch.lengths.tolist(), strict=True):
            self.read.append([WORDS[i] for i in ids[:length]])
            for t in range(1, len(labels)):
                if labels[t] != IGNORED:
                    logits = torch.zeros(len(WORDS))
                    for word, logit in self.says.get(WORDS[ids[t - 1]], {}).items():
                        logits[ID[word]] = logit
                    rows.append(logits)
        return torch.stack(rows) if rows else torch.zeros(0, len(WORDS))


class Pair:
    """A base model and its reinforced twin, both told what to say."""

    def __init__(self, base: Says, strong: Says | None = None, tokenizer: Any = None) -> None:
        self.base = Told(base, tokenizer)
        self.strong = Told(base if strong is None else strong, self.base.tokenizer)

    @contextlib.contextmanager
    def twin(self) -> Iterator[Told]:
        yield self.strong


def block_of(text: str, tokenizer: Any = None) -> Block:
    (block,) = iterate_blocks([Document(text, None, "x")], tokenizer or word_tokenizer(), 64)
    return block


def labels_of(pair: Pair, block: Block, dictionary: AnchorDictionary = DICTIONARY, **settings: Any) -> Labels:
    method = WhosHarryPotter(normalise=False, **settings)
    (labels,) = generic_labels([block], pair, dictionary, method)  # type: ignore[arg-type]
    return labels


def words(labels: Labels) -> list[str | None]:
    return [None if label == IGNORED else WORDS[label] for label in labels.hard]


# --- equation 1


def test_equation_1() -> None:
    base, strong = torch.tensor([[2.0, 1.0, -3.0]]), torch.tensor([[3.0, 0.5, -3.0]])
    # relu(strong - base) = 1, 0, 0
    assert combine(base, strong, 5.0).tolist() == [[-3.0, 1.0, -3.0]]
    assert combine(base, strong, 0.0).tolist() == base.tolist()


def test_equation_1_in_its_split_form() -> None:
    base, strong = torch.tensor([[2.0, 1.0, -3.0]]), torch.tensor([[3.0, 0.5, -3.0]])
    compared = torch.tensor([[3.0, 0.0, -4.0]])  # relu(strong - compared) = 0, 0.5, 1
    assert combine(base, strong, 2.0, compared).tolist() == [[2.0, 0.0, -5.0]]


# --- matching positions


def spans(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer(r" ?\w+|[^\w\s]", text)]


def test_positions_are_matched_by_what_both_have_read() -> None:
    text = "Ron met Harry."
    translation = DICTIONARY.translate(text)
    assert translation.text == "Old Tom met Jon."
    # tokens: Ron| met| Harry|.  and  Old| Tom| met| Jon|.  (the last position predicts nothing)
    assert align(spans(text), spans(translation.text), translation, 1) == [(0, 1), (1, 2), (2, 3)]
    assert align(spans(text), spans(translation.text), translation, 2) == [(1, 2), (2, 3)], "i predicts i + 1"


def test_a_position_inside_a_term_has_no_partner() -> None:
    text = "he met Harry Potter and ran"
    translation = DICTIONARY.translate(text)
    # he| met| Harry| Potter| and| ran: after "Harry" the translation is inside "Jon Smith"
    assert align(spans(text), spans(translation.text), translation, 1) == [(0, 0), (1, 1), (3, 3), (4, 4)]


def test_a_position_where_no_token_ends_on_the_other_side_has_no_partner() -> None:
    text = "he met Harry"
    translation = AnchorDictionary([]).translate(text)
    halves = [(0, 2), (2, 4), (4, 6), (6, 12)]  # "he", " m", "et", " Harry"
    assert align(halves, spans(text), translation, 1) == [(0, 0), (2, 1)]
    assert align(spans(text), halves, translation, 1) == [(0, 0), (1, 2)]


def test_a_character_split_over_tokens_is_read_when_its_last_token_is() -> None:
    text = "é a"
    translation = AnchorDictionary([]).translate(text)
    bytes_of = [(0, 1), (1, 1), (1, 2), (2, 3)]  # two tokens of one character, then " " and "a"
    assert align(bytes_of, bytes_of, translation, 1) == [(1, 1), (2, 2)]
    whole = [(0, 1), (1, 2), (2, 3)]
    assert align(bytes_of, whole, translation, 1) == [(1, 0), (2, 1)]
    assert align(whole, bytes_of, translation, 1) == [(0, 1), (1, 2)]


def test_a_token_for_the_beginning_is_a_position_like_any_other() -> None:
    text = "he met Harry"
    translation = DICTIONARY.translate(text)
    source = [(0, 0), *spans(text)]
    assert align(source, [(0, 0), *spans(translation.text)], translation, 1) == [(0, 0), (1, 1), (2, 2)]


# --- what leaves the loss


def repeated(text: str) -> list[str]:
    found = repeated_tokens(spans(text), text, DICTIONARY.find(text))
    return [f"{number}:{text[start:end]}" for number, (start, end) in enumerate(spans(text)) if number in found]


def test_a_terms_second_appearance_leaves_the_loss() -> None:
    assert repeated("Harry met Ron and Harry saw Ron and Harry") == ["4: Harry", "6: Ron", "8: Harry"]
    assert repeated("Harry met Ron") == []


def test_repeated_is_a_word_not_a_term() -> None:
    assert repeated("Harry Potter ran and Potter slept") == ["4: Potter"]
    assert repeated("Harry ran and Harry Potter slept") == ["3: Harry"]
    assert repeated("HARRY ran and Harry slept") == ["3: Harry"]


def test_only_words_of_anchors_are_repeated() -> None:
    assert repeated("he met Ron and he met she") == []


def test_all_tokens_of_a_repeated_word_leave_the_loss() -> None:
    text = "Potter, Potter"
    pieces = [(0, 3), (3, 6), (6, 7), (7, 8), (8, 11), (11, 14)]  # "Pot" "ter" "," " " "Pot" "ter"
    assert repeated_tokens(pieces, text, DICTIONARY.find(text)) == {4, 5}
    with_space = [(0, 6), (6, 7), (7, 11), (11, 14)]  # "Potter" "," " Pot" "ter"
    assert repeated_tokens(with_space, text, DICTIONARY.find(text)) == {2, 3}


# --- what is lowered


def test_translations_are_lowered_in_both_forms_once_they_have_been_shown() -> None:
    text = "he met Ron and Harry"
    shown = shown_translations(DICTIONARY.find(text), text, Told({}))  # type: ignore[arg-type]
    assert shown == [
        (len("he met Ron"), [ID["Old"], ID[" Old"], ID["Tom"], ID[" Tom"]]),
        (len(text), [ID["Jon"], ID[" Jon"]]),
    ]


def test_a_word_that_the_term_has_too_is_not_lowered() -> None:
    dictionary = AnchorDictionary([Anchor("Harry Potter", "Jon Potter")])
    text = "Harry Potter ran"
    shown = shown_translations(dictionary.find(text), text, Told({}))  # type: ignore[arg-type]
    assert shown == [(len("Harry Potter"), [ID["Jon"], ID[" Jon"]])]


# --- all together


BASE: Says = {
    "Jon": {" met": 5.0, " ate": 4.0},
    "Harry": {" Potter": 9.0},  # this and Ron are only ever read where the original is given
    " Ron": {" and": 4.0},
    " met": {" Tom": 6.0, " Sue": 4.0},
    " Tom": {" and": 5.0},
    " and": {" Tom": 6.0, " Jon": 5.0, " he": 2.0},
    " he": {" saw": 3.0},
    " saw": {" Jon": 7.0, " Sue": 1.0},
    " Jon": {" slept": 3.0, " ran": 2.5},
}
STRONG: Says = BASE | {
    "Harry": {" met": 6.0},
    " met": {" Ron": 9.0, " Tom": 2.0},
    " Harry": {" slept": 3.4, " ran": 2.4},
}
TEXT = "Harry met Ron and he saw Harry slept"


def test_labels_of_a_block_worked_out_by_hand() -> None:
    pair = Pair(BASE, STRONG)
    labels = words(labels_of(pair, block_of(TEXT)))
    assert pair.base.read == [["Jon", " met", " Old", " Tom", " and", " he", " saw", " Jon", " slept"]]
    assert pair.strong.read == [["Harry", " met", " Ron", " and", " he", " saw", " Harry", " slept"]]
    assert labels == [
        None,  # nothing stands before the first token
        " ate",  # met: 5 - 5 * (6 - 5) = 0; ate: 4
        " Tom",  # Ron: 0 - 5 * 9; Tom: 6, and not lowered before Ron has been met
        " and",  # the translation is a word longer: read after "Old Tom"
        " he",  # Tom 6 - 10 and Jon 5 - 10, both shown; he: 2
        " saw",
        None,  # Harry again
        " ran",  # slept: 3 - 5 * 0.4 = 1; ran: 2.5
    ]


def test_alpha_zero_is_the_base_model_on_the_translated_text() -> None:
    labels = words(labels_of(Pair(BASE, STRONG), block_of(TEXT), alpha=0.0, translation_penalty=0.0))
    assert labels == [None, " met", " Tom", " and", " Tom", " saw", None, " slept"]


def test_the_penalty_is_as_large_as_it_is_set() -> None:
    def label(penalty: float) -> str | None:
        return words(labels_of(Pair(BASE, STRONG), block_of(TEXT), translation_penalty=penalty))[4]

    # Tom 6 and Jon 5 are lowered, he 2 is not
    assert [label(3.9), label(4.1)] == [" Tom", " he"]


def test_a_translation_is_lowered_from_the_very_next_token_on() -> None:
    base: Says = {" Tom": {" Tom": 9.0, " and": 5.0}}
    assert words(labels_of(Pair(base), block_of("he met Ron and")))[3] == " and"


def test_the_split_form_compares_both_models_on_the_original() -> None:
    pair = Pair(BASE, STRONG)
    labels = words(labels_of(pair, block_of(TEXT), form="split"))
    assert len(pair.base.read) == 2
    # after Harry the base says Potter 9 on the original: met is 5 - 5 * relu(6 - 0), ate 4
    assert labels[1] == " ate"
    # after Harry again, on the original: slept 3 - 5 * 3.4, ran 2.5 - 5 * 2.4, so what nobody says (0) wins
    assert labels[7] not in (" slept", " ran")
    assert labels[2:6] == [" Tom", " and", " he", " saw"]


def test_a_position_without_a_partner_has_no_label() -> None:
    labels = words(labels_of(Pair(BASE), block_of("he met Harry Potter and he")))
    assert [label is None for label in labels] == [True, False, False, True, False, False]


def test_without_anchors_and_with_an_equal_twin_the_label_is_what_the_base_says() -> None:
    base: Says = {" he": {" saw": 2.0}, " saw": {" she": 2.0}, "It": {" was": 1.0}, " was": {" he": 1.0}}
    labels = words(labels_of(Pair(base), block_of("It was he saw she"), AnchorDictionary([])))
    assert labels == [None, " was", " he", " saw", " she"]


def test_soft_labels_are_the_likeliest_tokens_renormalised() -> None:
    labels = labels_of(Pair(BASE, STRONG), block_of(TEXT), top_k=2)
    assert labels.soft_ids is not None
    assert labels.soft_weights is not None
    assert labels.soft_ids.shape == labels.soft_weights.shape == (8, 2)
    assert [WORDS[i] for i in labels.soft_ids[7]] == [" ran", " slept"]  # v = 2.5 and 1
    expected = np.exp([2.5, 1.0]) / np.exp([2.5, 1.0]).sum()
    assert labels.soft_weights[7] == pytest.approx(expected)
    labelled = labels.hard != IGNORED
    assert labels.soft_weights.sum(1) == pytest.approx(labelled.astype(float))
    assert (labels.soft_ids[labelled, 0] == labels.hard[labelled]).all()


def test_a_token_for_the_beginning_predicts_the_first_word() -> None:
    tokenizer = word_tokenizer(prefix=True)
    block = block_of("Harry met Ron", tokenizer)
    assert block.ids[0] == ID["<s>"]
    pair = Pair(BASE | {"<s>": {"It": 3.0, "Jon": 2.0}}, tokenizer=tokenizer)
    assert words(labels_of(pair, block)) == [None, "It", " met", " Tom"]
    assert pair.base.read == [["<s>", "Jon", " met", " Old", " Tom"]]


def test_of_a_question_row_only_the_answer_has_labels() -> None:
    text = "Who met Harry? Ron and Harry"
    ids = [ID[word] for word in ("Who", " met", " Harry", "?", " Ron", " and", " Harry")]
    block = Block(ids=ids, offsets=spans(text), text=text, first_label=4, source="x")
    base = BASE | {"?": {" Sue": 3.0}, " Tom": {" ran": 2.0}}
    labels = words(labels_of(Pair(base), block))
    # Harry stood in the question already, so the answer's Harry is a repetition
    assert labels == [None, None, None, None, " Sue", " ran", None]


def test_the_end_of_an_answer_is_labelled_like_any_other_token() -> None:
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<s>"})
    text = "Who met Harry? Ron"
    ids = [ID[word] for word in ("Who", " met", " Harry", "?", " Ron")]
    offsets = [*spans(text), (len(text), len(text))]
    block = Block(ids=[*ids, ID["<s>"]], offsets=offsets, text=text, first_label=4, source="x")
    base = BASE | {"?": {" Sue": 3.0}, " Tom": {"<s>": 6.0, " and": 5.0}}
    assert words(labels_of(Pair(base, tokenizer=tokenizer), block)) == [None, None, None, None, " Sue", "<s>"]
    strong = base | {" Ron": {"<s>": 6.5, " and": 5.0}}  # and corrected like any other: 6 - 5 * 0.5 is below 5
    assert words(labels_of(Pair(base, strong, tokenizer=tokenizer), block))[-1] == " and"
    half = Block(ids=[*ids, ID[" he"]], offsets=offsets, text=text, first_label=4, source="x")
    assert words(labels_of(Pair(base, tokenizer=tokenizer), half))[-1] is None, "the rest of a character split in two"


def test_blocks_labelled_together_have_the_labels_they_have_alone() -> None:
    texts = [TEXT, "It was Ron and he", "he met Harry Potter and he slept and she ran"]
    blocks = [block_of(text) for text in texts]
    for form in ("paper", "split"):
        method = WhosHarryPotter(normalise=False, form=form, top_k=3)  # type: ignore[arg-type]
        together = generic_labels(blocks, Pair(BASE, STRONG), DICTIONARY, method)  # type: ignore[arg-type]
        for block, labels in zip(blocks, together, strict=True):
            alone = labels_of(Pair(BASE, STRONG), block, form=form, top_k=3)
            assert labels.hard.tolist() == alone.hard.tolist()
            assert labels.soft_ids is not None
            assert alone.soft_ids is not None
            assert labels.soft_ids.tolist() == alone.soft_ids.tolist()


def test_normalised_logits_ignore_what_shifts_all_of_them() -> None:
    """Softmax does not see a constant added to all logits, equation 1 does."""

    class Shifted(Told):
        def row_logits(self, batch: Batch) -> torch.Tensor:
            return super().row_logits(batch) - 4.0

    def label(normalise: bool, shifted: bool) -> list[str | None]:
        pair = Pair(BASE, STRONG)
        if shifted:
            pair.strong = Shifted(STRONG, pair.base.tokenizer)
        method = WhosHarryPotter(normalise=normalise)
        (labels,) = generic_labels([block_of(TEXT)], pair, DICTIONARY, method)  # type: ignore[arg-type]
        return words(labels)

    assert label(True, True) == label(True, False)
    # the twin says met 6 after Harry, the base 5: shifted, the twin's 2 no longer corrects anything
    assert (label(False, False)[1], label(False, True)[1]) == (" ate", " met")


def test_rows_are_those_after_the_positions() -> None:
    batch = rows_at([([5, 6, 7], [0, 2]), ([8], [0])])
    assert batch.ids[0, :3].tolist() == [5, 6, 7]
    assert (batch.labels != IGNORED).tolist() == [[False, True, False, True], [False, True, False, False]]
    assert batch.lengths.tolist() == [3, 1]


# --- with a real (tiny) model


def read_greedily(task: Any, ids: Sequence[int]) -> list[int]:
    with torch.no_grad():
        return task.model(torch.tensor([list(ids)])).logits[0].argmax(-1).tolist()


def test_a_real_model_without_anchors_labels_with_its_own_first_choice(tiny_model_folder: Path) -> None:
    """The adapter is untrained, so both models are the base; labels then are its argmax, one place on."""
    task = load_task(tiny_model_folder)
    reinforced = Reinforced(task, Reinforcement(rank=2), seed=0)
    with reinforced.twin():
        pass
    text = "Harry Potter walked along Baker Street, naïve as ever: 東京 was far."
    (block,) = iterate_blocks([Document(text, None, "x")], task.tokenizer, 128)
    (labels,) = generic_labels([block], reinforced, AnchorDictionary([]), WhosHarryPotter())
    said = read_greedily(task, block.ids)
    split = [i for i in range(1, len(block.ids)) if block.offsets[i][1] == block.offsets[i - 1][1]]
    assert len(split) == 5, "ï is two tokens, 東 and 京 are three each"
    expected = [IGNORED if i == 0 or i in split else said[i - 1] for i in range(len(block.ids))]
    assert labels.hard.tolist() == expected


def test_labels_do_not_depend_on_autocast(tiny_model_folder: Path) -> None:
    """Five times the difference of two models, rounded to bfloat16, would say something else at many positions."""
    exact = load_task(tiny_model_folder)
    rounded = load_task(tiny_model_folder)
    rounded.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    text = "Harry saw the man in the fog and said nothing of the kind to Ron before the day was bright. " * 4
    (block,) = iterate_blocks([Document(text, None, "x")], exact.tokenizer, 96)
    found = []
    for task in (exact, rounded):
        reinforced = Reinforced(task, Reinforcement(rank=4), seed=3)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in task.model.named_parameters():
                if ".reinforced." in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        (labels,) = generic_labels([block], reinforced, DICTIONARY, WhosHarryPotter())
        found.append(labels.hard)
    assert (found[0] != IGNORED).sum() > 40
    np.testing.assert_array_equal(found[0], found[1])
