"""Whether forgetting went further than never having known: that shows, too, and may have been no aim."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.core.score import Score

BEYOND_RETRAINED = 2.0
"perplexity of the forget set, as a multiple of the retrained model's, from which a model has gone beyond it"
BEYOND_ORDINARY = 20.0
"the same as a multiple of ordinary text's, where there is no retrained model: what was never read costs a few times as much"


def overshoot(scores: Sequence[Score]) -> str | None:
    """One sentence where the forget set is less likely to the unlearned model than to one that never saw it."""
    found = {(s.split, s.model): s for s in scores if s.measure == "perplexity"}
    after = found.get(("forget", "unlearned"))
    for reference, limit, words in (
        (found.get(("forget", "retrained")), BEYOND_RETRAINED, "in the retrained model"),
        (found.get(("ordinary", "unlearned")), BEYOND_ORDINARY, "of ordinary text in the same model"),
    ):
        if after is not None and reference is not None:
            if after.value <= limit * reference.value:
                return None
            return (
                f"forgetting went further than never having seen the forget set: its perplexity is {after.value:,.0f}, and "
                f"{reference.value:,.0f} {words}. Answers about it are likely to be broken text, and whoever can look at "
                "probabilities can tell that this text was made to be forgotten"
            )
    return None
