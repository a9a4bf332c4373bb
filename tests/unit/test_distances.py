"""FID, MMD and coverage: closed forms, and the right direction."""

from __future__ import annotations

import numpy as np
import pytest

from brainldm.errors import BrainLDMError
from brainldm.metrics.distances import against_floor, bootstrap, coverage, fid, mmd

rng = np.random.default_rng(0)


def normal(n: int, d: int, mean: float = 0.0, deviation: float = 1.0) -> np.ndarray:
    """Samples whose mean and covariance are exactly those asked for."""
    x = rng.standard_normal((n, d))
    x -= x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return mean + deviation * x @ (vectors / np.sqrt(values) @ vectors.T)


def test_fid_of_two_gaussians_in_closed_form() -> None:
    d = 6
    expected = d * 2.0**2 + d * (1 - 3.0) ** 2
    assert fid(normal(50, d), normal(80, d, 2.0, 3.0)) == pytest.approx(expected, rel=1e-9)


def test_fid_stays_real_where_covariances_are_singular() -> None:
    a = normal(50, 4) @ rng.standard_normal((4, 12))
    assert fid(a, a) == pytest.approx(0, abs=1e-6)
    assert fid(a, a + 1) == pytest.approx(12, rel=1e-6)


def test_fid_refuses_fewer_samples_than_features_unless_a_shrinkage_is_stated() -> None:
    a, b = rng.standard_normal((2, 10, 20))
    with pytest.raises(BrainLDMError, match=r"10 samples do not determine.*--shrinkage"):
        fid(a, b)
    assert fid(a, b, 0.1) > 0
    assert fid(a, a, 0.1) == pytest.approx(0, abs=1e-9)


def test_shrinkage_leaves_the_distance_of_spheres() -> None:
    a, b = normal(50, 5), normal(50, 5, 1.0, 2.0)
    assert fid(a, b, 0.5) == pytest.approx(fid(a, b), rel=1e-9)


def test_mmd_is_unbiased_and_grows_with_the_distance() -> None:
    values = [mmd(rng.standard_normal((20, 3)), rng.standard_normal((20, 3))) for _ in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
    a = normal(40, 3)
    assert mmd(a, normal(40, 3, 1.0)) < mmd(a, normal(40, 3, 2.0))


def test_recall_falls_when_half_the_population_is_missing() -> None:
    real = np.concatenate([normal(60, 4), normal(60, 4, 20.0)])
    whole = np.concatenate([normal(60, 4), normal(60, 4, 20.0)])
    half = normal(120, 4)
    assert coverage(whole, real)["recall"] > 0.9
    assert coverage(half, real)["recall"] == pytest.approx(0.5, abs=0.1)
    assert coverage(half, real)["precision"] > 0.85
    assert coverage(real, real) == pytest.approx(
        {"precision": 1, "recall": 1, "density": 1.2, "coverage": 1}
    )


def test_coverage_of_too_few() -> None:
    with pytest.raises(BrainLDMError, match="more than 5 scans"):
        coverage(normal(5, 2), normal(20, 2))


def test_the_interval_of_a_mean() -> None:
    x = rng.standard_normal(400)
    low, high = bootstrap(lambda v: float(v.mean()), x)
    assert low < x.mean() < high
    assert high - low == pytest.approx(4 / np.sqrt(400), rel=0.2)


def test_the_floor_is_of_equal_numbers() -> None:
    sizes: list[tuple[int, int]] = []

    def figure(a: np.ndarray, b: np.ndarray) -> float:
        sizes.append((len(a), len(b)))
        return fid(a, b)

    real, far = normal(101, 3), normal(80, 3, 1.0)
    ours, floor = against_floor(figure, far, real, splits=5)
    assert set(sizes) == {(50, 50)}
    assert ours.min() > floor.max()
