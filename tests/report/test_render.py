"""The report as a whole: complete, self-contained, escaped, the same every time, and honest about what is missing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import make_run, record

from expunge.core import storage
from expunge.errors import RunError
from expunge.kinds.language.recipe import Recipe
from expunge.report.render import render_report, report_page
from expunge.report.wording import MISSING
from expunge.runs.folder import RunFolder

EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Collects tags, attributes that load things, ids, and visible text."""

    VOID = {"meta", "br", "link", "img", "input", "hr"}

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("td", "th", "dt", "dd"):
            self.text += " "
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                self.loads.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def words(html: str) -> str:
    return " ".join(Page(html).text.split())


def test_report_is_complete_and_in_order(tmp_path: Path) -> None:
    path = render_report(make_run(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    text = " ".join(page.text.split())
    order = ["Passed", "Familiarity before and after", "Prompts about the target, completed",
             "Token probabilities over the steps", "Losses over the steps", "Forgetting: is it gone?",
             "Utility: is the rest unharmed?", "What was not tested", "Cost", "The whole recipe", "Versions",
             "Digests"]  # fmt: skip
    body = text.index("Digests") + 1  # past the list of contents, which has the same words
    places = [text.index(order[0]), *(text.index(part, body) for part in order[1:])]
    assert places == sorted(places)
    for said in (
        "All 7 checks fixed in the recipe before the run were met.",
        "Familiarity by completion went from 0.290 to 0.007, 98 % less.",
        "went from 28.0 % to 27.4 %: relative to before, the largest damage to what should stay.",
        "at most 33.3 % of before",
        "2 min 10 s",
        "287 tokens a second",
        "3.40 GiB",
        "arXiv:2310.02238",
        "per_device_train_batch_size: 4",
        "9b9b9b",
        "Relearning: whether",
    ):
        assert said in text, said
    assert "proof" not in text.lower()


@pytest.mark.usefixtures("figures_drawn")
def test_report_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    html = render_report(make_run(tmp_path / "run")).read_text(encoding="utf-8")
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base"} & set(page.tags)
    assert all(load.startswith("#") for load in page.loads)
    assert {load[1:] for load in page.loads} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", html))
    assert "http:" not in html
    assert "https:" not in html
    assert "default-src 'none'" in html


@pytest.mark.usefixtures("figures_drawn")
def test_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    first = render_report(folder).read_bytes()
    assert render_report(folder).read_bytes() == first
    assert not list(tmp_path.glob("run/.report*"))


@pytest.mark.usefixtures("figures_drawn")
def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.recipe.write_text(Recipe(forget=EVIL, model=EVIL).to_yaml(), encoding="utf-8")
    content = record(title=EVIL)
    content["warnings"] = [EVIL]
    content["not_tested"] = [EVIL]
    content["stopped"] = EVIL
    content["versions"] = {EVIL: EVIL}
    content["digests"] = {EVIL: {EVIL: EVIL}}
    content["sets"] = {EVIL: {EVIL: EVIL}}
    content["method"] = {"name": EVIL, "settings": {EVIL: EVIL}, "formula": EVIL, "citation": EVIL}
    content["cost"]["seconds"] = {EVIL: 1.0}
    content["verdict"]["checks"].append(
        {"name": EVIL, "threshold": EVIL, "value": 1.0, "passed": False, "explain": EVIL}
    )
    folder.record.write_text(json.dumps(content), encoding="utf-8")
    answer = {"group": EVIL, "prompt": EVIL, "before": EVIL, "after": EVIL, "retrained": EVIL, "true": EVIL,
              "terms_before": [EVIL, "alert"], "terms_after": ["never"]}  # fmt: skip
    folder.answers.write_text(json.dumps([answer]), encoding="utf-8")
    with folder.events.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": "probe", "step": 0, "prompts": [{"prompt": EVIL, "tokens": {EVIL: 0.4}}]}))
    scores = json.loads(folder.scores.read_text(encoding="utf-8"))
    scores.append({**scores[0], "measure": EVIL, "split": EVIL, "unit": EVIL})
    folder.scores.write_text(json.dumps(scores), encoding="utf-8")
    html = render_report(folder).read_text(encoding="utf-8")
    assert "<script" not in html.lower()
    page = Page(html)
    assert "script" not in page.tags
    assert page.text.count("alert(") >= 25


@pytest.mark.usefixtures("figures_drawn")
def test_odd_characters_do_not_break_the_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    odd = "nul \x00 esc \x1b reverse \u202e half \ud800 {{ 7 * 7 }} ]]> &amp; $x^2$"
    row = {"group": "completion prompt", "prompt": odd, "before": odd, "after": "", "retrained": None,
           "terms_before": [], "terms_after": []}  # fmt: skip
    folder.answers.write_text(json.dumps([row]), encoding="utf-8")
    with folder.events.open("a", encoding="utf-8") as file:
        tokens = {"$": 0.1, "$$": 0.2, "\x00": 0.1, "\ud800": 0.1, "語": 0.1, "\\frac{": 0.1, "\n": 0.05}
        file.write(json.dumps({"event": "probe", "step": 0, "prompts": [{"prompt": odd, "tokens": tokens}]}))
    html = render_report(folder).read_text(encoding="utf-8")
    assert not re.search("[\x00\x1b\u202e\ud800]", html)
    text = words(html)
    assert "{{ 7 * 7 }} ]]> &amp; $x^2$" in text
    assert "nul � esc � reverse � half �" in text
    assert "(nothing)" in text
    for token in ("$$", "\\x00", "\\ud800", "語", "\\frac{", "⏎"):
        assert token in text


def test_failed_run_looks_failed(tmp_path: Path) -> None:
    html = render_report(make_run(tmp_path / "run", passed=False)).read_text(encoding="utf-8")
    assert 'class="verdict failed"' in html
    assert 'class="verdict passed"' not in html
    text = words(html)
    assert "✗ Failed 2 of 7 checks fixed in the recipe before the run were not met: " in text
    assert "familiarity by probability, worst benchmark" in text
    assert html.count("✗ failed") == 2
    assert html.count("✓ passed") == 5


def test_missing_parts_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run").create()
    folder.recipe.write_text(Recipe(forget="Harry Potter").to_yaml(), encoding="utf-8")
    text = words(render_report(folder).read_text(encoding="utf-8"))
    assert "– No verdict" in text
    assert "The method “Who's Harry Potter?” has not begun. The run has not ended." in text
    for part in ("verdict", "familiarity", "answers", "probes", "steps", "scores", "not_tested", "cost", "method",
                 "versions", "digests", "sets"):  # fmt: skip
        assert MISSING[part] in text, part


def test_what_was_planned_is_shown_behind_what_was_measured(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert "planned:" not in words(render_report(folder).read_text(encoding="utf-8"))
    planned = {"run_seconds": 610.0, "peak_bytes": 3 << 30}
    folder.record.write_text(json.dumps(record() | {"planned": planned}), encoding="utf-8")
    text = words(render_report(folder).read_text(encoding="utf-8")).replace("\u00a0", " ")
    assert "Time in all 8 min 32 s (planned: 10 min 10 s)" in text
    assert "Peak memory 3.40 GiB (planned: 3.00 GiB)" in text
    planned["run_seconds"] = None
    folder.record.write_text(json.dumps(record() | {"planned": planned}), encoding="utf-8")
    assert "Time in all 8 min 32 s Un" in words(render_report(folder).read_text(encoding="utf-8")).replace(
        "\u00a0", " "
    )


def test_gaps_in_a_finished_run_are_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", benchmarks=False, retrained=False)
    folder.write_scores([score for score in folder.read_scores() if score.model == "base"])
    lines = folder.events.read_text(encoding="utf-8").splitlines()
    kept = [re.sub(r'"retain_(loss|truth)": [0-9.]+', r'"retain_\1": null', line) for line in lines]
    folder.events.write_text("\n".join(kept), encoding="utf-8")
    text = words(render_report(folder).read_text(encoding="utf-8"))
    for part in ("benchmarks", "retrained", "after", "retain_loss"):
        assert MISSING[part] in text, part
    assert "after not measured" not in text
    assert "? not measured yet" in text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no recipe\.yaml"):
        render_report(RunFolder(tmp_path))


def test_unknown_measures_appear_by_their_name(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    scores = json.loads(folder.scores.read_text(encoding="utf-8"))
    scores.append({"measure": "odd_new_measure", "split": "some_split", "model": "unlearned", "value": 12.5,
                   "low": 11.0, "high": 14.0, "n": 9, "higher_is": "better", "unit": "pairs"})  # fmt: skip
    folder.scores.write_text(json.dumps(scores), encoding="utf-8")
    text = words(render_report(folder).read_text(encoding="utf-8"))
    assert "Odd new measure, some split 9 higher – 12.50 [11.00, 14.00]" in text


def test_a_report_is_not_replaced_by_one_that_says_less(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.log("finished", passed=True)
    before = render_report(folder).read_bytes()
    folder.record.unlink()
    with pytest.raises(RunError, match=r"has no whole record\.json: it was removed or damaged") as caught:
        render_report(folder)
    assert "run the command that started it again" in str(caught.value)
    folder.record.write_text("{}")
    with pytest.raises(RunError, match="damaged"):
        render_report(folder)
    assert folder.report.read_bytes() == before


def test_figures_that_were_changed_since_are_not_shown_as_the_runs(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    record = json.loads(folder.record.read_text(encoding="utf-8"))
    files = {path.name: storage.digest_file(path) for path in (folder.scores, folder.per_example, folder.answers)}
    folder.record.write_text(json.dumps(record | {"digests": {**record["digests"], "files": files}}), encoding="utf-8")
    assert "Changed since the run" not in report_page(folder)
    folder.scores.write_text(folder.scores.read_text(encoding="utf-8").replace("0.", "0.1", 1), encoding="utf-8")
    page = report_page(folder)
    assert "Changed since the run" in page
    assert "scores.json: not as recorded" in page
