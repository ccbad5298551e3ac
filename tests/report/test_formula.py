from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_run import make_run

from expunge.methods.encoder_scrubbing import EncoderScrubbing
from expunge.methods.gradient_difference import GradientDifference
from expunge.methods.whos_harry_potter import WhosHarryPotter
from expunge.report.formula import CHANGING, CHANGING_DIFFERENCE, as_run
from expunge.report.render import render_report
from expunge.runs.registry import make_method


def whos_harry_potter(**settings: Any) -> dict[str, Any]:
    method = WhosHarryPotter(**settings)
    return {
        "name": "whos_harry_potter",
        "settings": method.model_dump(),
        "formula": method.formulas(),
        "citation": method.citation(),
    }


def test_every_setting_is_thought_of() -> None:
    assert set(CHANGING) == set(WhosHarryPotter.model_fields)
    assert set(CHANGING_DIFFERENCE) == set(GradientDifference.model_fields)


def test_log_probabilities_are_shown_where_they_were_compared() -> None:
    generic, label, loss = as_run(whos_harry_potter()).split("\n\n")
    assert generic == (
        r"v_{generic} = \log p_{base}(translated) - 5.0 \, \mathrm{ReLU}\big(\log p_{reinforced}(original)"
        r" - \log p_{base}(translated)\big) - 10.0 \, [\text{a translation that the block has shown}]"
    )
    assert label == r"\mathrm{label}_t = \arg\max v_{generic}"
    assert loss == (
        r"L = -\frac{1}{|F|} \sum_t \log p_\theta(\mathrm{label}_t \mid x_{<t})"
        r" - 1.0 \, \frac{1}{|R|} \sum_R \sum_y p_{base}(y \mid x) \log p_\theta(y \mid x)"
    )


def test_the_paper_s_own_form_is_shown_with_logits_and_without_a_retain_term() -> None:
    paper = whos_harry_potter(normalise=False, retain_weight=0, translation_penalty=0, alpha=3)
    generic, _, loss = as_run(paper).split("\n\n")
    assert generic == (
        r"v_{generic} = v_{base}(translated) - 3.0 \, \mathrm{ReLU}\big(v_{reinforced}(original) - v_{base}(translated)\big)"
    )
    assert "|R|" not in loss


def test_the_split_form_and_soft_labels() -> None:
    generic, label, loss = as_run(whos_harry_potter(form="split", top_k=8, retain_target="text")).split("\n\n")
    assert r"- \log p_{base}(original)\big)" in generic
    assert "8 likeliest" in label
    assert r"\sum_y q_t(y) \log p_\theta(y" in loss
    assert loss.endswith(r"\sum_R \log p_\theta(y \mid x)")


@pytest.mark.parametrize(
    ("name", "setting", "usual", "changed"),
    [
        ("retain_label", {"labels": "pictures"}, r"h_{\theta_0}(T(r))", r"D(E_\theta(T(x))) - r"),
        ("random_encoder", {"keeps": "pixels"}, r"E_{\theta_0}(T(x))", r"D(E_\theta(T(x))) - x"),
    ],
)
def test_baselines_are_shown_as_they_ran(name: str, setting: dict[str, str], usual: str, changed: str) -> None:
    for settings, there, gone in (({}, usual, changed), (setting, changed, usual)):
        method = make_method({"name": name, **settings})
        shown = as_run({"name": name, "settings": method.model_dump(), "formula": method.formulas()})
        assert there in shown
        assert gone not in shown
        assert shown.count(r"\right\|^2") == 2
        assert r"h_\theta" not in shown or not settings


@pytest.mark.parametrize(("settings", "squares"), [({}, 2), ({"distance": "euclidean", "noise": "constant"}, 0)])
def test_scrubbing_by_length_is_shown_without_squares(settings: dict[str, Any], squares: int) -> None:
    method = EncoderScrubbing(**settings)
    recorded = {"name": "encoder_scrubbing", "settings": method.model_dump(), "formula": method.formulas()}
    shown = as_run(recorded)
    assert shown.count(r"\right\|^2") == squares
    assert shown.count(r"\right\|") == 2
    assert (r"n = \mu" in shown) == bool(settings)


def test_other_methods_are_shown_as_recorded() -> None:
    assert as_run({"name": "gradient_ascent", "settings": {}, "formula": "$$ L = -x $$"}) == "L = -x"
    assert as_run({"name": "whos_harry_potter", "settings": {"alpha": 1}, "formula": "old"}) == "old"
    assert as_run({}) == ""


def test_the_report_shows_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    record = json.loads(folder.record.read_text(encoding="utf-8"))
    folder.record.write_text(json.dumps(record | {"method": whos_harry_potter()}), encoding="utf-8")
    page = render_report(folder).read_text(encoding="utf-8")
    assert page.count('<math display="block"') == 3
    assert "<mn>5.0</mn>" in page


def gradient_difference(**settings: object) -> dict[str, object]:
    method = make_method({"name": "gradient_difference", **settings}, "causal_lm")
    return {"name": "gradient_difference", "settings": method.model_dump(), "formula": method.formulas()}


def test_gradient_difference_is_shown_with_what_falls_on_the_forget_set_and_until_where() -> None:
    assert as_run(gradient_difference()).split("\n\n") == [
        "L = L_F + L_R",
        r"L_F = \frac{1}{|F|} \sum_{t \in F} \log p_\theta(y_t \mid x)",
        r"L_R = -\frac{1}{|R|} \sum_{t \in R} \log p_\theta(y_t \mid x)",
    ]
    assert as_run(gradient_difference(forget_limit=5.0, retain_weight=0)).split("\n\n") == [
        "L = L_F",
        r"L_F = \frac{1}{|F|} \sum_{t \in F} -\min(5.0, -\log p_\theta(y_t \mid x))",
    ]
    odds = gradient_difference(
        forget_loss="log_odds", forget_limit=7.0, surprise_share=0.6, retain_weight=3.0, retain_target="cleared"
    )
    _, lost, kept, surprise, cleared = as_run(odds).split("\n\n")
    assert r"[-\log p_\theta(y_t \mid x) < \min(7.0, 0.6 \, s_t)] \, \left(\log p_\theta" in lost
    assert kept == r"L_R = -3.0 \, \frac{1}{|R|} \sum_{t \in R} \sum_v q(v \mid x) \log p_\theta(v \mid x)"
    assert surprise.startswith("s_t = ")
    assert cleared.startswith(r"q(v \mid x) \propto p_{base}(v \mid x)")


@pytest.mark.parametrize("settings", [{"forget_loss": "hinge"}, {"retain_target": "other"}, {"retain_target": []}])
def test_settings_of_another_version_leave_the_formula_as_recorded(settings: dict[str, object]) -> None:
    recorded = gradient_difference()
    recorded["settings"] = {**recorded["settings"], **settings}  # type: ignore[dict-item]
    assert as_run(recorded) == recorded["formula"]
    assert as_run({"name": "max_loss", "settings": {"noise": "pink"}, "formula": "L"}) == "L"
