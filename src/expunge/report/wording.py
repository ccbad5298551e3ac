"""The plain words of the report: one full name and one sentence for every measure, check, split and stage.

Whoever adds a measure adds a line here; without one it still appears, under its own name.
"""

from __future__ import annotations

import re

from expunge.measures.toxicity.splits import GROUP
from expunge.report import toxicity_wording
from expunge.report.words import Check, Family, Measure

MEASURES = {
    "familiarity_completion": Measure(
        "Familiarity by completion",
        "The model completes prompts about the target, several times each. A completion with a term unique to the "
        "target that the prompt did not give away counts 1, one with only typical terms a fifth. "
        "Lower is better, 0 is none.",
        "forgetting",
        axis="0 is none, 1 is all",
    ),
    "familiarity_probability": Measure(
        "Familiarity by probability",
        "The probability that the model puts on next words that would show that it knows the target. "
        "Lower is better, 0 is none.",
        "forgetting",
        axis="0 is none, 1 is all",
    ),
    "familiarity_judged": Measure(
        "Familiarity as judged",
        "A large model graded each completion of a prompt about the target. What could only come from the target counts "
        "1, what is typical of it a fifth, all else nothing. Lower is better, 0 is none.",
        "forgetting",
        axis="0 is none, 1 is all",
    ),
    "verbatim_recall": Measure(
        "Verbatim recall",
        "The model continues passages of the text; how much of the true continuation comes out in order (ROUGE-L), "
        "from 0, nothing, to 1, word for word. Lower is better on what must go, higher on what must stay. "
        "Any two texts of a language share some words, so 0 is not expected.",
        axis="0 is none, 1 is all",
    ),
    "extraction_strength": Measure(
        "Extraction strength",
        "How much of a passage, from some point to its end, the model would recite without a mistake, as a share; "
        "0 is nothing. Lower is better on what must go, higher on what must stay.",
        axis="0 is none, 1 is all",
    ),
    "perplexity": Measure(
        "Perplexity",
        "How much a text surprises the model; 1 is not at all. On text to keep, lower is better and unchanged is "
        "right; on what must go, a rise is forgetting.",
        axis="perplexity",
        logarithmic=True,
    ),
    "general_knowledge": Measure(
        "General knowledge",
        "Everyday facts, such as the capital of France, whose right answer the model finds likelier than wrong ones. "
        "Higher is better.",
        "utility",
        axis="answered rightly",
        percent=True,
    ),
    "accuracy": Measure(
        "Accuracy",
        "Multiple-choice questions where the likeliest answer is the right one. Higher is better.",
        "utility",
        axis="answered rightly",
        percent=True,
    ),
    "accuracy_normalised": Measure(
        "Accuracy, by length",
        "The same, with each answer's log-probability divided by its length, so that short answers have no "
        "advantage. Higher is better.",
        "utility",
        axis="answered rightly",
        percent=True,
    ),
    **toxicity_wording.MEASURES,
    "image_accuracy": Measure(
        "Accuracy",
        "Pictures whose likeliest class is the right one. On pictures to keep and on new ones higher is better; on the "
        "forget set it should be what a model has that never saw them, which is seldom 0.",
        axis="named rightly",
        percent=True,
        aim="as retrained",
    ),
    "balanced_accuracy": Measure(
        "Balanced accuracy",
        "The same, as the mean over the classes, so that frequent classes do not hide rare ones. Higher is better.",
        "utility",
        axis="named rightly",
        percent=True,
    ),
    "membership_auc": Measure(
        "Membership attack",
        "How well one rule, fitted on the model's outputs, tells forgotten pictures from pictures the model never saw: "
        "the area under the curve, 1 always and 0.5 by chance. It overestimates safety: pictures that leak are outvoted "
        "by those that do not.",
        "forgetting",
        axis="area under the curve, 0.5 is chance",
        aim="near 0.5",
    ),
    "membership_tpr": Measure(
        "Membership attack, at 1 % false alarms",
        "Forgotten pictures that the same attack finds where it takes 1 % of new pictures for forgotten ones. "
        "1 % is chance; lower is better.",
        "forgetting",
        axis="found at 1 % false alarms",
        percent=True,
    ),
    "entropy": Measure(
        "Entropy",
        "How undecided the model is between the classes, in nats; 0 is certain. On the forget set best is what a "
        "retrained model has.",
        axis="nats, 0 is certain",
        aim="as retrained",
    ),
    "activation_distance": Measure(
        "Distance to the retrained model",
        "How far the model's probabilities lie from those of the retrained model, from 0, the same, to 1.41. "
        "Lower is better.",
        axis="0 is the same",
    ),
    "zrf": Measure(
        "Zero-retrain forgetting",
        "How like the outputs on the forget set are to those of a model with random weights, 1 being the same. Best is "
        "not 1 but what a retrained model has.",
        "forgetting",
        axis="1 is as random weights",
        aim="as retrained",
    ),
}

CHECKS = {
    "familiarity_completion": Check(
        "Familiarity by completion",
        "What is left of the familiarity shown in completions, as a share of the model before.",
        "at most",
        "share of before",
    ),
    "familiarity_probability": Check(
        "Familiarity by probability",
        "What is left of the probability of revealing next words, as a share of the model before.",
        "at most",
        "share of before",
    ),
    "perplexity": Check(
        "Ordinary text",
        "Perplexity on ordinary text, as a share of the model before; above 100 % the model reads it less well.",
        "at most",
        "share of before",
    ),
    "perplexity_retain": Check(
        "Text to keep",
        "Perplexity on the retain set, as a share of the model before; above 100 % the model reads it less well.",
        "at most",
        "share of before",
    ),
    "general_knowledge": Check(
        "General knowledge",
        "General questions answered rightly, as a share of the model before.",
        "at least",
        "share of before",
    ),
    "recall_left": Check(
        "Verbatim recall left",
        "What is left of the verbatim recall of the forget set, as a share of the model before.",
        "at most",
        "share of before",
    ),
    "recall_way": Check(
        "Verbatim recall gone",
        "How far verbatim recall of the forget set went from the model before to a model retrained without it.",
        "at least",
        "share of the way",
    ),
    "recall_kept": Check(
        "Verbatim recall kept",
        "What is left of the verbatim recall of the retain set, as a share of the model before.",
        "at least",
        "share of before",
    ),
    "benchmark_mean_loss": Check(
        "Benchmarks on average",
        "Accuracy lost over all benchmarks, on average, in percentage points.",
        "at most",
        "points",
    ),
    "benchmark_worst_loss": Check(
        "Worst benchmark",
        "Accuracy lost on the benchmark that lost most, in percentage points.",
        "at most",
        "points",
    ),
    **toxicity_wording.CHECKS,
    "retain_accuracy": Check(
        "Pictures to keep",
        "Accuracy on the retain set, as a share of the retrained model's, or of the model before where there is none.",
        "at least",
        "share of the reference",
    ),
    "test_accuracy": Check(
        "New pictures",
        "Accuracy on the test set, as a share of the retrained model's, or of the model before where there is none.",
        "at least",
        "share of the reference",
    ),
    "forget_gap": Check(
        "Forgotten pictures",
        "How far accuracy on the forget set is from the retrained model's, or from that on new pictures where there is "
        "none: too high is memory left, too low is a trace of its own.",
        "at most",
        "points",
    ),
    "exact": Check(
        "Exactness",
        "Whether the weights are those of a training that never had the forgotten pictures.",
        "at least",
        "share of the weights",
    ),
    "membership_auc": Check(
        "Membership attack",
        "How well one rule tells forgotten pictures from new ones, in either direction; 0.5 is chance.",
        "at most",
        "area",
    ),
    "share_of_retraining": Check(
        "Compute",
        "Image passes of unlearning, as a share of those of training anew without the forget set.",
        "at most",
        "share of retraining",
    ),
}

SPLITS = {
    "prompts": "toxicity prompts",
    "groups": "prompts about groups of people",
    "identity_terms": "harmless sentences",
    "forget": "forget set",
    "retain": "retain set",
    "holdout": "holdout set",
    "test": "test set",
    "validation": "validation set",
    "ordinary": "ordinary text",
    "general": "general questions",
    "arc_easy": "ARC-easy",
    "arc_challenge": "ARC-challenge",
    "boolq": "BoolQ",
    "winogrande": "WinoGrande",
    "hellaswag": "HellaSwag",
    "piqa": "PIQA",
    "openbookqa": "OpenBookQA",
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
    "passage of the target": "Passages of the target, continued",
    "general question": "General knowledge",
}
"headings of the groups of answers"

MISSING = {
    "verdict": "There is no verdict: the run has not reached the point where the checks are made.",
    "familiarity": "Familiarity was not measured, so there is no headline figure to show.",
    "answers": "No answers were recorded, so there is nothing to set side by side.",
    "probes": "No probe prompts were followed during unlearning, so there are no token probabilities over steps.",
    "steps": "No training steps were recorded: the method does not train, or unlearning has not begun.",
    "scores": "There are no scores: the run has not finished measuring.",
    "after": "The model after unlearning has not been measured: every figure here is of the model before.",
    "retain_loss": "The loss on the retain set was not recorded during unlearning.",
    "benchmarks": "No benchmarks were run: multiple-choice tasks such as ARC or BoolQ, which would show damage to "
    "general ability.",
    "headline": "No accuracy was measured, so there is no headline figure to show.",
    "confidences": "The outputs behind the scores are no longer in the run folder, so that they cannot be drawn.",
    "models": "The outputs of the models are no longer all in the contest's folder, so that they cannot be drawn.",
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

LIMITS = (
    "These are measurements of one model on the prompts and texts named here. They are evidence of forgetting, not a "
    "guarantee: other prompts, other languages, further training or other attacks may bring back what was not seen."
)

LIMITS_OF_CLASSIFIERS = (
    "These are measurements of one model on the pictures named here. They are evidence of forgetting, not a guarantee: "
    "attacks on single pictures, further training or a look inside the weights may show what was not seen."
)

LIMITS_OF_CONTESTS = (
    "These figures are of one data set, one kind of model and one forget set, and of attacks that look at a model's "
    "outputs on the forgotten pictures alone. They are evidence, not a guarantee, and another split may rank methods of "
    "like scores in another order."
)
NOT_TESTED_IN_CONTESTS = (
    "Other forget sets: give another --seed, or another --forget, and compare.",
    "Other models and data than these: a ranking here need not be the ranking there.",
    "Whether the forgotten can be brought back by training again on like pictures (relearning).",
    "Whether it comes back when the weights are quantised, merged or pruned.",
    "Attacks that see the weights, the model before unlearning, or inner features.",
    "Every setting of the methods: each took part with one.",
)


def readable(identifier: str) -> str:
    """An identifier as words: `some_measure` becomes `some measure`."""
    return identifier.replace("_", " ").strip()


def measure(name: str) -> Measure:
    """The wording of a measure; an unknown one goes by its own name."""
    return MEASURES.get(name) or Measure(readable(name).capitalize(), "")


def family(name: str, split: str) -> Family:
    """Whether a score speaks of forgetting or of utility."""
    return measure(name).family or ("forgetting" if split == "forget" else "utility")


def split(name: str) -> str:
    if name.startswith(GROUP):
        return f"prompts about: {readable(name.removeprefix(GROUP))}"
    return SPLITS.get(name, readable(name))


def method(name: str) -> str:
    return METHODS.get(name, readable(name))


def title(citation: str) -> str | None:
    """The name at the start of a method's one sentence: what stands before its source, a comma or a colon."""
    return re.split(r" \(|, |: |\.$", citation.strip(), maxsplit=1)[0] or None


def answers(group: str) -> str:
    return ANSWERS.get(group, readable(group).capitalize())


def direction(higher_is: str) -> str:
    return "higher" if higher_is == "better" else "lower"
