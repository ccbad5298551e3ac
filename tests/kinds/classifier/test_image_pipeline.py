"""A whole run on an image classifier, and what the later verbs make of its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification

import expunge
from cheap_figures import drawing
from expunge import api, spine
from expunge.errors import DivergedError, ModelError, RecipeError, RunError
from expunge.kinds.classifier import story
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import read_recipe
from expunge.runs.recipe import make
from expunge.runs.registry import built_in, method_class
from kept_pictures import kept_pictures, pixels_of
from small import contents, leftovers
from small_images import SMALL_IMAGES, save_tiny, tiny_resnet, tiny_vit, write_class_folders

CLASSES = ("ant", "bee", "cat", "dog")
Forget = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures in four class folders. Read only."""
    return write_class_folders(tmp_path_factory.mktemp("pictures") / "animals")


@pytest.fixture(scope="module")
def forget(data: Path) -> Forget:
    """Forget eight of the pictures; options are fields of the recipe."""

    def run(out: Path, method: str = "fine_tune", **options: Any) -> RunFolder:
        return expunge.run(make(ImageRecipe, {"data": str(data)}, SMALL_IMAGES | {"method": method} | options), out)

    return run


@pytest.fixture(scope="module")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a user's own ViT and ResNet."""
    folder = tmp_path_factory.mktemp("own")
    return {
        "vit": save_tiny(tiny_vit(), folder / "vit", CLASSES),
        "resnet": save_tiny(tiny_resnet(), folder / "resnet", CLASSES),
    }


@pytest.fixture(scope="module")
def finished(forget: Forget, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run with an oracle. Read only."""
    return forget(tmp_path_factory.mktemp("run") / "age", "scrub", retrained="train", **{"method.epochs": 1})


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else."""
    monkeypatch.setattr(spine, "render_report", lambda folder: None)


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(finished.path, tmp_path / "copied")
    return RunFolder(tmp_path / "copied")


# A whole run


def test_every_file_is_there(finished: RunFolder, data: Path) -> None:
    names = {path.name for path in finished.path.iterdir()} - {".lock"}
    assert names == {
        *["recipe.yaml", "events.jsonl", "stages", "checkpoints", "model", "scores.json", "per_example.json"],
        *["report.html", "record.json"],
    }
    assert {path.name for path in finished.model.iterdir()} == {
        *["config.json", "model.safetensors", "preprocessor_config.json", "README.md"]
    }
    assert leftovers(finished.path) == []
    assert list(finished.checkpoints.iterdir()) == []
    stages = {path.name.rpartition("-")[0] for path in finished.stages.iterdir()}
    assert stages == {
        *["fitted-base", "fitted-retrained", "unlearned"],
        *[f"measured-{which}" for which in ("base", "unlearned", "retrained")],
    }
    recipe = yaml.safe_load(finished.recipe.read_text())
    assert set(recipe) == set(ImageRecipe.model_fields)
    assert recipe["data"] == str(data)
    assert "</html>" in finished.report.read_text()
    card = (finished.model / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "transformers"
    assert str(data) not in card


def test_scores_record_and_verdict_are_well_formed(finished: RunFolder) -> None:
    rows = json.loads(finished.scores.read_text())
    found = {(row["measure"], row["split"], row["model"]): row for row in rows}
    assert len(found) == len(rows)
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] == {"forget": 8, "test": found["image_accuracy", "test", "base"]["n"]}.get(
            row["split"], row["n"]
        )
    core = {("image_accuracy", split) for split in ("forget", "retain", "test")} | {("membership_auc", "forget")}
    for which in ("base", "unlearned", "retrained"):
        assert core <= {(measure, split) for measure, split, model in found if model == which}
    assert ("activation_distance", "forget", "unlearned") in found
    distances = [*[(f"{of}_distance", split) for of in ("activation", "feature") for split in ("forget", "test")],
                 ("weight_distance", "weights")]  # fmt: skip
    for name in distances:
        assert {(*name, "base"), (*name, "unlearned")} <= set(found)
        assert found[*name, "unlearned"]["value"] > 0
        assert (*name, "retrained") not in found
    record = json.loads(finished.record.read_text())
    assert record["method"]["name"] == "scrub"
    assert record["method"]["settings"]["epochs"] == 1
    assert [check["name"] for check in record["verdict"]["checks"]] == [
        *["retain_accuracy", "test_accuracy", "forget_gap", "membership_auc", "share_of_retraining"]
    ]
    assert record["verdict"]["passed"] == all(check["passed"] for check in record["verdict"]["checks"])
    retain = record["sets"]["retain"]["pictures"]
    assert record["cost"]["share_of_retraining"] == record["cost"]["image_passes"] / (3 * 2 * retain)
    assert sum(part["pictures"] for part in record["sets"].values()) == 64
    assert record["title"] == "random:8 of animals"


def test_it_loads_as_any_classifier_and_says_what_was_measured(finished: RunFolder) -> None:
    model, info = AutoModelForImageClassification.from_pretrained(finished.model, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.id2label == dict(enumerate(CLASSES))
    assert model.config.label2id == {name: number for number, name in enumerate(CLASSES)}
    preprocessor = json.loads((finished.model / "preprocessor_config.json").read_text())
    assert preprocessor["size"] == {"height": 16, "width": 16}
    assert preprocessor["image_mean"] == [0.5, 0.5, 0.5]
    sets = story.read_sets(recipe_of(finished))
    pixels = (sets.tensors["forget"].pixels.float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        right = (model.eval()(pixels).logits.argmax(-1) == sets.tensors["forget"].labels).float().mean()
    (accuracy,) = [s for s in finished.read_scores() if (s.measure, s.split, s.model) == WANTED]
    assert accuracy.value == pytest.approx(float(right))


WANTED = ("image_accuracy", "forget", "unlearned")


def recipe_of(folder: RunFolder) -> ImageRecipe:
    recipe = read_recipe(folder.recipe)
    assert isinstance(recipe, ImageRecipe)
    return recipe


def test_the_same_again_computes_nothing_and_changes_no_byte(
    finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fit", "unlearn", "save_classifier", "load_classifier"):
        monkeypatch.setattr(story, name, lambda *args, **kwargs: pytest.fail("this was done before"))
    before = contents(finished.path)
    expunge.run(finished.recipe, finished.path)
    after = contents(finished.path)
    assert {n for n in before | after if before.get(n) != after.get(n)} <= {
        "events.jsonl",
        "record.json",
        "report.html",
    }


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"method": "kookmin"}, {"fitting.num_train_epochs": 3}, {"forget": "random:9"}]
)
def test_another_recipe_in_the_same_folder_is_refused(other: dict[str, Any], copied: RunFolder, data: Path) -> None:
    recipe = make(ImageRecipe, yaml.safe_load(copied.recipe.read_text()), other)
    before = contents(copied.path)
    with pytest.raises(RunError, match="holds another run: its recipe differs in") as caught:
        expunge.run(recipe, copied.path)
    assert "choose another --out" in str(caught.value)
    assert {n for n, d in contents(copied.path).items() if before.get(n) != d} <= {"events.jsonl"}


@pytest.mark.usefixtures("no_report")
def test_the_seed_decides_the_bits(forget: Forget, tmp_path: Path) -> None:
    weights = [
        contents(forget(tmp_path / name, seed=seed).model)["model.safetensors"]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.usefixtures("no_report")
def test_a_model_that_was_changed_is_made_again_to_the_bit(copied: RunFolder) -> None:
    before = contents(copied.model)
    flip_last_bit(copied.model / "model.safetensors")
    expunge.run(copied.recipe, copied.path)
    assert contents(copied.model) == before
    assert leftovers(copied.path) == []


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# Models of the user's own


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.usefixtures("no_report")
def test_a_model_of_the_users_own_needs_no_oracle(
    kind: str, own_models: dict[str, Path], forget: Forget, tmp_path: Path
) -> None:
    folder = forget(tmp_path / "run", model=str(own_models[kind]))
    assert {path.name.rpartition("-")[0] for path in folder.stages.iterdir()} == {
        *["unlearned", "measured-base", "measured-unlearned"]
    }
    before, after = (load_file(place / "model.safetensors") for place in (own_models[kind], folder.model))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    told = json.loads(folder.record.read_text())["not_tested"]
    assert any("retrained" in line for line in told)
    model = AutoModelForImageClassification.from_pretrained(folder.model)
    assert type(model).__name__ == {"vit": "ViTForImageClassification", "resnet": "ResNetForImageClassification"}[kind]


def test_the_users_own_model_is_never_written_over(
    own_models: dict[str, Path], forget: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(own_models["resnet"], tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    for out in (".", "model", "model/runs"):
        with pytest.raises(RunError, match="choose another --out"):
            forget(Path(out), model="model")
        assert contents(tmp_path) == before


def test_its_size_is_taken_where_none_is_asked_for(own_models: dict[str, Path], data: Path) -> None:
    recipe = make(ImageRecipe, {"data": str(data), "forget": "random:8", "model": str(own_models["vit"])}, {})
    assert story.read_sets(recipe).size == 16
    assert story.read_sets(recipe.model_copy(update={"model": "resnet18-small"})).size == 32


def test_labels_count_the_classes_as_the_model_does(data: Path, tmp_path: Path) -> None:
    order = ("dog", "ant", "cat", "bee")
    own = save_tiny(tiny_resnet(), tmp_path / "own", order)
    recipe = make(ImageRecipe, {"data": str(data)}, SMALL_IMAGES | {"model": str(own)})
    sets = story.read_sets(recipe)
    assert sets.classes == order
    for part in sets.parts.values():
        assert [order[label] for label in part.labels] == [name.split("/")[0] for name in part.ids]
    wider = save_tiny(tiny_resnet(classes=6), tmp_path / "wider", ("eel", *order, "fox"))
    sets = story.read_sets(recipe.model_copy(update={"model": str(wider)}))
    assert {sets.classes[label] for label in sets.parts["retain"].labels} == set(order)
    unnamed = save_tiny(tiny_resnet(), tmp_path / "unnamed")
    assert story.read_sets(recipe.model_copy(update={"model": str(unnamed)})).classes == CLASSES
    other = save_tiny(tiny_resnet(), tmp_path / "other", ("w", "x", "y", "z"))
    sets = story.read_sets(recipe.model_copy(update={"model": str(other)}))
    assert sets.classes == CLASSES
    assert any("w, x, y, …" in note and "in this order" in note for note in sets.notes)


def test_an_oracle_with_the_classes_in_another_order_is_refused(
    own_models: dict[str, Path], forget: Forget, tmp_path: Path
) -> None:
    oracle = save_tiny(tiny_resnet(seed=3), tmp_path / "oracle", CLASSES[::-1])
    with pytest.raises(ModelError, match="has the classes in another order"):
        forget(tmp_path / "run", model=str(own_models["resnet"]), retrained=str(oracle))


@pytest.mark.usefixtures("no_report")
def test_no_oracle_can_be_trained_for_a_model_from_elsewhere(
    own_models: dict[str, Path], forget: Forget, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="for a model that is trained here") as caught:
        forget(tmp_path / "run", model=str(own_models["vit"]), retrained="train")
    assert caught.value.next_step == "give the folder of a retrained model: --retrained FOLDER"
    folder = forget(tmp_path / "given", model=str(own_models["resnet"]), retrained=str(own_models["vit"]))
    assert {score.model for score in folder.read_scores()} == {"base", "unlearned", "retrained"}


LOSSES = [
    name
    for name in built_in()
    if method_class(name).has_loss() and "image_classifier" in method_class(name).needs.kinds
]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.usefixtures("no_report")
def test_every_method_that_is_one_loss(name: str, own_models: dict[str, Path], forget: Forget, tmp_path: Path) -> None:
    folder = forget(tmp_path / name, name, model=str(own_models["resnet"]))
    record = json.loads(folder.record.read_text())
    retain, lost = (record["sets"][part]["pictures"] for part in ("retain", "forget"))
    trained = {"fine_tune": 3 * retain, "gradient_ascent": 3 * lost}.get(name)
    known = {"npo": lost, "npo_sam": lost, "jensun": retain}.get(name, 0)  # the original's outputs, looked at once
    if trained is None:  # the forget set goes round beside, a batch for each of the retain set's
        assert record["cost"]["image_passes"] >= 3 * (retain + lost) + known
        assert (record["cost"]["image_passes"] - known) % 3 == 0
    else:
        assert record["cost"]["image_passes"] == trained
    before, after = (load_file(place / "model.safetensors") for place in (own_models["resnet"], folder.model))
    assert all(after[key].isfinite().all() for key in after if after[key].is_floating_point())
    assert any(not torch.equal(before[key], after[key]) for key in before)


# Broken models


@pytest.mark.parametrize(
    ("value", "looked_at"), [(0.0, True), (float("nan"), True), (float("nan"), False), (float("inf"), False)]
)
@pytest.mark.usefixtures("no_report")
def test_a_broken_model_is_not_saved_and_would_fail_its_verdict(
    value: float,
    looked_at: bool,
    own_models: dict[str, Path],
    forget: Forget,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaking(work: Any, method: Any, phase: Any) -> None:
        with torch.no_grad():
            for weights in work.model.parameters():
                weights.fill_(value)
        work.cost.passes = 1

    monkeypatch.setattr(story, "unlearn", breaking)
    if value and looked_at:
        with pytest.raises(DivergedError, match="weights that are not numbers"):
            forget(tmp_path / "run", model=str(own_models["vit"]))
        assert not (tmp_path / "run" / "model").exists()
        return
    monkeypatch.setattr("expunge.train.unchanged._refuse_broken", lambda model, method: None)
    folder = forget(tmp_path / "run", model=str(own_models["vit"]))
    scores = {(s.measure, s.split): s.value for s in folder.read_scores() if s.model == "unlearned"}
    assert scores["image_accuracy", "retain"] <= (0.0 if value else 0.3)
    assert scores["entropy", "forget"] == pytest.approx(torch.tensor(4.0).log().item(), abs=1e-6)
    verdict = json.loads(folder.record.read_text())["verdict"]
    assert not verdict["passed"]
    if value:
        assert [check["passed"] for check in verdict["checks"] if "accuracy" in check["name"]] == [False, False]


def test_a_base_model_of_no_numbers_is_refused(own_models: dict[str, Path], forget: Forget, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(own_models["resnet"], broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["classifier.1.weight"][0, 0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="holds weights that are not numbers"):
        forget(tmp_path / "run", model=str(broken))


# The verbs that follow


def failing(folder: RunFolder) -> list[str]:
    return [finding.what for finding in verify_run(folder) if finding.ok is False]


def test_evaluate_measures_again(copied: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fit", "unlearn", "save_classifier"):
        monkeypatch.setattr(story, name, lambda *args, **kwargs: pytest.fail("nothing is trained"))
    before, weights = copied.read_scores(), contents(copied.model)
    for path in copied.stages.glob("measured-*"):
        shutil.rmtree(path)
    copied.scores.unlink()
    copied.report.unlink()
    with drawing():
        assert expunge.evaluate(copied.path) == before
        assert failing(copied) == []
    assert contents(copied.model) == weights
    assert copied.report.read_text().count("<path") > 20


def test_evaluate_any_classifier_on_the_pictures_of_a_run(
    copied: RunFolder, own_models: dict[str, Path], tmp_path: Path
) -> None:
    files = contents(copied.path)
    scores = expunge.evaluate(own_models["resnet"], recipe=copied.recipe)
    assert {score.model for score in scores} == {"unlearned"}
    own = expunge.evaluate(copied.model, recipe=copied.recipe)
    assert own == [score for score in copied.read_scores() if score.model == "unlearned"]
    after = contents(copied.path)
    assert {name for name in files if files[name] != after[name]} == {"events.jsonl"}
    shutil.copy(copied.recipe, tmp_path / "recipe.yaml")
    with pytest.raises(RunError, match="is not the recipe of a run"):
        expunge.evaluate(own_models["resnet"], recipe=tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match="benchmarks is not measured on image classifiers"):
        expunge.evaluate(copied.path, benchmarks="hub")


def test_evaluate_refuses_what_was_changed(forget: Forget, own_models: dict[str, Path], tmp_path: Path) -> None:
    pictures = write_class_folders(tmp_path / "pictures")
    folder = forget(tmp_path / "run", data=str(pictures), model=str(own_models["resnet"]))
    recipe = folder.recipe.read_text()
    folder.recipe.write_text(recipe.replace("learning_rate: 0.001", "learning_rate: 0.5"))
    with pytest.raises(RunError, match="made from something else") as caught:
        expunge.evaluate(folder.path)
    assert caught.value.seen == "changed since: the recipe's unlearning, the recipe's fitting"
    folder.recipe.write_text(recipe)
    (pictures / "ant" / "000.png").unlink()
    with pytest.raises(RunError) as caught:
        expunge.evaluate(folder.model, recipe=folder.recipe)
    assert caught.value.seen == "changed since: the pictures"
    assert any("set of" in what for what in failing(folder))
    shutil.rmtree(pictures)
    assert failing(folder) == []  # what is not there cannot be checked
    flip_last_bit(folder.model / "model.safetensors")
    with pytest.raises(RunError, match="no unlearned model, or one that was changed since"):
        expunge.evaluate(folder.path)


def test_no_picture_is_kept(finished: RunFolder, data: Path) -> None:
    assert kept_pictures(finished.path, [pixels_of(path) for path in sorted(data.glob("*/*.png"))]) == set()


def test_verify_finds_nothing_in_a_finished_run(finished: RunFolder) -> None:
    findings = {finding.what: finding.ok for finding in verify_run(finished)}
    assert all(ok is not False for ok in findings.values()), findings
    assert sum(" set of " in what and ok is True for what, ok in findings.items()) == 4
    for what in ("model/model.safetensors", "recipe.yaml", "scores.json", "the base model resnet18-small"):
        assert findings[f"{what} has the recorded digest"] is True
    assert findings["the verdict follows from scores.json and the recorded thresholds"] is True


def test_all_scores_come_out_again_from_the_saved_model(finished: RunFolder) -> None:
    before = contents(finished.path)
    findings = api.measure_again(finished.path, 1000)
    assert [each.what for each in findings if each.ok is not True] == []
    assert len(findings) == sum(each.model == "unlearned" for each in finished.read_scores()) > 4
    assert contents(finished.path) == before


def test_verify_names_what_was_changed(copied: RunFolder) -> None:
    path = copied.model / "preprocessor_config.json"
    path.write_text(path.read_text().replace("16", "32"))
    assert failing(copied) == ["model/preprocessor_config.json does not have the recorded digest"]
    path.write_text(path.read_text().replace("32", "16"))
    rows = json.loads(copied.scores.read_text())
    for row in rows:
        if (row["measure"], row["split"], row["model"]) == ("image_accuracy", "retain", "unlearned"):
            row["value"] += 0.3
    copied.scores.write_text(json.dumps(rows))
    found = failing(copied)
    assert "scores.json does not have the recorded digest" in found
    assert "the verdict does not follow from scores.json and the recorded thresholds" in found


@pytest.mark.usefixtures("no_report")
def test_compare(finished: RunFolder, forget: Forget, tmp_path: Path) -> None:
    other = forget(tmp_path / "other", "fine_tune", retrained="train")
    page = tmp_path / "comparison.html"
    text = expunge.compare([finished.path, other.path], page)
    line = next(line for line in text.splitlines() if line.startswith("In pairs"))
    assert line.split()[-1] == "yes"
    assert "scrub" in text.lower()
    assert "change against the first" in text
    assert "</html>" in page.read_text()


# Recipes


def test_a_recipe_says_by_its_task_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("forget: x\n")
    assert "task" not in type(read_recipe(path)).model_fields
    path.write_text("task: causal_lm\nforget: x\n")
    assert type(read_recipe(path)).__name__ == "Recipe"
    path.write_text("task: image_classifier\nforget: x\ndata: y\n")
    assert type(read_recipe(path, {"method": "scrub"})) is ImageRecipe
    assert read_recipe(path, {"method": "scrub"}).method == {"name": "scrub"}
    assert read_recipe(path, {"method": "scrub", "method.alpha": 0.5}).method == {"name": "scrub", "alpha": 0.5}
    path.write_text("task: image_clasifier\nforget: x\n")
    with pytest.raises(RecipeError, match="there is no task 'image_clasifier'") as caught:
        read_recipe(path)
    assert caught.value.next_step == "did you mean image_classifier?"


def test_a_method_for_language_models_is_refused(forget: Forget, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="whos_harry_potter does not work on image classifiers"):
        forget(tmp_path / "run", "whos_harry_potter")
    assert not (tmp_path / "run").exists()
