"""A question to the model before and after it forgot, side by side: both are loaded once, and answer at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from expunge.app.turns import Side, Turns
from expunge.core.memory import machine_memory
from expunge.errors import ExpungeError, RunError
from expunge.models.digest import is_assisted
from expunge.runs.folder import RunFolder

LONGEST = 4000
"characters of a question"
NEW = 160
"tokens of an answer"


def cannot(folder: RunFolder) -> str | None:
    """Why the models of a run cannot be asked, in words; None if they can."""
    place = folder.model
    if is_assisted(place):
        return None
    if not any(place.glob("*.safetensors")):
        if folder.record.is_file():
            return f"The run has ended, but {place} has no model any more: it was deleted or moved."
        return "There is no unlearned model yet. It is there when the run has ended."
    if not (place / "tokenizer_config.json").is_file():
        return "Only language models can be asked, and this run's is not one."
    return None


def needs(folder: RunFolder) -> dict[str, int | None]:
    """Bytes of both models when loaded (weights as float32), and free bytes."""
    own = sum(_values(path) for path in folder.model.rglob("*.safetensors"))
    return {"bytes": 2 * 4 * own, "free": machine_memory()[1]}


def _values(path: Path) -> int:
    """Number of weights in a file, from its header."""
    from math import prod

    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping


class Chat:
    """The two models of one run at a time. They answer at the same time; each answers one question at a time."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._of: Path | None = None
        self._models: dict[Side, Any] = {}

    def answer(self, folder: RunFolder, side: Side, question: str, stop: threading.Event) -> Iterator[str]:
        """Stream a model's greedy answer; while another question is before it, empty pieces.

        Args:
            stop: when set, ends the answer: the client has left.

        Raises:
            RunError: the run has no model, or an empty question. ModelError: a model cannot be loaded.
        """
        if not question.strip() or len(question) > LONGEST:
            raise RunError("a question has between 1 and 4,000 characters", seen=f"{len(question)}")

        def ready() -> bool:
            return self._of == folder.path and side in self._models

        if not (yield from self._turns.wait(side, ready, stop)):
            return
        with self._turns.taken(side):
            if not ready():
                self._load(folder, side)
            self._turns.share()
            yield from _written(self._models[side], question, stop)

    def _load(self, folder: RunFolder, wanted: Side) -> None:
        """Load both models, one after the other, before either answers: loading changes settings of the whole process."""
        from expunge.kinds.language.lazy import LazyModel
        from expunge.models.source import find_model
        from expunge.train.precision import Precision

        if self._of != folder.path:
            self._models.clear()
            self._of = folder.path
        if (why := cannot(folder)) is not None:
            raise RunError(f"the models of {folder.path.name} cannot be asked", seen=why)
        recipe: dict[str, Any] = yaml.safe_load(folder.recipe.read_text("utf-8"))
        sources: dict[Side, tuple[str, str | None]] = {
            "before": (str(recipe["model"]), recipe.get("revision")),
            "after": (str(folder.model), None),
        }
        failed: dict[Side, ExpungeError] = {}
        for side, (name, revision) in sources.items():
            if side not in self._models:
                try:
                    task = LazyModel(find_model(name, revision), Precision(bf16=False), as_stored=True)()
                    task.model.eval()
                    self._models[side] = task
                except ExpungeError as error:
                    failed[side] = error
        if wanted in failed:
            raise failed[wanted]


def _written(task: Any, question: str, stop: threading.Event) -> Iterator[str]:
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

    from expunge.kinds.language.chat import render_question

    class Left(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **more: Any) -> Any:
            return torch.full((len(input_ids),), stop.is_set(), device=input_ids.device)

    tokenizer = task.tokenizer
    if tokenizer.chat_template:
        text = render_question(tokenizer, [{"role": "user", "content": question}], True)
        tokens = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    else:
        tokens = tokenizer(f"Question: {question}\nAnswer:", return_tensors="pt")
    stream = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            task.model.generate(
                **tokens.to(task.device),
                streamer=stream,
                max_new_tokens=NEW,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
                stopping_criteria=StoppingCriteriaList([Left()]),
            )
        except Exception as error:
            failed.append(error)
            stream.end()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield from stream
    finally:
        stop.set()
        thread.join()
    if failed:
        if isinstance(failed[0], ExpungeError):
            raise failed[0]
        raise RunError("the model could not answer", seen=str(failed[0])[:300])
