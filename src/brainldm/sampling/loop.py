"""The loop that all samplers share: from noise to a clean latent, a step at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from brainldm.errors import NotFiniteError, UsageError
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.predictions import pick_prediction
from brainldm.sampling.schedules import CLEAN, Schedule
from brainldm.sampling.solvers import Estimate, Solver, pick_solver


def sample(
    denoise: Callable[[Tensor, float], Tensor],
    z: Float[Tensor, " b *latent"],
    *,
    schedule: Schedule,
    solver: str | Solver,
    steps: int,
    prediction: str = "epsilon",
    noise: NoiseSource | None = None,
    skip: int = 0,
    on_step: Callable[[int, int, Tensor], None] | None = None,
) -> Float[Tensor, " b *latent"]:
    """Go from noise to a clean latent.

    Args:
        denoise: the network, (z, t) -> output, where z and the output are (B, C, X, Y, Z).
        z: standard normal noise, (B, C, X, Y, Z).
        schedule: the one the network was trained with.
        solver: one of `SAMPLERS`, or a solver.
        steps: how often the network is evaluated, but for those skipped.
        prediction: what the network's output is: "epsilon", "v", "x0" or "flow".
        noise: what a stochastic solver draws from, a generator for each sample.
        skip: steps at the noisy end that are left out: z is as noisy as the first that is not.
        on_step: called after each step as on_step(steps done, steps in all, z).

    Returns:
        The latent, (B, C, X, Y, Z).

    Raises:
        UsageError: an unknown solver or prediction, steps that the schedule does not have, or a
            stochastic solver without a source of noise for each sample.
        NotFiniteError: a step gives NaN or infinity.
    """
    solver = pick_solver(solver)
    to_x0_and_epsilon = pick_prediction(prediction)
    timesteps = schedule.timesteps(steps, solver.spacing)[skip:]
    if solver.stochastic:
        _check_noise(solver, noise, len(z))

    levels = [*map(schedule.level, timesteps), CLEAN]
    history: deque[Estimate] = deque(maxlen=solver.order)
    for done, (timestep, (t, s)) in enumerate(zip(timesteps, pairwise(levels), strict=True), 1):
        x0, epsilon = to_x0_and_epsilon(denoise(z, timestep), z, t)
        history.append(Estimate(t, z, x0, epsilon))
        history[-1] = solver.correct(history)
        z = solver.step(history, s, noise)
        if not z.isfinite().all():
            raise NotFiniteError(
                f"The latent has values that are NaN or infinite after step {done} of "
                f"{len(timesteps)} (timestep {timestep}): expected finite ones. Try float32, or "
                "look at where the weights are from."
            )
        if on_step:
            on_step(done, len(timesteps), z)
    return z


def _check_noise(solver: Solver, noise: NoiseSource | None, samples: int) -> None:
    if noise is None or len(noise) != samples:
        got = "none" if noise is None else f"one with seeds for {len(noise)}"
        raise UsageError(
            f"The sampler {solver.name} draws noise on the way and needs a noise source with a "
            f"seed for each of {samples} samples, and got {got}: give the seeds, or choose a "
            'sampler that draws none, such as "ddim" with eta 0.'
        )
