"""How sure a figure is: what it would be on other samples of the same kind.

Sets of samples are arrays of N rows each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from scipy import stats

Interval = tuple[float, float]
GROUPS = 20
"""Parts of a set that a jackknife leaves out one at a time."""


def interval(values: Float[Array, " draws"]) -> Interval:
    """The middle 95 % of the values of a bootstrap."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def bootstrap(
    figure: Callable[..., float], *sets: Float[Array, "_ ..."], draws: int = 200, seed: int = 0
) -> Interval:
    """The middle 95 % of a figure of sets whose rows are drawn again with replacement.

    Not for distances between sets: drawing again adds to them what having few samples adds.
    """
    rng = np.random.default_rng(seed)
    values = [figure(*(x[rng.integers(0, len(x), len(x))] for x in sets)) for _ in range(draws)]
    return interval(np.array(values))


def jackknife(
    figure: Callable[..., float], *sets: Float[Array, "_ ..."], groups: int = GROUPS, seed: int = 0
) -> tuple[float, Interval]:
    """A figure without what it owes to the number of samples, and a 95 % interval.

    What falls with the number as 1 / N is estimated by leaving out a group of rows at a time, and
    taken off (Quenouille 1956); how the figure varies as groups are left out gives the interval
    (Tukey 1958), by Student's distribution. For figures that are smooth in averages over samples,
    as FID and MMD are; they can come out below 0 by chance where the sets are alike.

    Raises:
        DataError: the figure refuses the rest of a set.
    """
    rng = np.random.default_rng(seed)
    whole = figure(*sets)
    value, variance = whole, 0.0
    for i, x in enumerate(sets):
        parts = np.array_split(rng.permutation(len(x)), min(groups, len(x)))
        left = np.array(
            [figure(*sets[:i], np.delete(x, part, axis=0), *sets[i + 1 :]) for part in parts]
        )
        value -= (len(parts) - 1) * (left.mean() - whole)
        variance += (len(parts) - 1) / len(parts) * ((left - left.mean()) ** 2).sum()
    reach = float(stats.t.ppf(0.975, min(groups, *map(len, sets)) - 1) * np.sqrt(variance))
    return float(value), (float(value) - reach, float(value) + reach)


def against_floor(
    figure: Callable[[Array, Array], float],
    generated: Float[Array, "n ..."],
    real: Float[Array, "m ..."],
    splits: int = 20,
    seed: int = 0,
) -> tuple[Float[Array, " splits"], Float[Array, " splits"]]:
    """A figure at one sample size, for generated heads and for real ones.

    Each split draws two disjoint halves of the real set, and as many generated heads. A distance
    depends on the number of samples, so that only these two compare.

    Returns:
        Generated against the first half, and the second half against the first, (splits,) each.
    """
    rng = np.random.default_rng(seed)
    n = min(len(real) // 2, len(generated))
    of_generated, of_real = [], []
    for _ in range(splits):
        order = rng.permutation(len(real))
        first, second = real[order[:n]], real[order[n : 2 * n]]
        of_generated.append(figure(generated[rng.permutation(len(generated))[:n]], first))
        of_real.append(figure(second, first))
    return np.array(of_generated), np.array(of_real)
