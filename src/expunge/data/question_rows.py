"""Questions with answers as tokens: the prompt the way the model is asked, then the answer and the end of its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from expunge.data.document import Document
from expunge.data.token_stream import Encoder, token_ends
from expunge.errors import DataError
from expunge.tasks.causal_lm import template_error

_ANSWER = "An answer."


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One question and answer. `ends[i]` is the character of `text` at which token `i` ends, as in a token stream."""

    ids: list[int]
    ends: list[int]
    text: str
    "the rendered prompt, then the answer"
    first_label: int
    "index of the answer's first token"
    source: str


class QuestionFormat:
    """How a model is asked: by the tokenizer's chat template, or `Question: ...\\nAnswer: ...` where it has none."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._tokenizer = encoder, encoder.tokenizer

    def tokenize(self, documents: Sequence[Document]) -> list[QuestionRow]:
        """Rows of documents with a prompt.

        With a template the prompt is tokenized as the model sees it when asked, and the answer by itself, as the model
        would write it; a special token written out in question or answer is tokenized as text.

        Raises:
            ModelError: the template fails.
            DataError: the template rewrites a question that holds a special token.
        """
        if not documents:
            return []
        return self._chat_rows(documents) if self._tokenizer.chat_template else self._plain_rows(documents)

    def _plain_rows(self, documents: Sequence[Document]) -> list[QuestionRow]:
        rows = []
        prefix = self._encoder.prefix
        prompts = [f"Question: {document.prompt}\nAnswer:" for document in documents]
        texts = [f"{prompt} {document.text}" for prompt, document in zip(prompts, documents, strict=True)]
        encodings = self._encoder.encode(texts)
        for document, prompt, text, encoding in zip(documents, prompts, texts, encodings, strict=True):
            ends = token_ends(encoding, len(text))
            first = next(i for i, end in enumerate(ends) if end > len(prompt))
            ids = prefix + encoding.ids + self._end_of_turn
            ends = [0] * len(prefix) + ends + [len(text)] * len(self._end_of_turn)
            rows.append(QuestionRow(ids, ends, text, len(prefix) + first, document.source))
        return rows

    def _chat_rows(self, documents: Sequence[Document]) -> list[QuestionRow]:
        rows = []
        rendered = [self._render([("user", document.prompt or "")], True) for document in documents]
        prompts = self._encoder.encode(rendered, control_tokens=True)
        answers = self._encoder.encode([document.text for document in documents])
        for document, text, prompt, answer in zip(documents, rendered, prompts, answers, strict=True):
            ids, ends = prompt.ids, token_ends(prompt, len(text))
            if any(token in (document.prompt or "") for token in self._special_tokens):
                ids, ends = self._split_prompt(text, document)
            first = len(ids)
            whole = text + document.text
            ids = ids + answer.ids + self._end_of_turn
            ends = ends + [len(text) + end for end in token_ends(answer, len(document.text))]
            ends = ends + [len(whole)] * len(self._end_of_turn)
            rows.append(QuestionRow(ids, ends, whole, first, document.source))
        return rows

    def _split_prompt(self, rendered: str, document: Document) -> tuple[list[int], list[int]]:
        """Tokens of a rendered prompt in which only the template's own special tokens are control tokens."""
        question = (document.prompt or "").strip()
        before, found, after = rendered.rpartition(question)
        if not found:
            raise DataError(
                f"{document.source}: the question holds a special token, and the chat template rewrites it",
                seen=repr(question[:80]),
                next_step="remove the special token from the question",
            )
        ids: list[int] = []
        ends: list[int] = []
        for part, control in ((before, True), (question, False), (after, True)):
            (encoding,) = self._encoder.encode([part], control_tokens=control)
            start = ends[-1] if ends else 0
            ids += encoding.ids
            ends += [start + end for end in token_ends(encoding, len(part))]
        return ids, ends

    def _render(self, turns: list[tuple[str, str]], ask: bool) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))
        except Exception as error:
            raise template_error(error) from error

    @cached_property
    def _special_tokens(self) -> list[str]:
        return [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special]

    @cached_property
    def _end_of_turn(self) -> list[int]:
        """The special token that the chat template writes after an answer, else end of sequence, else nothing."""
        if self._tokenizer.chat_template:
            after = (
                self._render([("user", "A question?"), ("assistant", _ANSWER)], False).rpartition(_ANSWER)[2].strip()
            )
            special = next((token for token in self._special_tokens if after.startswith(token)), None)
            if special is not None:
                return [self._tokenizer.convert_tokens_to_ids(special)]
        end = self._tokenizer.eos_token_id
        return [] if end is None else [end]
