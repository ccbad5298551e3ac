from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from expunge.runs.method import Method, Needs

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork


class PDU(Method):
    r"""PDU, constrained unlearning by a primal-dual method (Entesari et al. 2025, arXiv:2506.05314).

    $$\min_\theta \; \frac{1}{|F|} \sum_{x \in F} \left(\max_v z_\theta(v \mid x)
          - \frac{1}{|V|} \sum_v z_\theta(v \mid x)\right)^2 \quad \text{subject to} \quad
          \ell_R = \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x) \le \varepsilon$$

    $$\theta \leftarrow \theta - \nabla_\theta \left(\ell_F + \lambda \, \ell_R\right), \qquad
      \lambda \leftarrow \max\left(0, \lambda + \eta \, (\ell_R - \varepsilon)\right)$$

    The logits z of what is to be forgotten are flattened, and the retain loss has a limit instead of a weight: the
    dual variable lambda grows while the retain set costs more than epsilon, and falls while it costs less. It is stored
    in checkpoints, moves once an optimizer step, by the whole step's retain loss, and is the same on all processes.

    OpenUnlearning's code departs from this. Its mask of the forget set is not shifted: of an answer it flattens what
    follows each of its tokens, so that of 30 tokens the first is never flattened, and the position behind the last one
    is. It moves lambda with every batch: with its usual accumulation of 4 and one process, four times a step. And
    lambda is not in its checkpoints.
    """

    retain_weight: NonNegativeFloat = 100.0
    "lambda at the start; 100 on TOFU and 50 on MUSE in the authors' runs, since squared margins of logits are large"
    retain_limit: PositiveFloat | None = None
    "epsilon, in nats a token; 0.3 on TOFU, 0.1 to 1.5 on MUSE. None: `tolerance` above the base model's retain loss"
    tolerance: NonNegativeFloat = 0.1
    "share by which the retain loss may rise over the base model's, if no limit is given; ours"
    dual_step: NonNegativeFloat = 5.0
    "eta; 5 on TOFU and 1 on MUSE in the authors' runs. 0: lambda is constant"
    dual_warmup: float = Field(default=0.5, ge=0, le=1)
    "share of the training in which lambda is constant; 5 of 10 epochs on TOFU, 3 of 10 on MUSE in the authors' runs"

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        from expunge.kinds.language.dual import train_constrained

        limit = self.retain_limit
        train_constrained(work, self.retain_weight, limit, self.tolerance, self.dual_step, self.dual_warmup)
