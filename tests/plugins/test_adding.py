"""The package of docs/adding.md, installed as an installer leaves it, and run from command line to report."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fork_server import Commands, Ended
from small import RETAIN, SMALL, write_texts

PAGE = Path(__file__).parents[2] / "docs" / "adding.md"
BLOCK = re.compile(r"^```(python|toml)\n# ([\w.]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the package's modules and its entry points."""
    folder = tmp_path_factory.mktemp("installed")
    files = {name: text for _, name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8"))}
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        (folder / name).write_text(text)
    information = folder / f"{project['name']}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("\n".join(points))
    return folder


Run = Callable[..., Ended]


@pytest.fixture
def run(commands: Commands, package: Path, tmp_path: Path) -> Run:
    """Runs a command where the package is installed."""
    return lambda *words: commands.run(words, tmp_path, packages=package)


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return found


def test_a_method_with_a_signal_measures_a_threshold_and_an_attack(
    run: Run, tiny_model_folder: Path, tmp_path: Path
) -> None:
    forget, retain = write_texts(tmp_path)
    ordinary = tmp_path / "ordinary.txt"
    ordinary.write_text(RETAIN.replace("day", "night"), encoding="utf-8")
    recipe = {"model": str(tiny_model_folder), "forget": str(forget), "retain": str(retain)}
    recipe |= {
        "evaluation": {"ordinary_text": str(ordinary)},
        "method": "entropy_ascent",
        "measures": ["blocks_known", "relearned"],
        "verdict": {"more": {"blocks_known_left": 0.7}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    out = tmp_path / "run"
    done = run("run", tmp_path / "recipe.yaml", *options, "--out", out)
    assert done.code in (0, 3), done.err
    scores = {(s["measure"], s["model"]): s for s in json.loads((out / "scores.json").read_text())}
    for measure in ("blocks_known", "relearned_nll"):
        assert {model for name, model in scores if name == measure} == {"base", "unlearned"}
    (check,) = [each for each in record(out)["verdict"]["checks"] if each["name"] == "blocks_known_left"]
    assert check["threshold"] == 0.7
    page = (out / "report.html").read_text()
    for words in ("Blocks predicted well", "whose tokens cost less than 6 nats", "After relearning"):
        assert words in page
    found = run("verify", out)
    assert found.code == 0, found.out
    audited = run("audit", out, "--attacks", "asked_twice")
    assert audited.code in (0, 3), audited.err
    (attack,) = json.loads((out / "audit" / "audit.json").read_text())["attacks"]
    assert [each["setting"] for each in attack["settings"]] == ["twice"]
    assert "Asked twice" in (out / "audit" / "report.html").read_text()


def test_a_kind_and_its_method(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("red green\nblue yellow\nred violet\ngreen blue\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"task": "word_counter", "data": str(tmp_path / "lines.txt"), "forget": "red"}))
    out = tmp_path / "run"
    done = run("run", recipe, "--out", out)
    assert done.code == 0, done.err
    scores = {(s["measure"], s["model"]): s["value"] for s in json.loads((out / "scores.json").read_text())}
    # red, green, red, violet: green stays, since it occurs in another line
    assert scores["words_known", "base"] == 1.0
    assert scores["words_known", "unlearned"] == 0.25
    assert scores["words_retained", "unlearned"] == 1.0
    (check,) = record(out)["verdict"]["checks"]
    assert (check["name"], check["value"], check["passed"]) == ("words_known", 0.25, True)
    page = (out / "report.html").read_text()
    assert "lines with red" in page
    assert "Words that the model has counted." in page
    assert "config.json" in (out / "model" / "README.md").read_text()
    assert run("verify", out).code == 0
    assert run("evaluate", out).code == 0
    compared = run("compare", out, out)
    assert "Words known" in compared.out, compared.err
    listed = run("methods").out
    assert re.search(r"^subtract +counters ", listed, re.MULTILINE)


def test_a_suite(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("red green\nblue yellow\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"task": "word_counter", "data": str(tmp_path / "lines.txt"), "forget": "red"}))
    done = run("suite", "repeat", recipe, "--seeds", 2, "--out", tmp_path / "many")
    assert done.code == 0, done.err
    assert "2 of 2 passed" in done.out
    (tmp_path / "many" / "report.html").unlink()
    again = run("report", tmp_path / "many")
    assert again.code == 0, again.err
    assert "2 of 2 runs passed" in (tmp_path / "many" / "report.html").read_text()
