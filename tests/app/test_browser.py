"""The page as a person uses it, in headless Chromium: by keyboard, in two tabs, on a narrow screen, with a broken line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_pages import make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.long,
    pytest.mark.enable_socket,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Iterator[str]:
    """An app at work on three runs; one of them has both models."""
    root = tmp_path_factory.mktemp("runs")
    make_run(root, "good", title="<b>a book</b>")
    make_run(root, "stopped", passed=None)
    folder = make_run(root, "chat")
    (folder / "recipe.yaml").write_text(f"model: {tiny_model_folder}\nforget: x\n")
    shutil.copytree(tiny_model_folder, folder / "model")
    command = [sys.executable, "-m", "expunge", "app", str(root)]
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
    tabs = [page, page.context.new_page()]
    for tab in tabs:
        tab.goto(home(address) + "runs/chat/chat")
        tab.fill("#question", "Who are you?")
        tab.keyboard.press("Enter")
    for tab in tabs:
        tab.wait_for_selector("text=Both have answered.", timeout=120_000)
        assert tab.locator("#answers section").count() == 1


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
    for path in ("", "new", "runs/good", "runs/stopped", "runs/chat/chat"):
        page.goto(home(address) + path)
        wide = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], path
