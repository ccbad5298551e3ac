"""A whole run on the tiny model, for every method; what the later verbs make of its folder."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from cheap_figures import drawing
from expunge import spine
from expunge.errors import DivergedError, ExpungeError, RecipeError, RunError
from expunge.kinds.language import measured, story, unlearning
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.recipe import Recipe, load_recipe
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.report.verify import verify_run
from expunge.runs import versions as versions_module
from expunge.runs.folder import RunFolder
from expunge.runs.registry import built_in, method_class
from small import SMALL, contents, files, leftovers, write_texts
from tiny_model import build_tiny_model

ROW = ["measure", "split", "model", "value", "low", "high", "n", "higher_is", "unit"]
CORE = {
    ("familiarity_completion", "forget"),
    ("familiarity_probability", "forget"),
    ("perplexity", "forget"),
    ("perplexity", "retain"),
    ("perplexity", "ordinary"),
    ("general_knowledge", "general"),
}
CONTROL = {("familiarity_completion", "control"), ("familiarity_probability", "control")}
Forget = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def forget(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Forget:
    """Make the tiny model forget the small text; options are fields of the recipe."""
    target, retain = write_texts(tmp_path_factory.mktemp("texts"))

    def run(out: Path, method: str = "gradient_ascent", **options: Any) -> RunFolder:
        usual = SMALL | {"method": method, "retain": str(retain), "model": str(tiny_model_folder)}
        return expunge.forget(str(options.pop("target", target)), out=out, **usual | options)

    return run


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


@pytest.fixture(scope="module")
def one_run(forget: Forget, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run to copy from."""
    return forget(tmp_path_factory.mktemp("one") / "run")


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


def test_a_run_that_the_guard_stopped_goes_on_as_the_message_says(forget: Forget, tmp_path: Path) -> None:
    wild = {"training.learning_rate": 3e-3, "training.max_steps": 40, "training.num_train_epochs": 99,
            "training.probe_steps": 1, "training.max_retain_increase": 0.2, "training.save_seconds": 1e-9}  # fmt: skip
    with pytest.raises(DivergedError) as caught:
        forget(tmp_path / "run", **wild)
    found = re.search(r"--training\.stop_step (\d+): it resumes from its checkpoint (\d+)", str(caught.value))
    assert found is not None
    last = int(found[1])
    assert found[2] == found[1]
    folder = forget(tmp_path / "run", **wild, **{"training.stop_step": last})
    whole = forget(tmp_path / "whole", **wild, **{"training.stop_step": last})
    assert [row["step"] for row in folder.read_events("resumed")] == [last]
    assert [row["step"] for row in folder.steps("step")] == list(range(1, last + 1))
    assert contents(folder.model)["model.safetensors"] == contents(whole.model)["model.safetensors"]
    assert json.loads(folder.record.read_text())["stopped"] == f"step {last} of 40 (training.stop_step)"
    with pytest.raises(RunError, match="its recipe differs in training"):  # now there is a model
        forget(tmp_path / "run", **wild)


# The type that a model is saved in


@pytest.fixture(scope="module")
def bf16_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("bf16") / "model", dtype="bfloat16")


def scores_of(folder: RunFolder, model: str) -> dict[tuple[str, str], float]:
    return {(s.measure, s.split): s.value for s in folder.read_scores() if s.model == model}


def without_control(scores: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Scores but those of the control, which is measured of the base model alone."""
    return {key: value for key, value in scores.items() if key not in CONTROL}


def test_an_update_that_rounding_undoes_is_measured_as_undone(forget: Forget, bf16_model: Path, tmp_path: Path) -> None:
    """Steps far below the rounding of bfloat16: the model in memory has moved, the one on disk has not."""
    folder = forget(
        tmp_path / "run",
        model=str(bf16_model),
        save_dtype="bfloat16",
        **{"training.learning_rate": 1e-8, "training.bf16": False},
    )
    before, after = load_file(bf16_model / "model.safetensors"), load_file(folder.model / "model.safetensors")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    kept = sum(int((before[name] == after[name]).sum()) for name in before)
    assert kept / sum(tensor.numel() for tensor in before.values()) > 0.99
    base, unlearned = without_control(scores_of(folder, "base")), scores_of(folder, "unlearned")
    assert {name: pytest.approx(value, rel=0.02) for name, value in base.items()} == unlearned
    assert json.loads((folder.model / "config.json").read_text())["dtype"] == "bfloat16"
    # Every model of a run is measured in one arithmetic, with weights as they were stored.
    model = AutoModelForCausalLM.from_pretrained(folder.model, dtype=torch.float32)
    task = CausalLM(model, AutoTokenizer.from_pretrained(folder.model))
    (table,) = folder.stages.glob("forget-tokens-*")
    on_disk = perplexity(task, TokenTable(table), "forget", "unlearned", SMALL["evaluation.max_blocks"])
    assert unlearned["perplexity", "forget"] == pytest.approx(on_disk.value, rel=1e-9)


def test_where_rounding_would_undo_it_the_model_is_saved_in_float32_and_the_record_says_so(
    forget: Forget, bf16_model: Path, tmp_path: Path
) -> None:
    folder = forget(tmp_path / "run", model=str(bf16_model), **{"training.learning_rate": 1e-6})
    assert {tensor.dtype for tensor in load_file(folder.model / "model.safetensors").values()} == {torch.float32}
    assert json.loads((folder.model / "config.json").read_text())["dtype"] == "float32"
    warnings = json.loads(folder.record.read_text())["warnings"]
    said = "saved as float32: rounding to the base model's bfloat16 would undo "
    assert sum(warning.startswith(said) for warning in warnings) == 1
    assert "saved as float32" in (folder.model / "README.md").read_text()


# A topic


def test_a_topic_is_asked_and_editing_the_answers_makes_it_again(forget: Forget, tmp_path: Path) -> None:
    def again() -> RunFolder:
        # Enough that some of what so small a model says names nobody.
        more = {"data.retain_answers": 16}
        return forget(tmp_path / "run", target="Baker Street and its people", retain=None, **more)

    def state(folder: RunFolder) -> tuple[str, str]:
        return contents(folder.model)["model.safetensors"], folder.scores.read_text()

    folder = again()
    answers = folder.target / "answers.jsonl"
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert 0 < len(rows) <= SMALL["data.elicited_answers"]
    assert all(set(row) in ({"question", "answer"}, {"text"}) for row in rows)
    assert any("Baker Street and its people" in row.get("text", row.get("question", "")) for row in rows)
    first = state(folder)

    street = "Inspector Lestrade went with Sherlock Holmes to Baker Street, and Lestrade saw Holmes at the window."
    answers.write_text("".join(json.dumps({"text": f"{street} Night {i}."}) + "\n" for i in range(6)))
    started = len(list(folder.read_events("stage_started")))
    second = state(again())
    remade = [row["name"] for row in folder.read_events("stage_started")][started:]
    assert {"forget-tokens", "terms", "measured-base", "unlearned", "measured-unlearned"} <= set(remade)
    assert second[0] != first[0]
    assert second[1] != first[1]
    probed = folder.steps("probe")[0]["prompts"]

    # Other prompts than before, and what their probabilities are followed for must be theirs.
    school = "Every year Hermione Granger came to Hogwarts with Harry Potter, and Granger read what Potter had not."
    answers.write_text("".join(json.dumps({"text": f"{school} Year {i}."}) + "\n" for i in range(6)))
    third = state(again())
    assert third[0] not in (first[0], second[0])
    assert [row["step"] for row in folder.steps("step")] == [1, 2, 3, 4]
    assert [row["step"] for row in folder.steps("probe")] == [0, 2, 4]
    assert folder.steps("probe")[0]["prompts"] != probed
    assert "Baker" not in json.dumps(folder.steps("probe"))

    # What was edited after the model was made is not taken for what it was made from.
    edited = answers.read_text()
    answers.write_text(edited.replace("Hermione", "Susan"))
    for evaluate in (
        lambda: expunge.evaluate(folder.path),
        lambda: expunge.evaluate(folder.model, recipe=folder.recipe),
    ):
        with pytest.raises(RunError, match="was made from something else") as caught:
            evaluate()
        assert caught.value.seen == "changed since: the forget set"
        assert f"expunge run {folder.recipe} --out {folder.path}" in (caught.value.next_step or "")
    assert state(folder) == third
    answers.write_text(edited)

    # Measuring again knows which of the three models lies in `model/`.
    record = json.loads(folder.record.read_text())
    expunge.evaluate(folder.path)
    assert (
        json.loads(folder.record.read_text())["cost"]["seconds"]["unlearned"] == record["cost"]["seconds"]["unlearned"]
    )
    assert state(folder) == third


def test_a_checkpoint_of_other_answers_is_not_gone_on_with(
    forget: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off in training, answers edited, started again: as if there had been no first attempt."""
    topic = {"target": "Baker Street and its people", "retain": None, "training.save_seconds": 1e-6}
    topic |= {"training.probe_steps": 1}
    rows = [
        "The fog lay over the city, and nobody went to the door that night.",
        "A man came and asked for the doctor.",
    ]

    def write(out: Path, count: int) -> None:
        (out / "target").mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"text": f"{row} {i} " * 3}) for i in range(count) for row in rows]
        (out / "target" / "answers.jsonl").write_text("\n".join(lines))

    class Crash(BaseException):
        pass

    def crash(*args: Any) -> None:
        raise Crash

    write(tmp_path / "edited", 3)
    with monkeypatch.context() as patch:
        patch.setattr(unlearning, "save_model", crash)
        with pytest.raises(Crash):
            forget(tmp_path / "edited", **topic)
    assert [path.name for path in RunFolder(tmp_path / "edited").checkpoints.rglob("step-*")] == ["step-00000003"]
    found = []
    for name in ("edited", "fresh"):
        write(tmp_path / name, 2)
        found.append(contents(forget(tmp_path / name, **topic).model)["model.safetensors"])
    assert found[0] == found[1]


# The verbs that follow


@pytest.fixture
def copied(one_run: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(one_run.path, tmp_path / "copied")
    return RunFolder(tmp_path / "copied")


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    texts = [["in the fog", "at the door"], ["a wind", "a window", "a street"]]
    rows = [
        {
            "question": f"Where is number {i}?",
            "choices": {"text": text, "label": list("ABC")[: len(text)]},
            "answerKey": "B",
        }
        for i, text in enumerate(texts * 3)
    ]
    (folder / "arc_easy.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_evaluate_adds_benchmarks_and_prompts(copied: RunFolder, benchmarks: Path, tmp_path: Path) -> None:
    before = {(s.measure, s.split, s.model): s for s in copied.read_scores()}
    weights = contents(copied.model)
    with pytest.raises(RecipeError, match="no benchmarks"):
        expunge.evaluate(copied.path, benchmark_rows=4)
    scores = expunge.evaluate(copied.path, benchmarks=str(benchmarks), benchmark_rows=4)
    assert scores == copied.read_scores()
    found = {(s.measure, s.split, s.model): s for s in scores}
    added = found.keys() - before.keys()
    assert added == {(m, "arc_easy", w) for m in ("accuracy", "accuracy_normalised") for w in ("base", "unlearned")}
    assert all(found[key].n == 4 for key in added)
    assert {key: found[key] for key in before} == before
    checks = {check["name"] for check in json.loads(copied.record.read_text())["verdict"]["checks"]}
    assert {"benchmark_mean_loss", "benchmark_worst_loss"} <= checks
    assert json.loads(copied.record.read_text())["measured_later"] == ["benchmarks", "benchmark rows"]
    assert "ARC" in copied.report.read_text()

    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "He went to Baker"}\n{"prompt": "The doctor was", "references": ["Watson"]}\n')
    found = {(s.measure, s.split, s.model): s for s in expunge.evaluate(copied.path, prompts=str(prompts))}
    assert found["familiarity_completion", "forget", "base"].n == 2
    assert found["familiarity_completion", "forget", "unlearned"].n == 2
    assert ("accuracy", "arc_easy", "base") in found  # what was measured last stays
    shown = [row["prompt"] for row in json.loads(copied.answers.read_text()) if row["group"] == "completion prompt"]
    assert shown == ["He went to Baker", "The doctor was"]
    assert {name: d for name, d in contents(copied.model).items() if name != "README.md"} == {
        name: digest for name, digest in weights.items() if name != "README.md"
    }
    assert failing(copied) == []


def test_a_retrained_model_may_be_given_later(copied: RunFolder, forget: Forget, tiny_model_folder: Path) -> None:
    weights = (copied.model / "model.safetensors").stat().st_mtime_ns
    forget(copied.path, retrained=str(tiny_model_folder))
    assert scores_of(copied, "retrained") == pytest.approx(without_control(scores_of(copied, "base")))
    forget(copied.path)
    assert scores_of(copied, "retrained")  # as with what `evaluate` added
    assert (copied.model / "model.safetensors").stat().st_mtime_ns == weights
    assert failing(copied) == []


def test_evaluate_from_another_folder(forget: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed with relative paths; later a file gets the name of the topic, and the commands are typed elsewhere."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    write_texts(here)
    monkeypatch.chdir(here)
    by_path = forget(Path("runs/a"), target="forget.txt", retain="retain.txt")
    topic = forget(Path("runs/b"), target="Baker Street and its people", retain="retain.txt")
    for folder in ("here", "elsewhere"):
        (tmp_path / folder / "Baker Street and its people").write_text("Something else that stands in a file. " * 20)
    digests = {folder: json.loads(folder.record.read_text())["digests"] for folder in (by_path, topic)}
    monkeypatch.chdir(elsewhere)
    for folder in (by_path, topic):
        expunge.evaluate(here / folder.path)
        assert json.loads((here / folder.record).read_text())["digests"] == digests[folder]
    assert json.loads((here / by_path.record).read_text())["title"] == "forget.txt"
    monkeypatch.chdir(here)
    started = len(list(topic.read_events("stage_started")))
    forget(Path("runs/b"), target="Baker Street and its people", retain="retain.txt")
    assert len(list(topic.read_events("stage_started"))) == started


def test_evaluate_any_model_on_the_sets_of_a_run(copied: RunFolder, tiny_model_folder: Path, tmp_path: Path) -> None:
    before = contents(copied.path)
    base = expunge.evaluate(tiny_model_folder, recipe=copied.recipe)
    assert {s.model for s in base} == {"unlearned"}
    expected = without_control(scores_of(copied, "base"))
    assert {(s.measure, s.split): s.value for s in base} == pytest.approx(expected, rel=1e-6)
    own = expunge.evaluate(copied.model, recipe=copied.recipe)
    assert {(s.measure, s.split): s.value for s in own} == scores_of(copied, "unlearned")
    after = contents(copied.path)
    assert {name for name in before if before[name] != after[name]} == {"events.jsonl"}
    other = tmp_path / "recipe.yaml"
    shutil.copy(copied.recipe, other)
    with pytest.raises(RunError, match="is not the recipe of a run"):
        expunge.evaluate(tiny_model_folder, recipe=other)
    assert {path.name for path in tmp_path.iterdir()} == {"copied", "recipe.yaml"}


def test_evaluate_refuses_a_folder_without_its_model(copied: RunFolder) -> None:
    weights = copied.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(RunError, match="no unlearned model, or one that was changed since"):
        expunge.evaluate(copied.path)
    shutil.rmtree(copied.model)
    with pytest.raises(RunError, match="run the command that started it again"):
        expunge.evaluate(copied.path)


@pytest.mark.parametrize(
    ("field", "value", "seen"),
    [("retain", None, "the retain set"), ("training.learning_rate", 1.0, "the recipe's training")],
)
def test_evaluate_refuses_a_recipe_that_was_changed(copied: RunFolder, field: str, value: Any, seen: str) -> None:
    recipe = load_recipe(copied.recipe, {field: value})
    copied.recipe.write_text(recipe.to_yaml())
    record = copied.record.read_bytes()
    with pytest.raises(RunError, match="was made from something else") as caught:
        expunge.evaluate(copied.path)
    assert caught.value.seen == f"changed since: {seen}"
    assert copied.record.read_bytes() == record


def test_a_model_that_was_changed_is_made_again_to_the_bit(copied: RunFolder, forget: Forget) -> None:
    before = contents(copied.model)
    weights = copied.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    forget(copied.path)
    assert contents(copied.model) == before
    assert leftovers(copied.path) == []


def test_compare(one_run: RunFolder, copied: RunFolder, tmp_path: Path) -> None:
    page = tmp_path / "comparison.html"
    text = str(expunge.compare([one_run.path, copied.path], page))
    assert "gradient ascent" in text
    assert "run" in text.splitlines()[0]
    assert "copied" in text.splitlines()[0]
    assert "</html>" in page.read_text()
    copied.scores.unlink()
    with pytest.raises(RunError, match=r"no scores\.json"):
        expunge.compare([one_run.path, copied.path])


def test_report_is_rewritten_from_the_folder(copied: RunFolder, one_run: RunFolder) -> None:
    from expunge.report.render import render_report

    copied.report.unlink()
    assert render_report(copied) == copied.report
    assert len(copied.report.read_text()) == pytest.approx(len(one_run.report.read_text()), rel=0.01)
    with drawing():
        render_report(copied)
        assert failing(copied) == []
    assert copied.report.read_text().count("<path") > 20


# Verifying


def failing(folder: RunFolder) -> list[str]:
    return [finding.what for finding in verify_run(folder) if finding.ok is False]


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


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_verify_names_a_file_of_the_model_with_a_changed_byte(copied: RunFolder, name: str) -> None:
    path = copied.model / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert failing(copied) == [f"model/{name} does not have the recorded digest"]
    path.unlink()
    assert failing(copied) == [f"model/{name} is missing"]


def test_verify_names_a_file_that_was_added(copied: RunFolder) -> None:
    (copied.model / "extra.json").write_text("{}")
    assert failing(copied) == ["model/extra.json is not in the record"]


RECIPE = "recipe.yaml does not have the recorded digest"
REPORT = "report.html is not what the folder's other files make"


def test_verify_finds_a_score_that_was_made_better(copied: RunFolder) -> None:
    rows = json.loads(copied.scores.read_text())
    for row in rows:
        if (row["measure"], row["split"], row["model"]) == ("perplexity", "ordinary", "unlearned"):
            row["value"] *= 0.9
    copied.scores.write_text(json.dumps(rows))
    assert failing(copied) == [
        "scores.json does not have the recorded digest",
        "the verdict does not follow from scores.json and the recorded thresholds",
        REPORT,
    ]


def test_verify_finds_a_threshold_that_was_moved(copied: RunFolder) -> None:
    recipe = yaml.safe_load(copied.recipe.read_text())
    recipe["verdict"]["perplexity"] = 9.0
    copied.recipe.write_text(yaml.safe_dump(recipe))
    assert failing(copied) == [RECIPE, REPORT]
    record = json.loads(copied.record.read_text())
    record["thresholds"]["perplexity"] = 9.0
    copied.record.write_text(json.dumps(record))
    assert "the verdict does not follow from scores.json and the recorded thresholds" in failing(copied)


def test_verify_names_files_that_were_changed_and_files_that_are_gone(copied: RunFolder) -> None:
    """All at once, since each look draws the report again."""
    paths = [copied.path / name for name in ("answers.json", "per_example.json", "scores.json", "report.html")]
    found = [path.read_bytes() for path in paths]
    for path, content in zip(paths, found, strict=True):
        path.write_bytes(content + b" ")
    changed = failing(copied)
    assert REPORT in changed
    assert {f"{path.name} does not have the recorded digest" for path in paths[:3]} <= set(changed)
    for path in paths:
        path.unlink()
    assert {f"{path.name} is missing" for path in paths} <= set(failing(copied))
    for path, content in zip(paths, found, strict=True):
        path.write_bytes(content)
    assert failing(copied) == []


def test_verify_says_what_it_cannot_check(copied: RunFolder) -> None:
    shutil.rmtree(next(copied.stages.glob("sampled-general-*")))
    record = json.loads(copied.record.read_text())
    del record["digests"]["files"]["answers.json"]
    copied.record.write_text(json.dumps(record))
    findings = {finding.what: finding.ok for finding in verify_run(copied)}
    assert findings["answers.json: it is not in the record"] is None
    assert findings["the general set: sampled from the model, and no longer in stages/"] is None
    assert findings["the ordinary set, sampled from the model, has the recorded digest"] is True
    assert any(what.startswith("events.jsonl and stages/") and ok is None for what, ok in findings.items())
    assert any(what.startswith("the base model ") and ok for what, ok in findings.items())


def test_verify_names_a_set_that_was_changed(forget: Forget, tmp_path: Path) -> None:
    texts = dict(zip(("forget", "retain"), write_texts(tmp_path), strict=True))
    folder = forget(tmp_path / "run", target=texts["forget"], retain=str(texts["retain"]))
    for name, path in texts.items():
        assert failing(folder) == []
        found = path.read_text()
        path.write_text(found.replace("night", "day").replace("wind", "gale"))
        assert failing(folder) == [f"the {name} set {path} does not have the recorded digest"]
        path.unlink()
        assert failing(folder) == []
        assert any(f"the {name} set" in finding.what and finding.ok is None for finding in verify_run(folder))
        path.write_text(found)


# What the record says


def test_what_is_trained_on_beside_the_retain_set_is_in_the_record(one_run: RunFolder, forget: Forget) -> None:
    record = json.loads(one_run.record.read_text())
    general = record["sets"]["general"]
    assert 0 < general["documents"] <= SMALL["data.retain_answers"]
    assert general["tokens"] > 0
    assert general["source"] == "sampled from the model"
    assert len(record["digests"]["general set"]) == 64
    assert "general text to retain" in one_run.report.read_text()


def test_thresholds_and_versions_are_those_of_the_training(copied: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads(copied.record.read_text())
    copied.recipe.write_text(load_recipe(copied.recipe, {"verdict.perplexity": 9.0}).to_yaml())
    monkeypatch.setattr(versions_module, "version_of", lambda package: "99")
    expunge.evaluate(copied.path)
    record = json.loads(copied.record.read_text())
    assert record["thresholds"] == before["thresholds"]
    assert record["thresholds"]["perplexity"] == 1.03
    assert record["verdict"] == before["verdict"]
    assert record["versions"] == before["versions"]
    told = " ".join(record["warnings"])
    assert "thresholds in recipe.yaml were changed after the training" in told
    assert f"torch 99 ({before['versions']['torch']})" in told


# Edited anchors


@pytest.mark.parametrize("given", [False, pytest.param(True, marks=pytest.mark.long)])
def test_anchors_that_were_edited_are_not_vouched_for(given: bool, forget: Forget, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("- {term: Baker Street, translation: Maple Street}\n")
    options = {"anchors.path": str(own)} if given else {}

    def again() -> list[str]:
        forget(tmp_path / "run", "whos_harry_potter", **options)
        return [line for line in json.loads(folder.record.read_text())["warnings"] if "anchors.yaml" in line]

    folder = RunFolder(tmp_path / "run")
    assert again() == []
    digest = json.loads(folder.record.read_text())["digests"]["files"]["anchors.yaml"]
    weights, found = contents(folder.model)["model.safetensors"], folder.anchors.read_text()
    edited = "- {term: Lestrade, translation: Brown}\n"
    folder.anchors.write_text(edited)
    (told,) = again()
    assert "--anchors with its path and another --out" in told
    assert json.loads(folder.record.read_text())["digests"]["files"]["anchors.yaml"] == digest
    assert failing(folder) == ["anchors.yaml does not have the recorded digest"]
    if not given:  # made again, it does not use them, and does not write over them
        (folder.model / "model.safetensors").unlink()
        assert again() == [told]
        assert folder.anchors.read_text() == edited
    assert contents(folder.model)["model.safetensors"] == weights
    folder.anchors.write_text(found)
    assert again() == []
    assert failing(folder) == []


# What evaluate adds stays


def test_the_first_command_again_keeps_what_evaluate_added(
    copied: RunFolder, forget: Forget, benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"On night {i} he went to"}) + "\n" for i in range(60)))
    seen = []
    render = spine.render_report
    monkeypatch.setattr(spine, "render_report", lambda folder: seen.append(folder.recipe.read_text()) or render(folder))
    recipe = yaml.safe_load(copied.recipe.read_text())
    recipe["evaluation"]["max_prompts"] = None
    copied.recipe.write_text(yaml.safe_dump(recipe))
    scores = expunge.evaluate(copied.path, benchmarks=str(benchmarks), prompts=str(prompts))
    assert seen == [copied.recipe.read_text()], "the report shows the recipe that was measured"
    assert str(prompts) in seen[0]
    asked = {s.n for s in scores if s.measure == "familiarity_completion" and s.split == "forget"}
    assert asked == {60}, "all prompts of a file"

    forget(copied.path)  # with evaluation.max_prompts 4
    scores = copied.read_scores()
    assert {s.n for s in scores if s.measure == "familiarity_completion" and s.split == "forget"} == {4}
    assert any(s.measure == "accuracy" for s in scores)
    told = json.loads(copied.record.read_text())["warnings"]
    assert "4 of the 60 prompts in prompts.jsonl are used (evaluation.max_prompts)" in told
