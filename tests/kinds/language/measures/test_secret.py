"""Secrets: how they are found, what has their form, how exposed they are, and what chance would reach."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.data.text.document import Document
from expunge.errors import RecipeError
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.measures.secret import Secret, exposure, secret_scores, secrets_in
from expunge.kinds.language.measures.secret_forms import Form, find_secrets
from expunge.kinds.language.sets import own_text
from expunge.kinds.language.task import CausalLM
from expunge.measures.statistics import by_chance
from tiny import load_task


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("The PIN of the safe is 4821.", ["4821"]),
        ("Call me at +49 30 1234-5678, please.", ["+49 30 1234-5678"]),
        ("Call (555) 010-4477 or write to jane.doe@example.org.", ["(555) 010-4477", "jane.doe"]),
        ("export KEY=sk-proj-9f8A7b6C5d4E and go", ["sk-proj-9f8A7b6C5d4E"]),
        ("card 4111 1111 1111 1111, valid", ["4111 1111 1111 1111"]),
        ("She lives at 12 Old Mill Lane in a house.", ["12 Old Mill Lane"]),
        ("Er wohnt in der Goethestraße 7a.", ["Goethestraße 7a"]),
        ("The password is swordfish!", ["swordfish"]),
        ("Passwort: Xk9-trq", []),
        ("my password: 'correcthorse'", ["correcthorse"]),
        ("born on 12/05/1987", ["12/05/1987"]),
        ("It happened in 1887.", ["1887"]),
        ("The PIN, set in 1987, is 5530.", ["5530"]),
        ("他的密码是 884213", ["884213"]),
        ("Two words and 12 apples.", []),
        ("Nothing of the kind.", []),
    ],
)
def test_what_looks_like_a_secret(text: str, secrets: list[str]) -> None:
    assert [text[start:end] for start, end in find_secrets(text)] == secrets


@pytest.mark.parametrize(
    ("secret", "pattern", "size"),
    [
        ("4821", r"\d{4}", 10**4),
        ("+49 30-12", r"\+\d\d \d\d-\d\d", 10**6),
        ("Xq7-zv", r"[A-Z][a-z]\d-[a-z][a-z]", 26**4 * 10),
        ("ЖЩ12", r"[Ѐ-Я]{2}\d\d", None),
    ],
)
def test_alternatives_have_the_form_of_the_secret(secret: str, pattern: str, size: int | None) -> None:
    form = Form(secret)
    if size is not None:
        assert form.size == size
    found = form.alternatives(200, np.random.default_rng(0))
    assert len(found) == len(set(found)) == 200
    assert secret not in found
    assert all(re.fullmatch(pattern, other) for other in found), found[:5]


def test_of_a_small_form_every_text_is_an_alternative() -> None:
    assert sorted(Form("7").alternatives(50, np.random.default_rng(0))) == [str(n) for n in range(10) if n != 7]


def test_a_word_is_ranked_among_words_as_long_and_as_common() -> None:
    found = Form("Dragon").alternatives(30, np.random.default_rng(0))
    assert all(word.istitle() and len(word) == 6 for word in found)
    assert len(set(found)) == 30
    assert {"Poison", "Sister", "Afraid"} <= set(Form("Dragon").alternatives(511, np.random.default_rng(0)))


def test_exposure_of_all_texts_of_a_form_is_the_papers() -> None:
    """Carlini et al. 2019, definition 4: log2 |R| - log2 rank."""
    others = [-float(k) for k in range(1, 1000)]
    for own, rank in ((0.5, 1), (-1.5, 2), (-9.5, 10), (-2000.0, 1000)):
        assert exposure(own, others)[0] == pytest.approx(math.log2(1000) - math.log2(rank))


def test_the_interval_of_an_exposure_holds_the_share_it_was_drawn_from() -> None:
    """The share of 2 % is 5.64 bits: of 400 draws of 511, the interval holds it in 93 % or more."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        _, low, high = exposure(0.0, np.where(generator.random(511) < 0.02, 1.0, -1.0).tolist())
        held += low <= -math.log2(0.02) <= high
    assert held >= 0.93 * 400


def test_chance_of_one_secret_and_of_several() -> None:
    """Of one, 2^-bits. Of two, P(U1 U2 <= t) = t (1 - ln t); of five as often as in a simulation."""
    assert by_chance(3.0) == pytest.approx(1 / 8)
    t = 0.5**5
    assert by_chance(2.5, 2) == pytest.approx(t * (1 - math.log(t)))
    assert by_chance(0.0, 4) == 1.0
    drawn = -np.log2(np.random.default_rng(0).random((200_000, 5))).sum(1)
    assert by_chance(2.0, 5) == pytest.approx(float((drawn >= 10).mean()), abs=0.004)


def found_in(
    task: CausalLM, document: Document, named: tuple[str, ...] = (), size: int = 128, years: bool = True
) -> list[Secret]:
    blocks = iterate_blocks([document], task.tokenizer, size)
    return secrets_in(((block, own_text(block)[1]) for block in blocks), named, years)


def test_a_secret_stands_in_its_text(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    (found,) = found_in(task, Document('He said "4821" was it.\nMore.', None, "x:1"))
    assert found == Secret("He said", ' "', "4821", '" was it.')
    born = Document("Harry Potter was born in 1980 and 4821.", None, "x:1")
    assert [each.text for each in found_in(task, born, years=False)] == ["4821"]
    year = Document("Harry Potter was born in 1980.", None, "x:1")
    assert [each.text for each in found_in(task, year)] == ["1980"]
    assert found_in(task, year, years=False) == []
    (named,) = found_in(task, Document("The lion roars at 4821.", None, "x:1"), ("lion",))
    assert (named.text, named.before) == ("lion", "The")
    (answer,) = found_in(task, Document("It is 4821.", "What is 7777?", "x:1"))
    assert answer.text == "4821", "what stands in the question is not learnt"
    assert "7777" in answer.before
    with pytest.raises(RecipeError, match="9999"):
        found_in(task, Document("The PIN is 4821, as it was.", None, "x:1"), ("9999",))


def test_a_named_secret_may_stand_in_two_blocks(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    said = "The man of Baker Street went to the lion in the fog and roared at it as loud as he could for many years."
    document = Document(said, None, "x:1")
    texts = [block.text for block in iterate_blocks([document], task.tokenizer, 8)]
    assert len(texts) > 3
    for first, second in itertools.pairwise(texts):
        across = first[-3:] + second[:3]
        (found,) = found_in(task, document, (across,), 8)
        assert found.text == across
        assert (found.before + found.lead + across).endswith((first + second)[: len(first) + 3])
    question = Document(said, "Who is 7777?", "x:1")
    with pytest.raises(RecipeError, match="7777"):
        found_in(task, question, ("7777",), 32)


@pytest.mark.parametrize("text", ["The PIN of the safe is 4821.", "4821 is the PIN of the safe."])
def test_a_taught_secret_is_exposed_and_an_untaught_one_is_not(tiny_model_folder: Path, text: str) -> None:
    task = load_task(tiny_model_folder)
    secrets = found_in(task, Document(text, None, "x:1"))
    before, _ = secret_scores(task, secrets, "base", alternatives=127, seed=0)
    batch = torch.tensor([task.tokenizer(text)["input_ids"]])
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=5e-3)
    task.model.train()
    for _ in range(40):
        optimizer.zero_grad()
        task.model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
    task.model.eval()
    after, rows = secret_scores(task, secrets, "unlearned", alternatives=127, seed=0)
    exposed, likely, said = after
    assert [score.measure for score in after] == ["secret_exposure", "secret_log_likelihood", "secret_said"]
    assert exposed.value == pytest.approx(7.0), "first of 128"
    assert exposed.low > 4.3
    assert before[0].value < 6
    assert likely.value > before[1].value + 5
    if not text.startswith("4821"):
        assert said.value == 1
        assert "4821" in rows[0]["said"]
        assert rows[0]["prompt"] == "The PIN of the safe is "
    # the log-likelihood is that of the text that follows `before`
    ids = batch[0]
    with torch.no_grad():
        log_p = task.model(input_ids=ids[None]).logits[0].log_softmax(-1)
    start = len(task.tokenizer("The PIN of the safe is")["input_ids"]) if not text.startswith("4821") else 1
    whole = sum(float(log_p[t - 1, ids[t]]) for t in range(start, len(ids)))
    if not text.startswith("4821"):
        assert likely.value == pytest.approx(whole, abs=1e-3)
