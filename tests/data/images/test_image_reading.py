"""Reading pictures from every source, and what each refuses."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from expunge.data.images import arrays
from expunge.data.images import sheets as sheets_module
from expunge.data.images.image_set import ImageSet
from expunge.data.images.reading import read_images
from expunge.errors import DataError
from expunge.runs.recipe import read_fields
from expunge.runs.shipped import shipped


def paint(path: Path, value: int = 0, size: tuple[int, int] = (4, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def read(source: Path | str, **options: Any) -> ImageSet:
    return read_images(str(source), **({"size": None} | options))


def refused(source: Path | str, told: str, **options: Any) -> None:
    with pytest.raises(DataError, match=told):
        read(source, **options)


def values(images: ImageSet) -> list[int]:
    """The grey value of each picture's first pixel."""
    return images.pixels[:, 0, 0, 0].tolist()


# A folder of class folders


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for index, name in enumerate(("cat/a.png", "cat/b.bmp", "cat/deep/c.png", "dog/a.PNG", "dog/b.png")):
        paint(tmp_path / "pets" / name, 10 * index)
    return tmp_path / "pets"


def test_class_folders_take_turns(pets: Path) -> None:
    images = read(pets)
    assert images.ids == ("cat/a.png", "dog/a.PNG", "cat/b.bmp", "dog/b.png", "cat/deep/c.png")
    assert values(images) == [0, 30, 10, 40, 20]
    assert images.labels.tolist() == [0, 1, 0, 1, 0]
    assert images.classes == ("cat", "dog")
    assert images.columns["label"].tolist() == ["cat", "dog", "cat", "dog", "cat"]
    assert images.source == str(pets)
    assert images.notes == ()


def test_a_limit_decodes_no_more(pets: Path) -> None:
    (pets / "cat/b.bmp").write_bytes(b"broken")
    assert read(pets, limit=2).ids == ("cat/a.png", "dog/a.PNG")
    refused(pets, r"b\.bmp cannot be read", limit=3)
    refused(pets, "limit is too small", limit=0)
    refused(pets, "are of one class", limit=1)


def test_unreadable_pictures_are_skipped_on_request_and_counted(pets: Path) -> None:
    (pets / "dog/a.PNG").write_bytes((pets / "dog/b.png").read_bytes()[:40])
    refused(pets, r"a\.PNG cannot be read")
    images = read(pets, skip_unreadable=True)
    assert images.ids == ("cat/a.png", "cat/b.bmp", "dog/b.png", "cat/deep/c.png")
    assert images.labels.tolist() == [0, 0, 1, 0]
    assert values(images) == [0, 10, 40, 20]
    assert images.columns["label"].tolist() == ["cat", "cat", "dog", "cat"]
    assert images.notes == ("unreadable and skipped: 1 of 5 pictures: dog/a.PNG",)
    for path in pets.rglob("*.*"):
        path.write_bytes(b"broken")
    refused(pets, "none of the 5 pictures", skip_unreadable=True)


def test_mixed_sizes_need_a_size(pets: Path) -> None:
    paint(pets / "dog/b.png", 40, (6, 5))
    refused(pets, r"cat/a\.png is 4 x 4, dog/b\.png is 6 x 5")
    assert read(pets, size=3).pixels.shape == (5, 3, 3, 3)


def test_folders_named_by_numbers_are_in_numerical_order(tmp_path: Path) -> None:
    for name in ("2", "10", "1"):
        paint(tmp_path / name / "x.png")
    assert read(tmp_path).classes == ("1", "2", "10")


def test_pictures_in_one_folder_have_no_labels(tmp_path: Path) -> None:
    for index in range(3):
        paint(tmp_path / f"{index}.png", index)
    images = read(tmp_path)
    assert images.classes == ("all",)
    assert not images.labelled
    assert images.labels.tolist() == [0, 0, 0]
    refused(tmp_path, "has no column 'age'", label="age")


def test_other_files_and_empty_class_folders_are_told(pets: Path) -> None:
    (pets / "cat/read.me").write_text("x")
    (pets / "hen").mkdir()
    assert read(pets).notes == (
        "passed over, no pictures: 1 of the files: cat/read.me",
        "class folders without a picture: hen",
    )


def test_of_parts_the_training_part_is_read(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/2.png", "test/a/3.png"):
        paint(tmp_path / name)
    images = read(tmp_path)
    assert images.ids == ("a/1.png", "b/2.png")
    assert images.notes == ("only the folder train is read, not test",)


def test_folders_that_make_no_sense(tmp_path: Path, pets: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no pictures\n  seen:    an empty folder")
    paint(pets / "stray.png")
    refused(pets, r"beside them\n  seen:    stray\.png beside cat/, dog/")
    one = paint(tmp_path / "one" / "cat" / "a.png").parents[1]
    refused(one, "all 1 pictures .* are of one class\n  seen:    cat")


def test_links_that_lead_out_are_refused(pets: Path, tmp_path: Path) -> None:
    outside = paint(tmp_path / "outside" / "x.png")
    os.symlink(outside, pets / "cat/link.png")
    refused(pets, "not inside")
    (pets / "cat/link.png").unlink()
    os.symlink(outside.parent, pets / "hen")
    refused(pets, "not inside")


def test_a_missing_source_names_the_nearest(pets: Path) -> None:
    refused(pets.parent / "pet", "did you mean .*pets")
    refused("no-such-thing", "there is no file or folder")
    refused(pets / "cat/a.png", r"the ending \.png")


# A CSV of paths and labels


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for index in range(4):
        paint(tmp_path / "faces" / f"{index}.png", index)
    rows = ["path,label,age,zip,score", "faces/0.png,no,30,007,1.5", "./faces/1.png,yes,8,123,"]
    rows += ["faces/2.png,no,30,999,2", 'faces/3.png,"yes",70,001,-1e2']
    path = tmp_path / "people.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_table_keeps_its_columns(table: Path) -> None:
    images = read(table)
    assert images.ids == ("faces/0.png", "faces/1.png", "faces/2.png", "faces/3.png")
    assert images.classes == ("no", "yes")
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert values(images) == [0, 1, 2, 3]
    assert list(images.columns) == ["label", "age", "zip", "score"]
    assert images.columns["age"].dtype == np.int64
    assert images.columns["zip"].tolist() == ["007", "123", "999", "001"]
    np.testing.assert_array_equal(images.columns["score"], [1.5, np.nan, 2, -100])


def test_another_column_is_the_label(table: Path) -> None:
    images = read(table, label="age")
    assert images.classes == ("8", "30", "70")
    assert images.labels.tolist() == [1, 0, 1, 2]
    refused(table, "did you mean 'age'", label="agee")
    refused(table, r"1 of 4 pictures have no value in the label column 'score'\n  seen:    faces/1\.png", label="score")


def test_bins_are_of_equal_width_up_to_the_greatest_and_one(table: Path) -> None:
    # np.linspace(8, 71, 4) is 8, 29, 50, 71
    images = read(table, label="age", bins=3)
    assert images.classes == ("8 to 28", "29 to 49", "50 to 70")
    assert images.labels.tolist() == [1, 0, 1, 2]
    refused(table, "holds text", label="zip", bins=3)
    refused(table, "none is named", bins=3)
    refused(table, "bins is too small", label="age", bins=1)


def test_a_number_with_fractions_is_no_label(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("file;label\na.png;1.5\na.png;2.0\n")
    refused(tmp_path / "t.csv", "give bins", label="label")


def test_a_table_without_labels(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image\na.png\n")
    assert read(tmp_path / "t.csv").classes == ("all",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("path\n../a.png\n", r"t\.csv:2 names a picture that is not inside"),
        ("path\n/etc/a.png\n", "not inside"),
        ("path\nC:\\a.png\n", "not inside"),
        ("path\nx\\..\\..\\a.png\n", "not inside"),
        ("path\nlink.png\n", "not inside"),
        ("path,label\na.png,1\na.png\n", r"t\.csv:3 has 1 cell"),
        ("path,path\na.png,1\n", "two columns 'path'"),
        ("name,label\na.png,1\n", "names no pictures"),
        ("path\na.png\na.png\n", "two pictures a.png"),
        ("path\na.png\n./a.png\n", "two pictures a.png"),
        ("path\nb.png\n", r"there is no picture .*b\.png .*t\.csv:2"),
        ("path\n", "has no rows"),
        ("", "has no header"),
        ("path,label\na.png,\n", "have no value in the label column"),
        (b"path\n\xff.png\n", "is not UTF-8"),
        (b"\x89PNG\0\0", "binary file"),
        ('path\n"a.png\n', "is not CSV"),
    ],
)
def test_tables_that_are_refused(content: str | bytes, told: str, tmp_path: Path) -> None:
    folder = paint(tmp_path / "in" / "a.png").parent
    os.symlink(paint(tmp_path / "outside.png"), folder / "link.png")
    (folder / "t.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    refused(folder / "t.csv", told)


# Sheets


@pytest.fixture
def sheets(tmp_path: Path) -> Path:
    """Two sheets of 2 x 2 pixel tiles; tile (row, col) of sheet s is 100 s + row in red, col in green."""
    for number, rows in ((0, 32), (1, 2)):
        grid = np.zeros((rows, 32, 3), np.uint8)
        grid[..., 0] = 100 * number + np.arange(rows)[:, None]
        grid[..., 1] = np.arange(32)
        Image.fromarray(grid.repeat(2, 0).repeat(2, 1)).save(tmp_path / f"sheet_{number:02}.png")
    places = ["17,1,1,31,40,1", "4,0,5,6,30,0", "9,1,0,2,50,1"]
    (tmp_path / "labels.csv").write_text("index,sheet,row,col,age,age_group\n" + "\n".join(places) + "\n")
    return tmp_path


def test_sheets_give_their_tiles(sheets: Path) -> None:
    images = read(sheets)
    assert images.ids == ("17", "4", "9")
    assert images.pixels.shape == (3, 2, 2, 3)
    assert images.pixels[:, 1, 1].tolist() == [[101, 31, 0], [5, 6, 0], [100, 2, 0]]
    assert images.labels.tolist() == [1, 0, 1]
    assert images.classes == ("0", "1")
    assert list(images.columns) == ["index", "age", "age_group"]
    assert read(sheets / "labels.csv", label="age").classes == ("30", "40", "50")
    assert read(sheets, size=1).pixels[:, 0, 0].tolist() == [[101, 31, 0], [5, 6, 0], [100, 2, 0]]


def test_each_sheet_is_decoded_once_and_only_where_needed(sheets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = sheets_module.decode

    def decode(file: Path, name: str, size: int | None) -> np.ndarray:
        opened.append(file.name)
        return real(file, name, size)

    monkeypatch.setattr(sheets_module, "decode", decode)
    read(sheets)
    assert opened == ["sheet_00.png", "sheet_01.png"]
    opened.clear()
    with pytest.raises(DataError, match="one class"):
        read(sheets, limit=1)
    assert opened == ["sheet_01.png"]


def test_tiles_that_are_not_there(sheets: Path) -> None:
    table = sheets / "labels.csv"
    table.write_text("sheet,row,col,label\n0,0,0,a\n7,0,0,b\n")
    refused(sheets, r"labels\.csv:3: there is no tile at sheet 7\n  allowed: sheet 0 to 1")
    table.write_text("sheet,row,col,label\n0,0,32,a\n")
    refused(sheets, r"labels\.csv:2: there is no tile at col 32")
    table.write_text("sheet,row,col,label\n0,x,0,a\n")
    refused(sheets, "other things than whole numbers")
    table.write_text("sheet,row,col,label\n0,0,0,a\n1,0,0,b\n1,2,0,b\n")
    refused(sheets, r"sheet_01\.png has no row 2 of tiles")
    assert read(sheets, skip_unreadable=True).ids == ("0", "1")
    (sheets / "sheet_01.png").write_bytes(b"x")
    refused(sheets, r"sheet_01\.png cannot be read")
    refused(sheets, "one class", skip_unreadable=True)
    paint(sheets / "sheet_01.png", size=(33, 2))
    refused(sheets, "does not divide")


# Arrays


def saved(path: Path, **given: Any) -> Path:
    np.savez(path / "faces.npz", **given)
    return path / "faces.npz"


def test_arrays_of_grey_and_of_colour(tmp_path: Path) -> None:
    grey = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
    images = read(saved(tmp_path, images=grey, person=np.array([5, 5, 9], np.int16), mean=np.zeros(7)))
    assert images.ids == ("0", "1", "2")
    assert images.pixels[1].tolist() == [[[4] * 3, [5] * 3], [[6] * 3, [7] * 3]]
    assert images.columns["person"].tolist() == [5, 5, 9]
    assert images.columns["person"].dtype == np.int64
    assert images.classes == ("all",)
    assert images.notes == ("left out, since they are not one number or text a picture: mean",)
    assert read(tmp_path / "faces.npz", label="person").classes == ("5", "9")
    assert read(tmp_path / "faces.npz", size=4).pixels.shape == (3, 4, 4, 3)
    colour = np.arange(2 * 1 * 1 * 3, dtype=np.uint8).reshape(2, 1, 1, 3)
    images = read(saved(tmp_path, images=colour, ids=np.array(["x", "y"]), label=[1, 0], classes=["no", "yes"]))
    assert images.ids == ("x", "y")
    assert images.pixels.tolist() == colour.tolist()
    assert images.classes == ("no", "yes")
    assert images.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"images": np.zeros((2, 3, 4, 4), np.uint8)}, "channels last"),
        ({"images": np.zeros((2, 4, 4, 1), np.uint8)}, "drop the last axis"),
        ({"images": np.zeros((2, 4, 4, 4), np.uint8)}, r"seen:    shape \(2, 4, 4, 4\), uint8"),
        ({"images": np.zeros((2, 4, 4))}, "scale to 0 to 255"),
        ({"images": np.zeros((4, 4), np.uint8)}, r"shape \(4, 4\)"),
        ({"image": np.zeros((2, 4, 4), np.uint8)}, "did you mean 'image'"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "x": np.array([{}, None])}, "Python objects"),
        (
            {"images": np.zeros((2, 4, 4), np.uint8), "label": [0, 2], "classes": ["a", "b"]},
            r"1 labels in 'label' are out of range, first that of 1\n  seen:    2\n  allowed: 0 to 1",
        ),
        ({"images": np.zeros((2, 4, 4), np.uint8), "ids": ["a", "a"]}, "two pictures a"),
        ({"images": np.zeros((0, 4, 4), np.uint8)}, "has no rows"),
    ],
)
def test_arrays_that_are_refused(given: dict[str, Any], told: str, tmp_path: Path) -> None:
    refused(saved(tmp_path, **given), told)


def test_a_damaged_or_huge_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no")
    refused(tmp_path / "broken.npz", r"broken\.npz cannot be read")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(1 << 20))
    monkeypatch.setattr(arrays, "MAX_BYTES", 1 << 19)
    refused(tmp_path / "bomb.npz", "1,048,576 bytes")


# Layouts of Hugging Face datasets


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(path: Path, rows: list[dict[str, Any]], names: list[str] | None = None) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = {"image": pa.struct([("bytes", pa.binary()), ("path", pa.string())])} if "image" in rows[0] else {}
    if kind and isinstance(rows[0]["image"], bytes):
        kind = {"image": pa.binary()}
    others = [(name, pa.string() if isinstance(value, str) else pa.int64()) for name, value in rows[0].items()]
    table = pa.Table.from_pylist(rows, pa.schema([(name, kind.get(name, other)) for name, other in others]))
    if names:
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def test_an_image_folder_with_metadata(tmp_path: Path) -> None:
    for index in range(2):
        paint(tmp_path / f"train/im/{index}.png", index)
    rows = [{"file_name": "im/0.png", "age": 3, "kid": True, "box": [1]}, {"file_name": "im/1.png", "age": None}]
    (tmp_path / "train/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    images = read(tmp_path)
    assert images.ids == ("im/0.png", "im/1.png")
    np.testing.assert_array_equal(images.columns["age"], [3, np.nan])
    np.testing.assert_array_equal(images.columns["kid"], [1, np.nan])
    assert images.notes == ("left out, since they are not numbers or short text: box",)
    (tmp_path / "train/metadata.jsonl").write_text("[1]\n")
    refused(tmp_path, r"metadata\.jsonl:1 is not a JSON object")
    (tmp_path / "train/metadata.jsonl").unlink()
    (tmp_path / "train/metadata.csv").write_text("file_name,label\nim/0.png,a\nim/1.png,b\n")
    assert read(tmp_path).classes == ("a", "b")


def test_parquet_with_bytes_paths_and_class_names(tmp_path: Path) -> None:
    paint(tmp_path / "im/x.png", 7)
    first = [{"image": {"bytes": png(i), "path": None}, "label": i % 2, "age": i} for i in range(3)]
    parquet(tmp_path / "data/train-00000-of-00002.parquet", first, ["hen", "cow"])
    last = [{"image": {"bytes": None, "path": "im/x.png"}, "label": 1, "age": 9}]
    parquet(tmp_path / "data/train-00001-of-00002.parquet", last, ["hen", "cow"])
    parquet(tmp_path / "data/test-00000-of-00001.parquet", first, ["hen", "cow"])
    images = read(tmp_path)
    assert images.ids == ("0", "1", "2", "3")
    assert values(images) == [0, 1, 2, 7]
    assert images.classes == ("hen", "cow")
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert images.columns["age"].tolist() == [0, 1, 2, 9]
    assert images.notes == ("only the part train is read, not test",)
    assert values(read(tmp_path, limit=2)) == [0, 1]
    assert values(read(tmp_path / "data/test-00000-of-00001.parquet")) == [0, 1, 2]


def test_parquet_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"image": png(i), "label": label} for i, label in enumerate((0, -1, 1))]
    parquet(path, rows, ["hen", "cow"])
    refused(path, r"1 labels in 'label' are out of range, first that of 1\n  seen:    -1\n  allowed: 0 to 1")
    parquet(path, [{"image": {"bytes": None, "path": "../x.png"}, "label": i} for i in range(2)])
    refused(path, "row 0 names a picture that is not inside")
    parquet(
        path, [{"image": {"bytes": data, "path": None}, "label": i} for i, data in enumerate((png(0), None, png(1)))]
    )
    refused(path, "the picture of .*row 1 is empty")
    assert values(read(path, skip_unreadable=True)) == [0, 1]
    parquet(path, [{"text": "x"}])
    refused(path, "has no column of pictures\n  seen:    text")
    path.write_bytes(b"PAR1")
    refused(path, "not a Parquet file that can be read")
    path.unlink()
    for name in ("test", "validation"):
        parquet(tmp_path / f"{name}-0.parquet", rows)
    refused(tmp_path, "none is named train")


def test_a_data_set_of_the_hub_is_its_folder(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def snapshot(name: str, **given: Any) -> str:
        asked.append((name, given["repo_type"], given["allow_patterns"][0]))
        return str(pets.parent)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert len(read("owner/things:pets")) == 5
    assert asked == [("owner/things", "dataset", "pets/*.parquet")]


def test_the_data_set_of_the_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in its layout: two croppings, faces of nine age groups with names, other columns of classes behind."""
    import huggingface_hub
    import pyarrow as pa
    import pyarrow.parquet as pq

    ages = ["0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"]
    features = {
        "image": {"_type": "Image"},
        "age": {"names": ages, "_type": "ClassLabel"},
        "gender": {"names": ["Male", "Female"], "_type": "ClassLabel"},
        "race": {"names": ["East Asian", "Indian", "Black"], "_type": "ClassLabel"},
        "service_test": {"dtype": "bool", "_type": "Value"},
    }
    for cropping, parts in (("0.25", {"train": 27, "validation": 9}), ("1.25", {"train": 9})):
        for part, count in parts.items():
            rows = [
                {
                    "image": {"bytes": png(i), "path": None},
                    "age": i % 9,
                    "gender": i % 2,
                    "race": i % 3,
                    "service_test": i > 3,
                }
                for i in range(count)
            ]
            table = pa.Table.from_pylist(rows)
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
            (tmp_path / cropping).mkdir(exist_ok=True)
            pq.write_table(table, tmp_path / cropping / f"{part}-00000-of-00001-0123456789abcdef.parquet")
    asked: list[tuple[str, Any]] = []

    def snapshot(identifier: str, **options: Any) -> str:
        asked.append((identifier, options["allow_patterns"]))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    for path in shipped().values():
        content = read_fields(path)
        if content.get("task") == "image_classifier":
            images = read(content["data"])
            assert images.classes == tuple(ages)
            assert images.labels.tolist() == [i % 9 for i in range(27)]
            assert set(images.columns) >= {"age", "gender", "race"}
            assert "only the part train is read, not validation" in images.notes
    assert len(asked) == 2
    assert all(name == "HuggingFaceM4/FairFace" and "0.25/*.parquet" in patterns for name, patterns in asked)


def test_links_inside_the_cache_of_the_hub_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "datasets--a--b"
    for label in "xy":
        paint(root / "blobs" / f"{label}.png", 5)
        (root / "snapshots/1" / label).mkdir(parents=True)
        os.symlink(f"../../../blobs/{label}.png", root / "snapshots/1" / label / "1.png")
    assert read(root / "snapshots/1").ids == ("x/1.png", "y/1.png")


def test_without_a_network_a_data_set_says_so() -> None:
    refused("nobody/no-such-faces", "the dataset nobody/no-such-faces cannot be fetched")
