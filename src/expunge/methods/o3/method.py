"""O3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from expunge.kinds.language.gated import KEEPS, Detecting, earlier_digest, earlier_matrices, gated
from expunge.methods.o3.orthogonal_loss import OrthogonalLoss
from expunge.runs.method import Needs
from expunge.runs.wrapping import Wrapping

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork


class O3(Wrapping):
    r"""O3, an adapter for each request, switched by a detector (Gao et al. 2024, arXiv:2407.10223).

    $$h_t = W x_t + \sum_i w_i(x_{\le t}) \, s \, B_i A_i x_t$$

    $$L(A_k, B_k) = L_U + \lambda \, \frac{1}{|\ell|} \sum_{W} \sum_{i < k} \lVert A_i A_k^\top \rVert_F^2$$

    The adapter $B_k A_k$ of request k is trained on its forget set alone, acting in full ($w_k = 1$, without the
    others), with the loss $L_U$ of another method. With the second term, over all adapted matrices W of $|\ell|$
    layers, it reads other directions of its inputs than those of earlier requests. Forgotten and retained text are
    distinguished when text is read: $w_i$, from 0 to 1, says how similar the text so far is to the forget set of
    request i. No retain set is needed; if one is given, the detector is made of both.

    **The model itself stays as it was: the saved base still holds what was forgotten, and anyone with the files has
    it.** What is saved is a folder `base`, a folder for each adapter, with its detector, and `gate.json`; all together
    are what Expunge measures, audits and chats with. Other tools that load a model see a folder without one. For a
    further request name the folder of the last one: `earlier`; the run begins with the same model as the first.

    The detector is simpler than the paper's. Theirs is a RoBERTa of its own, trained with masked language modelling and
    a contrastive entropy loss, whose layers' scores a one-class SVM joins. Here the model's own hidden states are used,
    and nothing is trained. As in the authors' code they are means over tokens, the score of a layer is made of the
    Mahalanobis distance and of the largest cosine, the first half of the layers counts, and one half of the texts
    serves to make the detector, the other to calibrate it. Different are: covariances are shrunk (Ledoit and Wolf
    2004), dimensions scaled; where there is a retain set, distances are less those from it (Ren et al. 2021,
    arXiv:2106.09022), since by themselves they separate a language model's texts badly; both parts of a score count
    equally, as deviations from what is usual (their code adds 1000 cosines with the sign by which what is near in one
    part counts as far in the other); layers are averaged; the weight falls with the distance as a logistic curve does,
    where theirs falls on both sides of the middle, is cut to 0 or 1.2, and one of several requests alone counts. And
    each token has its own weight, from the text up to it, where theirs is the whole prompt's: it continues while text
    is written, and text is measured as it is written.

    The authors train one adapter further from request to request, with random labels of the options to choose from, or
    refusals on TOFU (`of: {name: idk_nll, retain_weight: 0}`). The default has the uniform distribution over the
    vocabulary, which is the average of random labels. 15 epochs at a learning rate of 3e-4 are theirs for
    ScienceQA, 10 at 2e-4 for TOFU.
    """

    of: str | dict[str, Any] = {"name": "me_gd", "forget_weight": 1.0, "retain_weight": 0.0}
    "the method that gives the loss L_U: its name, or its name and hyper-parameters"
    rank: PositiveInt = 8
    "of the adapter; 8 in the authors' scripts, and s = 2; training.adapter_rank, if given, takes its place"
    orthogonality: NonNegativeFloat = 0.1
    "lambda; 0.1 in the authors' scripts"
    earlier: str | None = None
    "folder of the previous request's run, or of its model"
    layers: PositiveInt | None = None
    "number of first layers that the detector uses; null: half of them, as the authors' 12 of 24"
    boundary: float | None = None
    """deviations from the usual forget text at which an adapter acts by half; null: where held-back texts of both
    sets are misjudged equally often, 3 without a retain set; ours"""
    steepness: PositiveFloat = 4.0
    "slope of the weight at the boundary; ours"

    needs: ClassVar[Needs] = Needs(retain="wrapped", kinds=("causal_lm",))
    kept_beside: ClassVar[str | None] = KEEPS

    @field_validator("of")
    @classmethod
    def _is_a_loss(cls, of: str | dict[str, Any]) -> str | dict[str, Any]:
        OrthogonalLoss(of=of)
        return of

    @field_validator("earlier")
    @classmethod
    def _is_there(cls, earlier: str | None) -> str | None:
        if earlier is not None:
            earlier_digest(earlier)
        return earlier

    @property
    def made_from(self) -> dict[str, Any]:
        return {} if self.earlier is None else {"earlier": earlier_digest(self.earlier)}

    def apply(self, work: LanguageWork) -> None:
        loss = OrthogonalLoss(of=self.of, weight=self.orthogonality)
        if self.earlier is not None:
            loss.beside(earlier_matrices(self.earlier))
        how = Detecting(self.layers, self.boundary, self.steepness)
        gated(work, loss, work.training.adapter_rank or self.rank, how, self.earlier)
