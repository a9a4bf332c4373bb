"""How far apart two sets of features lie, and how much of one the other covers.

Features are (N, D), a row a head.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy import linalg

from brainldm.errors import DataError

NEIGHBOURS = 5
"""k of precision, recall, density and coverage."""


def fid(a: Float[Array, "n d"], b: Float[Array, "m d"], shrinkage: float = 0.0) -> float:
    """Fréchet distance of two Gaussians fitted to features (Heusel et al. 2017, 1706.08500).

    The trace of the root of a product of covariances AA' and BB' is the sum of the singular values
    of A'B: real, not negative, and stable whatever their rank.

    Args:
        a: (N, D).
        b: (M, D).
        shrinkage: share of each covariance that gives way to its mean variance in all directions.

    Raises:
        DataError: fewer samples than features plus one, and no shrinkage.
    """
    fewest, width = min(len(a), len(b)), a.shape[1]
    if fewest <= width and shrinkage == 0:
        raise DataError(
            f"{fewest} samples do not determine the covariance of {width} features: expected at "
            f"least {width + 1}. Give more scans, choose features that are fewer, or state a "
            "shrinkage (--shrinkage 0.1), which then belongs to the figure."
        )
    roots = []
    traces = []
    for x in (a, b):
        centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
        trace = float((centred**2).sum())
        if shrinkage:
            ball = np.sqrt(shrinkage * trace / width) * np.eye(width)
            centred = np.concatenate([np.sqrt(1 - shrinkage) * centred, ball])
        roots.append(linalg.qr(centred, mode="r")[0][:width] if len(centred) > width else centred)
        traces.append(trace)
    cross = linalg.svdvals(roots[0] @ roots[1].T).sum()
    means = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    return max(0.0, means + sum(traces) - 2 * float(cross))


def mmd(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, the "kernel
    inception distance" (Binkowski et al. 2018, 1801.01401); below 0 by chance for equal sets.
    """
    n, m = len(a), len(b)
    aa, bb, ab = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    own = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(own - 2 * ab.mean())


def _kernel(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    kernel: Array = (a @ b.T / a.shape[1] + 1) ** 3
    return kernel


def squared_distances(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """(N, M)."""
    squares: Array = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return squares.clip(min=0)


def coverage(
    generated: Float[Array, "n d"], real: Float[Array, "m d"], neighbours: int = NEIGHBOURS
) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019, 1904.06991), density and coverage (Naeem et
    al. 2020, 2002.09797): from balls around each head that reach its k-th neighbour in its own set.

    Raises:
        DataError: a set has no k-th neighbour.
    """
    if min(len(generated), len(real)) <= neighbours:
        raise DataError(
            f"Expected more than {neighbours} scans in each set to tell how one covers the other, "
            f"got {len(generated)} and {len(real)}."
        )
    between = squared_distances(generated, real)
    own, other = (
        np.sort(squared_distances(x, x), axis=1)[:, neighbours] for x in (generated, real)
    )
    in_real, in_generated = between <= other, between <= own[:, None]
    return {
        "precision": float(in_real.any(1).mean()),
        "recall": float(in_generated.any(0).mean()),
        "density": float(in_real.sum(1).mean() / neighbours),
        "coverage": float(in_real.any(0).mean()),
    }
