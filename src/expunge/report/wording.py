"""The plain words of the report. Those of measures, checks and splits are where these are declared
(`runs.measures`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from expunge.report import numbers
from expunge.runs import measures
from expunge.runs.measure import Family, Measure

__all__ = ["Family", "Measure"]

SPLITS = {
    "forget": "forget set",
    "retain": "retain set",
    "holdout": "holdout set",
    "test": "test set",
    "validation": "validation set",
}

MODELS = {"base": "before", "unlearned": "after", "retrained": "retrained"}
"the three models in plain words"

METHODS = {
    "whos_harry_potter": "Who's Harry Potter?",
    "gradient_ascent": "gradient ascent",
    "gradient_difference": "gradient difference",
    "fine_tune": "fine-tuning on the retain set",
}

GROUPS = {"forgetting": "Forgetting: is it gone?", "utility": "Utility: is the rest unharmed?"}

ANSWERS = {
    "completion prompt": "Prompts about the target, completed",
    "question with two answers": "Questions about the target, the likelier of two answers",
    "secret": "Secrets, in their place",
    "passage of the target": "Passages of the target, continued",
    "general question": "General knowledge",
}
"headings of the groups of answers"

MISSING = {
    "verdict": "There is no verdict: the run has not reached the point where the checks are made.",
    "familiarity": "Familiarity was not measured, so there is no headline figure to show.",
    "answers": "No answers were recorded, so there is nothing to set side by side.",
    "excerpts": "Nothing is quoted: the recipe has excerpts: false, so the report has no text of the forget set.",
    "probes": "No probe prompts were tracked during unlearning, so there are no token probabilities over steps.",
    "steps": "No training steps were recorded: the method does not train, or unlearning has not begun.",
    "inputs": "Which files were read was not recorded, or the sets were written by the model itself.",
    "scores": "There are no scores: the run has not finished measuring.",
    "after": "The model after unlearning has not been measured: every figure here is of the model before.",
    "retain_loss": "The loss on the retain set was not recorded during unlearning.",
    "benchmarks": "No benchmarks were run: multiple-choice tasks such as ARC or BoolQ, which would show damage to "
    "general ability.",
    "headline": "No accuracy was measured, so there is no headline figure to show.",
    "confidences": "The outputs behind the scores are no longer in the run folder, so that they cannot be drawn.",
    "models": "The outputs of the models are no longer all in the contest's folder, so that they cannot be drawn.",
    "grid": "The pictures are no longer in the run folder, or none were to be shown.",
    "plane": "The features of the pictures are no longer in the run folder, so that they cannot be drawn.",
    "losses": "The method recorded no losses: it does not train, or unlearning has not begun.",
    "retrained": "No retrained model was measured: a model trained without the forget set, which would show what "
    "complete forgetting looks like.",
    "not_tested": "The record lists nothing, which does not mean that everything was tested.",
    "cost": "The cost was not recorded.",
    "method": "The method's formula and source were not recorded.",
    "versions": "Versions were not recorded.",
    "digests": "Digests were not recorded, so the files cannot be checked against this report.",
    "sets": "The sizes of the forget set and the retain set were not recorded.",
}

LIMITS_OF_CONTESTS = (
    "These figures are of one dataset, one kind of model and one forget set, and of attacks that only use a model's "
    "outputs on the forgotten pictures. They are evidence, not a guarantee, and another split may rank methods with "
    "similar scores in another order."
)
NOT_TESTED_IN_CONTESTS = (
    "Other forget sets: give another --seed, or another --forget, and compare them: expunge compare.",
    "Other models and data than these: a ranking here need not be the ranking there.",
    "Whether the forgotten can be brought back by training again on similar pictures (relearning).",
    "Whether it comes back when the weights are quantised, merged or pruned.",
    "Attacks that see the weights, the model before unlearning, or inner features.",
    "Every setting of the methods: each took part with one.",
)


def readable(identifier: str) -> str:
    """An identifier as words: `some_measure` becomes `some measure`."""
    return identifier.replace("_", " ").strip()


def measure(name: str) -> Measure:
    """The wording of a measure; an unknown one goes by its own name."""
    return measures.measure(name) or Measure(name, readable(name).capitalize(), "")


def split(name: str) -> str:
    return SPLITS.get(name) or measures.split_words(name) or readable(name)


def method(name: str) -> str:
    return METHODS.get(name, readable(name))


def title(citation: str) -> str | None:
    """The name at the start of a method's one sentence: the text before its source, a comma or a colon."""
    return re.split(r" \(|, |: |\.$", citation.strip(), maxsplit=1)[0] or None


def answers(group: str) -> str:
    return ANSWERS.get(group, readable(group).capitalize())


def direction(higher_is: str) -> str:
    return "higher" if higher_is == "better" else "lower"


def sizes(sets: Mapping[str, Any], units: Sequence[str]) -> str:
    """A sentence, with a space before it, on the forget set and the retain set; empty if no size is known.

    Args:
        units: keys of the sizes to show: the units, in the plural.
    """
    known = [f"the {name} set has {size}" for name in ("forget", "retain") if (size := _size(sets.get(name), units))]
    joined = "; ".join(known)
    return f" {joined[0].upper()}{joined[1:]}." if joined else ""


def _size(part: Mapping[str, Any] | None, units: Sequence[str]) -> str:
    known = [(unit, (part or {}).get(unit)) for unit in units]
    return ", ".join(
        f"{numbers.count(number)} {re.sub('(?<=ss)es$|s$', '', unit) if number == 1 else unit}"
        for unit, number in known
        if isinstance(number, int | float)
    )
