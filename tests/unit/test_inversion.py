"""The way up from a latent is the way down, backwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from brainldm.errors import NotFiniteError, UsageError
from brainldm.sampling.inversion import MOST, invert
from brainldm.sampling.loop import sample
from brainldm.sampling.schedules import CLEAN, Schedule
from brainldm.sampling.solvers import DDIM
from tests.gaussian import Gaussian

SCHEDULE = Schedule.scaled_linear()
GAUSSIAN = Gaussian(SCHEDULE)


def latent(seed: int = 0) -> Tensor:
    """Drawn from the data that the denoiser knows, float64."""
    noise = torch.randn(1, 2, 4, 5, 6, generator=torch.Generator().manual_seed(seed))
    return GAUSSIAN.mean + GAUSSIAN.std * noise.double()


def up(z0: Tensor, **options: Any) -> Any:
    arguments = {"schedule": SCHEDULE, "steps": 10, **options}
    return invert(GAUSSIAN.epsilon, z0, **arguments)


def test_the_noise_of_normal_data_is_their_rank() -> None:
    z0 = latent()
    rank = (z0 - GAUSSIAN.mean) / GAUSSIAN.std
    errors = [float((up(z0, steps=steps).noise - rank).norm() / rank.norm()) for steps in (50, 500)]
    assert errors[1] < 0.2 * errors[0]  # the solver's own error falls with its steps
    assert errors[1] < 0.02


@pytest.mark.parametrize(
    ("prediction", "denoise"), [("epsilon", GAUSSIAN.epsilon), ("v", GAUSSIAN.v)]
)
@pytest.mark.parametrize("steps", [3, 16])
def test_the_way_down_gives_the_latent_back(steps: int, prediction: str, denoise: Any) -> None:
    z0 = latent(steps)
    walk = {"schedule": SCHEDULE, "steps": steps, "prediction": prediction}
    found = invert(denoise, z0, tolerance=1e-9, **walk)
    back = sample(denoise, found.noise, solver=DDIM(), **walk)
    assert float((back - z0).norm() / z0.norm()) < 1e-6


def test_a_network_that_is_not_linear_is_solved() -> None:
    """With a slope of the output up to 2, as real networks have where there is little noise."""

    def denoise(z: Tensor, t: float) -> Tensor:
        return GAUSSIAN.epsilon(z, t) + 0.3 * torch.sin(6 * z)

    z0 = latent()
    found = invert(denoise, z0, schedule=SCHEDULE, steps=20, tolerance=1e-8)
    back = sample(denoise, found.noise, schedule=SCHEDULE, solver=DDIM(), steps=20)
    assert float((back - z0).norm() / z0.norm()) < 1e-3


def test_the_path_leads_from_clean_to_noisy() -> None:
    z0 = latent()
    said = []
    found = up(z0, on_step=lambda done, total: said.append((done, total)))
    levels = [level for level, _ in found.path]
    assert levels[0] == CLEAN
    assert [level.sigma for level in levels] == sorted(level.sigma for level in levels)
    assert torch.equal(found.path[0][1], z0)
    assert torch.equal(found.path[-1][1], found.noise)
    assert said == [(i, 10) for i in range(1, 11)]
    assert 10 <= found.evaluations <= 10 * MOST
    assert found.residual < 3e-3


def test_values_that_are_not_finite_are_refused() -> None:
    z0 = latent()
    z0[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match="to begin with"):
        up(z0)
    with pytest.raises(NotFiniteError, match=r"after step 1 of 10 \(timestep 0\)"):
        invert(lambda z, t: z / 0, latent(), schedule=SCHEDULE, steps=10)


def test_steps_that_the_schedule_does_not_have_are_refused() -> None:
    with pytest.raises(UsageError, match="steps is 0"):
        up(latent(), steps=0)
