"""A whole run on an image-to-image generator, and what the later verbs make of its folder."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModel, ViTMAEForPreTraining

import expunge
from cheap_figures import drawing
from expunge import api, spine
from expunge.errors import DataError, ExpungeError, ModelError, RecipeError, RunError
from expunge.kinds.generator import story
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.sets import read_sets
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import read_recipe
from expunge.runs.recipe import make
from kept_pictures import kept_pictures, pixels_of
from small import contents, leftovers
from small_generators import SMALL_GENERATOR, tiny_generator
from small_images import save_tiny, tiny_resnet, write_class_folders

Forget = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures in four class folders. Read only."""
    return write_class_folders(tmp_path_factory.mktemp("pictures") / "animals")


@pytest.fixture(scope="module")
def forget(data: Path) -> Forget:
    """Forget a class of the pictures; options are fields of the recipe."""

    def run(out: Path, **options: Any) -> RunFolder:
        given = {"data": str(data), "method": "encoder_scrubbing"}
        return expunge.run(make(GeneratorRecipe, given, SMALL_GENERATOR | options), out)

    return run


@pytest.fixture(scope="module")
def finished(forget: Forget, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run with an oracle. Read only."""
    return forget(tmp_path_factory.mktemp("run") / "faces", retrained="train", **{"evaluation.front": (0.1, 1.0)})


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(finished.path, tmp_path / "copied")
    return RunFolder(tmp_path / "copied")


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else."""
    monkeypatch.setattr(spine, "render_report", lambda folder: None)


def test_every_file_is_there(finished: RunFolder) -> None:
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
    stages = {path.name.rpartition("-")[0] or path.name for path in finished.stages.iterdir()}
    assert stages == {
        *["fitted-base", "fitted-retrained", "fitted-network", "unlearned", "shown", "front"],
        *[f"{what}-{which}" for what in ("measured", "attacked") for which in ("base", "unlearned", "retrained")],
    }
    assert set(yaml.safe_load(finished.recipe.read_text())) == set(GeneratorRecipe.model_fields)


def test_scores_record_and_verdict_are_well_formed(finished: RunFolder) -> None:
    rows = json.loads(finished.scores.read_text())
    found = {(row["measure"], row["split"], row["model"]): row for row in rows}
    assert len(found) == len(rows)
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    leaks = {"leak_corruption", "leak_input", "leak_decoder", "leak_probe"}
    measures = {"frechet", "inception", "feature_cosine", "perceptual", "psnr", "ssim"}
    measures |= {"identity_recognition", "class_recognition", "group_recognition"}
    for which in ("base", "unlearned", "retrained"):
        for split in ("forget", "retain", "retain_test"):
            assert measures == {m for m, s, w in found if (s, w) == (split, which)} - leaks
        assert leaks <= {m for m, s, w in found if (s, w) == ("forget", which)}
    record = json.loads(finished.record.read_text())
    assert [check["name"] for check in record["verdict"]["checks"]] == [
        *["retain_frechet", "retain_psnr", "forget_frechet", "forget_recognition", "forget_identification"],
        "share_of_retraining",
    ]
    assert record["verdict"]["passed"] == all(check["passed"] for check in record["verdict"]["checks"])
    sizes = {name: part["pictures"] for name, part in record["sets"].items()}
    assert sum(sizes.values()) == 64
    assert sizes["forget"] + sizes["forget_test"] == 16
    assert record["chances"]["forget"] == 1 / sizes["forget"]
    assert record["chances"]["group"] == 16 / 64
    assert 0 <= record["network"]["accuracy"]["value"] <= 1
    assert record["network"]["trained_here"]
    assert record["front"]["field"] == "alpha"
    assert [point["value"] for point in record["front"]["points"]] == [0.1, 1.0]


def test_it_loads_as_any_masked_autoencoder_and_only_the_encoder_changed(finished: RunFolder) -> None:
    model, info = ViTMAEForPreTraining.from_pretrained(finished.model, output_loading_info=True)
    assert not info["missing_keys"]
    assert model.config.mask_ratio == 0.75
    (base,) = finished.stages.glob("fitted-base-*/model/model.safetensors")
    before, after = load_file(base), load_file(finished.model / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("vit.") for name in changed)


def test_the_report_shows_pictures_only_where_they_are_wanted(
    finished: RunFolder, copied: RunFolder, forget: Forget, tmp_path: Path
) -> None:
    with drawing():
        expunge.report.render.render_report(copied)
        assert [finding.what for finding in verify_run(copied) if finding.ok is False] == []
    page = copied.report.read_text()
    assert page.count("data:image/png") == 2 * 2 * 5
    assert "shows pictures that were to be forgotten" in page
    assert "trained on these pictures" in page
    assert "Keeping against forgetting" in page
    for column in ("original", "what the model is shown", "before", "after", "retrained"):
        assert page.count(f'alt="to forget: {column}"') == page.count(f'alt="to keep, held back: {column}"') == 2
    sizes = {name: part["pictures"] for name, part in json.loads(finished.record.read_text())["sets"].items()}
    told = [f"to forget, n = {sizes['forget']}", f"to keep, n = {sizes['retain_test']}"]
    told.append(f"Fréchet distance, to forget (n = {sizes['forget']})")
    for label in ("first axis", "second axis", "step", "objective", *told):
        assert label in page, label
    assert "img-src data:" in page
    shutil.copytree(finished.path, tmp_path / "none")
    none = RunFolder(tmp_path / "none")
    (none.stages / "shown" / "shown.npz").write_bytes(b"damaged")
    expunge.report.render.render_report(none)
    assert "data:image/png" not in none.report.read_text()
    card = (finished.model / "README.md").read_text()
    assert "ViTMAEForPreTraining" in card
    assert "data:image" not in card


def test_without_excerpts_no_picture_is_shown_or_kept(
    finished: RunFolder, forget: Forget, data: Path, tmp_path: Path
) -> None:
    lost = [pixels_of(path) for path in sorted((data / "ant").iterdir())]
    folder = forget(tmp_path / "run", excerpts=False)
    assert kept_pictures(folder.path, lost) == set()
    page = folder.report.read_text()
    assert "data:image" not in page
    assert "<h2>Features</h2>" in page
    assert "<svg" in page.partition("<h2>Features</h2>")[2].partition("</section>")[0], "figures of features stay"
    shown = {name for name in kept_pictures(finished.path, lost) if "measured-" not in name}
    assert shown == {"report.html", "stages/shown/shown.npz"}, "they can be found where they are"
    rows = {(s.measure, s.split): s.value for s in folder.read_scores() if s.model == "unlearned"}
    with_pictures = {(s.measure, s.split): s.value for s in finished.read_scores() if s.model == "unlearned"}
    assert rows == {name: pytest.approx(with_pictures[name], rel=1e-5) for name in rows}
    before = contents(folder.path)
    expunge.run(folder.recipe, folder.path)
    assert kept_pictures(folder.path, lost) == set()
    assert contents(folder.path)["scores.json"] == before["scores.json"]


def test_verify_says_that_all_is_as_recorded(finished: RunFolder) -> None:
    findings = verify_run(finished)
    assert [finding.what for finding in findings if finding.ok is False] == []
    assert sum("set of" in finding.what for finding in findings) == 4
    assert any("the verdict follows" in finding.what for finding in findings)


def test_all_scores_come_out_again_from_the_saved_model(finished: RunFolder) -> None:
    before = contents(finished.path)
    findings = api.measure_again(finished.path, 1000)
    assert [each.what for each in findings if each.ok is not True] == []
    assert len(findings) == sum(each.model == "unlearned" for each in finished.read_scores()) > 4
    assert contents(finished.path) == before


def test_the_same_again_computes_nothing(finished: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fit_generator", "save_generator"):
        monkeypatch.setattr(story, name, lambda *args, **kwargs: pytest.fail("this was done before"))
    before = contents(finished.path)
    expunge.run(finished.recipe, finished.path)
    after = contents(finished.path)
    changed = {n for n in before | after if before.get(n) != after.get(n)}
    assert changed <= {"events.jsonl", "record.json", "report.html"}


@pytest.mark.usefixtures("no_report")
def test_a_model_that_was_changed_is_made_again_to_the_bit(copied: RunFolder) -> None:
    before = contents(copied.model)
    path = copied.model / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    expunge.run(copied.recipe, copied.path)
    assert contents(copied.model) == before


@pytest.mark.usefixtures("no_report")
def test_a_folder_model_other_corruptions_a_proxy_retain_set_and_clip(
    data: Path, forget: Forget, tmp_path: Path
) -> None:
    task = tiny_generator()
    task.model.save_pretrained(tmp_path / "own")  # type: ignore[operator]
    other = write_class_folders(tmp_path / "other", 32)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1}
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=16, patch_size=8)).save_pretrained(tmp_path / "clip")
    options = {"retain": str(other), "corruption": "center-crop", "network.model": str(tmp_path / "clip")}
    folder = forget(tmp_path / "run", model=str(tmp_path / "own"), **options)
    measured = {score.measure for score in folder.read_scores() if score.split == "retain"}
    # a model without classes has none to be sure of
    assert measured == {"frechet", "feature_cosine", "perceptual", "psnr", "ssim", "identity_recognition"}
    record = json.loads(folder.record.read_text())
    assert record["sets"]["proxy"] == {"pictures": 32}
    assert "proxy set" in record["digests"]
    assert any("retrained" in line for line in record["not_tested"])
    assert record["training"]["seconds"] is None
    assert [
        finding.what for finding in verify_run(folder) if finding.ok is False and "report" not in finding.what
    ] == []


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"forget": "agee <= 12"}, DataError, "agee"),
        ({"forget": "class:wolf"}, DataError, "no class 'wolf'"),
        ({"forget": "class in [1, 2]"}, ExpungeError, "class"),
        ({"forget": 'label != "wolf"'}, DataError, "selects all"),
        ({"forget": 'label == "wolf"'}, DataError, "selects none"),
        ({"images.size": 18}, ModelError, "patches of 4 pixels"),
        ({"corruption": "random-patches", "strength": 0.01}, RecipeError, "hides 0 of 16"),
        ({"corruption": "center-crop", "strength": 1.5}, RecipeError, "cannot have this strength"),
        ({"evaluation.identity": "person"}, DataError, "no column 'person'"),
        ({"method": "scrub"}, RecipeError, "does not work on image-to-image generators"),
        ({"images.test": 0.001}, DataError, "too few pictures held back"),
    ],
)
def test_bad_requests_are_told_before_a_folder_is_made(
    options: dict[str, Any], error: type[ExpungeError], told: str, data: Path, tmp_path: Path
) -> None:
    base = {k: v for k, v in SMALL_GENERATOR.items() if not k.startswith("method.") or "method" not in options}
    recipe = make(GeneratorRecipe, {"data": str(data)}, base | options)
    with pytest.raises(error, match=told):
        expunge.run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("agee <= 12", ["faces.npz has no column 'agee'", "the columns id, age, person", "did you mean 'age'?"]),
        ("persons in [3, 17]", ["no column 'persons'", "did you mean 'person'?"]),
        ("age > 200", ["selects none of the", "age goes from 0 to 39", "widen the query"]),
        ("age >= 0", ["selects all", "nothing would be left to keep", "age goes from 0 to 39"]),
        ("age = 12", ["is not understood", "write == to compare"]),
        ("identity:persn:3", ["no column 'persn'", "did you mean 'person'?"]),
        ("identity:person:5", ["asks for everyone", "1 to 4"]),
        ("class:4", ["has no class '4'", "the pictures have no labels"]),
    ],
)
def test_a_query_that_makes_no_sense_says_what_there_is(query: str, parts: list[str], tmp_path: Path) -> None:
    images = np.zeros((40, 16, 16), np.uint8)
    np.savez(tmp_path / "faces.npz", images=images, age=np.arange(40), person=np.arange(40) % 5)
    recipe = make(GeneratorRecipe, {"data": str(tmp_path / "faces.npz")}, SMALL_GENERATOR | {"forget": query})
    with pytest.raises(DataError) as caught:
        read_sets(recipe)
    for part in parts:
        assert part in str(caught.value)


def test_other_architectures_are_refused(data: Path, forget: Forget, tmp_path: Path) -> None:
    classifier = save_tiny(tiny_resnet(), tmp_path / "resnet")
    with pytest.raises(ModelError, match="not an image-to-image generator with an encoder"):
        forget(tmp_path / "run", model=str(classifier))
    task = tiny_generator()
    model: Any = task.model
    model.vit.save_pretrained(tmp_path / "encoder")  # without its decoder
    with pytest.raises(ModelError, match="lacks weights"):
        forget(tmp_path / "run", model=str(tmp_path / "encoder"))
    model.config.norm_pix_loss = True
    model.save_pretrained(tmp_path / "normalised")
    with pytest.raises(ModelError, match="mean and contrast"):
        forget(tmp_path / "run", model=str(tmp_path / "normalised"))
    model.config.norm_pix_loss = False
    model.save_pretrained(tmp_path / "right")
    with pytest.raises(ModelError, match="takes pictures of 16 pixels"):
        forget(tmp_path / "run", model=str(tmp_path / "right"), **{"images.size": 32})
    with pytest.raises(RecipeError, match="for a model that is trained here"):
        forget(tmp_path / "run", model=str(tmp_path / "right"), retrained="train")


@pytest.mark.usefixtures("no_report")
def test_evaluating_again_reuses_what_is_there_and_any_model_can_be_measured(
    copied: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = copied.scores.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(story, "fit_generator", lambda *args: pytest.fail("this was done before"))
        expunge.evaluate(copied.path)
    assert copied.scores.read_bytes() == before
    model: Any = tiny_generator(seed=4).model
    model.save_pretrained(tmp_path / "other")
    found = expunge.evaluate(tmp_path / "other", recipe=copied.recipe)
    assert {score.model for score in found} == {"unlearned"}
    with pytest.raises(RecipeError, match="is not measured on image-to-image generators"):
        expunge.evaluate(copied.path, prompts="x")
    recipe = yaml.safe_load(copied.recipe.read_text()) | {"seed": 7}
    copied.recipe.write_text(yaml.safe_dump(recipe))
    with pytest.raises(RunError, match="made from something else"):
        expunge.evaluate(copied.path)


def test_a_package_that_is_missing_is_named(forget: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(RecipeError, match="need the extra diffusers"):
        forget(tmp_path / "run", model="vq-small")


def test_pictures_without_classes_need_a_network(forget: Forget, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", images=images, person=np.arange(40) % 5)
    options = {"data": str(tmp_path / "faces.npz"), "forget": "person == 2"}
    with pytest.raises(DataError, match="have no classes"):
        forget(tmp_path / "run", **options | {"forget": "random:8"})
    assert not (tmp_path / "run" / "recipe.yaml").exists()
    sets = read_sets(make(GeneratorRecipe, {}, SMALL_GENERATOR | options))
    assert sets.classes == ("0", "1", "2", "3", "4")
    assert any("the values of person" in note for note in sets.notes)
    network = save_tiny(tiny_resnet(classes=5), tmp_path / "network", ("a", "b", "c", "d", "e"))
    folder = forget(tmp_path / "other", **options, **{"network.model": str(network)})
    record = json.loads(folder.record.read_text())
    assert record["network"]["name"] == str(network)
    assert "accuracy" not in record["network"]
    assert record["chances"]["forget"] == pytest.approx(7 / 39)


def test_pictures_of_mixed_size_and_mode_become_alike(forget: Forget, tmp_path: Path, data: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(data, mixed)
    before: dict[str, np.ndarray] = {}
    for number, path in enumerate(sorted(mixed.rglob("*.png"))):
        picture = Image.open(path).convert("RGB")
        grey = np.asarray(picture.convert("L"))
        before[path.relative_to(mixed).as_posix()] = np.asarray(picture)
        match number % 6:
            case 0:
                picture.convert("L").resize((24, 20)).save(path)
            case 1:
                picture.putalpha(255)
                picture.save(path)
            case 2:
                picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(path)
            case 3:
                Image.fromarray(grey.astype(np.uint16) * 257).save(path)
            case 4:
                picture.resize((32, 32), Image.Resampling.NEAREST).save(path)
    recipe = make(GeneratorRecipe, {"data": str(mixed)}, SMALL_GENERATOR)
    sets = read_sets(recipe)
    assert {part.pixels.shape[1:] for part in sets.parts.values()} == {(16, 16, 3)}
    names = sorted(before)
    for part in sets.parts.values():
        for name, pixels in zip(part.ids, part.pixels, strict=True):
            told = before[name].astype(int)
            if names.index(name) % 6 in (0, 3):  # 16 bits are scaled, not cut off at white
                told = np.repeat(np.asarray(Image.fromarray(before[name]).convert("L")).astype(int)[..., None], 3, 2)
            # what was made smaller and coarser is near, all else is the picture
            assert np.abs(pixels - told).mean() < (30 if names.index(name) % 6 in (0, 4) else 8)
    (mixed / "ant" / "000.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="000"):
        read_sets(recipe)


def test_another_recipe_in_the_same_folder_is_refused(copied: RunFolder) -> None:
    recipe = make(GeneratorRecipe, yaml.safe_load(copied.recipe.read_text()), {"seed": 1})
    with pytest.raises(RunError, match="holds another run: its recipe differs in"):
        expunge.run(recipe, copied.path)


def test_the_recipe_is_read_as_its_kind(finished: RunFolder) -> None:
    assert isinstance(read_recipe(finished.recipe), GeneratorRecipe)
