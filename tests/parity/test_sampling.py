"""The samplers against MONAI's and diffusers', at every step of a trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from brainldm.sampling.loop import sample
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.schedules import Schedule
from brainldm.sampling.solvers import DDIM, DDPM, DPMSolverPP2M, DPMSolverPP2MSDE, Solver, UniPC

BETAS = {"beta_start": 0.0015, "beta_end": 0.0205}
SHAPE = (2, 4, 5, 4)
TOLERANCE = 1e-4
STEPS = [1, 2, 3, 4, 10, 50]
PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}

Denoise = Callable[[Tensor, float], Tensor]

# diffusers turns tensors into arrays in a way that NumPy 2 is about to refuse.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def denoise() -> Denoise:
    """A small network that is not linear and that depends on the timestep."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = nn.Conv3d(2, 8, 3, padding=1), nn.Conv3d(8, 2, 3, padding=1)

    @torch.no_grad()
    def network(z: Tensor, t: float) -> Tensor:
        output: Tensor = second(torch.tanh(2 * first(z) + t / 500 - 1)) + z / 2
        return output

    return network


def trajectory(denoise: Denoise, solver: Solver, steps: int, **options: Any) -> list[Tensor]:
    """Our latents after each step, from the noise of seed 3."""
    latents: list[Tensor] = []
    noise = NoiseSource([3])
    z = noise.draw(SHAPE)
    schedule = Schedule.scaled_linear(options.pop("T", 1000), **BETAS)
    last = sample(
        denoise,
        z,
        schedule=schedule,
        solver=solver,
        steps=steps,
        noise=noise,
        on_step=lambda done, total, z: latents.append(z),
        **options,
    )
    assert torch.equal(last, latents[-1])
    return latents


def reference(denoise: Denoise, step: Callable[..., Tensor], timesteps: Any) -> list[Tensor]:
    """The reference's latents after each step: a generator of seed 3 draws the same numbers."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randn((1, *SHAPE), generator=generator)
    latents = []
    for t in timesteps:
        z = step(denoise(z, int(t)), t, z, generator)
        latents.append(z)
    return latents


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True), 1):
        assert torch.isfinite(b).all()
        difference = (a - b).norm() / b.norm()
        assert difference < TOLERANCE, f"step {step}"


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_is_monais(denoise: Denoise, eta: float, steps: int, prediction: str) -> None:
    monai = DDIMScheduler(
        1000,
        "scaled_linear_beta",
        clip_sample=False,
        prediction_type=PREDICTIONS[prediction],
        **BETAS,
    )
    monai.set_timesteps(steps)
    # The timesteps of GenerativeModels and of MONAI when the published bundle moved there. Newer
    # MONAI spreads them over [0, T - 1], yet its `step` still assumes a stride of T // steps.
    leading = [1000 // steps * i for i in reversed(range(steps))]

    def step(output: Tensor, t: int, z: Tensor, generator: torch.Generator) -> Tensor:
        return monai.step(output, t, z, eta=eta, generator=generator)[0]

    assert_same(
        trajectory(denoise, DDIM(eta), steps, prediction=prediction),
        reference(denoise, step, leading),
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [4, 10, 50, 1000])
def test_ddpm_is_monais(denoise: Denoise, steps: int, prediction: str) -> None:
    """With every timestep, that is: with fewer, MONAI's step still goes from t to t - 1."""
    monai = DDPMScheduler(
        steps,
        "scaled_linear_beta",
        clip_sample=False,
        prediction_type=PREDICTIONS[prediction],
        **BETAS,
    )
    monai.set_timesteps(steps)

    def step(output: Tensor, t: int, z: Tensor, generator: torch.Generator) -> Tensor:
        return monai.step(output, t, z, generator=generator)[0]

    assert_same(
        trajectory(denoise, DDPM(), steps, prediction=prediction, T=steps),
        reference(denoise, step, monai.timesteps),
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("solver", [DPMSolverPP2M(), DPMSolverPP2M(spacing="leading")])
def test_dpm_solver_is_diffusers(
    denoise: Denoise, solver: Solver, steps: int, prediction: str
) -> None:
    diffusers = DPMSolverMultistepScheduler(
        1000, beta_schedule="scaled_linear", prediction_type=PREDICTIONS[prediction], **BETAS
    )
    if solver.spacing == "linspace":
        diffusers.set_timesteps(steps)
    else:
        diffusers.set_timesteps(timesteps=Schedule.scaled_linear().timesteps(steps, "leading"))

    def step(output: Tensor, t: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        return diffusers.step(output, t, z).prev_sample

    assert_same(
        trajectory(denoise, solver, steps, prediction=prediction),
        reference(denoise, step, diffusers.timesteps),
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
def test_the_sde_is_diffusers(denoise: Denoise, steps: int, prediction: str) -> None:
    diffusers = DPMSolverMultistepScheduler(
        1000,
        beta_schedule="scaled_linear",
        algorithm_type="sde-dpmsolver++",
        prediction_type=PREDICTIONS[prediction],
        **BETAS,
    )
    diffusers.set_timesteps(steps)

    def step(output: Tensor, t: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        return diffusers.step(output, t, z, generator=generator).prev_sample

    assert_same(
        trajectory(denoise, DPMSolverPP2MSDE(spacing="linspace"), steps, prediction=prediction),
        reference(denoise, step, diffusers.timesteps),
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", STEPS)
def test_unipc_is_diffusers(denoise: Denoise, steps: int, prediction: str) -> None:
    diffusers = UniPCMultistepScheduler(
        1000, beta_schedule="scaled_linear", prediction_type=PREDICTIONS[prediction], **BETAS
    )
    diffusers.set_timesteps(steps)

    def step(output: Tensor, t: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        return diffusers.step(output, t, z).prev_sample

    assert_same(
        trajectory(denoise, UniPC(spacing="linspace"), steps, prediction=prediction),
        reference(denoise, step, diffusers.timesteps),
    )


@pytest.mark.parametrize("steps", [2, 5, 20, 50])
@pytest.mark.parametrize(
    ("solver", "scheduler"),
    [
        (DPMSolverPP2M(spacing="karras"), DPMSolverMultistepScheduler),
        (UniPC(), UniPCMultistepScheduler),
    ],
)
def test_karras_spacing_is_diffusers(
    denoise: Denoise, solver: Solver, scheduler: Any, steps: int
) -> None:
    diffusers = scheduler(1000, beta_schedule="scaled_linear", use_karras_sigmas=True, **BETAS)
    diffusers.set_timesteps(steps)

    def step(output: Tensor, t: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        return diffusers.step(output, t, z).prev_sample

    # Timesteps that are the same after rounding would be looked up as the first of them.
    diffusers.set_begin_index(0)
    assert_same(
        # The reference rounds the timestep that the network sees, and not the level of noise.
        trajectory(lambda z, t: denoise(z, round(t)), solver, steps),
        reference(denoise, step, diffusers.timesteps),
    )


def test_timesteps_are_diffusers() -> None:
    diffusers = DPMSolverMultistepScheduler(1000, beta_schedule="scaled_linear", **BETAS)
    for steps in range(1, 1000):
        diffusers.set_timesteps(steps)
        ours = Schedule.scaled_linear().timesteps(steps, "linspace")
        assert ours == diffusers.timesteps.tolist()


def test_noising_is_monais() -> None:
    monai = DDPMScheduler(1000, "scaled_linear_beta", **BETAS)
    schedule = Schedule.scaled_linear()
    z0, noise = NoiseSource([1, 2, 3, 4]).draw(SHAPE), NoiseSource([5, 6, 7, 8]).draw(SHAPE)
    t = torch.tensor([0, 1, 500, 999])
    for ours, theirs in (
        (schedule.add_noise(z0, noise, t), monai.add_noise(z0, noise, t)),
        (schedule.v_target(z0, noise, t), monai.get_velocity(z0, noise, t)),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
