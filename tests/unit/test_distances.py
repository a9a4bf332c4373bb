"""FID, MMD and coverage: closed forms, and the right direction."""

from __future__ import annotations

import numpy as np
import pytest

from brainldm.errors import BrainLDMError
from brainldm.metrics.distances import coverage, fid, mmd


def normal(
    rng: np.random.Generator, n: int, d: int, mean: float = 0.0, deviation: float = 1.0
) -> np.ndarray:
    """Samples whose mean and covariance are exactly those asked for."""
    x = rng.standard_normal((n, d))
    x -= x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return mean + deviation * x @ (vectors / np.sqrt(values) @ vectors.T)


def test_fid_of_two_gaussians_in_closed_form(rng: np.random.Generator) -> None:
    d = 6
    expected = d * 2.0**2 + d * (1 - 3.0) ** 2
    assert fid(normal(rng, 50, d), normal(rng, 80, d, 2.0, 3.0)) == pytest.approx(
        expected, rel=1e-9
    )


def test_fid_stays_real_where_covariances_are_singular(rng: np.random.Generator) -> None:
    a = normal(rng, 50, 4) @ rng.standard_normal((4, 12))
    assert fid(a, a) == pytest.approx(0, abs=1e-6)
    assert fid(a, a + 1) == pytest.approx(12, rel=1e-6)


def test_fid_refuses_fewer_samples_than_features_unless_a_shrinkage_is_stated(
    rng: np.random.Generator,
) -> None:
    a, b = rng.standard_normal((2, 10, 20))
    with pytest.raises(BrainLDMError, match=r"10 samples do not determine.*--shrinkage"):
        fid(a, b)
    assert fid(a, b, 0.1) > 0
    assert fid(a, a, 0.1) == pytest.approx(0, abs=1e-9)


def test_shrinkage_leaves_the_distance_of_spheres(rng: np.random.Generator) -> None:
    a, b = normal(rng, 50, 5), normal(rng, 50, 5, 1.0, 2.0)
    assert fid(a, b, 0.5) == pytest.approx(fid(a, b), rel=1e-9)


def test_mmd_is_unbiased_and_grows_with_the_distance(rng: np.random.Generator) -> None:
    values = [mmd(rng.standard_normal((20, 3)), rng.standard_normal((20, 3))) for _ in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
    a = normal(rng, 40, 3)
    assert mmd(a, normal(rng, 40, 3, 1.0)) < mmd(a, normal(rng, 40, 3, 2.0))


def test_recall_falls_when_half_the_population_is_missing(rng: np.random.Generator) -> None:
    real = np.concatenate([normal(rng, 60, 4), normal(rng, 60, 4, 20.0)])
    whole = np.concatenate([normal(rng, 60, 4), normal(rng, 60, 4, 20.0)])
    half = normal(rng, 120, 4)
    assert coverage(whole, real)["recall"] > 0.9
    assert coverage(half, real)["recall"] == pytest.approx(0.5, abs=0.1)
    assert coverage(half, real)["precision"] > 0.85
    assert coverage(real, real) == pytest.approx(
        {"precision": 1, "recall": 1, "density": 1.2, "coverage": 1}
    )


def test_coverage_of_too_few(rng: np.random.Generator) -> None:
    with pytest.raises(BrainLDMError, match="more than 5 scans"):
        coverage(normal(rng, 5, 2), normal(rng, 20, 2))
