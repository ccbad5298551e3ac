"""The moving picture of a run: figures of its events, and an SVG that needs nothing from elsewhere and runs nothing."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / "docs"
FIRST = {"Tom said": {" Tom": 0.3, " <b>": 0.2}, "The tuba is played by": {" Mara": 0.8, " her": 0.1}}
LAST = {"Tom said": {" Tom": 0.25, " <b>": 0.2}, "The tuba is played by": {" Mara": 0.05, " her": 0.6}}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("moving_picture", DOCS / "moving_picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_events(folder: Path, *steps: tuple[int, dict[str, dict[str, float]]]) -> Path:
    rows = [{"event": "threads", "count": 1}]
    for step, prompts in steps:
        told = [{"prompt": prompt, "tokens": tokens} for prompt, tokens in prompts.items()]
        rows.append({"event": "probe", "step": step, "prompts": told})  # type: ignore[dict-item]
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def check_harmless(text: str) -> None:
    """Well formed, without script, handler, link, or anything to be loaded."""
    names = {
        element.tag.removeprefix("{http://www.w3.org/2000/svg}") for element in ElementTree.fromstring(text).iter()
    }
    assert names <= {"svg", "title", "style", "rect", "text"}
    assert re.findall(r"(?i)script|\bon[a-z]+=|href|@import|url\(|src=", text) == []
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]


def test_the_figures_are_those_of_the_events_and_what_was_lost_comes_first(script: ModuleType, tmp_path: Path) -> None:
    text = script.picture(write_events(tmp_path, (0, FIRST), (4, FIRST), (8, LAST)))
    check_harmless(text)
    said = [element.text for element in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert said == [
        *("The next word, while the model forgets", "step 0", "step 4", "step 8"),
        *("The tuba is played by", "Mara", "80.0 %", "80.0 %", "5.0 %", "her", "10.0 %", "10.0 %", "60.0 %"),
        *("Tom said", "Tom", "30.0 %", "30.0 %", "25.0 %", "<b>", "20.0 %", "20.0 %", "20.0 %"),
    ]
    (bar,) = re.findall(r"@keyframes b0-0 \{ (.*) \}", text)
    assert re.findall(r"([\d.]+)% \{ transform: scaleX\(([\d.]+)\)", bar) == [
        ("0.00", "0.8000"),
        ("37.50", "0.8000"),
        ("75.00", "0.0500"),
        ("100", "0.0500"),
    ]
    # Each step is seen from its time on, until the next one's.
    assert (
        "@keyframes f1 { 0% { opacity: 0; } 37.50% { opacity: 1; } 75.00% { opacity: 0; } 100% { opacity: 0; } }"
        in text
    )


def test_a_run_without_probes_is_refused(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no probes of several steps"):
        script.picture(write_events(tmp_path, (0, FIRST)))


@pytest.mark.parametrize(("name", "page"), [("forgetting_demo.svg", "../README.md"), ("forgetting.svg", "examples.md")])
def test_the_pictures_on_the_pages_are_harmless_and_move(name: str, page: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    check_harmless(text)
    assert "prefers-reduced-motion" in text
    assert len(set(re.findall(r">step (\d+)<", text))) > 6
    assert f"{name})" in (DOCS / page).read_text(encoding="utf-8")
