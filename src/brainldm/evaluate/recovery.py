"""What a model's autoencoder keeps of real scans: the best that its samples can be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from brainldm.evaluate.figures import Figure
from brainldm.evaluate.measures import PAIR_FIGURES, Plan, digest, similarities
from brainldm.evaluate.sets import Head
from brainldm.files import write_together
from brainldm.metrics.distances import bootstrap
from brainldm.metrics.similarity import psnr

if TYPE_CHECKING:
    from brainldm.pipeline.brain import BrainLDM

MOST = 30
"""Scans, evenly spread over the set."""


def recover(
    model: str, heads: Sequence[Head], plan: Plan, progress: Callable[[int, int, str], None]
) -> Iterator[Figure]:
    """PSNR, MS-SSIM and 4-G-R-SSIM of reconstructions.

    Raises:
        BrainLDMError: no such model, or a scan that it cannot take.
    """
    from brainldm.pipeline.brain import BrainLDM

    pipeline = BrainLDM.from_pretrained(model, device=plan.device)
    some = np.linspace(0, len(heads) - 1, min(MOST, len(heads))).round().astype(int)
    values = np.empty((len(some), 1 + len(PAIR_FIGURES)))
    for done, i in enumerate(some, 1):
        values[done - 1] = _recover(pipeline, heads[i], plan)
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


def _recover(pipeline: BrainLDM, head: Head, plan: Plan) -> list[float]:
    name = hashlib.sha256(f"{digest(head.path)} {pipeline.hash} {plan.grid}".encode()).hexdigest()
    file = plan.cache / f"reconstruction-{name}.json"
    try:
        kept: list[float] = json.loads(file.read_text())
        return kept
    except (OSError, ValueError):
        pass
    scan = pipeline.prepare(head.read(plan.grid))
    images = [torch.from_numpy(v.array)[None] for v in (scan, pipeline.reconstruct(scan))]
    values = [psnr(images[1], images[0])]
    values += similarities(*(image.to(plan.device) for image in images))
    write_together({file: json.dumps(values).encode()})
    return values
