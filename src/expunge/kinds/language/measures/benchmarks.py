"""The multiple-choice benchmarks: sources of their rows, and the questions made from them.

Prompts, choices and answers are those of the zero-shot tasks of lm-evaluation-harness 0.4.13 (`arc_easy`,
`arc_challenge`, `boolq`, `winogrande`, `hellaswag`, `piqa`, `openbookqa`), so that figures can be compared with
published ones. Rows have the columns of the Hugging Face datasets, as JSON lines in a folder or from the hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from expunge.errors import DataError, RecipeError, did_you_mean

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One multiple-choice question.

    Each choice is a context, given to the model, and a continuation, which is scored. There is one of each a
    choice, or a single one that all share. `answer` is the index of the right choice.
    """

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    answer: int

    def choices(self) -> list[tuple[str, str]]:
        """(context, continuation) of each choice."""
        n = max(len(self.contexts), len(self.continuations))
        contexts = self.contexts * (n if len(self.contexts) == 1 else 1)
        continuations = self.continuations * (n if len(self.continuations) == 1 else 1)
        return list(zip(contexts, continuations, strict=True))


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Function from row to question, and the dataset's id on the hub."""

    question: Callable[[Row], Question]
    normalised: bool
    "whether choices differ so much in length that accuracy normalised by it is reported too"
    hub: str
    config: str | None
    split: str


def _column(row: Row, name: str) -> Any:
    if name not in row:
        raise DataError(f"there is no column {name}", seen=", ".join(row) or "no column at all")
    return row[name]


def _text(row: Row, name: str) -> str:
    value = _column(row, name)
    if not isinstance(value, str):
        raise DataError(f"column {name} is not text", seen=repr(value), allowed="a string")
    return value


def _texts(row: Row, name: str) -> list[str]:
    value = _column(row, name)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise DataError(f"column {name} is not a list of texts", seen=repr(value), allowed="a list of strings")
    return value


def _index(row: Row, name: str, choices: int) -> int:
    value = _column(row, name)
    if str(value) not in {str(index) for index in range(choices)}:
        raise DataError(f"column {name} names no choice", seen=repr(value), allowed=f"0 to {choices - 1}")
    return int(value)


def _labelled(row: Row) -> tuple[list[str], int]:
    """The texts under `choices`, and the index of the one whose label is `answerKey`."""
    choices = _column(row, "choices")
    if not isinstance(choices, Mapping):
        raise DataError(
            "column choices is not an object", seen=repr(choices), allowed='{"text": [...], "label": [...]}'
        )
    texts, labels = _texts(choices, "text"), _texts(choices, "label")
    key = _text(row, "answerKey").lstrip()
    if len(texts) != len(labels):
        raise DataError("column choices has unequal lists", seen=f"{len(texts)} text, {len(labels)} label")
    if key not in labels:
        raise DataError("column answerKey names no choice", seen=repr(key), allowed=", ".join(labels))
    return texts, labels.index(key)


def _question(context: str, texts: list[str], answer: int) -> Question:
    return Question((context,), tuple(" " + text for text in texts), answer)


def _arc(row: Row) -> Question:
    return _question(f"Question: {_text(row, 'question')}\nAnswer:", *_labelled(row))


def _openbookqa(row: Row) -> Question:
    return _question(_text(row, "question_stem"), *_labelled(row))


def _boolq(row: Row) -> Question:
    context = f"{_text(row, 'passage')}\nQuestion: {_text(row, 'question')}?\nAnswer:"
    return _question(context, ["no", "yes"], _index(row, "label", 2))


def _piqa(row: Row) -> Question:
    texts = [_text(row, "sol1"), _text(row, "sol2")]
    return _question(f"Question: {_text(row, 'goal')}\nAnswer:", texts, _index(row, "label", 2))


def _winogrande(row: Row) -> Question:
    """Each option fills the blank, and what follows the blank is scored (partial evaluation, Trinh and Le 2018)."""
    before, blank, after = _text(row, "sentence").partition("_")
    if not blank:
        raise DataError("column sentence has no blank", seen=repr(before), allowed="one _ where the option goes")
    answer = _text(row, "answer")
    if answer not in ("1", "2"):
        raise DataError("column answer names no option", seen=repr(answer), allowed="1, 2")
    contexts = (before + _text(row, "option1"), before + _text(row, "option2"))
    return Question(contexts, (" " + after.strip(),), int(answer) - 1)


def _hellaswag(row: Row) -> Question:
    endings = [_without_markup(ending) for ending in _texts(row, "endings")]
    context = f"{_text(row, 'activity_label')}: {_text(row, 'ctx_a')} {_text(row, 'ctx_b').capitalize()}"
    return _question(_without_markup(context), endings, _index(row, "label", len(endings)))


def _without_markup(text: str) -> str:
    """WikiHow's `[title]`, `[step]` and the like: a title begins a sentence, the rest is removed."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


BENCHMARKS: dict[str, Benchmark] = {
    "arc_easy": Benchmark(_arc, True, "allenai/ai2_arc", "ARC-Easy", "test"),
    "arc_challenge": Benchmark(_arc, True, "allenai/ai2_arc", "ARC-Challenge", "test"),
    "boolq": Benchmark(_boolq, False, "aps/super_glue", "boolq", "validation"),
    "winogrande": Benchmark(_winogrande, False, "allenai/winogrande", "winogrande_xl", "validation"),
    "hellaswag": Benchmark(_hellaswag, True, "Rowan/hellaswag", None, "validation"),
    "piqa": Benchmark(_piqa, True, "baber/piqa", None, "validation"),
    "openbookqa": Benchmark(_openbookqa, True, "allenai/openbookqa", "main", "test"),
}


def available(folder: Path) -> list[str]:
    """The benchmarks that have a file (`arc_easy.jsonl`, ...) in `folder`; a `DataError` if there is none."""
    names = [name for name in BENCHMARKS if (folder / f"{name}.jsonl").is_file()]
    if not names:
        files = ", ".join(f"{name}.jsonl" for name in BENCHMARKS)
        raise DataError(f"{folder} has no benchmark", allowed=files, next_step="name the folder of these files")
    return names


def load_questions(name: str, source: Path | str, rows: int | None = None) -> list[Question]:
    """The first `rows` questions (all if None) of a benchmark.

    Args:
        source: the folder that holds `NAME.jsonl`, or `"hub"`, which needs the extra `datasets` and a network.

    Raises:
        RecipeError: an unknown name, or the extra is missing.
        DataError: a file or row that cannot be used; the file and the line are named.
    """
    if name not in BENCHMARKS:
        hint = did_you_mean(name, BENCHMARKS)
        raise RecipeError(f"there is no benchmark {name}", allowed=", ".join(BENCHMARKS), next_step=hint)
    benchmark = BENCHMARKS[name]
    found = _hub_rows(benchmark) if source == "hub" else _file_rows(Path(source) / f"{name}.jsonl")
    questions = []
    for place, row in islice(found, rows):
        try:
            questions.append(benchmark.question(row))
        except DataError as error:
            step = f"rows need the columns of {benchmark.hub}; correct or remove this one"
            raise DataError(f"{place}: {error.what}", seen=error.seen, allowed=error.allowed, next_step=step) from error
    if not questions:
        raise DataError(f"{source}: {name} has no rows", next_step="give a file with at least one row")
    return questions


def _file_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        with open(path, "rb") as file:
            yield from _parsed(path, file)
    except OSError as error:
        step = "name the folder that holds the benchmark files"
        raise DataError(f"cannot read {path}", seen=error.strerror or str(error), next_step=step) from error


def _parsed(path: Path, lines: Iterable[bytes]) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line.decode("utf-8-sig"))
        except ValueError as error:  # bad UTF-8 and bad JSON alike
            raise DataError(f"{place} is not JSON in UTF-8", seen=error, next_step="correct or remove it") from error
        if not isinstance(row, Mapping):
            raise DataError(f"{place} is not a JSON object", seen=type(row).__name__, next_step="correct or remove it")
        yield place, row


def _hub_rows(benchmark: Benchmark) -> Iterator[tuple[str, Row]]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise RecipeError(
            "benchmarks from the hub need the extra `datasets`",
            next_step="pip install 'expunge[datasets]', or name a folder of benchmark files",
        ) from error
    source = " ".join(filter(None, (benchmark.hub, benchmark.config, benchmark.split)))
    try:
        found = load_dataset(benchmark.hub, benchmark.config, split=benchmark.split)
    except Exception as error:  # the library raises many kinds: no network, no such dataset, a damaged cache
        raise DataError(
            f"cannot load {source} from the hub",
            seen=f"{type(error).__name__}: {error}",
            next_step="check the network, or name a folder of benchmark files",
        ) from error
    for number, row in enumerate(found, start=1):
        yield f"{source}, row {number}", row
