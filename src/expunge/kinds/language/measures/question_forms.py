"""The forms in which benchmarks put their questions, as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from expunge.data.text.document import Document
from expunge.data.text.token_stream import Encoder, token_ends
from expunge.errors import DataError
from expunge.kinds.language.question_rows import QuestionFormat, QuestionRow

BLOCK = 1 << 20
"no answer is cut: a text longer than a model's positions is refused"


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a question, and how its answer is taken.

    Attributes:
        kind: `question`, as in training: with the chat template, or `Question: ... Answer:` without one. `turn`, as a
            turn of a conversation, or unchanged without a template. `text`, unchanged, and continued. `passage`, no
            question: the answer is a text whose own likelihood is measured. `choice`, unchanged, and nothing is
            generated: the answers' likelihoods are compared.
        opening: text that the answer starts with.
        new_tokens: tokens to generate, at most; None: the suite's `--new-tokens`.
        stops: texts that end generation.
        cut: whether the true answer counts only as far as `new_tokens`.
    """

    kind: Literal["question", "turn", "text", "passage", "choice"] = "question"
    opening: str = ""
    new_tokens: int | None = None
    stops: tuple[str, ...] = ()
    cut: bool = False

    def ended(self, said: str) -> str:
        """The output up to the first of `stops`."""
        for stop in self.stops:
            said = said.partition(stop)[0]
        return said


QUESTION = Form()
PASSAGE = Form("passage")


def tokenize(tokenizer: Any, rows: Sequence[tuple[Form, Document]], limit: int | None) -> list[QuestionRow]:
    """Rows of tokens: the prompt, and an answer from `first_label` on.

    Args:
        rows: (form, question with answer); turns before the question count in the forms of a conversation.
        limit: positions of the model. Longer texts are cut: a passage at its end, a text that is continued at its
            beginning. Questions are never cut.
    """
    encoder = Encoder(tokenizer)
    asked = QuestionFormat(encoder, BLOCK)
    chat = bool(tokenizer.chat_template)
    found: list[QuestionRow | None] = [None] * len(rows)
    spoken = [i for i, (form, *_) in enumerate(rows) if form.kind == "question" or (form.kind == "turn" and chat)]
    for i, row in zip(spoken, asked.tokenize([rows[i][1] for i in spoken]), strict=True):
        form, document = rows[i]
        found[i] = row if form.kind == "question" else _opened(encoder, row, form, document.text)
    for i, (form, document) in enumerate(rows):
        if found[i] is None:
            found[i] = _plain(encoder, form, document, limit)
    return [row for row in found if row is not None]


def _opened(encoder: Encoder, row: QuestionRow, form: Form, answer: str) -> QuestionRow:
    """A turn whose answer begins with the form's opening, without the end of the turn."""
    opening, rest = encoder.encode([form.opening, _after(form.opening, answer)])
    ids = row.ids[: row.first_label] + opening.ids
    return replace(row, ids=ids + _cut(form, rest.ids), ends=[], first_label=len(ids))


def _plain(encoder: Encoder, form: Form, document: Document, limit: int | None) -> QuestionRow:
    answer, source = document.text, document.source
    if form.kind == "passage":
        (encoding,) = encoder.encode([answer])
        ids = (encoder.prefix + encoding.ids)[:limit]
        if len(ids) < 2:
            raise DataError(
                f"{source}: the text has no two tokens", seen=repr(answer[:80]), next_step="remove that row"
            )
        return QuestionRow(ids, [], answer, max(1, len(encoder.prefix)), source)
    given = (document.prompt or "") + form.opening
    whole = given + _after(given, answer)
    (encoding,) = encoder.encode([whole])
    ends = token_ends(encoding, len(whole))
    first = next(i for i, end in enumerate(ends) if end > len(given))
    rest = _cut(form, encoding.ids[first:])
    given_ids = encoder.prefix + encoding.ids[:first]
    room = None if limit is None else max(1, limit - len(rest))
    if form.kind == "text" and room is not None and len(given_ids) > room:
        given_ids = given_ids[-room:]
    return QuestionRow(given_ids + rest, [], whole, len(given_ids), source)


def _after(given: str, answer: str) -> str:
    """The answer as it follows the prompt: separated by white space."""
    return answer if not given or given[-1].isspace() else f" {answer}"


def _cut(form: Form, ids: list[int]) -> list[int]:
    return ids[: form.new_tokens] if form.cut else ids
