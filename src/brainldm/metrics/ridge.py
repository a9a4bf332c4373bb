"""Ridge regression on few heads of many numbers, and what it tells of heads left out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array


def ridge(
    gram: Float[Array, "n n"], values: Float[Array, "n v"], strengths: Float[Array, " s"]
) -> tuple[Float[Array, "n v"], Float[Array, "n v"]]:
    """Fit each of some values, with the penalty that serves best on heads left out one at a time.

    Leaving out is done in closed form (Hastie, Tibshirani and Friedman, The Elements of Statistical
    Learning, section 7.10), of the means too: centred with a head's own features, those of the
    others would tell where it is.

    Args:
        gram: inner products of the heads' features, less their means, (N, N).
        values: of the heads, (N, V).
        strengths: of the penalty, to choose from, in units of the gram's mean eigenvalue.

    Returns:
        The dual weights, (N, V): a value less its mean is estimated as the inner products with the
        heads, times these. And what is estimated of each head from all others, (N, V), about the
        mean of all: that of the others falls as a head's own value rises, and where features tell
        nothing would agree with the truth at r = -1.
    """
    y = values - values.mean(0)
    count = len(y)
    eigenvalues, vectors = np.linalg.eigh(gram)
    duals, errors = [], []
    for penalty in strengths * max(eigenvalues.mean(), 1e-12):
        inverse = vectors / (eigenvalues.clip(0) + penalty) @ vectors.T
        dual = inverse @ y
        own = (gram @ inverse).diagonal() + 1 / count
        duals.append(dual)
        errors.append((y - gram @ dual) / (1 - own).clip(1e-6)[:, None])
    best = (np.stack(errors) ** 2).mean(1).argmin(0)
    columns = np.arange(y.shape[1])
    dual, error = (np.stack(each)[best, :, columns].T for each in (duals, errors))
    return dual, values - error + y / max(count - 1, 1)
