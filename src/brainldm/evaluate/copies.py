"""Whether generated heads are copies of training scans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainldm.evaluate.figure import Figure
from brainldm.evaluate.measures import Measured
from brainldm.evaluate.result import Section, Sheet
from brainldm.evaluate.scans import Scans
from brainldm.metrics.resampling import bootstrap

Array = NDArray[np.float64]
Embeddings = NDArray[np.float32]
ALARMS = 0.05
"""Share of held-out scans that would count as copies."""
BLOCK = 512
"""Embeddings in memory at a time, twice."""
SHOWN = 6
"""Heads that are shown beside their nearest training scan."""


@dataclass(frozen=True)
class Copies:
    """Nearest training scans.

    Args:
        generated: distance of each generated head to its nearest training scan, (N,).
        held_out: likewise of real scans that were not trained on, (M,).
        nearest: index of that training scan for each generated head, (N,).
    """

    generated: Array
    held_out: Array
    nearest: NDArray[np.intp]

    @property
    def threshold(self) -> float:
        """Below it a head counts as a copy; `ALARMS` of the held-out scans do."""
        return float(np.quantile(self.held_out, ALARMS))

    @property
    def share(self) -> float:
        """Of the generated heads nearer than the threshold."""
        return float((self.generated < self.threshold).mean())


def section(generated: Scans, held_out: Scans, training: Scans) -> Section:
    """Compare the embeddings of heads, read in blocks, by 1 - their correlation."""

    def blocks() -> Iterator[Embeddings]:
        return _blocks(training.measured)

    distances, which = nearest(_blocks(generated.measured), blocks)
    found = Copies(distances, nearest(_blocks(held_out.measured), blocks)[0], which)
    return Section(
        tuple(figures(found)),
        distances={
            "generated": found.generated.tolist(),
            "held-out": found.held_out.tolist(),
            "threshold": [found.threshold],
        },
        sheets=(_closest(found, generated, training),),
    )


def _closest(found: Copies, generated: Scans, training: Scans) -> Sheet:
    """The closest pairs of generated heads and training scans."""
    shown = []
    for i in found.generated.argsort()[:SHOWN]:
        ours, other = generated.heads[i].path, training.heads[found.nearest[i]].path
        verdict = "counts as a copy" if found.generated[i] < found.threshold else "no copy"
        shown.append((ours, f"{ours.name}: {found.generated[i]:.4f}, {verdict}"))
        shown.append((other, f"its nearest training scan, {other.name}"))
    return Sheet("Closest pairs", tuple(shown))


def _blocks(heads: Sequence[Measured]) -> Iterator[Embeddings]:
    for start in range(0, len(heads), BLOCK):
        yield np.stack([head.embedding() for head in heads[start : start + BLOCK]])


def nearest(
    heads: Iterable[Embeddings], training: Callable[[], Iterable[Embeddings]]
) -> tuple[Array, NDArray[np.intp]]:
    """The distance to, and the index of, the nearest of `training`.

    Args:
        heads: blocks (n, E), each row of norm 1.
        training: gives blocks likewise, once for each block of heads.
    """
    distances, indices = [], []
    for block in heads:
        best = np.full(len(block), np.inf)
        index = np.zeros(len(block), np.intp)
        start = 0
        for others in training():
            to = 1 - (block @ others.T).astype(np.float64)
            at = to.argmin(1)
            value = to[np.arange(len(block)), at]
            index = np.where(value < best, at + start, index)
            best = np.minimum(best, value)
            start += len(others)
        distances.append(best)
        indices.append(index)
    return np.concatenate(distances), np.concatenate(indices)


def figures(found: Copies) -> Iterator[Figure]:
    """The share of copies, and how near the nearest training scan is."""
    yield Figure(
        "copies",
        f"share nearer to a training scan than {1 - ALARMS:.0%} of held-out scans",
        found.share,
        bootstrap(lambda x: float((x < found.threshold).mean()), found.generated),
        ALARMS,
        note="under real: what chance gives",
    )
    yield Figure(
        "copies",
        "median distance to the nearest training scan",
        float(np.median(found.generated)),
        bootstrap(lambda x: float(np.median(x)), found.generated),
        float(np.median(found.held_out)),
        note="1 - correlation of embeddings",
    )
