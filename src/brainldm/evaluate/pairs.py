"""How alike two heads of a set are, kept by the hash of their files.

`compare` runs in worker processes, one pair at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from brainldm.evaluate.kept import kept
from brainldm.evaluate.measures import Measuring, intensities
from brainldm.evaluate.sets import Head
from brainldm.image.reading import image_sha256
from brainldm.metrics.similarity import four_g_r_ssim, ms_ssim, pyramid
from brainldm.workers import spread

PAIR_FIGURES = ("MS-SSIM", "4-G-R-SSIM", "4-G-SSIM", "4-G-R-SSIM, single scale")
Pair = tuple[Head, Head]


def draw_pairs(heads: Sequence[Head], most: int, seed: int) -> list[Pair]:
    """Different pairs, drawn at random; all of them where there are no more."""
    n = len(heads)
    total = n * (n - 1) // 2
    drawn = np.random.default_rng(seed).choice(total, min(most, total), replace=False)
    # Pairs (i, j), i < j, are numbered by j, then i.
    second = ((1 + np.sqrt(1 + 8 * drawn.astype(np.float64))) // 2).astype(int)
    first = drawn - second * (second - 1) // 2
    return [(heads[i], heads[j]) for i, j in zip(first, second, strict=True)]


def compare_pairs(
    pairs: Sequence[Pair], how: Measuring, jobs: int, tell: Callable[[int], None]
) -> NDArray[np.float64]:
    """`PAIR_FIGURES` of pairs, in processes: (N, 4).

    Args:
        pairs: of heads.
        how: they are read and compared.
        jobs: processes.
        tell: called with the number of pairs that are compared.
    """
    return np.array(spread(compare, [(*pair, how) for pair in pairs], jobs, tell))


def compare(a: Head, b: Head, how: Measuring) -> list[float]:
    """`PAIR_FIGURES` of two heads, from the cache or new."""
    meaning = f"{how.grid} {intensities(a)}"
    grid = hashlib.sha256(meaning.encode()).hexdigest()
    name = "".join(sorted((image_sha256(a.path), image_sha256(b.path)))) + grid
    file = how.cache / f"pair-{hashlib.sha256(name.encode()).hexdigest()}.json"

    def look() -> list[float]:
        images = [torch.from_numpy(head.read(how.grid).array)[None] for head in (a, b)]
        return similarities(*(image.to(how.device) for image in images))

    return kept(file, look, len(PAIR_FIGURES))


@torch.inference_mode()
def similarities(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """`PAIR_FIGURES` of two images (1, X, Y, Z)."""
    x, y = pyramid(a), pyramid(b)
    return [
        float(value)
        for value in (
            ms_ssim(x, y),
            four_g_r_ssim(x, y),
            four_g_r_ssim(x, y, r=False),
            four_g_r_ssim(x, y, multi_scale=False),
        )
    ]
