"""Joint total variation by ADMM: from scans through their projections to one volume a contrast.

Minimised is (Brudfors et al. 2019), over volumes y_c,

    J(y) = sum_cn tau_cn / 2 |x_cn - A_cn y_c|^2
         + sum over voxels of sqrt(sum_c lambda_c^2 |D y_c|^2)

where the first sum has the voxels of a scan that are observed and whose slice profile lies within
the volume, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from brainldm.unires.conjugate import conjugate_gradients
from brainldm.unires.gradient import Spacing, add_laplacian
from brainldm.unires.projection import Projection
from brainldm.unires.split import Split

SCALES = (16.0, 8.0, 4.0)
"""Of the regularisation, from coarse to fine."""
GAIN, LAST_GAIN = 1e-2, 3e-4
"""The relative gain of J in an iteration below which a scale ends, and the last one."""
MOST_ITERATIONS = 64
WHOLE = 0.999
"""The share of a voxel's slice profile that has to lie within the volume."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """A scan as the model has it.

    Args:
        data: its intensities, (I, J, K); what they are where it is not observed does not matter.
        observed: which of its voxels are data.
        projection: to the scan.
        precision: of its noise, 1 / deviation^2.
    """

    data: Float[Tensor, "i j k"]
    observed: Bool[Tensor, "i j k"]
    projection: Projection
    precision: float

    def __post_init__(self) -> None:
        ones = torch.ones(self.projection.volume.shape, device=self.data.device)
        observed = self.observed & (self.projection(ones) >= WHOLE)
        object.__setattr__(self, "observed", observed)
        object.__setattr__(self, "data", torch.where(observed, self.data, 0.0))

    def back(self, image: Float[Tensor, "i j k"]) -> Float[Tensor, "x y z"]:
        """tau A' of the voxels that are data."""
        return self.projection.adjoint(image * self.observed).mul_(self.precision)

    def misfit(self, volume: Float[Tensor, "x y z"]) -> float:
        """tau / 2 |x - A y|^2."""
        rest = (self.projection(volume) - self.data).mul_(self.observed)
        return float(torch.linalg.vector_norm(rest)) ** 2 * self.precision / 2


@dataclass(frozen=True)
class Step:
    """One iteration.

    Args:
        scale: of the regularisation.
        objective: J after it.
        solves: iterations of conjugate gradients, of all contrasts.
    """

    scale: float
    objective: float
    solves: int


@dataclass
class Problem:
    """Volumes that are being found.

    Args:
        channels: of each contrast, its scans.
        spacing: of the volumes in mm.
        weights: lambda0 of each contrast.
        volumes: y, to start from, (C, X, Y, Z); changed in place.
        course: what was done.
    """

    channels: Sequence[Sequence[Measurement]]
    spacing: Spacing
    weights: Sequence[float]
    volumes: Float[Tensor, "c x y z"]
    course: list[Step] = field(default_factory=list)

    def minimise(
        self,
        scales: Sequence[float] = SCALES,
        *,
        most: int = MOST_ITERATIONS,
        last_gain: float = LAST_GAIN,
        tell: Callable[[Step], None] = lambda step: None,
    ) -> None:
        """Iterate until J no longer falls.

        Args:
            scales: of the regularisation, one after the other.
            most: iterations, of all scales together.
            last_gain: the relative gain that ends the last scale.
            tell: called after each iteration.
        """
        split = Split.of(self.volumes)
        for scale in scales:
            lambdas = [scale * weight for weight in self.weights]
            # At edges of tissue, z = lambda D y is about as large as 1 / rho.
            rho = len(self.channels) ** 0.5 / scale
            split.rescale(rho)
            before = self._fit() + split.advance(self.volumes, self.spacing, lambdas)
            while len(self.course) < most:
                solves = sum(
                    self._update(channel, split.pull(channel, self.spacing, weight), rho, weight)
                    for channel, weight in enumerate(lambdas)
                )
                objective = self._fit() + split.advance(self.volumes, self.spacing, lambdas)
                self.course.append(Step(scale, objective, solves))
                tell(self.course[-1])
                gain, before = (before - objective) / abs(objective), objective
                if abs(gain) < (GAIN if scale != scales[-1] else last_gain):
                    break

    def _fit(self) -> float:
        return sum(
            each.misfit(volume)
            for channel, volume in zip(self.channels, self.volumes, strict=True)
            for each in channel
        )

    def _update(self, channel: int, pull: Tensor, rho: float, weight: float) -> int:
        """Solve [sum tau A'A + rho lambda^2 D'D] y = sum tau A'x + pull for a contrast."""
        scans = self.channels[channel]

        def normal(volume: Tensor) -> Tensor:
            result = _sum(each.back(each.projection(volume)) for each in scans)
            add_laplacian(result, volume, self.spacing, rho * weight**2)
            return result

        scale = 2 * rho * weight**2 * sum(size**-2 for size in self.spacing)
        right = pull.add_(self._target[channel])
        return conjugate_gradients(
            normal, right, self.volumes[channel], self._reach[channel] + scale
        )

    @cached_property
    def _target(self) -> list[Tensor]:
        """sum tau A'x of each contrast."""
        return [_sum(each.back(each.data) for each in channel) for channel in self.channels]

    @cached_property
    def _reach(self) -> list[Tensor]:
        """sum tau A'A1 of each contrast."""
        ones = torch.ones_like(self.volumes[0])
        return [
            _sum(each.back(each.projection(ones)) for each in channel) for channel in self.channels
        ]


def _sum(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    for each in others:
        first += each
    return first
