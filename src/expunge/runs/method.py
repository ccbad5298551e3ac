"""What a method is: hyper-parameters, what it needs, and a loss, or what it does to a model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from expunge.core.settings import Part
from expunge.train.step import LayeredTask, Loss, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What must be there before a method can train.

    Attributes:
        labels: "true" (the text's own next tokens) or "generic" (what a model that never read it would say).
        forget: whether batches of the forget set are drawn.
        retain: whether batches of the retain set are drawn: never, always, or where `retain_weight` is above 0.
        reference: whether `step.reference_nll` is asked for: the original's likelihoods, computed once.
        surprise: whether `step.surprise` is asked for: each token's frequency in ordinary text.
        unwanted: whether `step.unwanted` is asked for: how much each label's word speaks for a text to forget.
        tokens: whether `step.reference_row_nll` of the forget set is asked for, and what the original says in the place
            of each of its labels (`rows.cross_entropy`), computed once.
        pairs: whether `step.preferred` is asked for: what is wanted in the place of each example of the forget set.
        hidden: whether `step.reference_hidden` of the retain set is asked for, after the layers of the field `layer`.
        distributions: whether `step.against_original` of the retain set is asked for: for losses that are not linear in
            what the original said, for which `retain_target: base` of a language model has too few tokens.
        validation: whether held-back pictures are needed.
        kinds: names of the kinds of model that the method works on.
    """

    labels: Literal["true", "generic"] = "true"
    forget: bool = True
    retain: Literal["never", "always", "weighted"] = "never"
    reference: bool = False
    surprise: bool = False
    unwanted: bool = False
    tokens: bool = False
    pairs: bool = False
    hidden: bool = False
    distributions: bool = False
    validation: bool = False
    kinds: tuple[str, ...] = ("causal_lm", "image_classifier")


class Method(Part):
    """Base of all methods. A subclass is one file, named like the method, and defines `loss` or `apply`.

    `loss` is for what trains with one loss from beginning to end: the loop is the engine's, and the method works on
    every kind of model. `apply` is for what has phases, or does not train: it changes `work.model`; `work` is the
    session of the model's kind, such as `expunge.kinds.classifier.session.Work`.

    Fields are hyper-parameters with a docstring each; the class docstring holds formula and citation.
    """

    needs: ClassVar[Needs] = Needs()

    @property
    def draws_retain(self) -> bool:
        """Whether this method, with these hyper-parameters, trains on the retain set."""
        if self.needs.retain == "weighted":
            return float(getattr(self, "retain_weight", 0.0)) > 0
        return self.needs.retain == "always"

    @property
    def asks_surprise(self) -> bool:
        """Whether `step.surprise` is asked for with these hyper-parameters."""
        return self.needs.surprise and getattr(self, "surprise_share", 1.0) is not None

    @property
    def carried_out(self) -> Method:
        """The method whose needs are to be met: this one, or the one that it wraps."""
        return self

    def trains(self, name: str) -> bool:
        """Whether the parameter of this name is trained."""
        return True

    def found_in(self, task: LayeredTask) -> Collection[str] | None:
        """The names of the parameters that are trained, of a method that looks for them in the model.

        None: those that `trains` says.
        """
        return None

    @classmethod
    def citation(cls) -> str:
        """The first sentence of the docstring: what the method is and where it comes from."""
        return (inspect.getdoc(cls) or cls.__name__).split("\n\n")[0].replace("\n", " ")

    @classmethod
    def formulas(cls) -> str:
        """The formulas of the docstring, in LaTeX, a paragraph each."""
        found = re.findall(r"\$\$(.+?)\$\$", inspect.getdoc(cls) or "", re.DOTALL)
        return "\n\n".join(" ".join(formula.split()) for formula in found)

    @classmethod
    def described(cls) -> str:
        """The docstring for a terminal: its formulas set off, in LaTeX."""
        return re.sub(r"\$\$(.+?)\$\$", r"    \1", inspect.getdoc(cls) or cls.__name__, flags=re.DOTALL)

    @classmethod
    def has_loss(cls) -> bool:
        return cls.loss is not Method.loss

    def apply(self, work: Any) -> None:
        raise TypeError(f"{type(self).__name__} defines no apply")

    def loss(self, step: Step) -> Loss:
        raise TypeError(f"{type(self).__name__} defines no loss")
