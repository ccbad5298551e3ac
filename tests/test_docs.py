"""The docs say what is so: generated pages, commands, links, the worked example."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from cyclopts import CycloptsError

from expunge import methods
from expunge.cli import app
from expunge.errors import RecipeError
from expunge.kinds.language.recipe import Recipe, Training, Verdict, make_recipe
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.signals import registry as signals
from expunge.runs import registry as discovery
from expunge.runs.kinds import read_recipe, recipe_class
from expunge.runs.measures import measures
from expunge.runs.method import Needs
from expunge.runs.overrides import read_overrides
from expunge.runs.registry import make_method
from expunge.runs.shipped import shipped
from expunge.train.step import Step
from tiny import ignore_log, load_task, random_blocks, write_table

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
EXAMPLE = "bounded_ascent"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def load_file(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_blocks(page: Path, *languages: str) -> list[str]:
    """Fenced blocks in one of the languages, without the indentation of a list that holds them."""
    found = re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [inspect.cleandoc(block[3]) for block in found if block[2] in languages]


def commands(page: Path) -> list[str]:
    """Every `expunge VERB ...` of the page: lines of code blocks, and code in sentences that has options."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in code_blocks(page, "", "sh", "bash", "console") for line in block.split("\n")]
    joined = "\n".join(lines).replace("\\\n", " ").split("\n")
    found = [re.sub(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?", "", line.strip()) for line in joined]
    spans = re.findall(r"(?<!`)`(expunge [^`]+)`(?!`)", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.M))
    return [line for line in found if re.match(r"expunge [a-z-]", line)] + [span for span in spans if " --" in span]


@pytest.fixture
def example_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The worked example, saved where `docs/adding_a_method.md` says a built-in method is found."""
    blocks = code_blocks(DOCS / "adding_a_method.md", "python")
    (source,) = [block for block in blocks if block.startswith(f"# {EXAMPLE}.py")]
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / f"{EXAMPLE}.py").write_text(source)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    yield EXAMPLE
    sys.modules.pop(f"expunge.methods.{EXAMPLE}", None)


def test_generated_pages_are_what_the_code_says() -> None:
    pages = load_file(DOCS / "generate.py", "generate_docs").pages()
    assert set(pages) == {"recipe.md", "image_recipe.md", "generator_recipe.md", "methods.md"}
    for name, text in pages.items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, "run .venv/bin/python docs/generate.py"


def test_the_recipe_page_has_every_field() -> None:
    text = (DOCS / "recipe.md").read_text(encoding="utf-8")
    fields = [
        f"{name}.{inner}" if hasattr(info.annotation, "model_fields") else name
        for name, info in Recipe.model_fields.items()
        for inner in getattr(info.annotation, "model_fields", [""])
    ]
    assert len(fields) > 40
    assert [field for field in fields if f"| `{field}` |" not in text] == []
    assert "| `training.learning_rate` | number above 0 | `2e-05` |" in text
    assert "| `training.max_steps` | integer above 0 or `null` | `null` |" in text
    assert "| `forget` | text | required |" in text


@every_page
def test_commands_are_understood(page: Path, example_method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for command in commands(page):
        check_command(command)


def check_command(command: str) -> None:
    tokens = shlex.split(command, comments=True)[1:]
    try:
        verb, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        pytest.fail(f"{command}\n{error}")
    if verb.__name__ not in ("forget", "run", "plan"):
        return
    given = bound.arguments
    from_file = verb.__name__ in ("run", "plan") and (given["recipe"].is_file() or str(given["recipe"]) in shipped())
    kind = (recipe_class(given["recipe"]),) if from_file else ()
    overrides = read_overrides(given.get("options", ()), *kind)
    method = given["choices"].method if "choices" in given else given.get("method")
    if method is not None:
        overrides = {"method.name": method, **overrides}
    if from_file:
        recipe = read_recipe(given["recipe"], {"forget": "a topic", **overrides})
    else:
        recipe = make_recipe({"forget": given.get("target", "a topic")}, overrides)
    make_method(recipe.method)


def test_commands_are_found_and_wrong_ones_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Type `expunge forget x --out y`, not `expunge`.\n```sh\n$ expunge doctor  # tell\n"
        "A=1 .venv/bin/expunge report \\\n  runs/hp\nmake test\n```\n- a list\n  ```\n  expunge verify runs/hp\n  ```\n"
    )
    found = [shlex.split(command, comments=True) for command in commands(page)]
    assert found == [
        ["expunge", "doctor"],
        ["expunge", "report", "runs/hp"],
        ["expunge", "verify", "runs/hp"],
        ["expunge", "forget", "x", "--out", "y"],
    ]
    for wrong in ("expunge forgot x --out y", "expunge forget x", "expunge report runs/hp --loud"):
        with pytest.raises(pytest.fail.Exception):
            check_command(wrong)
    for wrong in ("expunge forget x --out y --training.lr 1", "expunge forget x --out y --method.alhpa 1"):
        with pytest.raises(RecipeError):
            check_command(wrong)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        if heading:
            assert heading in headings(path), target


def headings(page: Path) -> set[str]:
    """Names by which headings are linked to: lower case, no punctuation, hyphens for spaces."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_site_has_every_page_once() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r"[:-] (\S+\.md)$", site, re.MULTILINE)
    assert len(named) == len(set(named))
    there = {page.name for page in PAGES} - {"README.md"} | {"index.md"}
    assert set(named) - there == set()
    assert there - set(named) == set(), "a page that mkdocs.yml does not name is on no menu"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@every_page
def test_no_page_names_a_place_on_a_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"(?<![\w.])/(?:home|Users|root|tmp|work|mnt|opt|var)\b\S*|\b[A-Z]:\\\S*", text) == []


@every_page
def test_python_on_a_page_is_python(page: Path) -> None:
    blocks = code_blocks(page, "python")
    assert [block for block in blocks if not ast.parse(block).body] == [], "a block without a statement"
    assert len(blocks) == page.read_text(encoding="utf-8").count("```python\n")


def test_the_pages_on_evaluation_know_every_measure_and_check() -> None:
    text = "".join(
        (DOCS / page).read_text(encoding="utf-8")
        for page in ("evaluation.md", "toxicity.md", "classifiers.md", "sisa.md", "generators.md")
    )
    assert [name for name in [*measures(), *Verdict.model_fields] if f"`{name}`" not in text] == []


def test_the_page_on_methods_knows_what_they_may_ask_for() -> None:
    text = (DOCS / "adding_a_method.md").read_text(encoding="utf-8")
    names = [*signals.built_in(), *(each.name for each in fields(Needs))]
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_the_example_of_a_method_is_short() -> None:
    blocks = [block for block in code_blocks(DOCS / "adding_a_method.md", "python", "toml") if block.startswith("# ")]
    assert len(blocks) == 2
    assert sum(len(block.splitlines()) for block in blocks) < 60


def test_the_example_keeps_the_contract_of_methods(
    example_method: str, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert example_method in discovery.built_in()
    contract = load_file(ROOT / "tests" / "methods" / "test_every_method.py", "contract_for_the_example")
    kept = 0
    for name, function in list(vars(contract).items()):
        wanted = inspect.signature(function).parameters if name.startswith("test_") else {}
        # Its page says that its loss depends on the accumulation.
        if "name" in wanted and name != "test_a_step_in_parts_has_the_same_loss":
            fixtures = {"name": example_method, "tiny_model_folder": tiny_model_folder}
            function(**{key: fixtures.get(key) or tmp_path_factory.mktemp(name[:20]) for key in wanted})
            kept += 1
    assert kept >= 7


def test_the_example_is_found_in_a_package_of_its_own_and_trains(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = DOCS / "adding_a_method.md"
    (source,) = [block for block in code_blocks(page, "python") if block.startswith(f"# {EXAMPLE}.py")]
    (project,) = [block for block in code_blocks(page, "toml") if block.startswith("# pyproject.toml")]
    install(tomllib.loads(project), source, tmp_path / "installed", monkeypatch)
    assert discovery.installed() == {EXAMPLE: "bounded_ascent:BoundedAscent"}

    task = load_task(tiny_model_folder)
    forget = write_table(tmp_path / "forget", random_blocks([24, 24, 20], seed=1))
    retain = write_table(tmp_path / "retain", random_blocks([24, 16], seed=2))
    batch = forget.batch([0, 1, 2])
    with torch.no_grad():
        before = float(task.nll(batch))
    method = make_method({"name": EXAMPLE, "beta": 0.1, "retain_weight": 0.5})
    training = Training(max_steps=12, learning_rate=3e-3, num_train_epochs=12, per_device_train_batch_size=3)
    LanguageWork(
        task=task,
        forget=forget,
        retain=retain,
        training=training,
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    ).carry_out(method)
    with torch.no_grad():
        assert float(task.nll(batch)) > before + 0.5
        gradients = [
            make_method({"name": EXAMPLE, "beta": beta, "retain_weight": 0}).loss(Step(Flat(loss), batch, None)).total
            for beta, loss in ((0.5, 2.0), (0.5, 20.0))
        ]
    # -2 / 0.5 * log sigmoid(0.5 * 2) = 4 * log(1 + exp(-1)), and next to nothing where the loss is high
    assert gradients[0].item() == pytest.approx(4 * 0.3132616875, rel=1e-6)
    assert 0 < gradients[1].item() < 1e-3


class Flat:
    """A task whose loss is a given number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def nll_and_truth(self, batch: Any, ceiling: float | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(self.value), torch.tensor(self.value)


def install(project: dict[str, Any], source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installer leaves of the package: its module, and its name, version and entry points."""
    name, version = project["project"]["name"], project["project"]["version"]
    information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir(parents=True)
    (folder / f"{EXAMPLE}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in project["project"]["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("\n".join(points))
    monkeypatch.syspath_prepend(folder)
