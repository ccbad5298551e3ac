"""Base class of attacks on a language model, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from expunge.kinds.language.attacks.facts import Facts, Row, recall
from expunge.kinds.language.matrices import by_column, matrices
from expunge.kinds.language.task import CausalLM
from expunge.ops.gguf_rounding import GGUF_Q4, gguf_q4
from expunge.ops.rounding import ROUNDINGS, Rounding
from expunge.runs.attacking import AnyAttack, found_attacks
from expunge.runs.attacks.weights import OfWeights
from expunge.runs.audit import Audit, Trial

Show = Callable[[float, str], None]


@dataclass(slots=True, kw_only=True)
class Side:
    """One side of an audit: a model, and the facts to ask for. The control is another model, or other facts.

    Attributes:
        look: returns the model for inference; it is loaded once.
        fresh: loads a copy of the model that may be changed.
        base: returns the base model for inference.
        config, base_config: return the text configurations of the model and of the base, without loading weights.
        tokenizer: of all models.
        retain, ordinary: rows of text outside of the facts: of the retain set, and ordinary text.
        holdout: facts of the same kind that no model saw, if any.
        paraphrases: returns the paraphrased questions, None for a fact without one; see `paraphrases`.
        rewritten: whether they exist already, from another side.
        retrained: whether the control is a model that was trained without the facts.
        seed: seed of every draw.
        show: called with (share done, current work).
    """

    look: Callable[[], CausalLM]
    fresh: Callable[[], CausalLM]
    base: Callable[[], CausalLM]
    config: Callable[[], Any]
    base_config: Callable[[], Any]
    tokenizer: Any
    facts: Facts
    retain: Sequence[Row]
    ordinary: Sequence[Row]
    holdout: Facts | None
    settings: Audit
    paraphrases: Callable[[], Sequence[str | None]] = lambda: ()
    rewritten: bool = False
    retrained: bool = True
    seed: int = 0
    show: Show = field(default=lambda share, doing: None)

    def asked(self, facts: Sequence[int] | None = None) -> list[Row]:
        """The rows to ask for, of these facts or all."""
        every = self.facts.every
        return [each.asked for each in every] if facts is None else [every[i].asked for i in facts]

    @property
    def layers(self) -> int | None:
        """Number of layers, from the model's configuration."""
        return getattr(self.config(), "num_hidden_layers", None)

    def unlike_base(self, names: Sequence[str] = ()) -> str | None:
        """How the model's configuration differs from the base's in the shape of its weights, in words; None
        if it does not.

        Args:
            names: fields that are compared; empty: every size, and the architecture.
        """
        own, base = self.config().to_dict(), self.base_config().to_dict()
        if not names:
            sizes = {name for each in (own, base) for name, value in each.items() if type(value) is int}
            names = ["model_type", *sorted(name for name in sizes if not name.endswith("token_id"))]
        unlike = [f"{name} {own.get(name)}, not {base.get(name)}" for name in names if own.get(name) != base.get(name)]
        return f"the model has another shape than the base model: {'; '.join(unlike[:3])}" if unlike else None

    def asking(self) -> float:
        """Number of tokens of all rows to ask for."""
        return tokens(self.asked())

    def matrices(self, task: CausalLM) -> dict[str, nn.Parameter]:
        """The weights of the linear layers and of experts; see `matrices`."""
        return matrices(task)

    def by_column(self, task: CausalLM) -> set[str]:
        """Names of those with a column for each output; see `by_column`."""
        return by_column(task)

    def roundings(self) -> dict[str, Rounding]:
        """Quantisations that language models are stored with."""
        return ROUNDINGS | {GGUF_Q4: gguf_q4}

    def trial(self, task: CausalLM, setting: str, facts: Sequence[int] | None = None, **more: object) -> Trial:
        """What a model knows of these facts, or of all."""
        numbers = list(range(len(self.facts.every))) if facts is None else list(facts)
        values = recall(task, self.asked(facts))
        return Trial(setting=setting, values=values, facts=numbers, **more)  # type: ignore[arg-type]


class Attack(AnyAttack[Side]):
    """One attack: a subclass in a file here, or an entry point of `expunge.attacks`. No list to add it to."""


def attacks() -> list[AnyAttack[Side]]:
    """Every attack, in the order in which they run."""
    from expunge.kinds.language import attacks as room
    from expunge.runs import attacks as shared

    return found_attacks((room, shared), (Attack, OfWeights))


def tokens(rows: Iterable[Row]) -> int:
    """Tokens in rows."""
    return sum(len(row.ids) for row in rows)


def one_layer(side: Side) -> str | None:
    """Why attacks on the layers below the last one cannot run; None if there are such layers."""
    return "left out: the model has one layer" if side.layers == 1 else None


def missing_on(attack: AnyAttack[Side], sides: Sequence[tuple[str, Side]]) -> str | None:
    """Why an attack cannot run on one of the sides: determined before the first attack.

    Args:
        sides: (in words, side), the unlearned model's first.
    """
    layers = {words: side.layers for words, side in sides}
    if attack.by_layer and len(set(layers.values())) > 1:
        return "the models have different numbers of layers: " + ", ".join(f"{w} {n}" for w, n in layers.items())
    for number, (words, side) in enumerate(sides):
        if (why := attack.missing(side)) is not None:
            return f"{words}: {why}" if number else why
    return None
