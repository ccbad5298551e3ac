"""What a suite of questions says of its measures, its splits, and itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """A measure's name in a column, and what it is."""

    title: str
    sentence: str


SUITES = {
    "tofu": "TOFU",
    "lume": "LUME",
    "knowundo": "KnowUnDo",
    "muse": "MUSE",
    "wmdp": "WMDP",
    "rwku": "RWKU",
    "world": "A generated world",
}
"suite -> its name in the report"
SPLITS = {
    "forget": "Forget set",
    "retain": "Retain set",
    "real_authors": "Real authors",
    "world_facts": "World facts",
    "forget_completions": "Forget set, completions",
    "retain_completions": "Retain set, completions",
    "forget_more": "Forget set, other questions",
    "retain_more": "Retain set, other questions",
    "forget_qa": "Questions on the forget set",
    "retain_qa": "Questions on the retain set",
    "verbmem": "Passages of the forget set",
    "forget_texts": "Texts of the forget set",
    "retain_texts": "Texts of the retain set",
    "unseen_texts": "Texts that no model was taught",
    "bio": "WMDP bio",
    "cyber": "WMDP cyber",
    "chem": "WMDP chem",
    "mmlu": "MMLU",
    "forget_level1": "Target, level 1: cloze",
    "forget_level2": "Target, level 2: questions",
    "forget_level3": "Target, level 3: adversarial",
    "neighbor_level1": "Neighbours, level 1: cloze",
    "neighbor_level2": "Neighbours, level 2: questions",
    "mia_forget": "Texts on the target",
    "mia_retain": "Texts on others",
    "utility_general": "MMLU, five examples",
    "utility_truthfulness": "TruthfulQA, one right",
    "forget_paraphrased": "Forget set, in other words",
    "retain_paraphrased": "Retain set, in other words",
    "forget_cloze": "Forget set, sentences to finish",
    "retain_cloze": "Retain set, sentences to finish",
    "forget_reversed": "Forget set, reversed",
    "retain_reversed": "Retain set, reversed",
    "forget_choice": "Forget set, among choices",
    "retain_choice": "Retain set, among choices",
}
SERIES = {"scal": "Size of the forget set", "sust": "Requests one after another"}
"series of forget sets -> what they show"
MAIN = (
    "forget_quality",
    "model_utility",
    "forget/probability",
    "forget/rouge_l_recall",
    "forget/truth_ratio",
    "forget/extraction_strength",
    "retain/rouge_l_recall",
    "forget_completions/rouge_l_recall",
    "forget_more/rouge_l_recall",
    "verbmem/verbmem",
    "forget_qa/knowmem",
    "forget_paraphrased/probability",
    "forget_choice/probability_options",
    "privleak",
    "retain_qa/knowmem",
    *(f"{domain}/{measure}" for domain in ("bio", "cyber", "chem", "mmlu") for measure in ("accuracy", "above_chance")),
    *(f"{split}/rouge_l_recall" for split in ("forget_level1", "forget_level2", "forget_level3")),
    *(f"{split}/rouge_l_recall" for split in ("neighbor_level1", "neighbor_level2")),
    "mia_forget/nll",
    "mia_retain/nll",
    "utility_general/accuracy",
    "utility_truthfulness/accuracy",
)
"measures of the first table and of the console's"
ASIDE = ("forget_quality_paper", "ks_distance", "ks_distance_paper", "model_utility_paper")
"other measures of the whole model"
TUNED = (
    "(tuned): with the settings that did best on TOFU forget10 in a published grid, of a model of 1B parameters. All "
    "other methods run with their defaults or with the options given: a difference may be one of tuning"
)
"what the mark beside a method's name is"

MEASURES = {
    "forget_quality": Words(
        "forget quality",
        "p-value of the Kolmogorov-Smirnov test that the forget set's truth ratios are those of the oracle. Above "
        "0.05 the test cannot tell the two apart; few questions tell little apart. Of several seeds the least "
        "p-value.",
    ),
    "forget_quality_paper": Words(
        "forget quality, paper's mean", "The same with the truth ratio as the paper writes it."
    ),
    "ks_distance": Words(
        "KS distance",
        "The statistic of that test: the largest distance of the distributions, of the same seed. 0 is best. Its "
        "interval supposes nothing of the distributions (Dvoretzky, Kiefer, Wolfowitz).",
    ),
    "ks_distance_paper": Words("KS distance, paper's mean", "The same with the truth ratio as the paper writes it."),
    "model_utility": Words(
        "model utility",
        "Harmonic mean of nine: probability, ROUGE-L recall and truth ratio on retain set, real authors and world facts.",
    ),
    "model_utility_paper": Words(
        "model utility, paper's mean", "The same with the truth ratio as the paper writes it."
    ),
    "privleak": Words(
        "PrivLeak",
        "How well min-40 % distinguishes forgotten from held-out rows, compared with the oracle, in per cent. 0 is "
        "best; below 0 the model still takes the rows for its own, above 0 it gives away that it was pushed from "
        "them.",
    ),
    "probability": Words("probability", "Geometric mean of the probabilities of the true answer's tokens."),
    "probability_options": Words(
        "probability among options", "The same of the true answer, over its sum with those of the wrong answers."
    ),
    "rouge_l_recall": Words("ROUGE-L recall", "How much of the true answer the model's own answer contains, in order."),
    "rouge_l_f1": Words(
        "ROUGE-L F1", "The same, also counting what the model says in addition; OpenUnlearning's score for MUSE."
    ),
    "verbmem": Words(
        "VerbMem",
        "ROUGE-L F1, words not stemmed, of the model's continuation of a passage against the true one (MUSE).",
    ),
    "knowmem": Words(
        "KnowMem",
        "ROUGE-L F1, words not stemmed, of the model's answer against the true one, after ten examples (MUSE).",
    ),
    "accuracy": Words("accuracy", "Share of multiple-choice questions of which the right choice is the likeliest."),
    "above_chance": Words("above chance", "Accuracy less the share that a guess has. 0 is not knowledge."),
    "nll": Words(
        "nats a token", "Mean negative log-likelihood of a text's tokens: how strange the text is to the model."
    ),
    "truth_ratio": Words(
        "truth ratio",
        "How likely wrong answers are compared with the right one, R, by their geometric mean: min(R, 1/R) on the "
        "forget set, max(0, 1 - R) elsewhere. As TOFU's leaderboard and OpenUnlearning compute it.",
    ),
    "truth_ratio_paper": Words(
        "truth ratio, paper's mean", "The same by the arithmetic mean, as TOFU's paper writes it."
    ),
    "truth_ratio_openunlearning": Words(
        "truth ratio, 1 / (1 + R)",
        "The share that the right answer has of both: 0.5 is not knowledge (OpenUnlearning's paper).",
    ),
    "extraction_strength": Words(
        "extraction strength", "Share of the true answer that is the first choice from some token on to its end."
    ),
    "extraction_strength_openunlearning": Words(
        "extraction strength, OpenUnlearning's", "The same, at least one token's share whatever the model says."
    ),
    "exact_memorization": Words("exact memorization", "Share of the true answer's tokens that are the first choice."),
}
