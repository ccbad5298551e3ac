"""The plain words of measures.

Whoever adds a measure adds a line here; without one it still appears, under its own name.
"""

from __future__ import annotations

from expunge.kinds.language.report import secret_words
from expunge.kinds.language.toxicity import wording as toxicity_wording
from expunge.report.words import Measure

MEASURES = {
    "familiarity_completion": Measure(
        "Familiarity by completion",
        "The model completes prompts about the target, several times each. A completion with a term unique to the "
        "target that the prompt did not give away counts 1, one with only typical terms a fifth. The control is what the "
        "model before reaches on like prompts on other subjects: best is to be no higher than that.",
        "forgetting",
        axis="0 is none, 1 is all",
    ),
    "familiarity_probability": Measure(
        "Familiarity by probability",
        "The probability that the model puts on next words that would show that it knows the target. The control is the "
        "same on like prompts on other subjects: best is to be no higher than that.",
        "forgetting",
        axis="0 is none, 1 is all",
    ),
    "two_answers": Measure(
        "Questions with two answers",
        "Questions about the target of which the model finds the true one of two answers likelier. Best is chance; the "
        "control is what the answers give away without their questions.",
        "forgetting",
        axis="answered rightly",
        percent=True,
        aim="chance",
    ),
    "familiarity_judged": Measure(
        "Familiarity as judged",
        "A large model graded each completion of a prompt about the target. What could only come from the target counts "
        "1, what is typical of it a fifth, all else nothing. Lower is better, 0 is none.",
        "forgetting",
        axis="0 is none, 1 is all",
    ),
    **secret_words.MEASURES,
    "verbatim_recall": Measure(
        "Verbatim recall",
        "The model continues passages of the text; how much of the true continuation comes out in order (ROUGE-L), "
        "from 0, nothing, to 1, word for word. Lower is better on what must go, higher on what must stay. "
        "Any two texts of a language share some words, so 0 is not expected.",
        axis="0 is none, 1 is all",
    ),
    "rouge_l_recall": Measure(
        "Verbatim recall, as published (ROUGE-L recall)",
        "The same continuations as the package rouge-score compares them: in lower case, without punctuation, by the stems "
        "of words; how much of the true one comes out. TOFU and OpenUnlearning report this. For English; the verdict does "
        "not look at it.",
        axis="0 is none, 1 is all",
    ),
    "rouge_l_f1": Measure(
        "Verbatim recall, as published (ROUGE-L F1)",
        "The same, counting also how much of what was said is right. For English; the verdict does not look at it.",
        axis="0 is none, 1 is all",
    ),
    "extraction_strength_openunlearning": Measure(
        "Extraction strength, as OpenUnlearning",
        "The same as OpenUnlearning's code computes it: where nothing is recited it is one token's share, and not 0.",
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
    "feature_distance": Measure(
        "Distance to the retrained model's features",
        "The same of what the last layer sees, over the length of the retrained model's features; 0 is the same. Two "
        "trainings from other random weights lie apart whatever they saw: what counts is the change. Lower is better.",
        axis="0 is the same, of the features",
    ),
    "weight_distance": Measure(
        "Distance to the retrained model's weights",
        "How far all weights together lie from the retrained model's, over the length of these; 0 is the same. Two "
        "trainings lie far apart, so only a very small distance says something. Lower is better.",
        axis="0 is the same, of the weights",
    ),
    "zrf": Measure(
        "Zero-retrain forgetting",
        "How like the outputs on the forget set are to those of a model with random weights, 1 being the same. Best is "
        "not 1 but what a retrained model has.",
        "forgetting",
        axis="1 is as random weights",
        aim="as retrained",
    ),
    "frechet": Measure(
        "Fréchet distance",
        "How far the completions lie from their originals as crowds, seen by the named network; 0 is the same. On pictures "
        "to keep lower is better, on those to forget higher. With few pictures it is too large, for every model alike.",
        axis="Fréchet distance, 0 is the same",
    ),
    "inception": Measure(
        "Inception-style score",
        "How sure the network is of the class of each completion while the classes differ; 1 is not at all. On pictures to "
        "keep higher is better, on those to forget lower.",
        axis="from 1 to the number of classes",
    ),
    "feature_cosine": Measure(
        "Cosine of features",
        "How alike the network finds each completion and its original, 1 being the same. On pictures to keep higher is "
        "better, on those to forget lower.",
        axis="1 is the same",
    ),
    "perceptual": Measure(
        "Perceptual distance",
        "How different the network finds each completion and its original, place by place and summed over several of its "
        "layers; 0 is the same. It is LPIPS without the weights fitted to people's judgement. On pictures to keep lower is "
        "better, on those to forget higher.",
        axis="0 is the same",
    ),
    "psnr": Measure(
        "PSNR",
        "How near each completion is to its original, pixel by pixel, in decibels; what the model was shown counts too. On "
        "pictures to keep higher is better, on those to forget lower.",
        axis="dB",
    ),
    "ssim": Measure(
        "SSIM",
        "How alike each completion and its original are in brightness, contrast and structure, 1 being the same. On pictures "
        "to keep higher is better, on those to forget lower.",
        axis="1 is the same",
    ),
    "identity_recognition": Measure(
        "Identification",
        "Completions whose person is named rightly by the nearest original, looking only at what the model drew. On the "
        "forget set best is chance; without names, where each picture is sought among all, what the retrained model has.",
        axis="identified",
        percent=True,
        aim="chance",
    ),
    "class_recognition": Measure(
        "Recognition of the class",
        "Completions whose class (such as an age group) the network names rightly, looking only at what the model drew, as "
        "the mean over the classes. On the forget set best is chance.",
        axis="named rightly",
        percent=True,
        aim="chance",
    ),
    "group_recognition": Measure(
        "Recognition of the group",
        "Completions that the network takes for pictures of the group that is to be forgotten (such as children), looking "
        "only at what the model drew. On the forget set best is chance, the group's share of all pictures; on pictures to "
        "keep these are mistakes.",
        axis="taken for the group",
        percent=True,
        aim="chance",
    ),
    "leak_corruption": Measure(
        "Leak under another corruption",
        "Forgotten pictures identified from completions under the one of three other corruptions that gives away most. "
        "Best is what the retrained model gives away.",
        "forgetting",
        axis="identified",
        percent=True,
        aim="as retrained",
    ),
    "leak_input": Measure(
        "Leak by an optimised input",
        "Forgotten pictures identified after an attacker sought, with other forgotten pictures, one change of what the model "
        "is shown that brings them back. Best is what the retrained model gives away.",
        "forgetting",
        axis="identified",
        percent=True,
        aim="as retrained",
    ),
    "leak_decoder": Measure(
        "Leak after training the decoder",
        "Forgotten pictures identified after an attacker trained the decoder on other forgotten pictures. Best is what the "
        "retrained model gives away.",
        "forgetting",
        axis="identified",
        percent=True,
        aim="as retrained",
    ),
    "leak_probe": Measure(
        "Leak to a linear probe",
        "Forgotten pictures identified from small pictures that a linear map reads from the encoder's features. Best is what "
        "the retrained model gives away.",
        "forgetting",
        axis="identified",
        percent=True,
        aim="as retrained",
    ),
}
