"""How far generated heads lie from real ones: FID and MMD of their features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from brainldm.errors import DataError
from brainldm.evaluate.figure import Figure, beside_floor
from brainldm.metrics.distances import fid, mmd
from brainldm.metrics.resampling import GROUPS, jackknife

Features = NDArray[np.float64]
Distance = Callable[[Features, Features], float]


def figures(
    generated: Features, real: Features, shrinkage: float, training: Features | None = None
) -> Iterator[Figure]:
    """FID and MMD: of all scans, and at one sample size beside the floor of real against real.

    Where the model learned from other people than the real scans are of, nothing that resembles
    its training scans comes near the floor: what those themselves have tells how near it can be.

    Args:
        generated: features, (N, D).
        real: features, (M, D).
        shrinkage: of covariances, for FID of fewer scans than features.
        training: features of what the model learned from, (L, D), if known.
    """
    distance = partial(fid, shrinkage=shrinkage)
    note = f"shrinkage {shrinkage:g}; " if shrinkage else ""
    try:
        value = distance(generated, real)
        yield Figure("realism", "FID", value, note=f"{note}the larger, the fewer scans there are")
    except DataError as error:
        yield _refused("FID", error)
    yield _unbiased_fid(distance, generated, real)
    yield from _at_one_size("FID", distance, generated, real)
    if training is not None:
        yield from _at_one_size("FID of the training scans", distance, training, real)
    yield _unbiased("MMD", mmd, generated, real)
    yield from _at_one_size("MMD", mmd, generated, real)


def _unbiased_fid(distance: Distance, generated: Features, real: Features) -> Figure:
    name = "FID without the bias of few scans"
    fewest, width = min(len(generated), len(real)), real.shape[1]
    if fewest - -(-fewest // GROUPS) <= width:  # also with shrinkage: the bias is then not 1 / N
        least = -(-(width + 1) * GROUPS // (GROUPS - 1))
        return _refused(name, f"needs at least {least} scans a set, for {width} features")
    return _unbiased(name, distance, generated, real)


def _unbiased(name: str, distance: Distance, generated: Features, real: Features) -> Figure:
    value, between = jackknife(distance, generated, real)
    note = "in brackets: a jackknife; below 0 by chance where the sets are alike"
    return Figure("realism", name, value, between, note=note)


def _at_one_size(
    name: str, distance: Distance, generated: Features, real: Features
) -> Iterator[Figure]:
    n = min(len(real) // 2, len(generated))
    if n < 2:
        return
    try:
        yield beside_floor("realism", name, distance, generated, real)
    except DataError as error:
        yield _refused(f"{name} at {n} scans a set", error)


def _refused(name: str, why: object) -> Figure:
    return Figure("realism", name, None, note=f"refused: {why}")
