"""The plain words of the verdict's checks.

Whoever adds a check adds a line here; without one it still appears, under its own name.
"""

from __future__ import annotations

from expunge.kinds.language.report import secret_words
from expunge.kinds.language.toxicity import wording as toxicity_wording
from expunge.report.words import Check

CHECKS = {
    "familiarity_completion": Check(
        "Familiarity by completion",
        "What is left of the familiarity shown in completions beyond the control's, as a share of the model before.",
        "at most",
        "share of before",
    ),
    "familiarity_probability": Check(
        "Familiarity by probability",
        "What is left of the probability of revealing next words beyond the control's, as a share of the model before.",
        "at most",
        "share of before",
    ),
    **secret_words.CHECKS,
    "two_answers": Check(
        "Questions with two answers",
        "How far the share of right answers is from chance, in either direction, in percentage points.",
        "at most",
        "points",
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
        "Image passes of unlearning, as a share of those of training from scratch without the forget set.",
        "at most",
        "share of retraining",
    ),
    "retain_frechet": Check(
        "Pictures to keep",
        "Fréchet distance of completions to originals on held-back pictures to keep, as a share of the model before.",
        "at most",
        "share of before",
    ),
    "retain_psnr": Check(
        "Sharpness of pictures to keep",
        "PSNR lost on the same pictures.",
        "at most",
        "dB",
    ),
    "forget_frechet": Check(
        "Pictures to forget",
        "Fréchet distance of completions to originals on pictures to forget, trained on or held back, whichever is nearer.",
        "at least",
        "times before",
    ),
    "forget_recognition": Check(
        "Recognition of the forgotten",
        "How far down the exact interval (Clopper and Pearson) reaches of the share of forgotten pictures that the "
        "completion gives away, trained on or held back, whichever is further above; the limit is chance. With names it is "
        "the person that is given away; without, the group, such as an age, and a retrained model's share is the limit if "
        "it is lower.",
        "at most",
        "share of pictures",
    ),
    "forget_identification": Check(
        "Identification of single pictures",
        "The share of forgotten pictures without names that the completion tells from all others, trained on or held "
        "back. What a model shows of a picture tells much of the rest, so the limit is what the retrained model identifies.",
        "at most",
        "share of pictures",
    ),
}
