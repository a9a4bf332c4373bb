"""Which samples are denoised together, from which noise they start, and how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.pipeline.request import Request
from brainldm.sampling.noise import NoiseSource
from brainldm.workers import Progress

Watch = Callable[[Tensor], None]
"""watch(z), with the latents (B, C, X, Y, Z) of a batch after each of its steps."""


class Batch:
    """Requests that are denoised together.

    Args:
        requests: all with a seed, or all with noise.
        before: samples that were denoised before.
        count: samples in all.
        progress: called after each step.
        watch: called after each step.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        before: int,
        count: int,
        progress: Progress | None,
        watch: Watch | None,
    ) -> None:
        self.requests = requests
        self._before, self._count = before, count
        self._progress, self._watch = progress, watch

    @property
    def context(self) -> Float[Tensor, "b v"]:
        """The conditions in [0, 1]."""
        return torch.from_numpy(np.stack([request.context for request in self.requests]))

    def noise(self, shape: Sequence[int]) -> tuple[Float[Tensor, "b c x y z"], NoiseSource | None]:
        """Where the samples start, and where more noise comes from, if from seeds.

        Args:
            shape: (C, X, Y, Z) of what the seeds draw.
        """
        given = [request.noise for request in self.requests if request.noise is not None]
        if given:
            return torch.stack(given).float(), None
        source = NoiseSource([each.seed for each in self.requests if each.seed is not None])
        return source.draw(shape), source

    def on_step(self, done: int, total: int, z: Tensor) -> None:
        """Tell of a step, as samples times steps of the whole, and show its latents."""
        if self._progress:
            steps = self._before * total + done * len(self.requests)
            self._progress(steps, self._count * total, "denoise")
        if self._watch:
            self._watch(z)


def batches(
    requests: Sequence[Request], size: int, progress: Progress | None, watch: Watch | None
) -> Iterator[Batch]:
    """The requests in parts of at most `size`."""
    for start in range(0, len(requests), size):
        yield Batch(requests[start : start + size], start, len(requests), progress, watch)
