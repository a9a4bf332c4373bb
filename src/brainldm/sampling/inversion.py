"""From a clean latent up to the noise that gives it back: the walk of DDIM, backwards and exact.

With alpha = cos(phi) and sigma = sin(phi), a step of DDIM down from t to s is a rotation by
delta = phi_t - phi_s (2202.00512, app. D):

    z_s = cos(delta) z_t - sin(delta) v(z_t, t),   v = alpha epsilon - sigma x0

Backwards, z_t stands on both sides. It is the fixed point of

    z_t = (z_s + sin(delta) v(z_t, t)) / cos(delta)

which is found by accelerated iteration (Pan et al. 2023, 2309.04907) from the plain backward step
of Song et al. 2021 (2010.02502). Exact schemes of two latents were measured beside it and lost: see
docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from brainldm.errors import NotFiniteError
from brainldm.sampling.predictions import pick_prediction
from brainldm.sampling.schedules import CLEAN, NoiseLevel, Schedule
from brainldm.sampling.solvers import DDIM

TOLERANCE = 3e-3
"""The change of a latent, over its norm, at which an iteration ends."""
MOST = 8
"""Evaluations of the network in a step."""


@dataclass(frozen=True, eq=False)
class Inversion:
    """The way up.

    Args:
        path: the levels from clean to noisy, each with the latent there, (B, C, X, Y, Z).
        evaluations: of the network.
        residual: the largest change, over the norm, with which an iteration ended.
    """

    path: tuple[tuple[NoiseLevel, Tensor], ...]
    evaluations: int
    residual: float

    @property
    def noise(self) -> Tensor:
        """Where the walk down starts, (B, C, X, Y, Z)."""
        return self.path[-1][1]


def invert(
    denoise: Callable[[Tensor, float], Tensor],
    z0: Float[Tensor, " b *latent"],
    *,
    schedule: Schedule,
    steps: int,
    prediction: str = "epsilon",
    tolerance: float = TOLERANCE,
    on_step: Callable[[int, int], None] | None = None,
) -> Inversion:
    """Find the noise from which `sample` with `DDIM()` and as many steps gives a latent back.

    Args:
        denoise: the network, (z, t) -> output, where z and the output are (B, C, X, Y, Z).
        z0: the latent, (B, C, X, Y, Z).
        schedule: the one the network was trained with.
        steps: of the walk.
        prediction: what the network's output is: "epsilon", "v", "x0" or "flow".
        tolerance: the change, over the norm, at which the iteration of a step ends.
        on_step: called after each step as on_step(steps done, steps in all).

    Raises:
        UsageError: an unknown prediction, or steps that the schedule does not have.
        NotFiniteError: the latent has NaN or infinity, or a step gives them.
    """
    to_x0_and_epsilon = pick_prediction(prediction)
    timesteps = schedule.timesteps(steps, DDIM().spacing)[::-1]
    levels = [CLEAN, *map(schedule.level, timesteps)]
    _check(z0, "to begin with")

    def velocity(z: Tensor, timestep: float, t: NoiseLevel) -> Tensor:
        x0, epsilon = to_x0_and_epsilon(denoise(z, timestep), z, t)
        return t.alpha * epsilon - t.sigma * x0

    path, evaluations, worst = [(CLEAN, z0)], 0, 0.0
    v: Tensor | None = None
    for done, (timestep, (s, t)) in enumerate(zip(timesteps, pairwise(levels), strict=True), 1):
        below = path[-1][1]
        cos = t.alpha * s.alpha + t.sigma * s.sigma
        sin = t.sigma * s.alpha - t.alpha * s.sigma
        z = below if v is None else cos * below + sin * v
        earlier: tuple[Tensor, Tensor] | None = None
        for _ in range(MOST):
            v = velocity(z, timestep, t)
            evaluations += 1
            image = (below + sin * v) / cos
            miss = image - z
            change = float(miss.norm() / z.norm())
            z, earlier = _accelerated(image, miss, earlier), (image, miss)
            if not change > tolerance:
                break
        _check(z, f"after step {done} of {len(timesteps)} (timestep {timestep})")
        worst = max(worst, change)
        path.append((t, z))
        if on_step:
            on_step(done, len(timesteps))
    return Inversion(tuple(path), evaluations, worst)


def _accelerated(image: Tensor, miss: Tensor, earlier: tuple[Tensor, Tensor] | None) -> Tensor:
    """The next guess of a fixed point from the last two: Anderson's with a memory of one."""
    if earlier is None:
        return image
    turn = miss - earlier[1]
    share = float((miss * turn).sum() / turn.square().sum().clamp(min=1e-30))
    return image - share * (image - earlier[0])


def _check(z: Tensor, when: str) -> None:
    if not z.isfinite().all():
        raise NotFiniteError(
            f"The latent has values that are NaN or infinite {when}: expected finite ones. Try "
            "float32, or look at where the image and the weights are from."
        )
