"""Language models: what is measured, and what each threshold of the verdict compares."""

from __future__ import annotations

from functools import partial

from expunge.kinds.language.measures.judging import familiarity, little_recited, recall_left, secret_exposure
from expunge.kinds.language.recipe import Verdict
from expunge.kinds.language.toxicity import declared as toxicity
from expunge.runs.check import (
    Required,
    Threshold,
    loss_at_most,
    mean_of,
    ratio_at_least,
    ratio_at_most,
    reaches_chance,
    way_to_oracle,
    worst_of,
)
from expunge.runs.measure import TARGET, Declared, Measure

TOLD_APART = 0.05
"difference in verbatim recall between base and retrained model from which the distance between them can be measured"

_familiar = partial(Measure, family="forgetting", axis="0 is none, 1 is all")
_recited = partial(Measure, higher_is="better", on_forget="worse", axis="0 is none, 1 is all")
_answered = partial(Measure, unit="share", higher_is="better", family="utility", axis="answered rightly", percent=True)

MEASURES = (
    _familiar(
        "familiarity_completion",
        "Familiarity by completion",
        "The model completes prompts about the target, several times each. A completion with a term unique to the "
        "target that the prompt did not give away counts 1, one with only typical terms a fifth. The control is what "
        "the model before reaches on similar prompts on other subjects: best is to be no higher than that.",
        unit="share of completions, weighted",
    ),
    _familiar(
        "familiarity_probability",
        "Familiarity by probability",
        "The probability that the model puts on next words that would show that it knows the target. The control is "
        "the same on similar prompts on other subjects: best is to be no higher than that.",
        unit="probability mass",
    ),
    Measure(
        "two_answers",
        "Questions with two answers",
        "Questions about the target for which the model finds the true one of two answers likelier. Best is chance; "
        "the control is what the answers give away without their questions.",
        unit="share",
        family="forgetting",
        axis="answered rightly",
        percent=True,
        aim="chance",
    ),
    _familiar(
        "familiarity_judged",
        "Familiarity as judged",
        "A large model graded each completion of a prompt about the target. What could only come from the target "
        "counts 1, what is typical of it a fifth, anything else 0. Lower is better, 0 is none.",
        unit="share of completions, weighted",
    ),
    Measure(
        "secret_exposure",
        "Exposure of the secret",
        "How far the secret stands out among texts of the same form, such as other numbers of as many digits, in "
        "bits: 1 is the likelier half, 2 the likeliest quarter, and so on. By chance it is 1.4 on average, and above "
        "4.3 in one of twenty cases. Lower is better. The interval is that of the draw of those texts.",
        unit="bits",
        family="forgetting",
        axis="bits",
    ),
    Measure(
        "secret_log_likelihood",
        "Likelihood of the secret",
        "The logarithm of the probability that the model gives the secret in its place; nearer to 0 is likelier. Alone "
        "it means little, since short and plain texts are likely to any model.",
        unit="nats a secret",
        family="forgetting",
        axis="nats",
    ),
    Measure(
        "secret_said",
        "Secrets said",
        "Whether the model continues the text before the secret with the secret. Lower is better.",
        unit="share",
        family="forgetting",
        axis="said",
        percent=True,
    ),
    _recited(
        "verbatim_recall",
        "Verbatim recall",
        "The model continues passages of the text; how much of the true continuation comes out in order (ROUGE-L), "
        "from 0, nothing, to 1, word for word. Lower is better on the forget set, higher on the retain set. Any two "
        "texts of a language share some words, so 0 is not expected.",
        unit="ROUGE-L F1",
    ),
    _recited(
        "rouge_l_recall",
        "Verbatim recall, as published (ROUGE-L recall)",
        "The same continuations as the package rouge-score compares them: in lower case, without punctuation, by the "
        "stems of words; how much of the true one comes out. TOFU and OpenUnlearning report this. For English; the "
        "verdict does not use it.",
        unit="ROUGE-L recall",
    ),
    _recited(
        "rouge_l_f1",
        "Verbatim recall, as published (ROUGE-L F1)",
        "The same, counting also how much of the output is right. For English; the verdict does not use it.",
        unit="ROUGE-L F1",
    ),
    _recited(
        "extraction_strength_openunlearning",
        "Extraction strength, as OpenUnlearning",
        "The same as OpenUnlearning's code computes it: if nothing is recited it is one token's share, not 0.",
        unit="share of the suffix",
    ),
    _recited(
        "extraction_strength",
        "Extraction strength",
        "How much of a passage, from some point to its end, the model would recite without a mistake, as a share; 0 is "
        "nothing. Lower is better on the forget set, higher on the retain set.",
        unit="share of the suffix",
    ),
    Measure(
        "perplexity",
        "Perplexity",
        "How much a text surprises the model; 1 is the least. On text to keep, lower is better and unchanged is right; "
        "on the forget set, a rise is forgetting.",
        unit="perplexity over blocks",
        on_forget="better",
        axis="perplexity",
        logarithmic=True,
    ),
    _answered(
        "general_knowledge",
        "General knowledge",
        "Everyday facts, such as the capital of France, whose right answer the model finds likelier than wrong ones. "
        "Higher is better.",
    ),
    _answered(
        "accuracy",
        "Accuracy",
        "Multiple-choice questions where the likeliest answer is the right one. Higher is better.",
    ),
    _answered(
        "accuracy_normalised",
        "Accuracy, by length",
        "The same, with each answer's log-probability divided by its length, so that short answers have no advantage. "
        "Higher is better.",
    ),
)

_of = partial(Threshold.of, Verdict)
_before_and_after = "{before:.3f} before, {after:.3f} after"
_surprise = "{before:.2f} before, {after:.2f} after ({change:+.1%})"

FORGETTING = (
    _of("familiarity_completion", "Familiarity by completion", familiarity("familiarity_completion")),
    _of("familiarity_probability", "Familiarity by probability", familiarity("familiarity_probability")),
    _of(
        "two_answers", "Questions with two answers", reaches_chance("two_answers", "forget", chance=0.5), unit="points"
    ),
    *toxicity.THRESHOLDS,
    _of("secret_exposure", "Exposure of the secret", secret_exposure, unit="chance"),
)

UTILITY = (
    _of("perplexity", "Ordinary text", ratio_at_most(measure="perplexity", split="ordinary", explain=_surprise)),
    _of("perplexity_retain", "Text to keep", ratio_at_most(measure="perplexity", split="retain", explain=_surprise)),
    _of(
        "general_knowledge",
        "General knowledge",
        ratio_at_least(
            measure="general_knowledge", split="general", explain="{before:.0%} right before, {after:.0%} after"
        ),
    ),
    _of("recall_left", "Verbatim recall left", recall_left),
    _of(
        "recall_way",
        "Verbatim recall gone",
        way_to_oracle(
            "verbatim_recall",
            "forget",
            f"{_before_and_after}, {{oracle:.3f}} in the retrained model",
            apart=TOLD_APART,
            same="the retrained model recites as much ({oracle:.3f}) as the base ({before:.3f})",
            too_little=little_recited,
        ),
        unit="share of the way",
    ),
    _of(
        "recall_kept",
        "Verbatim recall kept",
        ratio_at_least(measure="verbatim_recall", split="retain", explain=_before_and_after, too_little=little_recited),
    ),
    _of(
        "benchmark_mean_loss",
        "Benchmarks on average",
        mean_of(
            "", loss_at_most(measure="accuracy", explain=""), "mean loss of {points:+.2f} points over {n} benchmarks"
        ),
        unit="points",
    ),
    _of(
        "benchmark_worst_loss",
        "Worst benchmark",
        worst_of("", loss_at_most(measure="accuracy", explain="{split}: {points:+.2f} points")),
        unit="points",
    ),
)

NOTHING_MEASURED = (
    "not measured: evaluation.familiarity is false, or the target has no names or words of its own that prompts could "
    "be cut before, and nothing that looks like a secret (a number, a key, an address); give completion prompts "
    "(--prompts FILE, JSON lines with `prompt` and `references`), or the words to forget (--evaluation.secret TEXT)"
)

DECLARED = Declared(
    measures=(*MEASURES, *toxicity.MEASURES),
    thresholds=(
        *FORGETTING,
        Required("familiarity_completion", frozenset(each.name for each in FORGETTING), NOTHING_MEASURED),
        *UTILITY,
        Required(
            "perplexity",
            frozenset(each.name for each in UTILITY) - {"recall_left", "recall_way"},
            "not measured, nor anything else of the retain set",
        ),
    ),
    splits={
        "ordinary": "ordinary text",
        "control": "control",
        "general": "general questions",
        "forms": "further forms of the answers to forget",
        TARGET: "target ",
        "arc_easy": "ARC-easy",
        "arc_challenge": "ARC-challenge",
        "boolq": "BoolQ",
        "winogrande": "WinoGrande",
        "hellaswag": "HellaSwag",
        "piqa": "PIQA",
        "openbookqa": "OpenBookQA",
        **toxicity.SPLITS,
    },
    apart=(TARGET, *toxicity.APART),
)
