"""Which samples are denoised together, from which noise they start, and how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.pipeline.request import Request
from brainldm.sampling.noise import NoiseSource

Progress = Callable[[int, int, str], None]
"""progress(done, total, phase), counting samples times steps in the phase "denoise" and samples in
the phase "decode"."""


class Batch:
    """Requests that are denoised together.

    Args:
        requests: all with a seed, or all with noise.
        before: samples that were denoised before.
        count: samples in all.
        progress: called after each step.
    """

    def __init__(
        self, requests: Sequence[Request], before: int, count: int, progress: Progress | None
    ) -> None:
        self.requests = requests
        self._before, self._count, self._progress = before, count, progress
        self._given = [request.noise for request in requests if request.noise is not None]
        seeds = [request.seed for request in requests if request.seed is not None]
        self.source = NoiseSource(seeds) if seeds else None
        """What draws more noise on the way; None where noise was given."""

    @property
    def context(self) -> Float[Tensor, "b v"]:
        """The conditions in [0, 1]."""
        return torch.from_numpy(np.stack([request.context for request in self.requests]))

    def noise(self, shape: Sequence[int]) -> Float[Tensor, "b c x y z"]:
        """Where the samples start: the noise given, or what the seeds draw first.

        Args:
            shape: (C, X, Y, Z) of what the seeds draw.
        """
        if self.source is None:
            return torch.stack(self._given).float()
        return self.source.draw(shape)

    def on_step(self, done: int, total: int, z: Tensor) -> None:
        """Tell of a step of this batch as samples times steps of the whole."""
        if self._progress:
            steps = self._before * total + done * len(self.requests)
            self._progress(steps, self._count * total, "denoise")


def batches(requests: Sequence[Request], size: int, progress: Progress | None) -> Iterator[Batch]:
    """The requests in parts of at most `size`."""
    for start in range(0, len(requests), size):
        yield Batch(requests[start : start + size], start, len(requests), progress)
