"""Equal damage: each model is moved along its own change until it is as far from the taught model as the limit allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expunge.core import storage
from expunge.kinds.language.attacks.facts import Row
from expunge.kinds.language.damage import beside
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.saving import save_model
from expunge.ops.step_length import longest
from expunge.runs.context import Run

FARTHEST = 4.0
"a change is lengthened at most by this factor: further extrapolation says little about a method"
FILE = "scale.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    r"""Models $\theta_0 + s (\theta - \theta_0)$ whose mean KL divergence from $\theta_0$ on ordinary text is the limit.

    s is between 0 and 4, and is found to within 5 % of the limit; the weights are rounded to the dtype of their
    file. Learning rate and number of steps then no longer decide which method is beyond the limit. A model with other weights
    than the taught one (an assistant, gated adapters), or with weights that are not finite, is not changed.

    Attributes:
        base: the taught model.
        ordinary: rows on which the divergence is measured, as `damage.measured` does.
        limit: in nats a token.
    """

    run: Run[Recipe]
    base: LazyModel
    ordinary: Sequence[Row]
    limit: float

    def scaled(self, who: str, model: LazyModel) -> tuple[Path, float | None]:
        """(folder of the model at the limit, s; None if it stays as it is); made once."""
        path = self.run.cached(
            f"scaled-{who}", self._key(model), lambda path: self._make(path, model), f"moving {who} to equal damage"
        )
        scale = storage.read_json(path / FILE)["scale"]
        return (model.source.folder if scale in (None, 1.0) else path / "model"), scale

    def is_there(self, who: str, model: LazyModel) -> bool:
        """Whether `scaled` would read what was made before."""
        return (self.run.cache_path(f"scaled-{who}", self._key(model)) / "stage.json").is_file()

    def _key(self, model: LazyModel) -> dict[str, Any]:
        rows = storage.digest_value([[list(row.ids), row.first] for row in self.ordinary])
        return {
            "model": model.digest,
            "base": self.base.digest,
            "rows": rows,
            "limit": self.limit,
            "farthest": FARTHEST,
            "arithmetic": self.base.precision.arithmetic,
        }

    def _make(self, path: Path, model: LazyModel) -> None:
        task, base = model.to_train(), self.base()
        assert model.loaded is not None
        before, after = (dict(each.model.named_parameters()) for each in (base, task))
        own = {name: weight.detach().clone() for name, weight in after.items()}
        scale: float | None = None
        if _same_shapes(before, own) and all(bool(weight.isfinite().all()) for weight in own.values()):
            stored = model.stored_dtype

            @torch.no_grad()
            def put(scale: float) -> None:
                for name, weight in after.items():
                    weight.copy_(torch.lerp(before[name].to(weight), own[name], scale).to(stored))

            def divergence() -> float:
                return sum(beside(base, task, row)[2] for row in self.ordinary) / len(self.ordinary)

            scale = longest(put, divergence, self.limit, 1.0, most=FARTHEST)
            put(scale)
            if scale != 1.0:
                save_model(model.loaded, path / "model", stored)
        storage.write_json(path / FILE, {"scale": scale})
        model.release()
        self.base.release()


def _same_shapes(one: dict[str, Any], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].shape == weight.shape for name, weight in other.items())
