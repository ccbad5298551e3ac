"""The page of a folder with many runs: how soon it answers, and how soon a browser has painted it.

    python benchmarks/app/run.py RUN [--runs 200] [--times 3]

RUN is a finished run folder; it is copied as often, each copy with a title and a time of its own, and without weights and
stages, which the table does not read. The browser is the Chromium that is installed, headless, driven by playwright.
Seconds of the processor are beside those on the clock: they say what a machine without other work would need at most.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

PAINT = """() => new Promise(done => {
  const painted = performance.getEntriesByName('first-contentful-paint')[0];
  if (painted) done(painted.startTime);
  else new PerformanceObserver(list => {
    for (const each of list.getEntriesByName('first-contentful-paint')) done(each.startTime);
  }).observe({ type: 'paint', buffered: true });
})"""


def copy(run: Path, root: Path, count: int) -> None:
    """Run folders of which each has another name, title and time."""
    for number in range(count):
        folder = root / f"run-{number:03}"
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("stages", "model"))
        record = json.loads((folder / "record.json").read_text("utf-8")) | {"title": f"book {number}"}
        (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
        os.utime(folder / "record.json", (1e9 + number, 1e9 + number))


def answered(address: str, before: float) -> float:
    """Seconds since `before` until the app answers at all."""
    while True:
        try:
            urllib.request.urlopen(address.split("?")[0], timeout=60).close()
        except urllib.error.HTTPError:  # without its token the page is refused: it answers
            return time.monotonic() - before
        except OSError:
            time.sleep(0.01)


def once(root: Path, chromium: str, runs: int) -> dict[str, float]:
    """Seconds of one start and of two visits: the first one reads every record."""
    from playwright.sync_api import sync_playwright

    begun = time.monotonic()
    app = subprocess.Popen([sys.executable, "-m", "expunge", "app", str(root)], stdout=subprocess.PIPE, text=True)
    assert app.stdout is not None
    address = next(match[0] for line in app.stdout if (match := re.search(r"http://\S+", line)))
    page_of = [psutil.Process(app.pid)]
    found = {"start": answered(address, begun), "start_processor": computed(page_of)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto("about:blank")
        for visit in ("first", "second"):
            browsing = [each for each in psutil.Process().children(recursive=True) if each.pid != app.pid]
            before, before_in_browser = computed(page_of), computed(browsing)
            page.goto(address)
            found[f"{visit}_paint"] = page.evaluate(PAINT) / 1000
            assert page.locator("tbody tr").count() == runs
            found[f"{visit}_app_processor"] = computed(page_of) - before
            found[f"{visit}_browser_processor"] = computed(browsing) - before_in_browser
        browser.close()
    app.send_signal(signal.SIGINT)
    app.wait()
    return found


def computed(processes: Iterable[psutil.Process]) -> float:
    """Seconds that processes have computed so far."""
    seconds = 0.0
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(each.cpu_times()[:2])
    return seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("run", type=Path)
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--times", type=int, default=3)
    given = options.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no Chromium on this machine")
    with tempfile.TemporaryDirectory() as place:
        copy(given.run, Path(place), given.runs)
        tries: list[dict[str, float]] = [once(Path(place), chromium, given.runs) for _ in range(given.times)]
    result: dict[str, Any] = {"runs": given.runs, "load": round(os.getloadavg()[0], 1)}
    for name in tries[0]:
        result[name] = round(statistics.median(each[name] for each in tries), 3)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
