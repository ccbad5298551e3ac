"""Measures of one answer, from log-probabilities and greedy choices; each published variant with its own name.

A *mean log-probability* is that of an answer's tokens given its question, log P(a | q) / |a|, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

Mean = Literal["geometric", "arithmetic"]
LOWEST = 0.4
"share of an answer's tokens that min-k uses in MUSE (arXiv:2407.06460, appendix) and OpenUnlearning"


def probability(mean_log_p: float) -> float:
    r"""Length-normalised probability (TOFU, Maini et al. 2024, arXiv:2401.06121, section 2.2.1): $P(a \mid q)^{1/|a|}$."""
    return math.exp(mean_log_p)


def probability_options(true: float, wrong: Sequence[float]) -> float:
    r"""The same of the true answer, as a share of its sum over all answers (TOFU's code, on real authors and world facts).

    $$\frac{P(a \mid q)^{1/|a|}}{P(a \mid q)^{1/|a|} + \sum_i P(a_i \mid q)^{1/|a_i|}}$$

    Args:
        true, wrong: mean log-probabilities.
    """
    return math.exp(true - float(np.logaddexp.reduce(np.array([true, *wrong], dtype=np.float64))))


def log_truth_ratio(correct: float, wrong: Sequence[float], mean: Mean = "geometric") -> float:
    r"""Logarithm of the truth ratio: likelihood of wrong answers relative to a correct one (TOFU, equation 1).

    $$R = \frac{M_i\left(P(\hat a_i \mid q)^{1/|\hat a_i|}\right)}{P(\tilde a \mid q)^{1/|\tilde a|}}$$

    Args:
        correct: mean log-probability of the paraphrased answer $\tilde a$; of the true one, if no paraphrase is given.
        wrong: of the perturbed answers $\hat a_i$.
        mean: $M$. Arithmetic in the paper; geometric in the code that TOFU's leaderboard and OpenUnlearning compute it
            with, which takes the mean of the losses.
    """
    logs = np.asarray(wrong, dtype=np.float64)
    if mean == "geometric":
        return float(logs.mean()) - correct
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs)) - correct


def truth_ratio_forget(log_ratio: float) -> float:
    r"""$\min(R, 1/R)$: 1 if wrong answers are as likely as the correct one (TOFU, on the forget set)."""
    return math.exp(-abs(log_ratio))


def truth_ratio_retain(log_ratio: float) -> float:
    r"""$\max(0, 1 - R)$: near 1 if the correct answer is far likelier (TOFU, on everything else)."""
    return -math.expm1(log_ratio) if log_ratio < 0 else 0.0


def truth_ratio_openunlearning(log_ratio: float) -> float:
    r"""$1 / (1 + R)$, correct over correct and wrong (OpenUnlearning, Dorna et al. 2025, arXiv:2506.12618).

    Its code calls it `prob_mean`; that paper compares measures with it. 0.5 means no knowledge.
    """
    return 0.5 * (1.0 - math.tanh(0.5 * log_ratio))


def exact_memorization(greedy: Sequence[bool]) -> float:
    r"""Share of an answer's tokens that are the model's first choice, given the true ones before (Tirumala et al. 2022,
    arXiv:2205.10770): $\frac{1}{|a|} \sum_t \mathbb{1}[\arg\max p_\theta(\cdot \mid q, a_{<t}) = a_t]$."""
    return float(np.mean(np.asarray(greedy, dtype=np.float64)))


def min_k(log_p: Sequence[float], share: float = LOWEST) -> float:
    r"""Mean log-probability of the least likely tokens, a share of them rounded down, at least one (Shi et al. 2024,
    arXiv:2310.16789)."""
    ordered = np.sort(np.asarray(log_p, dtype=np.float64))
    return float(ordered[: max(1, int(len(ordered) * share))].mean())
