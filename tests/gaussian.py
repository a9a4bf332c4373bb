"""A denoiser that is known: of data that are independent and normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from brainldm.sampling.schedules import Schedule


@dataclass(frozen=True)
class Gaussian:
    """Data that are independent and normal, for which the best denoiser is known."""

    schedule: Schedule
    mean: float = 1.0
    std: float = 0.5

    def epsilon(self, z: Tensor, t: float) -> Tensor:
        """E[epsilon | z_t = z]."""
        level = self.schedule.level(t)
        alpha, sigma = level.alpha, level.sigma
        return sigma * (z - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)

    def v(self, z: Tensor, t: float) -> Tensor:
        """alpha E[epsilon] - sigma E[x0]."""
        level = self.schedule.level(t)
        alpha, sigma = level.alpha, level.sigma
        epsilon = self.epsilon(z, t)
        return alpha * epsilon - sigma * (z - sigma * epsilon) / alpha

    def flow(self, z: Tensor, t: int, s: int | None) -> Tensor:
        """The probability-flow ODE from timestep t to s, or to no noise at all: z keeps its rank
        in a distribution that is normal at every time."""
        rank = (z - self.schedule.alpha(t) * self.mean) / self._std(t)
        if s is None:
            return self.mean + self.std * rank
        return self.schedule.alpha(s) * self.mean + self._std(s) * rank

    def _std(self, t: int) -> float:
        return math.hypot(self.schedule.alpha(t) * self.std, self.schedule.sigma(t))
