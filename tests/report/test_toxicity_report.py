"""The report's section on toxicity: figures, groups, false alarms, and examples that nobody has to see."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_run import make_run
from fake_toxicity import make_toxic_run
from test_render import Page

from expunge.kinds.language.toxicity.figures import distribution, steps
from expunge.report.model_card import model_card
from expunge.report.render import render_report
from expunge.runs.folder import RunFolder

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_toxic_run(tmp_path_factory.mktemp("toxic") / "run")


@pytest.fixture(scope="module")
def html(folder: RunFolder) -> str:
    return render_report(folder).read_text(encoding="utf-8")


def section(html: str) -> str:
    return html[html.index('<section id="toxicity">') : html.index('<section id="answers">')]


def test_figures_before_and_after(folder: RunFolder, html: str) -> None:
    scores = {(s.measure, s.split, s.model): s.value for s in folder.read_scores()}
    text = Page(html).text
    for model in ("base", "unlearned"):
        assert f"{100 * scores['toxicity_share', 'prompts', model]:.1f}\u00a0%" in text
    assert re.search(r"\d+\s%\s+less", text)
    assert 'id="toxicity-distribution-title"' in html
    assert 'id="toxicity-groups-title"' in html
    assert "Familiarity was not measured" not in text
    for words in ("mental disability", "By group of people", "continuations a prompt", "top-p", "temperature", "0.21"):
        assert words in Page(section(html)).text


def test_groups_and_false_alarms_have_their_section_alone(folder: RunFolder, html: str) -> None:
    for page in (html[html.index('<section id="scores">') :], model_card(folder)):
        assert "prompts about: " not in page
        assert "False alarms of the scorer" not in page
    text = " ".join(Page(section(html)).text.split())
    assert "Of 192 harmless sentences that name a group of people, the scorer takes 6.2 %" in text
    assert "“gay” (100 %)" in text
    assert "“queer” (100 %)" in text


def test_examples_are_veiled_and_need_no_script(folder: RunFolder, html: str) -> None:
    assert "<script" not in html
    told = section(html)
    examples = told[told.index("<h3>Examples") :]
    assert "Offensive language." in examples
    shown = re.sub(r'<details class="veil">.*?</details>', "", examples, flags=re.DOTALL)
    assert "people are" not in shown, "nothing stands outside of a veil"
    assert examples.count('<details class="veil">') > 30
    for copy in re.findall(r"<summary>(.*?)</summary>", examples):
        assert copy.startswith('<span class="blurred" aria-hidden="true">')
        assert "offensive language: show" in copy
    said = json.loads(folder.toxicity.read_text())["rows"]
    worst = max(
        (pair for row in said if row["set"] == "prompts" for pair in row["unlearned"]), key=lambda pair: pair[1]
    )
    assert worst[0].strip() in examples, "the worst is there"
    paper = html[html.index("@media print") :]
    assert re.search(r"nav, details, \.veiled \{ display: none; \}", paper)
    assert ".veil .blurred { filter: blur(" in html


def test_the_targets_passages_are_veiled_too(html: str) -> None:
    answers = html[html.index('<section id="answers">') : html.index('<section id="losses">')]
    passage = answers[answers.index("Passages of the target") : answers.index("General knowledge")]
    assert "its passages are blurred" in passage
    assert "The owl came" not in re.sub(r'<details class="veil">.*?</details>', "", passage, flags=re.DOTALL)
    assert "The capital of France" in re.sub(r'<details class="veil">.*?</details>', "", answers, flags=re.DOTALL)


@pytest.mark.usefixtures("figures_drawn")
def test_words_of_others_are_escaped(folder: RunFolder, tmp_path: Path) -> None:
    evil = make_toxic_run(tmp_path / "run")
    content = json.loads(evil.toxicity.read_text())
    for row in content["rows"]:
        row["prompt"] = row["group"] = EVIL
        row["base"] = [[EVIL, 0.99]]
    evil.toxicity.write_text(json.dumps(content))
    html = render_report(evil).read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    Page(html)


@pytest.mark.usefixtures("figures_drawn")
@pytest.mark.parametrize(("retrained", "after"), [(True, True), (False, False)])
def test_with_a_retrained_model_and_before_the_end(tmp_path: Path, retrained: bool, after: bool) -> None:
    html = render_report(make_toxic_run(tmp_path / "run", retrained, after)).read_text(encoding="utf-8")
    text = Page(section(html)).text
    assert ("Retrained" in text) == retrained
    assert ("not measured yet" in text) == (not after)


def test_without_the_continuations_the_scores_are_shown(tmp_path: Path) -> None:
    folder = make_toxic_run(tmp_path / "run")
    folder.toxicity.unlink()
    html = render_report(folder).read_text(encoding="utf-8")
    assert "By group of people" in html
    assert "<h3>Examples" not in html


def test_other_runs_have_no_such_section(tmp_path: Path) -> None:
    html = render_report(make_run(tmp_path / "run")).read_text(encoding="utf-8")
    assert 'id="toxicity"' not in html
    assert 'id="familiarity"' in html
    assert 'id="probabilities"' in html


def test_the_same_files_give_the_same_bytes(folder: RunFolder, html: str) -> None:
    assert render_report(folder).read_text(encoding="utf-8") == html


def test_steps_of_the_distribution() -> None:
    x, y = steps([0.5, 0.1, 0.5, 0.9])
    assert x.tolist() == [0.0, 0.1, 0.5, 0.5, 0.9, 1.0]
    assert y.tolist() == [1.0, 1.0, 0.75, 0.75, 0.25, 0.0], "the share at that score or above"
    drawn = str(distribution("d", {"base": [0.1, 0.3, 0.6, 0.8], "unlearned": np.zeros(4).tolist()}, 0.21))
    assert "before: 75.0\u00a0% at 0.21 or above, 50.0\u00a0% at 0.5 or above" in drawn
    assert "after: 0.0\u00a0% at 0.21 or above" in drawn
