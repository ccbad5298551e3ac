"""The retain set, the forget set and held-out parts; classes for the measuring network; the recipe's dataset."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from expunge.kinds.generator.parts import GeneratorParts, read_generator_parts
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.runs.kinds import read_recipe
from expunge.runs.recipe import make

COUNT = 120


def parts(folder: Path, forget: str, **columns: Any) -> GeneratorParts:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16), dtype=np.uint8)
    np.savez(folder / "faces.npz", images=images, **columns)
    return read_generator_parts(make(GeneratorRecipe, {"data": str(folder / "faces.npz"), "forget": forget}, {}), 16)


def test_a_quantity_is_learnt_in_ranges_and_names_one_by_one(tmp_path: Path) -> None:
    ages, people = np.arange(COUNT), np.arange(COUNT) % 30
    found = parts(tmp_path, "age <= 12", age=ages, person=people)
    assert found.classes == tuple(f"{low} to {low + 11}" for low in range(0, COUNT, 12))
    retain = found.parts["retain"]
    assert retain.labels.tolist() == (retain.columns["age"] // 12).tolist()
    assert any("10 ranges of age" in note for note in found.notes)
    found = parts(tmp_path, "person in [3, 17]", age=ages, person=people)
    assert found.classes == tuple(sorted(map(str, range(30)), key=int))
    assert any("the values of person" in note for note in found.notes)
    few = parts(tmp_path, "3 <= grade", grade=np.arange(COUNT) % 6)
    assert few.classes == tuple("012345")


def test_forgotten_classes_are_a_group_where_there_are_no_names(tmp_path: Path) -> None:
    ages = np.arange(COUNT)
    found = parts(tmp_path, "age <= 13", age=ages)
    group = found.forgotten_group()
    assert group is not None
    assert group.tolist() == pytest.approx([1, 2 / 12, 0, 0, 0, 0, 0, 0, 0, 0])
    assert found.forgotten_share() == 14 / COUNT
    assert parts(tmp_path, "age <= 5", age=ages).forgotten_group() is None  # half of its class is kept
    assert parts(tmp_path, "age <= 13", age=ages, person=ages % 30).forgotten_group() is None
    assert parts(tmp_path, "random:14", age=ages).forgotten_group() is None
    small = parts(tmp_path, "random:40", label=ages // 4)  # of some classes of four, three happen to be drawn
    lost = np.bincount(small.parts["forget"].labels, minlength=COUNT // 4)
    assert (lost > 2).any()
    assert small.forgotten_group() is None


def test_the_recipe_and_its_data_set_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the layout of the dataset: three files of one part, pictures as bytes, age as a number, two texts."""
    import huggingface_hub

    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    features = {
        "image": {"_type": "Image"},
        "age": {"dtype": "int64", "_type": "Value"},
        "gender": {"dtype": "string", "_type": "Value"},
        "ethnicity": {"dtype": "string", "_type": "Value"},
    }
    (tmp_path / "data").mkdir()
    for file in range(3):
        rows = []
        for number in range(40):
            buffer = io.BytesIO()
            Image.new("RGB", (20, 20), (file * 40 + number, 0, 0)).save(buffer, "PNG")
            row = {"age": (7 * number + file) % 100, "gender": "Male" if number % 2 else "Female", "ethnicity": "Other"}
            rows.append({"image": {"bytes": buffer.getvalue(), "path": None}} | row)
        table = pa.Table.from_pylist(rows)
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, tmp_path / "data" / f"train-0000{file}-of-00003.parquet")
    asked: list[tuple[str, Any]] = []

    def snapshot(identifier: str, **options: Any) -> str:
        asked.append((identifier, options["allow_patterns"]))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    recipe = read_recipe(Path("faces"))
    assert isinstance(recipe, GeneratorRecipe)
    assert "/" in recipe.data
    found = read_generator_parts(recipe, 16)
    assert [name for name, _ in asked] == [recipe.data]
    assert "*.parquet" in asked[0][1]
    assert sum(len(part) for part in found.parts.values()) == 120
    for name, part in found.parts.items():
        assert len(part)
        assert set((part.columns["age"] <= 12).tolist()) == {name.startswith("forget")}
        assert {"gender", "ethnicity"} <= set(part.columns)
        ages = (7 * (part.pixels[:, 0, 0, 0] % 40).astype(int) + part.pixels[:, 0, 0, 0] // 40) % 100
        assert ages.tolist() == part.columns["age"].tolist()  # each row with its own picture
    assert found.classes is not None
    assert len(found.classes) == 10
