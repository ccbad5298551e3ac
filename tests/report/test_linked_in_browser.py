"""Linked plots as a person meets them, in headless Chromium: by pointer and by keyboard, without a script."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from fake_run import make_run
from test_linked import audit, give_audit, setting

from cheap_figures import drawing
from expunge.report.compare import compare_runs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.long,
    pytest.mark.enable_socket,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
DIMMED = "place => [...document.querySelectorAll('.run')].map(e => [e.matches('.run' + place), +getComputedStyle(e).opacity])"
FOCUSED = "() => document.activeElement.getAttribute('class') || ''"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, drawn: None) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    place = tmp_path_factory.mktemp("runs")
    runs = [make_run(place / "one"), make_run(place / "two", passed=False)]
    for folder, known in zip(runs, (0.2, 0.9), strict=True):
        give_audit(folder, audit(setting(0, 0.0, 0.1), setting(20, known, 0.1)))
    with drawing():
        compare_runs(runs, place / "compare.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(java_script_enabled=True)
        wrong: list[str] = []
        page.on("console", lambda said: wrong.append(said.text))
        page.goto((place / "compare.html").as_uri())
        yield page
        page.screenshot(path=place / "compare.png", full_page=True)
        browser.close()
    assert wrong == []


def stands_out(page: Any, place: int) -> bool:
    """Whether all of a run is as it was, and all of the others is dimmed."""
    found = page.evaluate(DIMMED, place)
    return all((opacity == 1) is own for own, opacity in found) and len({own for own, _ in found}) == 2


def test_what_is_pointed_at_stands_out_in_every_figure_and_table(page: Any) -> None:
    assert all(opacity == 1 for _, opacity in page.evaluate(DIMMED, 0))
    for where in ("td.run1", "section:has(h2:text('Brought back')) svg g.run1 >> nth=0", "tr.run0", "th.run0"):
        page.locator(where).first.hover(force=True)
        assert stands_out(page, int(where.partition("run")[2][0])), where
    page.mouse.move(0, 0)
    assert all(opacity == 1 for _, opacity in page.evaluate(DIMMED, 0))


def test_the_keyboard_reaches_every_run_in_table_and_figure(page: Any) -> None:
    page.mouse.move(0, 0)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if "run" in found:
            place = int(found.partition("run run")[2][0])
            assert stands_out(page, place)
            reached.append((page.evaluate("() => document.activeElement.tagName"), place))
    assert {("TH", 0), ("TH", 1), ("g", 0), ("g", 1)} <= set(reached)
