"""Bad pictures, labels, requests and models, end to end: one clear message, the exit code, and nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from expunge.runs.folder import RunFolder
from said import Type as Plain
from small_images import save_tiny, tiny_resnet, tiny_vit, write_class_folders

CLASSES = ("ant", "bee", "cat", "dog")
Type = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and models to be copied from. Read only."""
    folder = tmp_path_factory.mktemp("bad")
    write_class_folders(folder / "pictures", 48)
    (folder / "r.yaml").write_text(
        "task: image_classifier\ndata: pictures\nforget: random:6\nmodel: own\nmethod: fine_tune\n"
        "images: {size: 16}\nunlearning: {num_train_epochs: 1}\nallow_chance_base: true\n"
    )
    save_tiny(tiny_resnet(), folder / "own", CLASSES)
    save_tiny(tiny_resnet(classes=7), folder / "seven")
    save_tiny(tiny_resnet(), folder / "half", ("ant", "bee", "camel", "dove"))
    save_tiny(tiny_vit(), folder / "vit", CLASSES)
    (folder / "pickled").mkdir()
    shutil.copy(folder / "own" / "config.json", folder / "pickled")
    torch.save({}, folder / "pickled" / "pytorch_model.bin")
    config = ResNetConfig(num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    config.num_labels = 4
    ResNetForImageClassification(config).save_pretrained(folder / "grey")
    shutil.copytree(folder / "own", folder / "torn")
    (folder / "torn" / "model.safetensors").write_bytes((folder / "own" / "model.safetensors").read_bytes()[:300])
    return folder


@pytest.fixture
def typed(typed: Plain, place: Path, tmp_path: Path) -> Type:
    """Type `expunge run r.yaml --out run` with more options in a copy of the place; (exit code, message)."""
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)

    def run(*words: object) -> tuple[int, str]:
        code, out, err = typed("run", "r.yaml", "--out", "run", *words)
        if code in (1, 2):
            assert err.count("expunge: ") == 1, err
            assert not (tmp_path / "run" / "model").exists()
        return code, err[err.index("expunge: ") :] if "expunge: " in err else out

    return run


def check(found: tuple[int, str], *parts: str, code: int = 1) -> None:
    assert found[0] == code, found[1]
    for part in parts:
        assert part in found[1], found[1]


def notices() -> str:
    return " | ".join(row["text"] for row in RunFolder("run").read_events("notice"))


# Pictures


@pytest.mark.parametrize("how", ["text", "cut short", "empty"])
def test_a_picture_that_cannot_be_read(how: str, typed: Type) -> None:
    path = Path("pictures/bee/005.png")
    whole = path.read_bytes()
    path.write_bytes({"text": b"no picture", "cut short": whole[: len(whole) // 2], "empty": b""}[how])
    check(typed(), "bee/005.png cannot be read", "seen:", "a whole PNG, JPEG", "--images.skip_unreadable true")
    code, _ = typed("--images.skip_unreadable", "true")
    assert code in (0, 3)
    assert "unreadable and skipped: 1 of 48 pictures: bee/005.png" in notices()


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"images": np.zeros((8, 16, 16, 2), np.uint8), "labels": np.arange(8) % 2}, ["(8, 16, 16, 2)", "shape"]),
        ({"images": np.zeros((8, 16), np.uint8), "labels": np.arange(8) % 2}, ["(8, 16)", "shape"]),
        (
            {"images": np.zeros((8, 16, 16, 3), np.uint8), "labels": np.arange(7) % 2},
            ["`labels` does not hold a label for each picture", "shape (7,) for 8"],
        ),
        ({"images": np.zeros((8, 16, 16, 3), np.uint8), "labels": np.zeros(8, int)}, ["are of one class"]),
    ],
    ids=["channels", "size", "too few labels", "one class"],
)
def test_arrays_that_are_no_pictures(arrays: dict[str, Any], parts: list[str], typed: Type) -> None:
    np.savez("a.npz", **arrays)
    check(typed("--data", "a.npz", "--model", "resnet18-small"), "a.npz", *parts)


def test_pictures_that_the_model_does_not_take(typed: Type) -> None:
    check(
        typed("--model", "vit", "--images.size", 24),
        "vit does not take colour pictures of 24 x 24 pixels", "image_size 16", "--images.size",
    )  # fmt: skip
    assert not Path("run/recipe.yaml").exists(), "another model may be tried in the same folder"
    check(typed("--model", "grey"), "grey does not take colour pictures", "allowed: 1 channels")


# Labels


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("path,label\npictures/ant/000.png,ant\npictures/bee/001.png,\n", ["1 of 2 pictures have no value", "'label'"]),
        ("path,label\npictures/ant/000.png,ant\npictures/bee/no.png,bee\n", ["no.png"]),
        ("path,label\npictures/ant/000.png,ant\npictures/ant/000.png,bee\n", ["pictures/ant/000.png"]),
        ("path,label\n", ["no rows"]),
        ("path,label\npictures/ant/000.png,ant\npictures/ant/004.png,ant\n", ["of one class"]),
    ],
    ids=["no label", "no file", "twice", "no rows", "one class"],
)
def test_a_table_that_is_not_right(content: str, parts: list[str], typed: Type) -> None:
    Path("t.csv").write_text(content)
    check(typed("--data", "t.csv", "--model", "resnet18-small"), *parts)


def test_a_label_out_of_range(typed: Type) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    pixels = Path("pictures/ant/000.png").read_bytes()
    features = '{"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}'
    table = pa.table({"image": [{"bytes": pixels, "path": None}] * 3, "label": [0, 1, 2]})
    Path("hub").mkdir()
    parquet.write_table(table.replace_schema_metadata({"huggingface": features}), "hub/train.parquet")
    check(typed("--data", "hub", "--model", "resnet18-small"), "out of range", "0 to 1")


def test_data_that_is_not_there_or_has_no_labels(typed: Type) -> None:
    check(typed("--data", "picturs"), "no file or folder 'picturs'", "did you mean pictures?")
    flat = Path("flat")
    flat.mkdir()
    for path in sorted(Path("pictures").rglob("*.png"))[:12]:
        shutil.copy(path, flat / f"{path.parent.name}{path.name}")
    check(typed("--data", "flat"), "have no labels", "--images.label")


# Requests


@pytest.mark.parametrize(
    ("forget", "parts"),
    [
        ("class:cot", ["has no class 'cot'", "did you mean class:cat?"]),
        ("random:48", ["random:48 selects no part of 48", "random:0.02"]),
        ("random:0.0", ["selects no part"]),
        ("id != 'nothing'", ["selects all 48 pictures", "to forget everything, delete the model"]),
        ("id == 'nothing'", ["selects none of the 48 pictures"]),
        ("aeg <= 12", ["aeg"]),
        ("some.csv", ["ant/999.png"]),
        ("missing.csv", ["missing.csv"]),
        ("empty.csv", ["empty.csv"]),
    ],
)
def test_requests_that_make_no_sense(forget: str, parts: list[str], typed: Type) -> None:
    Path("some.csv").write_text("id\nant/000.png\nant/999.png\n")
    Path("empty.csv").write_text("")
    check(typed("--forget", forget), *parts)


def test_a_request_that_leaves_nothing_to_keep_or_to_measure_on(typed: Type) -> None:
    Path("most.csv").write_text(
        "id\n" + "\n".join(sorted(f"{c}/{n:03d}.png" for n in range(47) for c in [CLASSES[n % 4]]))
    )
    code, message = typed("--forget", "most.csv")
    assert code == 1
    assert "nothing to keep" in message or "no test pictures" in message
    assert not Path("run").exists()
    check(
        typed("--images.limit", 16, "--images.test", 0.02, "--forget", "random:2"),
        "there are no test pictures",
        "--test_data",
    )


def test_validation_pictures_where_a_method_needs_them(typed: Type) -> None:
    check(
        typed("--method", "scrub_r", "--images.validation", 0.005),
        "scrub_r needs validation pictures", "--images.validation 0.2",
    )  # fmt: skip


def test_all_of_a_class_is_noted(typed: Type) -> None:
    code, _ = typed("--forget", "class:bee")
    assert code in (0, 3)
    assert "no picture of the class bee is in the retain set: this forgets whole classes" in notices()


def test_copies_among_forget_and_retain(typed: Type) -> None:
    Path("some.csv").write_text("id\nant/000.png\nant/004.png\n")
    for name in ("x0", "x1", "x2"):
        shutil.copy("pictures/ant/000.png", f"pictures/ant/{name}.png")
    code, _ = typed("--forget", "some.csv")
    assert code in (0, 3)
    assert "of the pictures to forget, 1 also in the retain set, as exact copies: ant/000.png = ant/x" in notices()
    shutil.rmtree("run")
    Path("one.csv").write_text("id\nant/000.png\n")
    check(typed("--forget", "one.csv"), "every picture to forget has an exact copy", "add the copies to the forget set")


# Models


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("seven", ["seven has 7 classes, the data has 4", "--images.label"]),
        ("half", ["'cat' is not among the 4 classes"]),
        (
            "pickled",
            ["pickled holds its weights only as pickle", "pytorch_model.bin", "*.safetensors", "save_pretrained"],
        ),
        ("torn", ["model.safetensors is cut short"]),
        ("pictures", ["pictures has no model: config.json is missing"]),
        ("r.yaml", ["r.yaml is a file, not a model folder"]),
    ],
)
def test_models_that_do_not_fit(model: str, parts: list[str], typed: Type) -> None:
    check(typed("--model", model), *parts)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--method", "scrubb"), ["no method 'scrubb'", "did you mean scrub?"]),
        (("--method", "whos_harry_potter"), ["does not work on image classifiers"]),
        (("--training.learning_rate", "1"), ["no field training"]),
        (("--unlearning.lerning_rate", "1"), ["no field unlearning.lerning_rate", "did you mean learning_rate?"]),
        (("--images.test", "1"), ["images.test is not right"]),
        (("--task", "image_clasifier"), ["task"]),
    ],
)
def test_options_that_are_not_right(words: tuple[str, ...], parts: list[str], typed: Type) -> None:
    check(typed(*words), *parts, code=2)


def test_names_that_look_like_numbers(typed: Type) -> None:
    Path("pictures").rename("1984")
    Path("own").rename("007")
    code, _ = typed("--data", "1984", "--model", "007", "--method", "gradient_ascent")
    assert code in (0, 3)
