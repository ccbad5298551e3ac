"""Measures of pictures against pictures: values worked out by hand or by other means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from expunge.errors import DataError
from expunge.kinds.generator.measures import image_quality as quality
from expunge.kinds.generator.measures.scores import Completions, Originals, Seen, chances, group_recognised, recognised


@pytest.mark.parametrize(("n", "d"), [(60, 8), (6, 12)])
def test_frechet_distance_is_the_definition(n: int, d: int) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(n, d)) @ generator.normal(size=(d, d)), generator.normal(size=(n + 3, d)) + 0.5
    one, other = np.cov(a.T), np.cov(b.T)
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + other - 2 * sqrtm(one @ other).real)
    assert quality.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert quality.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_one_feature_by_hand() -> None:
    a, b = np.array([[0.0], [2.0]]), np.array([[5.0], [9.0]])
    # means 1 and 7, variances 2 and 8: 36 + (sqrt 2 - sqrt 8)^2
    assert quality.frechet_distance(a, b) == pytest.approx(36 + 2)


def test_the_interval_of_a_frechet_distance_holds_its_value_and_shrinks() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for n in (30, 300):
        a = generator.normal(size=(n, 4))
        found = quality.frechet(a + 1, a + 0.1 * generator.normal(size=a.shape))
        assert found.low <= found.value <= found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0]


def test_inception_style_score_at_its_ends() -> None:
    sure = np.eye(4)[np.arange(40) % 4]
    assert quality.inception_style(sure).value == pytest.approx(4)
    assert quality.inception_style(np.full((40, 4), 0.25)).value == pytest.approx(1)


def test_psnr_by_hand() -> None:
    a = np.zeros((2, 3, 2, 2), np.uint8)
    b = a.copy()
    b[1] = 255
    assert quality.psnr(a, b).tolist() == [quality.LARGEST_PSNR, pytest.approx(0)]
    b[1] = 51  # a fifth of the range: 10 log10(25)
    assert quality.psnr(a, b)[1] == pytest.approx(13.9794, abs=1e-4)


def test_ssim_is_the_definition() -> None:
    generator = np.random.default_rng(0)
    a = generator.integers(0, 256, (2, 3, 24, 20)).astype(np.uint8)
    b = np.clip(a + generator.normal(0, 40, a.shape), 0, 255).astype(np.uint8)
    for number in range(2):
        found = []
        for channel in range(3):
            x, y = a[number, channel].astype(float), b[number, channel].astype(float)

            def blur(z: np.ndarray) -> np.ndarray:
                return gaussian_filter(z, 1.5, truncate=3.4)[5:-5, 5:-5]  # 11 pixels

            mx, my = blur(x), blur(y)
            vx, vy, both = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            found.append((((2 * mx * my + c1) * (2 * both + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())
        assert quality.ssim(a, b)[number] == pytest.approx(np.mean(found), rel=1e-6)
    assert quality.ssim(a, a).tolist() == [pytest.approx(1)] * 2
    with pytest.raises(DataError, match="11 pixels"):
        quality.ssim(a[:, :, :8], b[:, :, :8])


def test_cosines_by_hand() -> None:
    found = quality.cosines(np.array([[1.0, 0], [1, 1], [0, 0]]), np.array([[0.0, 1], [2, 2], [1, 0]]))
    assert found.tolist() == [0, pytest.approx(1), 0]


def test_the_nearest_counts_only_what_was_drawn() -> None:
    gallery = np.array([[[0.0, 1.0]], [[1.0, 0.0]]])
    query = np.array([[[0.1, 0.2]], [[0.1, 0.2]]])
    only = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert quality.nearest_rows(query, gallery, only).tolist() == [0, 1]
    assert quality.nearest_rows(query, gallery, only, np.array([0, 0])).tolist() == [1, 1]


def seen(count: int) -> Seen:
    return Seen(np.zeros((count, 2)), np.zeros((count, 0)), np.zeros((count, 0)))


def originals(pictures: np.ndarray, people: list[str] | None = None) -> Originals:
    drawn = np.ones((len(pictures), pictures.shape[-1] ** 2), bool)
    return Originals(pictures, drawn, seen(len(pictures)), None, None if people is None else np.array(people))


def test_recognition_and_chance_without_names() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4)).astype(np.uint8)
    truth = originals(pictures)
    assert recognised(Completions(pictures, seen(10)), truth).tolist() == [1] * 10
    same = np.repeat(pictures[3:4], 10, 0)
    assert recognised(Completions(same, seen(10)), truth).sum() == 1
    assert chances({"forget": truth}) == {"forget": 0.1}


def test_a_group_is_recognised_where_it_is_likelier_than_not() -> None:
    said = np.array([[0.6, 0.3, 0.1], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6], [0.5, 0.0, 0.5]])
    drawn = Completions(np.zeros((4, 3, 4, 4), np.uint8), Seen(np.zeros((4, 2)), said, said))
    assert group_recognised(drawn, np.array([1.0, 0.0, 0.0])).tolist() == [1, 0, 0, 0]
    assert group_recognised(drawn, np.array([1.0, 1.0, 0.0])).tolist() == [1, 1, 0, 0]
    assert group_recognised(drawn, np.array([1.0, 0.5, 0.0])).tolist() == [1, 0, 0, 0]


def test_recognition_with_names_needs_another_picture_of_the_person() -> None:
    from expunge.kinds.generator.measures.scores import _gallery

    base = np.array([0, 100, 200, 40], np.uint8)
    pictures = np.tile(base[:, None, None, None], (1, 3, 4, 4))
    pictures = np.concatenate([pictures, pictures + 3])[:7]  # the last has no second picture
    people = ["a", "b", "c", "d", "a", "b", "c"]
    truth = originals(pictures, people)
    everyone = _gallery({"retain": truth})
    assert recognised(Completions(pictures, seen(7)), truth, everyone).tolist() == [1] * 6
    assert chances({"retain": truth})["retain"] == pytest.approx(1 / 6)
