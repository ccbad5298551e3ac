"""A method's formula as it was run: hyper-parameters that change its terms are put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHANGING = ("alpha", "form", "normalise", "top_k", "translation_penalty", "retain_weight", "retain_target")
"settings that change the formula of whos_harry_potter"


def as_run(method: Mapping[str, Any]) -> str:
    """The formulas, in LaTeX, a paragraph each: of `whos_harry_potter` with its settings, of others as recorded."""
    settings = method.get("settings")
    if (
        method.get("name") == "whos_harry_potter"
        and isinstance(settings, Mapping)
        and not set(CHANGING) - set(settings)
    ):
        return "\n\n".join(_whos_harry_potter(settings))
    return str(method.get("formula") or "").replace("$$", "").strip()


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
        kept = r"\log p_\theta(y \mid x)"
        kept = rf"\sum_y p_{{base}}(y \mid x) {kept}" if settings["retain_target"] == "base" else kept
        loss += rf" - {settings['retain_weight']} \, \frac{{1}}{{|R|}} \sum_R {kept}"
    return [generic, label, loss]
