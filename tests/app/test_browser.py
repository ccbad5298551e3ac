"""The page as a person uses it, in headless Chromium: by keyboard, in two tabs, on a narrow screen, with a broken line."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_pages import make_run

from expunge.requests.ledger import Ledger
from small import SMALL, write_texts

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LONG = "a-name-of-a-run-that-is-as-long-as-names-get-and-has-no-space"
pytestmark = [
    pytest.mark.long,
    pytest.mark.enable_socket,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def address(root: Path, tiny_model_folder: Path) -> Iterator[str]:
    """An app at work on three runs, one of which has both models, and a ledger of four requests."""
    make_run(root, "good", title="<b>a book</b>")
    make_run(root, "stopped", passed=None)
    make_run(root, LONG)
    folder = make_run(root, "chat")
    (folder / "recipe.yaml").write_text(f"model: {tiny_model_folder}\nforget: x\n")
    shutil.copytree(tiny_model_folder, folder / "model")
    ledger = root.parent / "ledger"
    with contextlib.closing(Ledger.open_or_create(ledger)) as book:
        for days in (-3, 0, 12, 200):
            due = date.today() + timedelta(days=days)
            received = date.today() - timedelta(days=20)
            book.add("person", [folder / "recipe.yaml"], due=due, received=received, idempotency_key=str(days))
        book.note("started", [3], {"name": "a", "run": str(root / LONG), "base": "x", "from": None})
    command = [sys.executable, "-m", "expunge", "app", str(root), "--ledger", str(ledger)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout is not None
        found = next(match[0] for line in app.stdout if (match := re.search(r"http://\S+", line)))
        yield found
        app.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that is let in; nothing may have gone wrong on it, or been asked for elsewhere."""
    context = browser.new_context()
    page = context.new_page()
    wrong: list[str] = []
    asked: set[str] = set()
    page.on(
        "console",
        lambda said: wrong.append(said.text) if said.type == "error" and "Failed to load" not in said.text else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    context.on("request", lambda request: asked.add(request.url.split("/")[2]) if "//" in request.url else None)
    page.goto(address)
    yield page
    context.close()
    assert wrong == []
    assert asked == {address.split("/")[2]}


def home(address: str) -> str:
    return address.split("?")[0]


def test_the_token_leaves_the_address(page: Any, address: str) -> None:
    assert page.url == home(address)
    assert "token" not in page.content()


def test_without_the_token_a_browser_is_refused(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    answer = page.goto(home(address))
    assert answer.status == 403
    context.close()


def test_by_keyboard_alone(page: Any) -> None:
    """From the table to a run's report, and back, with Tab and Enter."""
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.textContent") == "good":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("iframe.report")
    assert page.inner_text("h1") == "good"
    assert "<b>a book</b>" in page.inner_text("main"), "what a run says is text"
    page.go_back()
    page.wait_for_selector("table.runs")


def test_a_form_writes_a_recipe_and_a_name_that_is_taken_is_said(page: Any, address: str) -> None:
    page.goto(home(address) + "new")
    page.fill("#forget", "the Moon landing")
    page.fill("#name", "good")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]")
    assert "already" in page.inner_text("[role=alert]")
    assert page.input_value("#forget") == "the Moon landing", "what was typed is still there"
    page.fill("#name", "moon")
    page.keyboard.press("Enter")
    page.wait_for_selector("#recipe")
    assert "the Moon landing" in page.input_value("#recipe")


def test_both_models_are_asked_in_two_tabs(page: Any, address: str) -> None:
    tabs, order = [page, page.context.new_page()], []
    for tab in tabs:
        tab.goto(home(address) + "runs/chat/chat")
        tab.on("request", lambda request: order.append("asked") if request.url.endswith("/answer") else None)
        tab.on("requestfinished", lambda request: order.append("ended") if request.url.endswith("/answer") else None)
        tab.fill("#question", "Who are you?")
        tab.keyboard.press("Enter")
    for tab in tabs:
        tab.wait_for_selector("text=Both have answered.", timeout=120_000)
        assert tab.locator("#answers section").count() == 1
        assert tab.locator("#answers [aria-busy]").count() == 0
    assert order[:2] == ["asked", "asked"], "one model does not wait until the other has ended"
    assert sorted(order) == ["asked"] * 4 + ["ended"] * 4


def test_a_broken_line_is_said(page: Any, address: str) -> None:
    page.goto(home(address) + "runs/chat/chat")
    page.route("**/answer", lambda route: route.abort())
    page.fill("#question", "Who are you?")
    page.click("text=Ask both")
    page.wait_for_selector("text=This did not work")
    assert page.is_enabled("text=Ask both")
    page.unroute("**/answer")
    page.click("text=Ask both")
    page.wait_for_selector("text=Both have answered.", timeout=120_000)


def test_a_narrow_screen_needs_no_scrolling_sideways(page: Any, address: str) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    for path in ("", "new", "runs/good", "runs/stopped", f"runs/{LONG}", "runs/chat/chat", "requests"):
        page.goto(home(address) + path)
        wide = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], path


def test_requests_are_read_on_a_narrow_screen(page: Any, address: str) -> None:
    """From the first page to a request's run: every cell is on the screen, and says which column it is."""
    page.set_viewport_size({"width": 360, "height": 700})
    page.click("text=4 to be answered")
    rows = page.locator("table.requests tbody tr")
    assert rows.count() == 4
    assert "3 days overdue" in rows.nth(0).inner_text()
    assert "due today" in rows.nth(1).inner_text()
    cut = "() => [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
    assert page.evaluate(cut) == 0
    labels = (
        "() => [...document.querySelectorAll('tr:first-child td')].map(e => getComputedStyle(e, '::before').content)"
    )
    assert page.evaluate(labels) == ['"State: "', '"Due: "', '"Left: "', '"Run: "']
    page.click(f"text={LONG}")
    page.wait_for_selector("iframe.report")
    assert page.inner_text("h1") == LONG


def test_a_run_from_the_form_to_its_report(
    page: Any, address: str, root: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    """Recipe, plan, start, progress that moves, stop, resume, end, report: all of it on the page."""
    forget, retain = write_texts(tmp_path)
    page.click("text=New run")
    page.fill("#forget", str(forget))
    page.fill("#retain", str(retain))
    page.fill("#model", str(tiny_model_folder))
    page.wait_for_selector("#method option:text-is('npo')", state="attached", timeout=120_000)
    page.select_option("#method", "npo")
    page.fill("#name", "life")
    page.click("text=Write the recipe")
    recipe = yaml.safe_load(page.input_value("#recipe"))
    assert recipe["forget"] == str(forget)
    for name, value in (SMALL | {"training.max_steps": 600, "training.probe_steps": 300}).items():
        part, _, field = name.partition(".")
        if part in recipe:
            recipe[part][field] = value
    page.fill("#recipe", yaml.safe_dump(recipe))
    page.click("text=Save changes")
    page.wait_for_selector("#plan p:has-text('memory')", timeout=120_000)
    assert not (root / "life").exists(), "nothing starts before the button is pressed"
    page.click("text=Start the run")
    moved = """before => {
      const bar = document.querySelector("#progress progress"), said = document.getElementById("figures");
      return bar && bar.hasAttribute("value") && bar.value > before && said.textContent.includes("step") && bar.value;
    }"""
    share = page.wait_for_function(moved, arg=0, timeout=120_000).json_value()
    assert page.wait_for_function(moved, arg=share, timeout=60_000).json_value() > share
    assert "%" in page.inner_text("#figures")
    assert page.inner_text("#stage").startswith("At work: ")
    page.click("text=Stop (it can be resumed)")
    page.wait_for_selector("button:text-is('Resume')", timeout=60_000)
    assert "interrupted" in page.inner_text("main")
    page.click("button:text-is('Resume')")
    page.wait_for_selector("#progress progress")
    page.wait_for_selector("iframe.report", timeout=240_000)
    rows = [json.loads(line) for line in (root / "life" / "events.jsonl").read_text().splitlines()]
    assert any(row["event"] == "stage" and row["reused"] for row in rows), "it went on where it had stopped"
    with page.context.expect_page() as opened:
        page.click("text=Open the report by itself")
    opened.value.wait_for_selector(".verdict")
