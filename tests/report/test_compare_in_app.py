"""The comparison on the app's page, in headless Chromium: two runs are marked, and their plots and tables are linked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import make_run
from test_linked import audit, give_audit, setting

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.long,
    pytest.mark.enable_socket,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
SHOWN = "() => [...document.querySelectorAll('.run')].map(e => [e.matches('.run1'), +getComputedStyle(e).opacity])"


def test_marked_runs_are_compared_and_what_is_pointed_at_stands_out(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", passed=False)]
    for folder, known in zip(runs, (0.2, 0.9), strict=True):
        give_audit(folder, audit(setting(0, 0.0, 0.1), setting(20, known, 0.1)))
    command = [sys.executable, "-m", "expunge", "app", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app, sync_playwright() as playwright:
        try:
            assert app.stdout is not None
            address = next(match[0] for line in app.stdout if (match := re.search(r"http://\S+", line)))
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            asked: set[str] = set()
            page.on("request", lambda request: asked.add(request.url.split("/")[2]) if "//" in request.url else None)
            page.goto(address)
            for name in ("one", "two"):
                page.check(f"input[value={name}]")
            page.click("button:text-is('Compare')")
            page.wait_for_selector("h2:text('Brought back')", timeout=120_000)
            assert all(opacity == 1 for _, opacity in page.evaluate(SHOWN))
            for where in ("td.run1", "section:has(h2:text('Brought back')) svg g.run1"):
                page.locator(where).first.hover(force=True)
                found = page.evaluate(SHOWN)
                assert {own for own, _ in found} == {True, False}
                assert all((opacity == 1) is own for own, opacity in found), where
            assert asked == {address.split("/")[2]}, "nothing is loaded from elsewhere"
            browser.close()
        finally:
            app.terminate()
