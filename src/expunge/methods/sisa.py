from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from expunge.runs.method import Method, Needs


class Sisa(Method):
    r"""SISA: sharded, isolated, sliced, aggregated training (Bourtoule et al. 2021, arXiv:1912.03817).

    $$p(y \mid x) = \frac{1}{S} \sum_{s=1}^{S} p_{\theta_s}(y \mid x), \quad
      \theta_s = A(D_{s,1} \cup \dots \cup D_{s,R}; \dots A(D_{s,1}; \theta_{s,\mathrm{random}}))$$

    Exact, and a way to train, not only to forget: the base model is S models, each trained on its own part of the data,
    slice by slice. A request retrains only the shards that held a picture of it, from the checkpoint before the first
    slice that did; the weights are bit for bit those of a training that never had the pictures. One picture costs
    (2R + 1) / (3RS) of retraining on average, 1/S at most; a request spread over all shards saves little.
    """

    shards: PositiveInt = 8
    "models, each of its own part of the data"
    slices: PositiveInt = 4
    "parts of a shard, added one after the other; more of them save more, and take more disk"
    epochs: PositiveFloat | None = None
    "passes over a shard's pictures, over all slices together; default: the recipe's `fitting`"
    learning_rate: PositiveFloat | None = None
    "highest learning rate, falling over all slices; default: the recipe's `fitting`"
    weight_decay: NonNegativeFloat | None = None
    "default: the recipe's `fitting`"
    batch_size: PositiveInt = 16
    "small, since a shard has few pictures: the same passes make more steps"
    flip: bool = False
    "show every picture mirrored half of the time"
    together: str | None = Field(default=None)
    "a column (a person's name or number): pictures of one value are in one shard and slice, so one request touches one"
    vote: Literal["mean", "majority"] = "mean"
    "how the shards' outputs are combined: mean probability, or most first choices (mean probability where they tie)"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("sharded_classifier",))
