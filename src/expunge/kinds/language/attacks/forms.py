"""Facts as rows of tokens in other forms: questions by the model's chat template, passages token by token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from expunge.data.text.document import Document, Turn
from expunge.data.text.token_stream import Encoder
from expunge.errors import DataError
from expunge.kinds.language.attacks.facts import Fact, Row
from expunge.kinds.language.question_rows import QuestionFormat

WHOLE = 1 << 30
"maximum tokens of a row: none is cut"


class Forms:
    """Makes rows of tokens.

    Args:
        tokenizer: of all models of the audit.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.encoder = Encoder(tokenizer)
        self.chat = bool(tokenizer.chat_template)
        self._questions = QuestionFormat(self.encoder, WHOLE)

    @property
    def prefix(self) -> list[int]:
        """The tokens that the tokenizer puts before a text."""
        return self.encoder.prefix

    def ids(self, text: str) -> list[int]:
        """Tokens of a text without special tokens."""
        return list(self.encoder.encode([text])[0].ids)

    def said(self, text: str) -> list[int]:
        """Tokens of another answer than the fact's own, as it follows a prompt."""
        return self.ids(text if self.chat else f" {text}")

    def prompt(self, question: str, turns: Sequence[Turn] = ()) -> list[int]:
        """Tokens up to where the answer to a question begins: by the chat template, or `Question: ... Answer:`.

        Raises:
            DataError: the template refuses these turns.
        """
        (row,) = self._questions.tokenize([Document("x", question, "a form of the audit", turns=tuple(turns))])
        return row.ids[: row.first_label]

    def asked(self, fact: Fact, question: str, system: str = "") -> Row:
        """A fact under another question, after the same turns of conversation; with the same answer tokens.

        Args:
            system: put into a system turn, or into the first user's if the template has none.
        """
        last = max((at for at, turn in enumerate(fact.turns) if turn.role == "user"), default=0)
        turns = (*fact.turns[:last], Turn("user", question), *fact.turns[last + 1 :])
        prompt = self._under(system, turns) if system else self.prompt(question, turns if fact.turns else ())
        return Row((*prompt, *fact.asked.ids[fact.asked.first :]), len(prompt))

    def _under(self, system: str, turns: Sequence[Turn]) -> list[int]:
        own = next((number for number, turn in enumerate(turns) if turn.role == "user"), 0)
        said, rest = (f"{turns[0].text}\n\n{system}", turns[1:]) if turns[0].role == "system" else (system, turns)
        begun = (*turns[:own], Turn("user", f"{system}\n\n{turns[own].text}"), *turns[own + 1 :])
        try:
            prompt = self.prompt(turns[-1].text, (Turn("system", said), *rest))
        except DataError:
            return self.prompt(turns[-1].text, begun)
        left_out = prompt == self.prompt(turns[-1].text, rest)
        return self.prompt(turns[-1].text, begun) if left_out else prompt

    def filled(self, fact: Fact, template: str) -> Row:
        """A fact under a template of the user's; a question in the chat template, if there is one."""
        own = list(fact.asked.ids[fact.asked.first :])
        if fact.question is not None and self.chat:
            return self.asked(fact, template.replace("{}", fact.question))
        prompt = [*self.prefix, *self.ids(template.replace("{}", fact.question or fact.before))]
        return Row((*prompt, *(own if fact.question is None else self.ids(f" {fact.answer}"))), len(prompt))

    def inserted(self, fact: Fact, at: int, text: str) -> Row:
        """A fact with a text inserted before its token `at`."""
        ids, more = fact.asked.ids, self.ids(text)
        return Row((*ids[:at], *more, *ids[at:]), fact.asked.first + len(more))

    def plain(self, fact: Fact, before: str) -> Row:
        """A question and its answer as plain text: the answer's tokens are those of the answer by itself, after a
        space."""
        prompt = [*self.prefix, *self.ids(before)]
        return Row((*prompt, *self.ids(f" {fact.answer}")), len(prompt))

    def short(self, fact: Fact, given: int) -> Row:
        """A passage of which `given` tokens are given."""
        begin = max(len(self.prefix), fact.asked.first - given)
        return Row((*self.prefix, *fact.asked.ids[begin:]), len(self.prefix) + fact.asked.first - begin)

    def as_json(self, fact: Fact) -> Row:
        """A fact within JSON: a question answered in an object, a passage as a value."""
        if fact.question is None:
            prompt = [*self.prefix, *self.ids('{"text": "'), *fact.asked.ids[len(self.prefix) : fact.asked.first]]
            return Row((*prompt, *fact.asked.ids[fact.asked.first :]), len(prompt))
        if self.chat:
            asked = self.asked(fact, f'{fact.question}\nAnswer in JSON: {{"answer": "..."}}')
            begun = self.ids('{"answer": "')
            return Row((*asked.ids[: asked.first], *begun, *asked.ids[asked.first :]), asked.first + len(begun))
        return self.plain(fact, f'{{"question": {json.dumps(fact.question, ensure_ascii=False)}, "answer": "')
