"""What a model's autoencoder keeps of real scans: the best that its samples can be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from brainldm.evaluate.figure import Figure
from brainldm.evaluate.kept import kept
from brainldm.evaluate.measures import Measuring, intensities
from brainldm.evaluate.pairs import PAIR_FIGURES, similarities
from brainldm.evaluate.sets import Head
from brainldm.image.reading import image_sha256
from brainldm.metrics.resampling import bootstrap
from brainldm.metrics.similarity import psnr
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model

MOST = 30
"""Scans, evenly spread over the set."""


def figures(
    model: Model, heads: Sequence[Head], how: Measuring, progress: Callable[[int, int, str], None]
) -> Iterator[Figure]:
    """PSNR, MS-SSIM and 4-G-R-SSIM of reconstructions.

    Raises:
        ModelError: no such model.
        DataError: a scan that it cannot take.
    """
    pipeline = BrainLDM.load(model)
    some = np.linspace(0, len(heads) - 1, min(MOST, len(heads))).round().astype(int)
    values = np.empty((len(some), 1 + len(PAIR_FIGURES)))
    for done, i in enumerate(some, 1):
        values[done - 1] = _recover(pipeline, heads[i], how)
        progress(done, len(some), "reconstructions")
    for name, column in zip(("PSNR", *PAIR_FIGURES), values.T, strict=True):
        yield Figure(
            "reconstruction",
            f"{name}, mean of {len(column)} scans",
            float(column.mean()),
            bootstrap(lambda x: float(x.mean()), column),
            None,
            "dB" if name == "PSNR" else "",
            f"lowest {column.min():.4g}",
        )


def _recover(pipeline: BrainLDM, head: Head, how: Measuring) -> list[float]:
    meaning = f"{image_sha256(head.path)} {pipeline.hash} {how.grid} {intensities(head)}"
    name = hashlib.sha256(meaning.encode()).hexdigest()

    def look() -> list[float]:
        scan = pipeline.prepare(head.read(how.grid))
        images = [torch.from_numpy(v.array)[None] for v in (pipeline.reconstruct(scan), scan)]
        return [psnr(*images), *similarities(*(image.to(how.device) for image in images))]

    return kept(how.cache / f"reconstruction-{name}.json", look, 1 + len(PAIR_FIGURES))
