"""The plain words of the measures of secrets and their check."""

from __future__ import annotations

from expunge.report.words import Check, Measure

MEASURES = {
    "secret_exposure": Measure(
        "Exposure of the secret",
        "How far the secret stands out among texts of the same form, such as other numbers of as many digits, in bits: 1 is "
        "the likelier half, 2 the likeliest quarter, and so on. By chance it is 1.4 on average, and above 4.3 in one of "
        "twenty cases. Lower is better. The interval speaks of the draw of those texts.",
        "forgetting",
        axis="bits",
    ),
    "secret_log_likelihood": Measure(
        "Likelihood of the secret",
        "The logarithm of the probability that the model gives the secret in its place; nearer to 0 is likelier. Alone it "
        "says little, since short and plain texts are likely to any model.",
        "forgetting",
        axis="nats",
    ),
    "secret_said": Measure(
        "Secrets said",
        "Whether the model says the secret by itself when it is given the text before it. Lower is better.",
        "forgetting",
        axis="said",
        percent=True,
    ),
}

CHECKS = {
    "secret_exposure": Check(
        "Exposure of the secret",
        "The probability that a secret which a model never saw is as exposed as this one is now; once it is not small, the "
        "model looks like one that never saw it.",
        "at least",
        "chance",
    ),
}
