"""Queries select by hand-checked rows, and run nothing."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.data.images.query import matching
from expunge.errors import DataError

COLUMNS = {
    "age": np.array([3, 12, 13, 40, 70]),
    "gender": np.array([0, 1, 1, 0, 1]),
    "person": np.array([3, 17, 5, 3, 4]),
    "name": np.array(["ann", "bob", "cy", "3", "eve"]),
    "score": np.array([0.5, np.nan, 1.5, -2.0, 3.0]),
}


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("age <= 12", [0, 1]),
        ("12 < age", [2, 3, 4]),
        ("10 <= age < 41", [1, 2, 3]),
        ("person in [3, 17]", [0, 1, 3]),
        ("person not in (3, 17)", [2, 4]),
        ("gender == 1 and age < 30", [1, 2]),
        ("age < 4 or age > 50 and gender == 0", [0]),
        ("(age < 4 or age > 50) and gender == 1", [4]),
        ("not (age < 4 or age > 50)", [1, 2, 3]),
        ("name == '3'", [3]),
        ("name == 3", [3]),
        ("person == '3'", [0, 3]),
        ("person == 'ann'", []),
        ("name in ['ann', 'eve']", [0, 4]),
        ("name < 'b'", [0, 3]),
        ("age == 12.0", [1]),
        ("score == -2", [3]),
        ("age > person", [2, 3, 4]),
        ("gender == True", [1, 2, 4]),
        ("age < 10000000000000000000000", [0, 1, 2, 3, 4]),
    ],
)
def test_rows_that_match(query: str, rows: list[int]) -> None:
    assert np.flatnonzero(matching(query, COLUMNS, "zoo")[0]).tolist() == rows


def test_a_row_without_the_number_asked_for_never_matches() -> None:
    assert np.flatnonzero(matching("score > 0", COLUMNS, "zoo")[0]).tolist() == [0, 2, 4]
    assert np.flatnonzero(matching("not score > 0", COLUMNS, "zoo")[0]).tolist() == [3]
    assert np.flatnonzero(matching("score != 0.5 or age == 12", COLUMNS, "zoo")[0]).tolist() == [2, 3, 4]


def test_the_columns_used_are_told() -> None:
    assert matching("age < 5 and (gender == 1 or age > 3)", COLUMNS, "zoo")[1] == ("age", "gender")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("agee <= 12", "did you mean 'age'"),
        ("age = 12", "write == to compare"),
        ("age <= ", "not understood"),
        ("", "not understood"),
        ("age", "compare a column with a value"),
        ("1 < 2", "no column"),
        ("age < 3 & gender == 1", "is not understood"),
        ("(age < 3) & (gender == 1)", "write `and` and `or`"),
        ("age in 3", "a list"),
        ("age in [gender]", "number or quoted text"),
        ("age < '12'", "order between text and numbers"),
        ("name < 3", "the column 'name' holds text, such as \\['ann'\\]"),
        ("age is 3", "compare with =="),
        ("age + 1 < 3", "number or quoted text|name a column"),
        ("__import__('os').system('true')", "no column '__import__'"),
        ("age.real == 3", "name a column|number or quoted text"),
        ("[age for age in age] == 3", "name a column"),
        ("(lambda: age)() == 3", "name a column"),
        ("age == 3j", "number or quoted text"),
        ("age == 1\0", "not understood"),
        ("not " * 2000 + "age == 1", "not understood"),
        ("age == 1 " * 2000, "18,000 characters"),
    ],
)
def test_everything_else_is_refused_in_words(query: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        matching(query, COLUMNS, "zoo")
