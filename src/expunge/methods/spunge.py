from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt, field_validator
from torch import Tensor

from expunge.errors import RecipeError
from expunge.runs.method import Needs
from expunge.runs.registry import make_wrapped
from expunge.runs.wrapping import Wrapping

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork

Weights = dict[str, Tensor]


class Spunge(Wrapping):
    r"""Split, unlearn each part from the same base, merge (SPUNGE; Kadhe et al. 2024, arXiv:2406.11780).

    $$F = \bigcup_a F_a, \qquad \delta_a = U(\theta_0, F_a) - \theta_0, \qquad
      \theta = \theta_0 + \lambda \, \mathrm{TIES}(\{\delta_a\})$$

    U is any method, and a the values of a column of the data, or clusters of similar meaning. TIES (Yadav et al. 2023,
    arXiv:2306.01708) trims every change to its `density` largest entries, elects for each weight the sign of the sum of
    the rest,

    $$s = \mathrm{sgn} \sum_a \mathrm{trim}(\delta_a), \qquad
      \mathrm{TIES} = \frac{\sum_a [\mathrm{sgn}\,\mathrm{trim}(\delta_a) = s] \; \mathrm{trim}(\delta_a)}
      {\sum_a [\mathrm{sgn}\,\mathrm{trim}(\delta_a) = s]}$$

    and takes the mean of the changes that agree with it. Trimming is by weight matrix, where the authors take all
    weights as one vector: so no layer loses all of its change. Where the sum is 0 no sign is elected and the change is
    0; the authors' code takes the sign of the majority of all weights there. One part is trained after another, so that
    the cost is that of the method on the whole set, where an epoch is a pass over the part.
    """

    split_by: str | None = "group"
    "column of the data to split by; null: clusters of similar meaning"
    clusters: PositiveInt = 4
    "number of clusters, if there is no column"
    density: Annotated[float, Field(gt=0, le=1)] = 0.2
    "share of each weight's changes that is kept, the largest; 0.2 in the TIES paper"
    scale: PositiveFloat = 1.0
    "lambda; 1 in the TIES paper's recipe without tuning"

    needs: ClassVar[Needs] = Needs(kinds=("causal_lm",))

    @field_validator("of")
    @classmethod
    def _for_language_models(cls, of: str | dict[str, Any]) -> str | dict[str, Any]:
        if "generic_labels" in make_wrapped(of, "spunge").signal_names:
            raise RecipeError(
                f"spunge cannot wrap {of if isinstance(of, str) else of['name']}",
                allowed="a method for language models that learns from the text itself",
                next_step="expunge methods lists them: --method.of npo",
            )
        return of

    def apply(self, work: LanguageWork) -> None:
        base = work.weights()
        changes = []
        for name, rows in work.split(self.split_by, self.clusters).items():
            changes.append(work.cached(f"part {name}", partial(self.unlearn, work, base, name, rows)))
        work.stays = not any(bool(change.any()) for of_part in changes for change in of_part.values())
        merged = ties(changes, self.density)
        work.put({name: base[name] + self.scale * merged[name].to(base[name]) for name in base})

    def unlearn(self, work: LanguageWork, base: Weights, name: str, rows: list[int]) -> Weights:
        """The method's change with only a part of the forget set."""
        work.put(base)
        part = work.part(name, rows)
        part.carry_out(self.carried_out, name)
        after = work.weights()
        return {each: after[each] - base[each] for each in base}


def ties(changes: list[Weights], density: float) -> Weights:
    """The changes merged, weight by weight; float32."""
    merged: Weights = {}
    for name in changes[0]:
        trimmed = torch.stack([trim(change[name], density) for change in changes])
        elected = trimmed.sum(0).sign()
        agrees = (trimmed.sign() == elected) & (trimmed != 0)
        merged[name] = (trimmed * agrees).sum(0) / agrees.sum(0).clamp(min=1)
    return merged


def trim(change: Tensor, density: float) -> Tensor:
    """The `density` largest entries of a change by size (at least one, ties included), else 0."""
    sizes = change.abs().flatten()
    kept = max(1, round(density * len(sizes)))
    least = sizes.kthvalue(len(sizes) - kept + 1).values
    return torch.where(change.abs() >= least, change, torch.zeros_like(change))
