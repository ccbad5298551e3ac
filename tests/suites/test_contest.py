"""The contest: the same bits wherever its models are made, none made twice, and words for what cannot be."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from expunge.errors import DivergedError, RecipeError, RunError
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make
from expunge.runs.registry import built_in, method_class
from expunge.suites.challenge import models as contest_models
from expunge.suites.challenge import run as challenge
from expunge.suites.challenge.command import print_contest
from expunge.suites.challenge.models import INDEPENDENT, Job, contest_methods, make_model
from expunge.suites.challenge.report import contest_page
from expunge.suites.challenge.run import run_contest
from expunge.suites.challenge.suite import RETRAINED
from said import Type
from small_images import write_class_folders

TWO = {
    "fine_tune": {"method": {"name": "fine_tune"}, "unlearning": {"num_train_epochs": 1.0}},
    "gradient_ascent": {"method": {"name": "gradient_ascent"}, "unlearning": {"num_train_epochs": 1.0}},
}
"methods with their settings: one over the budget of the small recipe, one within"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> ImageRecipe:
    data = write_class_folders(tmp_path_factory.mktemp("pictures") / "animals")
    fields = {"images": {"size": 16, "only_train": True}, "fitting": {"num_train_epochs": 1, "learning_rate": 0.01}}
    return make(ImageRecipe, {"data": str(data), "forget": "random:6", **fields}, {})


Made = list[tuple[str, int]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Models are made in this process, which is quick; what was made, in order."""
    made: Made = []

    def run_here(function: Callable[[Job], float], jobs: Sequence[Job], **how: Any) -> Iterator[tuple[Job, float]]:
        for job in jobs:
            made.append((job.group, job.seed))
            yield job, function(job)

    monkeypatch.setattr(challenge, "run_jobs", run_here)
    monkeypatch.setattr(challenge, "render_contest", lambda folder: None, raising=False)
    return made


@pytest.fixture(scope="module")
def whole(recipe: ImageRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A contest of two methods with two models of each kind, made in this process. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(challenge, "run_jobs", lambda function, jobs, **how: ((job, function(job)) for job in jobs))
        out = tmp_path_factory.mktemp("contest") / "whole"
        run_contest(recipe, out, methods=TWO, models=2)
    return out


def models(out: Path) -> dict[str, dict[str, bytes]]:
    """Everything but clock time that each finished model left."""
    found = {}
    for path in sorted((out / "results").rglob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name].tobytes() for name in stored.files if not name.endswith("seconds")}
        found[path.relative_to(out / "results").as_posix()] = arrays
    return found


def figures(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "contest.json").read_text())
    for row in [found["ceiling"], *found["methods"]]:
        del row["cpu_seconds"], row["cpu_share"]
    del found["peak_memory_bytes"]
    return found


def test_what_a_contest_leaves(whole: Path) -> None:
    found = models(whole)
    assert len(found) == 2 * (2 + 2)
    assert {name.split("/")[1] for name in found} == {"0000.npz", "0001.npz"}
    assert {name.split("/")[0].rpartition("-")[0] or name.split("/")[0] for name in found} == {
        *[RETRAINED, INDEPENDENT, "fine_tune", "gradient_ascent"]
    }
    assert all(
        set(arrays) == {"diverged", "logits_forget", "logits_retain", "logits_test", "passes", "share"}
        for arrays in found.values()
    )
    assert len({arrays["logits_forget"] for arrays in found.values()}) == len(found), "a seed of its own for each"
    told = figures(whole)
    assert (told["models"], told["examples"]) == (2, 6)
    assert {row["name"] for row in told["methods"]} == set(TWO)
    assert len(told["forget_ids"]) == 6


def test_over_budget_scores_nothing(whole: Path) -> None:
    rows = {row["name"]: row for row in figures(whole)["methods"]}
    over = rows["fine_tune"]
    assert over["compute_share"] == pytest.approx(1.0)
    assert over["over_budget"]
    assert over["score"]["value"] == 0
    assert over["forgetting"]["value"] >= 0
    within = rows["gradient_ascent"]
    assert within["compute_share"] < 0.2
    assert not within["over_budget"]
    assert figures(whole)["ceiling"]["over_budget"] is False


def test_other_processes_give_the_same_bits(whole: Path, recipe: ImageRecipe, tmp_path: Path) -> None:
    run_contest(recipe, tmp_path / "run", methods=TWO, models=2, workers=1)
    assert models(tmp_path / "run") == models(whole)
    assert figures(tmp_path / "run") == figures(whole)


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_cluster_gives_the_same_bits(
    whole: Path, recipe: ImageRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.chdir(Path(recipe.data).parent)  # what is typed may be relative
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        typed = recipe.model_copy(update={"data": "animals"})
        run_contest(typed, tmp_path / "run", methods=TWO, models=2, ray=True)
    finally:
        ray.shutdown()
    assert models(tmp_path / "run") == models(whole)


def test_ray_that_is_not_installed_is_told_before_anything_is_trained(
    recipe: ImageRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match="Ray is not installed"):
        run_contest(recipe, tmp_path / "run", methods=TWO, models=2, ray=True)
    assert not (tmp_path / "run").exists()


def test_what_was_broken_off_goes_on_and_nothing_is_made_twice(
    whole: Path, recipe: ImageRecipe, here: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        calls: list[Job] = []

        def killed(job: Job) -> float:
            calls.append(job)
            if len(calls) == 4:
                raise Killed
            return make_model(job)

        patch.setattr(challenge, "make_model", killed)
        with pytest.raises(Killed):
            run_contest(recipe, out, methods=TWO, models=2)
    assert len(models(out)) == 3
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    here.clear()
    run_contest(recipe, out, methods=TWO, models=2)
    assert len(here) == len(set(here)) == 5
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert models(out) == models(whole)
    here.clear()
    run_contest(recipe, out, methods=TWO, models=2)
    assert here == []
    assert figures(out) == figures(whole)


def test_more_models_and_methods_later(whole: Path, recipe: ImageRecipe, here: Made, tmp_path: Path) -> None:
    out = tmp_path / "run"
    one = {"gradient_ascent": TWO["gradient_ascent"]}
    run_contest(recipe, out, methods=one, models=2)
    first = models(out)
    here.clear()
    found = run_contest(recipe, out, methods=one, models=3)
    assert {seed for _, seed in here} == {2}
    assert len(here) == 3
    assert found["models"] == 3
    assert "ulira" in found["methods"][0]
    assert {name: models(out)[name] for name in first} == first
    here.clear()
    other = {"gradient_ascent": {"method": {"name": "gradient_ascent"}, "unlearning": {"num_train_epochs": 2.0}}}
    run_contest(recipe, out, methods=other, models=2)
    assert len(here) == 2, "other settings are another group; the oracles stay"


def test_too_few_models_for_an_interval_are_told(whole: Path) -> None:
    """With two models of a kind no attack is fitted, and what the figures lack is said."""
    rows = figures(whole)["methods"]
    assert all("ulira" not in row for row in rows)
    for row in [*rows, figures(whole)["ceiling"]]:
        interval = row["forgetting"]
        assert interval["low"] is None or interval["low"] <= interval["value"] <= interval["high"]
        assert row["notes"], "few models say little, and the row says so"


def test_one_model_is_refused(recipe: ImageRecipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="more than one model of a kind") as caught:
        run_contest(recipe, tmp_path / "run", methods=TWO, models=1)
    assert caught.value.allowed == "2 or more"
    own = recipe.model_copy(update={"model": "some/model"})
    with pytest.raises(RecipeError, match="a contest trains its models from scratch"):
        run_contest(own, tmp_path / "run", methods=TWO, models=2)
    assert not (tmp_path / "run").exists()


def test_another_contest_in_the_same_folder_is_refused(whole: Path, recipe: ImageRecipe, here: Made) -> None:
    with pytest.raises(RunError, match="holds another run: its recipe differs in forget"):
        run_contest(recipe.model_copy(update={"forget": "random:5"}), whole, methods=TWO, models=2)
    assert here == []


def test_pictures_that_were_changed_since_are_refused(here: Made, recipe: ImageRecipe, tmp_path: Path) -> None:
    data = write_class_folders(tmp_path / "animals", 32)
    own = recipe.model_copy(update={"data": str(data)})
    one = {"gradient_ascent": TWO["gradient_ascent"]}
    run_contest(own, tmp_path / "run", methods=one, models=2)
    here.clear()
    write_class_folders(data, 36)
    with pytest.raises(RunError, match="has models of other pictures"):
        run_contest(own, tmp_path / "run", methods=one, models=2)
    assert here == []


def test_methods_by_name() -> None:
    every = contest_methods("all")
    assert set(every) == {name for name in built_in() if "image_classifier" in method_class(name).needs.kinds}
    assert list(contest_methods("scrub, kookmin")) == ["scrub", "kookmin"]
    with pytest.raises(RecipeError, match="there is no method 'kokmin'") as caught:
        contest_methods("scrub,kokmin")
    assert str(caught.value.next_step).startswith("did you mean kookmin?")
    with pytest.raises(RecipeError, match="whos_harry_potter does not work on image classifiers") as caught:
        contest_methods("whos_harry_potter")
    assert str(caught.value.next_step).endswith("expunge methods lists what each works on")


def test_a_method_that_diverges_has_no_score_and_breaks_nothing_off(
    recipe: ImageRecipe, here: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unlearn = contest_models.unlearn

    def breaking(work: Any, method: Any, phase: Any) -> None:
        if isinstance(method, method_class("fine_tune")):
            return unlearn(work, method, phase)
        if work.seed % 2:
            raise DivergedError("the loss is not a number")
        with torch.no_grad():
            next(iter(work.model.parameters())).fill_(float("nan"))

    monkeypatch.setattr(contest_models, "unlearn", breaking)
    found = run_contest(recipe, tmp_path / "run", methods=TWO, models=3)
    assert [row["name"] for row in found["methods"]] == ["fine_tune"]
    (row,) = found["diverged"]
    assert row["name"] == "gradient_ascent"
    assert row["models"] == 3
    assert row["reason"] in ("the loss is not a number", "its outputs are not numbers")
    print_contest(found)
    assert "3 models: " in capsys.readouterr().out
    page = contest_page(RunFolder(tmp_path / "run"))
    assert "3 of 3 models diverged" in page
    here.clear()
    again = run_contest(recipe, tmp_path / "run", methods=TWO, models=3)
    assert here == [], "it would diverge again"
    assert again["diverged"] == found["diverged"]
    alone = run_contest(recipe, tmp_path / "run", methods={"gradient_ascent": TWO["gradient_ascent"]}, models=3)
    assert alone["methods"] == []
    assert "Every method diverged" in contest_page(RunFolder(tmp_path / "run"))


def test_an_oracle_that_diverges_ends_the_contest(
    recipe: ImageRecipe, here: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(work: Any, phase: Any) -> None:
        raise DivergedError("the loss is not a number")

    monkeypatch.setattr(contest_models, "fit", breaking)
    with pytest.raises(DivergedError, match="model 0 of retrained diverged"):
        run_contest(recipe, tmp_path / "run", methods=TWO, models=2)


def test_as_it_is_typed(recipe: ImageRecipe, here: Made, tmp_path: Path, typed: Type) -> None:
    words = ["suite", "challenge", "--data", recipe.data, "--methods", "gradient_ascent", "--models", "2"]
    words += ["--forget", "random:6", "--fitting.num_train_epochs", "1", "--out", str(tmp_path / "run")]
    code, said, _ = typed(*words)
    assert code == 0
    assert "gradient_ascent" in said
    assert "retrained again" in said
    assert "2 models of each kind, 6 forgotten pictures" in said
    assert (tmp_path / "run" / "contest.json").is_file()


def test_every_setting_is_one_of_a_method_that_takes_part() -> None:
    settings = yaml.safe_load((files("expunge.suites.challenge") / contest_models.SETTINGS).read_text(encoding="utf-8"))
    every = contest_methods("all")  # makes each of them, so no field is unknown
    assert set(settings) <= set(every)
    for name, own in settings.items():
        assert set(own) <= {"method", "unlearning"}
        assert every[name]["method"] == {"name": name, **own.get("method", {})}
        make(ImageRecipe, {"data": ".", "forget": "random:1", "unlearning": own.get("unlearning", {})}, {})
    assert settings
