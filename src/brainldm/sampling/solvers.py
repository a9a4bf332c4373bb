"""Samplers: one signature for a step.

A step goes from the level of noise t to the level s below it; symbols as in `brainldm.sampling`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from brainldm.config.slips import did_you_mean
from brainldm.errors import UsageError
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.schedules import NoiseLevel, Spacing


@dataclass(frozen=True)
class Estimate:
    """What is known at one point of a trajectory; tensors are (B, C, X, Y, Z).

    Args:
        level: the level of noise in z.
        z: the noisy latent.
        x0: the clean latent, as the network sees it in z.
        epsilon: the noise, as the network sees it in z.
    """

    level: NoiseLevel
    z: Tensor
    x0: Tensor
    epsilon: Tensor


class Solver(ABC):
    """A way to go from one level of noise to the next.

    A solver holds no state: what a step needs of the steps before it is in `history`. So one
    solver serves any number of trajectories.
    """

    name: ClassVar[str]
    order: ClassVar[int] = 1
    """How many of the last estimates a step looks at."""
    usual_steps: ClassVar[int]
    """How many it takes unless told otherwise."""
    spacing: Spacing
    """Which timesteps it goes through; see `Schedule.timesteps`."""

    @property
    @abstractmethod
    def stochastic(self) -> bool:
        """Whether its steps draw noise."""

    @abstractmethod
    def step(self, history: Sequence[Estimate], s: NoiseLevel, noise: NoiseSource | None) -> Tensor:
        """The latent at the level s, (B, C, X, Y, Z).

        Args:
            history: the last estimates, the latest of them last, `order` of them at most.
            s: where to go.
            noise: given if the solver is stochastic.
        """

    def correct(self, history: Sequence[Estimate]) -> Estimate:
        """The latest estimate, with a better latent where the solver can tell one by now."""
        return history[-1]

    def describe(self) -> dict[str, str | float]:
        """Its name and parameters, for the record."""
        return {"name": self.name, "spacing": self.spacing}


@dataclass(frozen=True)
class DDPM(Solver):
    """Ancestral sampling (Ho et al. 2020, 2006.11239), with the smaller of its two variances.

    With fewer steps than the network was trained with, the posterior is that of the longer step
    (Nichol and Dhariwal 2021, 2102.09672, section 4).
    """

    name: ClassVar[str] = "ddpm"
    usual_steps: ClassVar[int] = 1000
    spacing: Spacing = "leading"

    @property
    def stochastic(self) -> bool:
        """True."""
        return True

    def step(self, history: Sequence[Estimate], s: NoiseLevel, noise: NoiseSource | None) -> Tensor:
        """Draw from the posterior q(z_s | z_t, x0) (2006.11239, eq. 6 and 7)."""
        t, z, x0 = history[-1].level, history[-1].z, history[-1].x0
        alpha = t.alpha / s.alpha
        beta = 1 - alpha**2
        mean = (s.alpha * beta * x0 + alpha * s.sigma**2 * z) / t.sigma**2
        return _add_noise(mean, s.sigma / t.sigma * math.sqrt(beta), noise)


@dataclass(frozen=True)
class DDIM(Solver):
    """Denoising diffusion implicit models (Song et al. 2021, 2010.02502).

    Args:
        eta: how much of the noise of DDPM is added on the way: 0 for none, 1 for as much as there.
        spacing: of the timesteps.

    Raises:
        UsageError: eta is not between 0 and 1.
    """

    name: ClassVar[str] = "ddim"
    usual_steps: ClassVar[int] = 50
    eta: float = 0.0
    spacing: Spacing = "leading"

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise UsageError(
                f"eta is {self.eta}: expected a number from 0 (no noise added on the way) to 1 "
                "(as much as DDPM adds)."
            )

    @property
    def stochastic(self) -> bool:
        """Whether eta is above 0."""
        return self.eta > 0

    def step(self, history: Sequence[Estimate], s: NoiseLevel, noise: NoiseSource | None) -> Tensor:
        """Equations 12 and 16 of 2010.02502; `std` is what the paper calls sigma."""
        t, x0, epsilon = history[-1].level, history[-1].x0, history[-1].epsilon
        std = self.eta * s.sigma / t.sigma * math.sqrt(1 - (t.alpha / s.alpha) ** 2)
        mean = s.alpha * x0 + math.sqrt(s.sigma**2 - std**2) * epsilon
        return _add_noise(mean, std, noise)

    def describe(self) -> dict[str, str | float]:
        """Its name, spacing and eta."""
        return {**super().describe(), "eta": self.eta}


@dataclass(frozen=True)
class DPMSolverPP2M(Solver):
    """DPM-Solver++(2M), second order and multistep (Lu et al. 2022, 2211.01095).

    The first step has no earlier estimate to look at, and for the last one lambda_s is infinite:
    these two are of first order.

    Args:
        spacing: of the timesteps.
    """

    name: ClassVar[str] = "dpm++2m"
    order: ClassVar[int] = 2
    usual_steps: ClassVar[int] = 20
    spacing: Spacing = "linspace"

    @property
    def stochastic(self) -> bool:
        """False."""
        return False

    def step(self, history: Sequence[Estimate], s: NoiseLevel, noise: NoiseSource | None) -> Tensor:
        """Algorithm 2 of 2211.01095."""
        return _predicted(history, s)


@dataclass(frozen=True)
class DPMSolverPP2MSDE(DPMSolverPP2M):
    """SDE-DPM-Solver++(2M): the same on the diffusion's SDE (Lu et al. 2022, 2211.01095).

    As much noise as DDPM adds. What a network gets wrong in one step is drowned, in part, and seen
    anew in the next, where the others carry it on to the end.

    Args:
        spacing: of the timesteps.
    """

    name: ClassVar[str] = "dpm++2m-sde"
    usual_steps: ClassVar[int] = 24
    spacing: Spacing = "karras"

    @property
    def stochastic(self) -> bool:
        """True."""
        return True

    def step(self, history: Sequence[Estimate], s: NoiseLevel, noise: NoiseSource | None) -> Tensor:
        """The second-order multistep solution of the SDE, in terms of x0 (2211.01095)."""
        now = history[-1]
        h = s.lambda_ - now.level.lambda_
        shrunk = s.sigma / now.level.sigma * math.exp(-h)
        mean = shrunk * now.z - s.alpha * math.expm1(-2 * h) * (now.x0 + _change(history, h))
        return _add_noise(mean, s.sigma * math.sqrt(-math.expm1(-2 * h)), noise)


@dataclass(frozen=True)
class UniPC(Solver):
    """UniPC of second order, B_2(h) = e^h - 1, on the clean latent (Zhao et al. 2023, 2302.04867).

    A multistep predictor as DPM-Solver++(2M), and a corrector of third order that needs no further
    evaluation of the network. The first step and the last are of first order.

    Args:
        spacing: of the timesteps.
    """

    name: ClassVar[str] = "unipc"
    order: ClassVar[int] = 3
    usual_steps: ClassVar[int] = 16
    spacing: Spacing = "karras"

    @property
    def stochastic(self) -> bool:
        """False."""
        return False

    def step(self, history: Sequence[Estimate], s: NoiseLevel, noise: NoiseSource | None) -> Tensor:
        """UniP-2, equation 3 of 2302.04867 in terms of x0, with a_1 = 1/2."""
        return _predicted(history, s)

    def correct(self, history: Sequence[Estimate]) -> Estimate:
        """UniC of the order that the predictor had, with the estimate where it arrived."""
        if len(history) < 2:
            return history[-1]
        before, now = history[-2], history[-1]
        h = now.level.lambda_ - before.level.lambda_
        change = now.x0 - before.x0
        if len(history) == 2:
            D = 0.5 * change
        else:
            r = (history[-3].level.lambda_ - before.level.lambda_) / h
            # a_1 + a_2 = b_1 and r a_1 + a_2 = b_2, with the phi functions of the paper in -h.
            first = math.expm1(-h)
            phi = first / -h - 1
            b1, b2 = phi / first, 2 * (phi / -h - 0.5) / first
            a1 = (b1 - b2) / (1 - r)
            D = a1 * _slope(history[-3], before, h) + (b1 - a1) * change
        return replace(now, z=_exponential(before, now.level, h, D))


def _predicted(history: Sequence[Estimate], s: NoiseLevel) -> Tensor:
    """The latent at the level s by the second-order multistep step without noise."""
    now = history[-1]
    h = s.lambda_ - now.level.lambda_
    return _exponential(now, s, h, _change(history, h))


def _change(history: Sequence[Estimate], h: float) -> Tensor | float:
    """How x0 will have changed in the middle of a step of h; 0 in the first step and the last."""
    if len(history) < 2 or not math.isfinite(h):
        return 0.0
    return 0.5 * _slope(history[-2], history[-1], h)


def _slope(earlier: Estimate, now: Estimate, h: float) -> Tensor:
    """How x0 changes over a step of h, from two estimates."""
    return (earlier.x0 - now.x0) * (h / (earlier.level.lambda_ - now.level.lambda_))


def _exponential(now: Estimate, s: NoiseLevel, h: float, D: Tensor | float) -> Tensor:
    """The exact solution for x0 constant at its value now plus D."""
    return s.sigma / now.level.sigma * now.z - s.alpha * math.expm1(-h) * (now.x0 + D)


SAMPLERS: dict[str, type[Solver]] = {
    each.name: each for each in (DDPM, DDIM, DPMSolverPP2M, DPMSolverPP2MSDE, UniPC)
}


def pick_solver(sampler: str | Solver) -> Solver:
    """The solver of that name, with its default parameters; a solver stays what it is.

    Raises:
        UsageError: no such solver.
    """
    if isinstance(sampler, Solver):
        return sampler
    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        raise UsageError(
            f"Unknown sampler {sampler!r}: expected one of {', '.join(SAMPLERS)}."
            + did_you_mean(str(sampler), SAMPLERS)
        )
    return SAMPLERS[sampler]()


def _add_noise(mean: Tensor, std: float, noise: NoiseSource | None) -> Tensor:
    if std == 0:  # a deterministic solver, or the last step of any
        return mean
    assert noise is not None  # `sample` sees to it
    return mean + std * noise.draw(mean.shape[1:]).to(mean.device, mean.dtype)
