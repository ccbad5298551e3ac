from __future__ import annotations

import math

from expunge.report import numbers

NB = "\u00a0"


def test_plain_keeps_what_means_something() -> None:
    assert [numbers.plain(x) for x in (0.0071, 0.29, 14.237, 123.46, 12345.6)] == [
        "0.007", "0.290", "14.24", "123.5", "12,346"
    ]  # fmt: skip
    assert numbers.plain(3.2e9) == "3.20e+09"
    assert numbers.plain(-1.25) == "−1.250"
    assert numbers.plain(None) == numbers.plain(math.nan) == "not measured"


def test_there_is_no_minus_zero() -> None:
    assert numbers.plain(-0.0001) == "0.000"
    assert numbers.fixed(-0.04, 1) == "0.0"
    assert numbers.share(-0.0001) == f"0.0{NB}%"


def test_shares_and_points() -> None:
    assert numbers.share(0.4312) == f"43.1{NB}%"
    assert numbers.points(0.012) == f"1.2{NB}points"
    assert numbers.interval(0.38, 0.5, percent=True) == "[38.0, 50.0]"
    assert numbers.interval(0.38, 0.5, percent=False) == "[0.380, 0.500]"


def test_signs() -> None:
    assert numbers.signed("0.5") == "+0.5"
    assert numbers.signed("−0.5") == "−0.5"
    assert numbers.signed("0.000") == "0.000"


def test_durations_and_sizes() -> None:
    assert [numbers.seconds(x) for x in (0.44, 38.2, 59.7, 125, 3600, 4330)] == [
        f"0.4{NB}s", f"38{NB}s", f"1{NB}min 00{NB}s", f"2{NB}min 05{NB}s", f"1{NB}h 00{NB}min", f"1{NB}h 12{NB}min"
    ]  # fmt: skip
    assert numbers.bytes_(3_650_722_201) == f"3.40{NB}GiB"
    assert numbers.bytes_(2049) == f"3{NB}KiB"
    assert numbers.bytes_(851_443_712) == f"812{NB}MiB"
    assert numbers.seconds(None) == numbers.bytes_(None) == "not measured"
