from __future__ import annotations

from xml.etree import ElementTree

import matplotlib
import pytest
from fake_run import scores

from expunge.report import figures
from expunge.report.probes import Probe
from expunge.report.scores_table import rows

pytestmark = pytest.mark.usefixtures("figures_drawn")

PROBE = Probe("p", (0, 2), {"<script>": (0.6, 0.1), "$a$": (0.1, None), "tea": (None, 0.3)}, (0, 1), 0)


def test_labels_stay_text_and_are_escaped() -> None:
    svg = figures.probabilities("one", PROBE)
    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg
    texts = ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter("text")]
    assert {"<script>", "$a$", "tea", "step"} <= set(texts)
    assert "sans-serif" in svg
    assert "DejaVu" not in svg


def test_a_screen_reader_is_told_the_figures() -> None:
    root = ElementTree.fromstring(figures.probabilities("one", PROBE))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "one-title one-description"
    assert root[0].tag == "title"
    assert root[0].text == "Next-token probabilities after: p"
    assert root[1].text is not None
    assert "<script> from 60.0\u00a0% to 10.0\u00a0%" in root[1].text


def test_ids_belong_to_the_figure_and_bytes_repeat() -> None:
    first, again, other = (figures.probabilities(name, PROBE) for name in ("one", "one", "two"))
    assert first == again
    ids = {element.attrib["id"] for element in ElementTree.fromstring(first).iter() if "id" in element.attrib}
    assert all(name.startswith("one-") for name in ids)
    assert "one-" not in other
    assert "date" not in first.lower()


def test_settings_of_the_process_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    matplotlib.rcParams["font.size"] = 31
    try:
        svg = figures.probabilities("one", PROBE)
        assert matplotlib.rcParams["font.size"] == 31
    finally:
        matplotlib.rcParams["font.size"] = before["font.size"]
    assert svg == figures.probabilities("one", PROBE)


def test_spread_keeps_order_and_distance() -> None:
    assert figures.spread([0.0, 0.01, 0.5], 0.1, 1.0) == pytest.approx([0.0, 0.1, 0.5])
    assert figures.spread([1.0, 0.98, 0.0], 0.1, 1.0) == pytest.approx([1.0, 0.9, 0.0])


def test_scores_of_one_axis_share_a_panel() -> None:
    table = rows(scores())
    drawn = figures.panels((row.label, row.unit, row.words.percent, row.by_model) for row in table)
    assert [(panel.title, len(panel.rows)) for panel in drawn] == [
        ("0 is none, 1 is all", 4), ("perplexity", 3), ("answered rightly", 5)
    ]  # fmt: skip


def test_losses_skip_what_was_not_recorded_or_is_not_finite() -> None:
    steps = [{"step": 1, "loss": 2.0, "retain_loss": None}, {"step": 2, "loss": float("nan"), "retain_loss": None}]
    svg = figures.losses("losses", steps)
    assert "Objective of the method" in svg
    assert "retain set" not in svg
