"""A whole run on the tiny model, for every method."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from whole_runs import CONTROL, Forget

from expunge.errors import ExpungeError, RunError
from expunge.kinds.language import measured, story, unlearning
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.recipe import Recipe, load_recipe
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.registry import built_in, method_class
from small import SMALL, contents, files, leftovers

pytestmark = pytest.mark.usefixtures("made_once")
ROW = ["measure", "split", "model", "value", "low", "high", "n", "higher_is", "unit"]
CORE = {
    ("familiarity_completion", "forget"),
    ("familiarity_probability", "forget"),
    ("perplexity", "forget"),
    ("perplexity", "retain"),
    ("perplexity", "ordinary"),
    ("general_knowledge", "general"),
}

ROUNDS: dict[str, dict[str, Any]] = {
    "repselect": {},
    "cir": {"method.epochs": 2, "method.retain_limit": 5.0},
    "mudman": {"method.steps": 4, "method.fork_every": 2},
}
"methods with a loop of their own, and what makes it short"
ASKING = {"altpo": {"method.alternatives": 2, "method.alternative_tokens": 6}, "idk_ap": {}}
"methods that need questions, one that has other answers written and one that has refusals, and what makes it short"
ELSEWHERE = {
    "dpo",
    "spunge",
    "steering",
    "task_vector_negation",
    "idk_dpo",
    "idk_nll",
    "flat",
    "lunar",
    "meow",
    "uld",
    "o3",
    *ASKING,
    *ROUNDS,
}
"they work on tables of pairs, groups or questions, or with phases: whole runs are in a file of their own, or below"
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"method.layer": 2, "method.trained_layers": 1} for name in ("adaptive_rmu", "rmu")},
    "circuit_breakers": {"method.layers": [1, 2]},
}
"what fits a model of two layers"
SHORTER = {
    "gradient_difference",
    "neggrad_plus",
    "npo_sam",
    "sage",
    "simnpo",
    "targeted_npo",
    "fine_tune",
    "undo",
    "repair",
}
SHORTER |= {"ceu", "me_gd", "pdu", "satimp", "undial", "wga"}
SHORTER |= {"adaptive_rmu", "circuit_breakers", "elm", "entropy_term", "gru", "lat", "shred", "sure", "tar"}
"they need of a run what another one needs, too; `make test-long` runs them"
HERE = [
    pytest.param(name, marks=pytest.mark.long if name in SHORTER else ())
    for name in built_in()
    if "causal_lm" in method_class(name).needs.kinds and name not in ELSEWHERE
]


@pytest.fixture(scope="module", params=HERE)
def finished(request: pytest.FixtureRequest, forget: Forget, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of each method. Read only."""
    if request.param == "gradient_ascent":
        return request.getfixturevalue("one_run")  # type: ignore[no-any-return]
    return forget(tmp_path_factory.mktemp("run") / request.param, request.param, **SETTINGS.get(request.param, {}))


def method_of(folder: RunFolder) -> str:
    return str(load_recipe(folder.recipe).method["name"])


def reused(folder: RunFolder) -> list[bool]:
    return [row["reused"] for row in folder.read_events("stage")]


def test_every_file_is_there(finished: RunFolder) -> None:
    generic = method_of(finished) == "whos_harry_potter"
    names = {path.name for path in finished.path.iterdir()} - {".lock"}
    assert names == {
        *["recipe.yaml", "events.jsonl", "stages", "checkpoints", "model", "scores.json", "per_example.json"],
        *["answers.json", "report.html", "record.json"],
        *(["anchors.yaml"] if generic else []),
    }
    assert {path.name for path in finished.model.iterdir()} == {
        *["config.json", "generation_config.json", "model.safetensors", "README.md"],
        *["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"],
    }
    assert leftovers(finished.path) == []
    assert list(finished.checkpoints.iterdir()) == []
    assert all(path.stat().st_size for path in files(finished.path) if path.name != ".lock")
    stages = {path.name.rpartition("-")[0] for path in finished.stages.iterdir()}
    assert {
        "terms",
        "sampled-general",
        "sampled-ordinary",
        "measured-base",
        "measured-unlearned",
        "unlearned",
    } <= stages
    assert ({"reinforced", "anchors", "labels"} <= stages) == generic


def test_scores_are_well_formed(finished: RunFolder) -> None:
    rows = json.loads(finished.scores.read_text())
    found: dict[str, set[tuple[str, str]]] = {"base": set(), "unlearned": set()}
    for row in rows:
        assert list(row) == ROW
        assert isinstance(row["n"], int)
        assert row["n"] > 0
        assert row["low"] <= row["value"] <= row["high"]
        assert row["higher_is"] in ("better", "worse")
        assert row["unit"]
        found[row["model"]].add((row["measure"], row["split"]))
    assert found == {"base": CORE | CONTROL, "unlearned": CORE}
    assert len(rows) == 2 * len(CORE) + len(CONTROL)
    sizes = {(row["measure"], row["split"], row["model"]): row["n"] for row in rows}
    examples = json.loads(finished.per_example.read_text())
    assert {(e["measure"], e["split"], e["model"]): len(e["values"]) for e in examples} == sizes
    answers = json.loads(finished.answers.read_text())
    assert {row["group"] for row in answers} >= {"completion prompt", "general question"}
    assert all(isinstance(row["before"], str) and isinstance(row["after"], str) for row in answers)


def test_record_recipe_and_events_are_well_formed(finished: RunFolder) -> None:
    record = json.loads(finished.record.read_text())
    assert record["method"]["name"] == method_of(finished)
    assert record["cost"]["steps"] == 4
    assert record["cost"]["peak_memory_bytes"] > 1 << 20
    assert record["cost"]["seconds_total"] > 0
    assert not record["verdict"]["passed"]  # a model of random weights knows nothing that could be seen to go
    assert record["digests"]["model"]["model.safetensors"] == contents(finished.model)["model.safetensors"]
    assert "README.md" not in record["digests"]["model"]
    listed = {entry["set"]: entry for entry in record["inputs"]}
    assert set(listed) == {"forget", "retain"}
    assert all(entry["files_read"] == len(entry["read"]) >= 1 for entry in listed.values())
    assert f"forget ({listed['forget']['target']}): " in finished.report.read_text()
    recipe = yaml.safe_load(finished.recipe.read_text())
    assert set(recipe) == set(Recipe.model_fields)
    assert recipe["training"]["max_steps"] == 4
    events = [json.loads(line) for line in finished.events.read_text().splitlines()]
    assert [row["step"] for row in events if row["event"] == "step"] == [1, 2, 3, 4]
    assert [row["step"] for row in events if row["event"] == "probe"] == [0, 2, 4]
    assert [row["event"] for row in events[-2:]] == ["finished", "peak"]
    card = finished.model / "README.md"
    assert yaml.safe_load(card.read_text().split("---\n")[1])["library_name"] == "transformers"
    assert str(finished.path) not in card.read_text()
    assert "</html>" in finished.report.read_text()


def test_the_model_has_changed_and_is_whole(finished: RunFolder, tiny_model_folder: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model_folder, finished.model))
    assert before.keys() == after.keys()
    assert all(after[name].dtype == torch.float32 and after[name].isfinite().all() for name in after)
    assert max((after[name] - before[name]).abs().max().item() for name in after) > 1e-4


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "repselect" else pytest.mark.long) for name in ROUNDS]
)
def test_a_whole_run_of_a_method_with_a_loop_of_its_own(
    name: str, forget: Forget, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = forget(tmp_path / "run", name, **ROUNDS[name])
    assert method_of(folder) == name
    before, after = (load_file(place / "model.safetensors") for place in (tiny_model_folder, folder.model))
    changed = {each for each in before if not torch.equal(before[each], after[each])}
    assert changed
    assert all("mlp" in each and after[each].isfinite().all() for each in changed)
    record = json.loads(folder.record.read_text())
    assert record["cost"]["steps"] > 0
    assert list(folder.checkpoints.iterdir()) == []
    assert "</html>" in folder.report.read_text()


@pytest.mark.parametrize("name", [pytest.param("altpo", marks=pytest.mark.long), "idk_ap"])
def test_a_whole_run_on_questions(name: str, forget: Forget, tmp_path: Path) -> None:
    rows = [{"question": f"Who is in street {n}?", "answer": f"Holmes is in Baker Street {n}."} for n in range(9)]
    kept = [{"question": f"Where is town {n}?", "answer": f"The town {n} is in France."} for n in range(9)]
    for file, content in (("rows", [*rows, {"text": "Plain text of Sherlock Holmes in the fog."}]), ("kept", kept)):
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    target, retain = tmp_path / "rows.jsonl", str(tmp_path / "kept.jsonl")
    folder = forget(tmp_path / "run", name, target=target, retain=retain, **ASKING[name])
    assert json.loads(folder.record.read_text())["cost"]["steps"] == 4
    notices = [row["text"] for row in folder.read_events("notice")]
    assert any("forget set: 1 of 10 blocks begin with no question" in text for text in notices)
    assert not list(folder.stages.glob("*so-far*"))


def test_after_is_measured_on_the_model_as_saved(finished: RunFolder) -> None:
    task = CausalLM(
        AutoModelForCausalLM.from_pretrained(finished.model).eval(), AutoTokenizer.from_pretrained(finished.model)
    )
    (table,) = finished.stages.glob("forget-tokens-*")
    score = perplexity(task, TokenTable(table), "forget", "unlearned", SMALL["evaluation.max_blocks"])
    before, after = (
        next(s for s in finished.read_scores() if (s.measure, s.split, s.model) == ("perplexity", "forget", model))
        for model in ("base", "unlearned")
    )
    assert after.value == pytest.approx(score.value, rel=1e-3)  # the run may have computed in bfloat16
    assert abs(after.value / before.value - 1) > 1e-2 or method_of(finished) != "gradient_ascent"


def test_the_same_again_computes_nothing_and_changes_no_byte(
    finished: RunFolder, forget: Forget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr(LanguageWork, "carry_out", fail)
    monkeypatch.setattr(measured, "measure_core", fail)
    monkeypatch.setattr(unlearning, "save_model", fail)
    before, times = contents(finished.path), {path: path.stat().st_mtime_ns for path in files(finished.path)}
    events = len(reused(finished))
    forget(finished.path, method_of(finished), **SETTINGS.get(method_of(finished), {}))
    after = contents(finished.path)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"events.jsonl", "record.json", "report.html"}  # their peak memory may have risen
    assert all(reused(finished)[events:])
    assert reused(finished)[events:]
    weights = finished.model / "model.safetensors"
    assert weights.stat().st_mtime_ns == times[weights]


def test_it_loads_without_expunge(finished: RunFolder) -> None:
    if method_of(finished) != "fine_tune":
        pytest.skip("one is enough: all are saved by the same lines")
    code = (
        "import sys, torch\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model, info = AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "ids = tokenizer('Sherlock Holmes', return_tensors='pt')['input_ids']\n"
        "print(float(model(ids).logits.double().sum()), type(model).__name__, info['missing_keys'], "
        "info['unexpected_keys'], [name for name in sys.modules if 'expunge' in name])"
    )
    out = subprocess.run([sys.executable, "-c", code, finished.model], capture_output=True, text=True, check=True)
    total, words = out.stdout.split(" ", 1)
    assert words == "LlamaForCausalLM set() set() []\n"
    model = AutoModelForCausalLM.from_pretrained(finished.model)
    ids = AutoTokenizer.from_pretrained(finished.model)("Sherlock Holmes", return_tensors="pt")["input_ids"]
    assert float(total) == pytest.approx(float(model(ids).logits.double().sum()), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("other", [{"seed": 1}, {"training.max_steps": 5}, {"method": "fine_tune"}, {"target": "x"}])
def test_another_recipe_in_the_same_folder_is_refused(
    other: dict[str, Any], forget: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "read_sets", lambda *args: pytest.fail("too late"))
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(pytest.fail.Exception):
        forget(folder.path)
    recipe = folder.recipe.read_bytes()
    with pytest.raises(RunError, match="holds another run: its recipe differs in") as caught:
        forget(folder.path, **other)
    assert "choose another --out" in str(caught.value)
    assert folder.recipe.read_bytes() == recipe


def test_the_users_own_model_is_never_written_over(
    forget: Forget, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    for out in (".", "model", "model/runs"):
        with pytest.raises(RunError, match="choose another --out"):
            forget(Path(out), model="model")
        assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retrained": "modle"}, "there is no model modle|cannot get the model modle"),
        ({"retrained": "bare"}, "has no tokenizer"),
        ({"anchors.path": "anchros.yaml", "method": "whos_harry_potter"}, "there is no file or folder"),
    ],
)
def test_what_is_needed_late_is_looked_up_before_the_folder_is_claimed(
    options: dict[str, Any], error: str, forget: Forget, tiny_model_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model_folder, "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(ExpungeError, match=error):
        forget(Path("run"), **options)
    assert not Path("run/recipe.yaml").exists()


def test_verify_finds_nothing_in_a_finished_run(finished: RunFolder) -> None:
    findings = verify_run(finished)
    assert all(finding.ok is not False for finding in findings), findings
    assert {"model/model.safetensors", "model/config.json", "model/tokenizer.json"} <= {
        finding.what.split()[0] for finding in findings
    }
    assert sum(" set" in finding.what and finding.ok is True for finding in findings) == 4
    files = ["recipe.yaml", "scores.json", "per_example.json", "answers.json"]
    files += ["anchors.yaml"] if method_of(finished) == "whos_harry_potter" else []
    for name in files:
        assert any(f.what == f"{name} has the recorded digest" and f.ok for f in findings), name
