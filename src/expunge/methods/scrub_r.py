from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from expunge.errors import DataError
from expunge.kinds.classifier.session import Work
from expunge.methods.scrub import Scrub
from expunge.runs.method import Needs


class ScrubR(Scrub):
    r"""SCRUB+R (Kurmanji, Triantafillou et al. 2023, arXiv:2302.09880, section 3.2): SCRUB, rewound.

    $$\theta = \theta_{t^*}, \quad
      t^* = \arg\min_t \left| e_F(\theta_t) - \sum_c \frac{|F_c|}{|F|} e_{V_c}(\theta_T) \right|$$

    A forget error much higher than that of a model which never saw the pictures gives them away as much as a low one.
    The error of such a model is estimated by the error e of the trained model on held-back pictures V, of the forget
    set's classes c in its proportions; the weights after the epoch whose forget error is nearest are taken, the latest
    of equals.
    """

    needs: ClassVar[Needs] = Needs(retain="always", validation=True, kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        if work.validation is None or not torch.isin(work.validation.labels, work.forget.labels).any():
            raise DataError(
                "scrub_r has no held-back pictures of the classes to forget to compare errors with",
                seen="classes " + ", ".join(map(str, work.forget.labels.unique().tolist())),
                next_step="hold back more pictures (images.validation), or use scrub",
            )

        def snapshot() -> dict[str, Tensor]:
            return dict(work.model.state_dict()) | {
                "forget error": _errors(work.outputs(work.forget), work.forget.labels)
            }

        snapshots = [work.cached(f"epoch {epoch}", snapshot) for epoch in self.rounds(work)]
        reference = expected_error(
            _errors(work.outputs(work.validation), work.validation.labels), work.validation.labels, work.forget.labels
        )
        distances = [abs(float(each["forget error"].mean()) - reference) for each in snapshots]
        nearest = max(range(len(distances)), key=lambda epoch: (-distances[epoch], epoch))
        with torch.no_grad():
            for name, value in work.model.state_dict().items():
                value.copy_(snapshots[nearest][name])


def expected_error(errors: Tensor, labels: Tensor, wanted: Tensor) -> float:
    """Mean of `errors` (n,) over pictures of classes `labels`, each class weighed by its share of `wanted`."""
    found = [(float((wanted == label).sum()), labels == label) for label in wanted.unique()]
    parts = [(count, float(errors[rows].mean())) for count, rows in found if rows.any()]
    return sum(count * error for count, error in parts) / sum(count for count, _ in parts)


def _errors(outputs: Tensor, labels: Tensor) -> Tensor:
    """(n,) 1 if the answer is wrong."""
    return (outputs.argmax(-1).cpu() != labels.cpu()).float()
