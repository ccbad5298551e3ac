"""A report on a narrow screen, in headless Chromium: nothing of its checks and of its table of targets is cut off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fake_run import make_run, score

from expunge.report.render import render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.long,
    pytest.mark.enable_socket,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
NAMES = ("letters/a very long name of a file that was handed in.txt", "ship.txt")
CUT = """place => [...document.querySelectorAll(place + ' *')]
  .filter(each => each.getBoundingClientRect().right > innerWidth).map(each => each.outerHTML.slice(0, 90))"""
BROKEN = "() => [...document.querySelectorAll('.targets td span')].filter(e => e.getClientRects().length > 1).length"


@pytest.mark.parametrize("width", [360, 700, 1200])
def test_checks_and_targets_fit_the_screen(tmp_path: Path, width: int) -> None:
    from playwright.sync_api import sync_playwright

    folder = make_run(tmp_path / "run", passed=False, retrained=False)
    shares = [0.1, 0.2, 0.3, 0.4]
    more = [
        score(measure, f"forget/{name}", model, shares, higher_is="worse", unit="share")
        for measure in ("familiarity_completion", "familiarity_probability", "secret_exposure", "verbatim_recall")
        for name in NAMES
        for model in ("base", "unlearned")
    ]
    folder.write_scores([*folder.read_scores(), *more])
    record = json.loads(folder.record.read_text(encoding="utf-8"))
    record["targets"] = [{"name": name, "split": f"forget/{name}", "blocks": 4} for name in NAMES]
    record["verdict"]["targets"] = [{"name": NAMES[0], "state": "still known"}, {"name": NAMES[1], "state": "gone"}]
    folder.record.write_text(json.dumps(record), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(render_report(folder).absolute().as_uri())
        assert page.locator(".targets tbody tr").count() == 3, "all together, and each"
        assert page.evaluate(CUT, ".checks") == []
        assert page.evaluate(CUT, ".targets") == []
        assert page.evaluate(BROKEN) == 0, "figures stay on their line"
        browser.close()
