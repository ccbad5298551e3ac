"""A method's formula as it was run: with the hyper-parameters that change its terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHANGING = ("alpha", "form", "normalise", "top_k", "translation_penalty", "retain_weight", "retain_target")
"settings that change the formula of whos_harry_potter"
CHANGING_DIFFERENCE = (
    "forget_weight", "forget_loss", "forget_limit", "surprise_share", "retain_weight", "retain_target"
)  # fmt: skip
"settings that change the formula of gradient_difference"
NORMAL = r"n \sim \mathcal{N}(\mu, \sigma^2)"
NOISES = {
    "normal": NORMAL,
    "uniform": r"n \sim \mathcal{U}(0, 1)",
    "matched_uniform": r"n \sim \mathcal{U}(\mu - \sqrt{3} \sigma, \mu + \sqrt{3} \sigma)",
    "binary": r"n \sim \mathrm{Bernoulli}(\mu)",
    "constant": r"n = \mu",
}
"replacement of pictures to forget, by the setting `noise` of methods for generators"

PICTURES = r"D(E_\theta(T(x))) - "
OPTIONS = {
    ("retain_label", "labels", "pictures"): {
        r"h_\theta(T(x)) - h_{\theta_0}(T(x))": PICTURES + "x",
        r"h_\theta(T(x)) - h_{\theta_0}(T(r))": PICTURES + "r",
        r", \quad h_\theta = D \circ E_\theta": "",
    },
    ("random_encoder", "keeps", "pixels"): {r"E_\theta(T(x)) - E_{\theta_0}(T(x))": PICTURES + "x"},
}
"parts of a formula that a setting changes, and their replacements"


def as_run(method: Mapping[str, Any]) -> str:
    """The formulas, in LaTeX, a paragraph each: with the settings if those change its terms, else as recorded."""
    settings, name = method.get("settings"), method.get("name")
    recorded = str(method.get("formula") or "").replace("$$", "").strip()
    if not isinstance(settings, Mapping):
        return recorded
    try:
        if name == "whos_harry_potter" and not set(CHANGING) - set(settings):
            return "\n\n".join(_whos_harry_potter(settings))
        if name == "gradient_difference" and not set(CHANGING_DIFFERENCE) - set(settings):
            return "\n\n".join(_gradient_difference(settings))
        for (owner, field, value), changes in OPTIONS.items():
            if name == owner and settings.get(field) == value:
                for part, instead in changes.items():
                    recorded = recorded.replace(part, instead)
        if settings.get("distance") == "euclidean":  # lengths, not their squares
            recorded = recorded.replace(r"\right\|^2", r"\right\|")
        return recorded.replace(NORMAL, NOISES[settings["noise"]]) if "noise" in settings else recorded
    except (KeyError, TypeError):  # settings of another version
        return recorded


def _gradient_difference(settings: Mapping[str, Any]) -> list[str]:
    likelihood, unlikely = r"\log p_\theta(y_t \mid x)", r"\log (1 - p_\theta(y_t \mid x))"
    falls = {
        "likelihood": likelihood,
        "unlikelihood": f"-{unlikely}",
        "log_odds": rf"\left({likelihood} - {unlikely}\right)",
    }
    limits = [str(settings["forget_limit"])] if settings["forget_limit"] is not None else []
    limits += [rf"{settings['surprise_share']} \, s_t"] if settings["surprise_share"] is not None else []
    pushed = falls[settings["forget_loss"]]
    if limits and settings["forget_loss"] == "likelihood":
        pushed = rf"-\min({', '.join([*limits, '-' + likelihood])})"
    elif limits:
        limit = limits[0] if len(limits) == 1 else rf"\min({', '.join(limits)})"
        pushed = rf"[-{likelihood} < {limit}] \, {pushed}"
    forget = rf"L_F = {_factor(settings['forget_weight'])}\frac{{1}}{{|F|}} \sum_{{t \in F}} {pushed}"
    formulas = ["L = L_F", forget]
    if settings["retain_weight"]:
        by = {"text": "", "base": r"p_{base}(v \mid x)", "cleared": r"q(v \mid x)"}[settings["retain_target"]]
        retain = rf"\sum_v {by} \log p_\theta(v \mid x)" if by else likelihood
        retain = rf"L_R = -{_factor(settings['retain_weight'])}\frac{{1}}{{|R|}} \sum_{{t \in R}} {retain}"
        formulas = ["L = L_F + L_R", forget, retain]
    if settings["surprise_share"] is not None:
        formulas.append(r"s_t = -\log \text{(mean probability of } y_t \text{ over the retain set)}")
    if settings["retain_weight"] and settings["retain_target"] == "cleared":
        formulas.append(r"q(v \mid x) \propto p_{base}(v \mid x) \, [v \text{ is not a term of the target's own}]")
    return formulas


def _factor(weight: float) -> str:
    return "" if weight == 1 else rf"{weight} \, "


def _whos_harry_potter(settings: Mapping[str, Any]) -> list[str]:
    said = r"\log p" if settings["normalise"] else "v"
    base, reinforced = rf"{said}_{{base}}(translated)", rf"{said}_{{reinforced}}(original)"
    compared = rf"{said}_{{base}}(original)" if settings["form"] == "split" else base
    generic = rf"v_{{generic}} = {base} - {settings['alpha']} \, \mathrm{{ReLU}}\big({reinforced} - {compared}\big)"
    if settings["translation_penalty"]:
        generic += rf" - {settings['translation_penalty']} \, [\text{{a translation that the block has shown}}]"
    k = settings["top_k"]
    label = (
        rf"q_t = \mathrm{{softmax}}(v_{{generic}}) \text{{ of its {k} likeliest tokens}}"
        if k
        else r"\mathrm{label}_t = \arg\max v_{generic}"
    )
    truth = r"\sum_y q_t(y) \log p_\theta(y \mid x_{<t})" if k else r"\log p_\theta(\mathrm{label}_t \mid x_{<t})"
    loss = rf"L = -\frac{{1}}{{|F|}} \sum_t {truth}"
    if settings["retain_weight"]:
        retain = r"\log p_\theta(y \mid x)"
        retain = rf"\sum_y p_{{base}}(y \mid x) {retain}" if settings["retain_target"] == "base" else retain
        loss += rf" - {settings['retain_weight']} \, \frac{{1}}{{|R|}} \sum_R {retain}"
    return [generic, label, loss]
