"""How sure figures are: intervals that hold, and floors of equal numbers."""

from __future__ import annotations

import numpy as np
import pytest

from brainldm.errors import DataError
from brainldm.evaluate import realism
from brainldm.metrics.distances import fid, mmd
from brainldm.metrics.resampling import against_floor, bootstrap, jackknife


def test_the_interval_of_a_mean(rng: np.random.Generator) -> None:
    x = rng.standard_normal(400)
    low, high = bootstrap(lambda v: float(v.mean()), x)
    assert low < x.mean() < high
    assert high - low == pytest.approx(4 / np.sqrt(400), rel=0.2)


def test_the_floor_is_of_equal_numbers(rng: np.random.Generator) -> None:
    sizes: list[tuple[int, int]] = []

    def figure(a: np.ndarray, b: np.ndarray) -> float:
        sizes.append((len(a), len(b)))
        return fid(a, b)

    real = rng.standard_normal((101, 3))
    far = 1 + rng.standard_normal((80, 3))
    ours, floor = against_floor(figure, far, real, splits=5)
    assert set(sizes) == {(50, 50)}
    assert ours.min() > floor.max()


@pytest.mark.parametrize("apart", [0.0, 0.1, 0.5])
def test_the_interval_of_an_fid_holds_the_known_one(apart: float, rng: np.random.Generator) -> None:
    """Of Gaussians that are alike or have other means and covariances: in 90 of 100 draws at least.

    The figure itself lies above by what few samples add, and its bootstrap by that twice.
    """
    d, n, draws = 6, 60, 100
    spread = 1 + apart * np.linspace(-1, 1, d)
    known = d * apart**2 + ((spread - 1) ** 2).sum()
    held, values, plain = 0, [], []
    for _ in range(draws):
        a = rng.standard_normal((n, d))
        b = apart + spread * rng.standard_normal((n, d))
        value, (low, high) = jackknife(fid, a, b)
        held += low <= known <= high
        values.append(value)
        plain.append(fid(a, b))
    assert held >= 90
    assert np.mean(values) == pytest.approx(known, abs=3 * np.std(values) / np.sqrt(draws) + 0.02)
    assert np.mean(plain) > known + 0.4
    if apart < 0.2:
        assert bootstrap(fid, a, b)[0] > known


def test_the_interval_of_an_mmd_holds_what_large_samples_give(rng: np.random.Generator) -> None:
    known = np.mean([mmd(*_apart(rng, 2000)) for _ in range(3)])
    intervals = [jackknife(mmd, *_apart(rng, 80))[1] for _ in range(60)]
    assert sum(low <= known <= high for low, high in intervals) >= 52


def _apart(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((n, 3)), 0.4 + rng.standard_normal((n, 3))


def test_a_mean_is_not_corrected_and_a_variance_is(rng: np.random.Generator) -> None:
    x = rng.standard_normal(47)
    value, (low, high) = jackknife(lambda v: float(v.mean()), x, groups=47)
    assert value == pytest.approx(x.mean())
    assert high - low == pytest.approx(2 * 2.0129 * x.std(ddof=1) / np.sqrt(47), rel=1e-4)
    assert jackknife(lambda v: float(v.var()), x, groups=47)[0] == pytest.approx(x.var(ddof=1))


def test_realism_of_sets_that_are_alike_and_too_small(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 60, 6))
    found = {figure.name: figure for figure in realism.figures(a, b, 0.0)}
    assert list(found) == [
        *("FID", "FID without the bias of few scans", "FID at 30 scans a set"),
        *("MMD", "MMD at 30 scans a set"),
    ]
    whole, true = found["FID"], found["FID without the bias of few scans"]
    assert whole.interval is None
    assert true.interval is not None
    assert true.interval[0] < true.value < true.interval[1] < whole.value  # type: ignore[operator]

    # Training scans of other people lie apart themselves.
    known = {figure.name: figure for figure in realism.figures(a, b, 0.0, a + 1)}
    of_training = known.pop("FID of the training scans at 30 scans a set")
    assert known == found
    assert of_training.real == found["FID at 30 scans a set"].real
    assert of_training.value > found["FID at 30 scans a set"].value + 5  # type: ignore[operator]

    few = {figure.name: figure for figure in realism.figures(a[:7], b, 0.0)}
    assert few["FID"].value is not None
    refused = few["FID without the bias of few scans"]
    assert (refused.value, "at least 8 scans a set, for 6 features" in refused.note) == (None, True)
    shrunk = {figure.name: figure for figure in realism.figures(a[:5], b, 0.1)}
    assert shrunk["FID"].value is not None
    assert shrunk["FID without the bias of few scans"].value is None
    with pytest.raises(DataError, match="samples do not determine"):
        jackknife(fid, a[:7], b)
