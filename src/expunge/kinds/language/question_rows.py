"""Answers as tokens: the rendered prompt, then the answer and the end of its turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from expunge.data.text.document import Document, Turn
from expunge.data.text.token_stream import Encoder, token_ends
from expunge.errors import DataError, ModelError
from expunge.kinds.language.chat import ANSWER, QUESTION, render, render_question

_SPOKEN = {"user": "Question: ", "assistant": "Answer: ", "tool": "Tool: ", "system": ""}
"how turns begin without a chat template"


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One answer with its prompt. `ends[i]` is the character of `text` at which token `i` ends, as in a token
    stream."""

    ids: list[int]
    ends: list[int]
    text: str
    "the rendered prompt, then the answer"
    first_label: int
    "index of the answer's first token"
    source: str
    dropped: int = 0
    "turns that were left out at the beginning of the conversation, for lack of space"


class QuestionFormat:
    """Render questions with the tokenizer's chat template, or `Question: ...\\nAnswer: ...` if it has none.

    Args:
        block_size: tokens of prompt and answer together. The earliest turns of a conversation are left out, one
            after another but never the last one, until the answer fits or has half of the block.
    """

    def __init__(self, encoder: Encoder, block_size: int) -> None:
        self._encoder, self._tokenizer, self._block_size = encoder, encoder.tokenizer, block_size

    def tokenize(self, documents: Sequence[Document]) -> list[QuestionRow]:
        """Rows of documents with a prompt.

        With a template the prompt is tokenized as the model sees it when asked, and the answer by itself, as the model
        would write it; a special token written out in question or answer is tokenized as text.

        Raises:
            ModelError: the template fails.
            DataError: the template refuses a conversation (file and row are named), or rewrites what holds a special
                token.
        """
        if not documents:
            return []
        rows = self._rows(documents)
        return [self._shortened(document, row) for document, row in zip(documents, rows, strict=True)]

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of answers as they follow a question, each with the end of its turn."""
        rows = self.tokenize([Document(text, QUESTION, "an answer") for text in texts])
        return [row.ids[row.first_label :] for row in rows]

    def _rows(self, documents: Sequence[Document]) -> list[QuestionRow]:
        return self._chat_rows(documents) if self._tokenizer.chat_template else self._plain_rows(documents)

    def _shortened(self, document: Document, row: QuestionRow) -> QuestionRow:
        if not document.turns:
            return row
        turns, size = list(document.turns), self._block_size
        first = 1 if turns[0].role == "system" else 0
        while row.first_label > size - min(len(row.ids) - row.first_label, size // 2):
            # The rest begins with a user, as templates require.
            starts = (i for i in range(first + 1, len(turns)) if turns[i].role == "user")
            start = next(starts, None)
            if start is None:
                break
            turns = turns[:first] + turns[start:]
            (row,) = self._rows([replace(document, turns=tuple(turns))])
        return replace(row, dropped=len(document.turns) - len(turns))

    def _plain_rows(self, documents: Sequence[Document]) -> list[QuestionRow]:
        rows = []
        prefix = self._encoder.prefix
        prompts = [_plain_prompt(_turns(document)) for document in documents]
        texts = [f"{prompt} {document.text}" for prompt, document in zip(prompts, documents, strict=True)]
        encodings = self._encoder.encode(texts)
        for document, prompt, text, encoding in zip(documents, prompts, texts, encodings, strict=True):
            ends = token_ends(encoding, len(text))
            first = next(i for i, end in enumerate(ends) if end > len(prompt))
            ids = prefix + encoding.ids + self.end_of_turn
            ends = [0] * len(prefix) + ends + [len(text)] * len(self.end_of_turn)
            rows.append(QuestionRow(ids, ends, text, len(prefix) + first, document.source))
        return rows

    def _chat_rows(self, documents: Sequence[Document]) -> list[QuestionRow]:
        rows = []
        rendered = [self._prompt(document) for document in documents]
        prompts = self._encoder.encode(rendered, control_tokens=True)
        answers = self._encoder.encode([document.text for document in documents])
        for document, text, prompt, answer in zip(documents, rendered, prompts, answers, strict=True):
            ids, ends = prompt.ids, token_ends(prompt, len(text))
            if any(token in turn.text for token in self._special_tokens for turn in _turns(document)):
                ids, ends = self._split_prompt(text, document)
            first = len(ids)
            whole = text + document.text
            ids = ids + answer.ids + self.end_of_turn
            ends = ends + [len(text) + end for end in token_ends(answer, len(document.text))]
            ends = ends + [len(whole)] * len(self.end_of_turn)
            rows.append(QuestionRow(ids, ends, whole, first, document.source))
        return rows

    def _prompt(self, document: Document) -> str:
        messages = [_message(turn) for turn in _turns(document)]
        if not document.turns:
            return render_question(self._tokenizer, messages, True)
        try:
            return render(self._tokenizer, messages, True)
        except ModelError:
            raise
        except Exception as error:
            render_question(
                self._tokenizer, [_message(Turn("user", QUESTION))], True
            )  # whether it works on a plain question
            roles = ", ".join(turn.role for turn in document.turns)
            raise DataError(
                f"{document.source}: the model's chat template refuses this conversation",
                seen=f"{type(error).__name__}: {error} (turns: {roles}, then the assistant's)",
                allowed="what the template takes; many take no system turn, and only alternating user and assistant turns",
                next_step="put a system turn into the first user's turn, join turns of one role, or remove the row",
            ) from error

    def _split_prompt(self, rendered: str, document: Document) -> tuple[list[int], list[int]]:
        """Tokens of a rendered prompt in which only the template's own special tokens are control tokens."""
        parts: list[tuple[str, bool]] = []
        rest = rendered
        for turn in reversed(_turns(document)):
            said = turn.text.strip()
            rest, found, after = rest.rpartition(said) if said else (rest, "", "")
            if not found:
                if not any(token in said for token in self._special_tokens):
                    rest += after if not rest else ""
                    continue  # the template may leave out a turn, or change one without content
                raise DataError(
                    f"{document.source}: the question has a special token, and the chat template rewrites it",
                    seen=repr(said[:80]),
                    next_step="remove the special token from the question",
                )
            parts += [(after, True), (said, False)]
        parts.append((rest, True))
        ids: list[int] = []
        ends: list[int] = []
        for part, control in reversed(parts):
            (encoding,) = self._encoder.encode([part], control_tokens=control)
            start = ends[-1] if ends else 0
            ids += encoding.ids
            ends += [start + end for end in token_ends(encoding, len(part))]
        return ids, ends

    @cached_property
    def _special_tokens(self) -> list[str]:
        return [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special]

    @cached_property
    def end_of_turn(self) -> list[int]:
        """The special token that the chat template writes after an answer, else end of sequence, else nothing."""
        if self._tokenizer.chat_template:
            answered = [_message(Turn("user", QUESTION)), _message(Turn("assistant", ANSWER))]
            after = render_question(self._tokenizer, answered, False).rpartition(ANSWER)[2].strip()
            special = next((token for token in self._special_tokens if after.startswith(token)), None)
            if special is not None:
                return [self._tokenizer.convert_tokens_to_ids(special)]
        end = self._tokenizer.eos_token_id
        return [] if end is None else [end]


def _turns(document: Document) -> tuple[Turn, ...]:
    return document.turns or (Turn("user", document.prompt or ""),)


def _message(turn: Turn) -> dict[str, Any]:
    more = json.loads(turn.more) if turn.more else {}
    if "function_call" in more and "tool_calls" not in more:
        more["tool_calls"] = [{"type": "function", "function": more.pop("function_call")}]
    return {"role": turn.role, "content": turn.text, **more}


def _plain_prompt(turns: Sequence[Turn]) -> str:
    """Turns as questions and answers, one after another, up to the beginning of the next answer."""
    said = [_SPOKEN.get(turn.role, "") + turn.text + ("\n" if turn.role != "user" else "") for turn in turns]
    return "\n".join(said) + "\nAnswer:"
