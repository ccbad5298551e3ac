"""The base model's negative log-likelihood of what is wanted in the place of each block of the forget set."""

from __future__ import annotations

import numpy as np

from expunge.kinds.language.signals.preferred import preferred_table
from expunge.kinds.language.signals.reference_nll import ReferenceNLL, block_nll
from expunge.kinds.language.signals.signal import Source


class PreferredReferenceNLL(ReferenceNLL):
    """(examples,) nats: `reference_nll` of the batch that the signal `preferred` gives."""

    name = "preferred_reference_nll"

    def values(self, source: Source) -> np.ndarray:
        return block_nll(source.base(), preferred_table(source), source.run.show.update)
