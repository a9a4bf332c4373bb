"""How much signal and noise a latent holds at each timestep."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from brainldm.config import ScheduleConfig
from brainldm.errors import UsageError

Spacing = Literal["leading", "linspace", "karras"]
SPACINGS: tuple[Spacing, ...] = ("leading", "linspace", "karras")
KARRAS_RHO = 7
"""Of Karras et al. 2022 (2206.00364), section 3."""


@dataclass(frozen=True)
class NoiseLevel:
    """The coefficients of z = alpha x0 + sigma epsilon."""

    alpha: float
    sigma: float

    @property
    def lambda_(self) -> float:
        """Half the logarithm of the signal-to-noise ratio, log(alpha / sigma)."""
        return math.log(self.alpha / self.sigma) if self.sigma > 0 else math.inf


CLEAN = NoiseLevel(alpha=1.0, sigma=0.0)
"""Where every trajectory ends: nothing is left of the noise, not even what timestep 0 has."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A variance-preserving noise schedule in T discrete timesteps (Ho et al. 2020, 2006.11239).

    Args:
        alphas_cumprod: alpha_t^2 at t = 0, ..., T - 1, (T,), float64: at single precision
            1 - alpha_t^2 would lose digits where there is little noise.
    """

    alphas_cumprod: Tensor

    @classmethod
    def of(cls, config: ScheduleConfig) -> Self:
        """The schedule that a model was trained with."""
        return cls.scaled_linear(config.num_train_timesteps, config.beta_start, config.beta_end)

    @classmethod
    def scaled_linear(
        cls,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0015,
        beta_end: float = 0.0205,
    ) -> Self:
        """The schedule of latent diffusion: betas linear in their square root.

        The defaults are those of Pinaya et al. 2022 (2209.07162).

        Raises:
            UsageError: no timesteps, or betas that do not rise between 0 and 1.
        """
        if num_train_timesteps < 1:
            raise UsageError(
                f"num_train_timesteps is {num_train_timesteps}: expected 1 or more, usually 1000."
            )
        if not 0 < beta_start <= beta_end < 1:
            raise UsageError(
                f"beta_start is {beta_start} and beta_end is {beta_end}: expected "
                "0 < beta_start <= beta_end < 1, for instance 0.0015 and 0.0205."
            )
        betas = (
            torch.linspace(
                math.sqrt(beta_start),
                math.sqrt(beta_end),
                num_train_timesteps,
                dtype=torch.float64,
                device="cpu",
            )
            ** 2
        )
        return cls((1 - betas).cumprod(0))

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of timesteps the network was trained with."""
        return len(self.alphas_cumprod)

    def alpha(self, t: int) -> float:
        """The coefficient of the signal at timestep t, 0 <= t < T."""
        return math.sqrt(self.alphas_cumprod[t].item())

    def sigma(self, t: int) -> float:
        """The coefficient of the noise at timestep t, 0 <= t < T."""
        return math.sqrt(1 - self.alphas_cumprod[t].item())

    def level(self, t: float) -> NoiseLevel:
        """Both coefficients at timestep t, 0 <= t <= T - 1.

        Between whole timesteps the logarithm of the signal-to-noise ratio is interpolated.
        """
        if t == int(t):
            return NoiseLevel(self.alpha(int(t)), self.sigma(int(t)))
        whole = np.arange(self.num_train_timesteps)
        ratio = math.exp(np.interp(t, whole, self._log_noise_to_signal()))
        alpha = 1 / math.hypot(1, ratio)
        return NoiseLevel(alpha, ratio * alpha)

    def timesteps(self, steps: int, spacing: Spacing = "leading") -> list[float]:
        """The timesteps at which a sampler evaluates the network, from noisy to clean.

        Args:
            steps: how many.
            spacing: "leading" has a stride of T // steps and ends at 0 (980, 960, ..., 0 for 50 of
                1000), as the published bundle samples; where steps does not divide T, it starts
                lower than it could. "linspace" divides [0, T - 1] evenly and leaves out 0
                (999, 979, ..., 20), as DPM-Solver++ is usually run; it has T - 1 steps at most.
                Names after Lin et al. 2023 (2305.08891), Table 2. "karras" goes from T - 1 to 0
                and is even in (sigma / alpha) ** (1 / 7) (2206.00364, eq. 5); its timesteps are
                fractions.

        Raises:
            UsageError: steps that are not a whole number, none or too many of them, or an
                unknown spacing.
        """
        T = self.num_train_timesteps
        if spacing not in SPACINGS:
            raise UsageError(f"Unknown spacing {spacing!r}: expected one of {', '.join(SPACINGS)}.")
        most = T - 1 if spacing == "linspace" else T
        try:
            number = operator.index(steps)
        except TypeError:
            number = 0
        if isinstance(steps, bool) or not 1 <= number <= most:
            raise UsageError(
                f"steps is {steps!r}: expected a whole number from 1 to {most}, since the model "
                f"was trained with {T} timesteps and this sampler can take {most} of them."
            )
        if spacing == "leading":
            stride = T // number
            return [stride * i for i in reversed(range(number))]
        if spacing == "karras":
            noise = self._log_noise_to_signal()
            first, last = np.exp(noise[[-1, 0]]) ** (1 / KARRAS_RHO)
            ratios = KARRAS_RHO * np.log(np.linspace(first, last, number))
            return [float(t) for t in np.interp(ratios, noise, np.arange(T))]
        # NumPy's rounding of halves, to even, is that of the reference implementation.
        return [int(t) for t in np.linspace(0, T - 1, number + 1).round()[:0:-1]]

    def _log_noise_to_signal(self) -> NDArray[np.float64]:
        """log(sigma / alpha) at every timestep, rising, (T,)."""
        product = self.alphas_cumprod.numpy()
        logarithms: NDArray[np.float64] = np.log((1 - product) / product) / 2
        return logarithms

    def add_noise(
        self,
        z0: Float[Tensor, " b *latent"],
        noise: Float[Tensor, " b *latent"],
        t: Int[Tensor, " b"],
    ) -> Float[Tensor, " b *latent"]:
        """z_t = alpha_t z0 + sigma_t noise (2006.11239, eq. 4).

        Args:
            z0: (B, C, X, Y, Z).
            noise: the same shape, standard normal.
            t: a timestep for each sample, (B,), integers from 0 to T - 1.
        """
        alpha, sigma = self._coefficients(z0, t)
        return alpha * z0 + sigma * noise

    def v_target(
        self,
        z0: Float[Tensor, " b *latent"],
        noise: Float[Tensor, " b *latent"],
        t: Int[Tensor, " b"],
    ) -> Float[Tensor, " b *latent"]:
        """What a v-predicting network should answer, alpha_t noise - sigma_t z0 (2202.00512).

        Args and shapes are those of `add_noise`.
        """
        alpha, sigma = self._coefficients(z0, t)
        return alpha * noise - sigma * z0

    def _coefficients(self, z0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t, each (B, 1, 1, 1, 1), at z0's device and precision."""
        shape = (-1, *[1] * (z0.ndim - 1))
        tables = self.alphas_cumprod.sqrt(), (1 - self.alphas_cumprod).sqrt()
        alpha, sigma = (table.to(z0.device, z0.dtype)[t].view(shape) for table in tables)
        return alpha, sigma
