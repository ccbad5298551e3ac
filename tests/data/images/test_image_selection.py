"""Forget requests and splits, by hand-checked rows; warnings and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expunge.data.images.image_set import ImageSet
from expunge.data.images.selection import select, split
from expunge.errors import DataError


def crowd(count: int = 40, *, classes: tuple[str, ...] = ("0", "1", "2", "3")) -> ImageSet:
    """Pictures p0, p1, ... of noise: age is the number, person is the number // 4, the class number % 4."""
    rows = np.arange(count)
    return ImageSet(
        pixels=np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8),
        labels=rows % len(classes),
        ids=tuple(f"p{row}" for row in rows),
        columns={"age": rows, "person": rows // 4, "name": np.array([f"n{row // 4}" for row in rows])},
        classes=classes,
        source="crowd",
    )


def with_copies(pairs: dict[int, int], shift: int = 0) -> ImageSet:
    """The crowd where picture `key` shows what `value` shows, `shift` brighter."""
    images = crowd()
    pixels = np.minimum(images.pixels, 250 - shift)
    for row, other in pairs.items():
        pixels[row] = pixels[other] + np.uint8(shift)
    return ImageSet(
        pixels=pixels,
        labels=images.labels,
        ids=images.ids,
        columns=images.columns,
        classes=images.classes,
        source="crowd",
    )


def listing(folder: Path, content: str, name: str = "list.csv") -> str:
    (folder / name).write_text(content)
    return str(folder / name)


# Which rows


@pytest.mark.parametrize(
    ("forget", "rows"),
    [
        ("age <= 2", [0, 1, 2]),
        ("person in [3, 9]", [12, 13, 14, 15, 36, 37, 38, 39]),
        ("label == '3' and age < 8", [3, 7]),
        ("label >= 3 and age < 8", [3, 7]),
        ("id in ['p5', 'p30']", [5, 30]),
        ("class:1", list(range(1, 40, 4))),
    ],
)
def test_requests_in_words(forget: str, rows: list[int]) -> None:
    assert select(crowd(), forget).tolist() == rows


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("l.txt", "p3\n\n p1 \r\np3\n", [1, 3]),
        ("l.csv", "p3\np1\n", [1, 3]),
        ("l.csv", "id\np3\np1\n", [1, 3]),
        ("l.csv", "Path,age\np3,99\np1,99\n", [1, 3]),
        ("l.csv", "person\n2\n", [8, 9, 10, 11]),
        ("l.csv", "person,reason\n2,consent\n0,age\n", [0, 1, 2, 3, 8, 9, 10, 11]),
        ("l.csv", "name\nn9\n", [36, 37, 38, 39]),
    ],
)
def test_requests_in_files(name: str, content: str, rows: list[int], tmp_path: Path) -> None:
    assert select(crowd(), listing(tmp_path, content, name)).tolist() == rows


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id\np3\np99\nq\n", r"names 2 of 3 ids that crowd does not have\n  seen:    p99, q"),
        ("id\n" + "".join(f"q{i}\n" for i in range(9)), "q0, q1, q2, q3, q4 and 4 more"),
        ("person\n2\n77\n", "names 1 of 2 values of person that crowd does not have\n  seen:    77"),
        ("person\nann\n", "seen:    ann"),
        ("who\nx\n", "does not say which pictures"),
        ("person,name\n1,n1\n", "of which the data has person, name"),
        ("id\n", "names nothing to forget"),
    ],
)
def test_files_that_are_refused(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        select(crowd(), listing(tmp_path, content))


def test_an_index_column_of_the_data_names_pictures_before_others(tmp_path: Path) -> None:
    images = crowd()
    columns = {"index": np.arange(40) + 100, **images.columns}
    images = ImageSet(
        pixels=images.pixels,
        labels=images.labels,
        ids=tuple(str(row) for row in range(40)),
        columns=columns,
        classes=images.classes,
        source="crowd",
    )
    assert select(images, listing(tmp_path, "index,person,age\n104,1,4\n")).tolist() == [4]


def test_people_are_drawn_with_all_their_pictures() -> None:
    rows = select(crowd(), "identity:person:3", seed=5)
    people = set((rows // 4).tolist())
    assert len(people) == 3
    assert len(rows) == 12
    assert rows.tolist() == select(crowd(), "identity:person:3", seed=5).tolist()
    assert any(rows.tolist() != select(crowd(), "identity:person:3", seed=seed).tolist() for seed in range(5))


def test_random_rows_by_share_and_by_number() -> None:
    assert len(select(crowd(), "random:0.1")) == 4
    rows = select(crowd(), "random:7", seed=1)
    assert len(set(rows.tolist())) == 7
    assert rows.tolist() == sorted(rows.tolist())
    assert rows.tolist() != select(crowd(), "random:7", seed=2).tolist()
    assert set(select(crowd(), "random:3", among=np.array([4, 9, 11, 30])).tolist()) <= {4, 9, 11, 30}


@pytest.mark.parametrize(
    ("forget", "told"),
    [
        ("agee < 3", "did you mean 'age'"),
        ("age > 100", r"selects none of the 40 pictures of crowd\n  seen:    age goes from 0 to 39"),
        ("name == 'x'", r"name is one of 'n0', 'n1'"),
        ("age >= 0", "selects all 40 pictures of crowd"),
        ("class:7", "has no class '7'"),
        ("identity:persn:2", "did you mean 'person'"),
        ("identity:person:10", r"asks for everyone\n  seen:    10 values"),
        ("identity:person:x", "identity:COLUMN:COUNT"),
        ("identity:3", "identity:COLUMN:COUNT"),
        ("random:40", "selects no part of 40"),
        ("random:0", "selects no part"),
        ("random:1.0", "selects no part"),
        ("random:nan", "selects no part"),
        ("random:-3", "selects no part"),
        ("random:few", "a share between 0 and 1"),
        ("missing.csv", "there is no file missing.csv"),
    ],
)
def test_requests_that_are_refused(forget: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        select(crowd(), forget)


def test_unlabelled_pictures_have_no_class() -> None:
    with pytest.raises(DataError, match="none: the pictures have no labels"):
        select(crowd(classes=("all",)), "class:all")


# Splits


def test_parts_share_nothing_and_leave_nothing() -> None:
    parts = split(crowd(), "age < 6", seed=3)
    rows = [parts.retain_rows, parts.forget_rows, parts.validation_rows, parts.test_rows]
    assert sorted(np.concatenate(rows).tolist()) == list(range(40))
    assert parts.forget_rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert parts.retain.ids == tuple(f"p{row}" for row in parts.retain_rows)
    assert parts.test.columns["age"].tolist() == parts.test_rows.tolist()
    assert split(crowd(), "age < 6", seed=3, validation=0).notes == ()


def test_a_request_leaves_all_parts_and_the_contest_only_the_training_part() -> None:
    contest = split(crowd(), "class:1", seed=3, only_train=True)
    assert [len(contest.validation), len(contest.test)] == [4, 4]
    assert len(contest.retain) + len(contest.forget) == 32
    held = np.concatenate([contest.validation_rows, contest.test_rows])
    meant = [row for row in held.tolist() if row % 4 == 1]
    assert contest.forget_rows.tolist() == [row for row in range(1, 40, 4) if row not in meant]
    assert meant
    assert f"never trained on: {len(meant)} of the pictures: p{meant[0]}" in contest.notes[0]

    request = split(crowd(), "class:1", seed=3)
    assert len(request.forget) == 10
    assert request.validation_rows.tolist() == [row for row in contest.validation_rows if row % 4 != 1]
    assert request.test_rows.tolist() == [row for row in contest.test_rows if row % 4 != 1]
    assert request.retain_rows.tolist() == contest.retain_rows.tolist()


def test_all_requests_of_a_seed_share_the_held_out_pictures() -> None:
    first, second = (split(crowd(), forget, seed=4, only_train=True) for forget in ("random:3", "age < 9"))
    assert first.test_rows.tolist() == second.test_rows.tolist()
    assert first.validation_rows.tolist() == second.validation_rows.tolist()
    assert first.test_rows.tolist() != split(crowd(), "random:3", seed=5, only_train=True).test_rows.tolist()


def test_shares_of_validation_and_test() -> None:
    parts = split(crowd(), "random:2", seed=0, validation=0.25, test=0)
    assert len(parts.test) == 0
    assert len(parts.retain) + len(parts.forget) + len(parts.validation) == 40
    for shares in ({"validation": 0.5, "test": 0.5}, {"validation": -0.1}, {"test": 1.0}):
        with pytest.raises(DataError, match="leave no training part"):
            split(crowd(), "random:2", seed=0, **shares)


def test_nothing_to_keep_is_refused() -> None:
    held = split(crowd(), "age < 1", seed=0, only_train=False)
    keep = np.concatenate([held.validation_rows, held.test_rows]).tolist()
    with pytest.raises(DataError, match="leaves nothing to keep for training"):
        split(crowd(), f"age not in {keep}", seed=0)
    with pytest.raises(DataError, match="selects all 32 pictures of the training part of crowd"):
        split(crowd(), f"age not in {keep}", seed=0, only_train=True)
    with pytest.raises(DataError, match="selects none of the 32 pictures of the training part"):
        split(crowd(), f"age in {keep}", seed=0, only_train=True)


def test_a_class_forgotten_whole_is_noted() -> None:
    assert split(crowd(), "class:2", seed=1).notes == (
        "no picture of the class 2 is in the retain set: this forgets whole classes",
    )


def test_a_class_that_validation_lacks_is_noted() -> None:
    images = crowd(classes=tuple(str(i) for i in range(10)))
    parts = split(images, "id in ['p0', 'p1', 'p2', 'p3', 'p4', 'p5', 'p6', 'p7', 'p8', 'p9']", seed=0)
    lacking = sorted(set(range(10)) - set(parts.validation.labels.tolist()))
    assert parts.notes[0].startswith(f"validation has no picture of the class {lacking[0]}, {lacking[1]}")


def test_pictures_without_the_value_asked_for_are_noted() -> None:
    images = crowd()
    columns = {"score": np.where(np.arange(40) == 7, np.nan, np.arange(40.0))}
    images = ImageSet(
        pixels=images.pixels,
        labels=images.labels,
        ids=images.ids,
        columns=columns,
        classes=images.classes,
        source="crowd",
    )
    parts = split(images, "score < 9", seed=0)
    assert parts.forget_rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    assert parts.notes[0] == "not forgotten, since they have no score: 1 of the pictures: p7"


def test_exact_copies_are_noted_and_refused_where_nothing_else_is_forgotten() -> None:
    kept = split(crowd(), "age < 2", seed=0).retain_rows
    copy = int(kept[5])
    parts = split(with_copies({copy: 1}), "age < 2", seed=0)
    assert parts.notes == (f"of the pictures to forget, 1 also in the retain set, as exact copies: p1 = p{copy}",)
    with pytest.raises(DataError, match=f"every picture to forget has an exact copy .*\n  seen:    p1 = p{copy}"):
        split(with_copies({copy: 1}), "age == 1", seed=0)


def test_copies_that_are_held_out_are_noted() -> None:
    held = int(split(crowd(), "age < 2", seed=0).test_rows[0])
    notes = split(with_copies({held: 1}), "age < 2", seed=0).notes
    assert notes == (f"of the pictures to forget, 1 also in test: p1 = p{held}",)


def test_near_copies_are_noted() -> None:
    copy = int(split(crowd(), "age < 2", seed=0).retain_rows[5])
    notes = split(with_copies({copy: 1}, shift=3), "age < 2", seed=0).notes
    assert notes == (f"of the pictures to forget, 1 with a near-duplicate in the retain set: p1 = p{copy}",)
