"""Other answers to the questions of a set, instead of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expunge.data.text.token_stream import Encoder
from expunge.errors import RecipeError
from expunge.kinds.language.question_rows import QuestionFormat
from expunge.kinds.language.signals.reference_nll import ReferenceNLL, block_nll
from expunge.kinds.language.signals.signal import Signal, Source
from expunge.kinds.language.token_dataset import Lookup, TableWriter, TokenTable
from expunge.train.step import IGNORED, Batch


class Instead(Signal):
    """A batch of `count` examples for each of the set's, one after another: its question with another answer.

    Blocks that begin with no question, such as plain text, are not trained on.
    """

    count: int = 1
    "answers to each question"

    is_batch = True

    @abstractmethod
    def answers(self, source: Source, rows: Sequence[int]) -> list[list[list[int]]]:
        """Tokens of `count` answers to the question of each of these blocks."""

    def choose(self, source: Source, rows: list[int], limit: int | None) -> list[int]:
        questions = question_lengths(source)
        asking = [row for row in rows if questions[row]]
        if rows and not asking:
            raise RecipeError(
                f"the method {type(source.method).__name__} gives other answers to questions",
                seen=f"a {self.set} set of plain text",
                allowed="rows with a question and an answer, or conversations (docs/inputs.md)",
                next_step=f"give the {self.set} set so; or a method for plain text: npo, simnpo, undial",
            )
        if len(asking) < len(rows) and limit is None:
            source.run.notice(
                f"{self.set} set: {len(rows) - len(asking)} of {len(rows)} blocks begin with no question; "
                f"{type(source.method).__name__} does not train on them"
            )
        return asking

    def make(self, source: Source, path: Path) -> None:
        room = source.run.recipe.data.block_size
        questions, table = question_lengths(source), source.table
        rows = [row for row in source.rows if questions[row]]
        found = dict(zip(rows, self.answers(source, rows), strict=True))
        with TableWriter(path) as writer:
            for row in range(len(table)):
                question = table.ids_of(row)[: questions[row]]
                for answer in found.get(row, [[]] * self.count):
                    answer = answer[: max(1, room - len(question))]
                    asked = question if answer else []
                    writer.append(asked + answer, [IGNORED] * len(asked) + answer)

    def table(self, source: Source) -> TokenTable:
        """`count` blocks for each of the set's, with their answers as labels; empty if none is known."""
        name = self.stage or self.name.replace("_", "-")
        return TokenTable(source.run.cached(name, self.key(source), lambda path: self.make(source, path), self.doing))

    def made(self, source: Source) -> Lookup:
        table, count, known = self.table(source), self.count, frozenset(source.rows)

        def found(rows: Sequence[int]) -> Batch:
            if missing := set(rows) - known:
                raise KeyError(min(missing))
            return table.batch([row * count + number for row in rows for number in range(count)])

        return found


class InsteadReferenceNLL(ReferenceNLL):
    """(examples, answers) nats: `reference_nll` of each answer that another signal gives."""

    @abstractmethod
    def instead(self) -> Instead:
        """Which signal."""

    def key(self, source: Source) -> dict[str, Any]:
        return super().key(source) | {"instead": self.instead().key(source)}

    def table(self, source: Source) -> TokenTable:
        return self.instead().table(source)

    def make(self, source: Source, path: Path) -> None:
        values = block_nll(source.base(), self.table(source), source.run.show.update)
        np.save(path / "values.npy", values.reshape(-1, self.instead().count), allow_pickle=False)


def question_lengths(source: Source) -> list[int]:
    """Tokens of the question that each block of the source's table begins with; 0 if it begins with text to learn."""
    before = max(1, len(Encoder(source.base.tokenizer).prefix))
    found = []
    for row in range(len(source.table)):
        labelled = np.flatnonzero(source.table.labels_of(row) != IGNORED)
        first = int(labelled[0]) if len(labelled) else 0
        found.append(first if first > before else 0)
    return found


def answer_format(source: Source) -> QuestionFormat:
    """How the model writes answers."""
    return QuestionFormat(Encoder(source.base.tokenizer), source.run.recipe.data.block_size)
