"""Whether the interval of FID holds the FID: on Gaussian features, whose FID is known.

    python benchmarks/intervals.py            # minutes on one core

Sets are drawn again and again; the table says what FID, and FID without the bias of few scans, are
on the mean, and how often the jackknife's interval and a bootstrap's hold the true one.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from brainldm.metrics.distances import fid
from brainldm.metrics.resampling import bootstrap, jackknife


@dataclass(frozen=True)
class Case:
    """Two Gaussians of independent features, the first one with mean 0.

    Args:
        name: what they are.
        features: D.
        scans: in either set.
        apart: mean of the second one, in deviations of the first.
        spread: the deviations of the second over those of the first go from this to its inverse.
        decay: the deviation of the k-th feature of the first is k to the minus half of this.
    """

    name: str
    features: int
    scans: tuple[int, int]
    apart: float = 0.0
    spread: float = 1.0
    decay: float = 0.0

    @property
    def deviations(self) -> tuple[np.ndarray, np.ndarray]:
        """Of both, (D,) each."""
        first = np.arange(1, self.features + 1) ** (-self.decay / 2)
        return first, first * np.linspace(self.spread, 1 / self.spread, self.features)

    @property
    def known(self) -> float:
        """Their FID."""
        a, b = self.deviations
        return float(((self.apart * a) ** 2).sum() + ((a - b) ** 2).sum())

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Features of two sets of scans."""
        (n, m), (a, b) = self.scans, self.deviations
        first = a * rng.standard_normal((n, self.features))
        return first, self.apart * a + b * rng.standard_normal((m, self.features))


CASES = (
    Case("alike", 32, (100, 100)),
    Case("a little apart", 32, (100, 100), 0.1, 1.2),
    Case("far apart", 32, (100, 100), 0.3, 1.5),
    Case("alike, more scans", 32, (400, 400)),
    Case("a little apart, more scans", 32, (400, 400), 0.1, 1.2),
    Case("features of falling weight", 32, (100, 100), 0.1, 1.2, 1.0),
    Case("as few scans as can be", 32, (40, 40), 0.1, 1.2, 1.0),
    Case("sets of two sizes", 32, (100, 400), 0.1, 1.2, 2.0),
)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--bootstraps", type=int, default=50, help="draws that get one as well")
    arguments = parser.parse_args()
    print("| sets | scans | true | FID | without the bias | jackknife holds | bootstrap holds |")
    print("|---" * 7 + "|")
    for case in CASES:
        rng = np.random.default_rng(0)
        plain, corrected, held, by_bootstrap = [], [], [], []
        for i in range(arguments.draws):
            sets = case.draw(rng)
            value, (low, high) = jackknife(fid, *sets)
            plain.append(fid(*sets))
            corrected.append(value)
            held.append(low <= case.known <= high)
            if i < arguments.bootstraps:
                low, high = bootstrap(fid, *sets)
                by_bootstrap.append(low <= case.known <= high)
        print(
            f"| {case.name} | {case.scans[0]}, {case.scans[1]} | {case.known:.3f} "
            f"| {np.mean(plain):.3f} | {np.mean(corrected):.3f} | {np.mean(held):.1%} "
            f"| {np.mean(by_bootstrap):.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
