"""The verdict on secrets: exposed before, and after no more than by chance; and what is said where nothing was measured."""

from __future__ import annotations

from collections.abc import Mapping

from expunge.core.score import Score, Which
from expunge.kinds.language.recipe import Verdict
from expunge.measures.statistics import by_chance
from expunge.runs.check import Check

AVOIDED = 0.99
"share of alternatives that are likelier, from which a secret stands out as avoided"


def secret_checks(found: Mapping[tuple[str, str, Which], Score], verdict: Verdict) -> list[Check]:
    """The check `secret_exposure`, where secrets were measured.

    What is held against the threshold is the probability that secrets which a model never saw are as exposed. It must be
    below it before, else nothing can be seen to go, and not below it after; or not below a retrained model's, where that
    is lower.
    """
    before, after, oracle = (
        found.get(("secret_exposure", "forget", which)) for which in ("base", "unlearned", "retrained")
    )
    if before is None or after is None:
        return []
    limit = verdict.secret_exposure
    known, left = by_chance(before.value, before.n), by_chance(after.value, after.n)
    if known >= limit:
        explain = (
            f"the base model is exposed by {before.value:.1f} bits, which chance reaches in {known:.0%} of cases: the "
            "secret is not known well enough to be seen to go; if it has few alternatives of its form, name a longer part of "
            "the target (evaluation.secret), or measure by prompts of your own (evaluation.prompts)"
        )
        return [Check("secret_exposure", limit, None, False, explain)]
    wanted = limit if oracle is None else min(limit, by_chance(oracle.value, oracle.n))
    explain = f"{before.value:.1f} bits before, {after.value:.1f} after; chance reaches that in {left:.0%} of cases"
    if oracle is not None:
        explain += f", and {oracle.value:.1f} in the retrained model"
    if 2.0**-after.value >= AVOIDED:
        explain += "; nearly every alternative is likelier now, so that the secret stands out as avoided"
    return [Check("secret_exposure", limit, left, left >= wanted, explain)]


def not_measured(verdict: Verdict) -> Check:
    """What stands in the place of a measure of forgetting where none could be made, with the reason and the way out."""
    explain = (
        "not measured: the target holds no names or words of its own that prompts could be cut before, and nothing that "
        "looks like a secret (a number, a key, an address); give completion prompts (--prompts FILE, JSON lines with "
        "`prompt` and `references`), or the words that are to go (--evaluation.secret TEXT)"
    )
    return Check("familiarity_completion", verdict.familiarity_completion, None, False, explain)
