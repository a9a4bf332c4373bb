"""Solvers against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar, get_args

import pytest
import torch
from torch import Tensor

from brainldm.config import SamplerName
from brainldm.errors import BrainLDMError
from brainldm.sampling.loop import sample
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.schedules import Schedule, Spacing
from brainldm.sampling.solvers import (
    DDIM,
    DDPM,
    SAMPLERS,
    DPMSolverPP2M,
    DPMSolverPP2MSDE,
    Solver,
    UniPC,
)
from tests.gaussian import Gaussian

SCHEDULE = Schedule.scaled_linear()
EVERY_SOLVER = [DDPM(), DDIM(), DDIM(eta=0.5), DPMSolverPP2M(), DPMSolverPP2MSDE(), UniPC()]


GAUSSIAN = Gaussian(SCHEDULE)


def start(count: int = 64) -> Tensor:
    """Noise (1, 1, count, 1, 1), float64 so that rounding does not hide the order of a solver."""
    return NoiseSource([0]).draw((1, count, 1, 1)).double()


def run(solver: Any, steps: int = 4, **options: Any) -> Tensor:
    """Sample two Gaussian latents."""
    noise = NoiseSource([0, 1])
    z = noise.draw((3, 4, 4, 4))
    arguments = {"schedule": SCHEDULE, "solver": solver, "steps": steps, "noise": noise}
    return sample(GAUSSIAN.epsilon, z, **{**arguments, **options})


class TestSolvers:
    def test_a_walk_from_the_middle_ends_where_the_whole_one_does(self) -> None:
        path: list[Tensor] = []
        whole = run(DDIM(), 6, on_step=lambda done, total, z: path.append(z))
        walk = {"schedule": SCHEDULE, "solver": DDIM(), "steps": 6}
        rest = sample(GAUSSIAN.epsilon, path[1], skip=2, **walk)
        assert torch.equal(rest, whole)

    def test_unknown_prediction(self) -> None:
        with pytest.raises(BrainLDMError, match="'score': expected one of epsilon, v, x0, flow"):
            run(DDIM(), 2, prediction="score")

    @pytest.mark.parametrize(
        ("solver", "order"), [(DDIM, 1), (DPMSolverPP2M, 2)], ids=["ddim", "dpm++2m"]
    )
    @pytest.mark.parametrize("prediction", ["epsilon", "v"])
    def test_order_of_convergence(self, solver: type[Solver], order: int, prediction: str) -> None:
        """From t = 1000 to 200: below it, the last step to no noise at all is of first order."""

        class Linspace(solver):  # type: ignore[misc, valid-type]
            spacing: ClassVar[Spacing] = "linspace"

        gaussian = Gaussian(Schedule.scaled_linear(1001))
        z = start()
        exact = gaussian.flow(z, 1000, 200)
        errors = []
        for steps in (25, 50, 100, 200):
            latents: list[Tensor] = []
            sample(
                getattr(gaussian, prediction),
                z,
                schedule=gaussian.schedule,
                solver=Linspace(),
                steps=steps,
                prediction=prediction,
                on_step=collect(latents),
            )
            errors.append((latents[steps * 4 // 5 - 1] - exact).norm() / exact.norm())
        orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
        assert orders == pytest.approx([order] * 3, abs=0.3)

    @pytest.mark.parametrize(("steps", "tolerance"), [(50, 0.2), (250, 0.04), (1000, 0.01)])
    @pytest.mark.parametrize("solver", [DDIM(), DPMSolverPP2M()])
    def test_probability_flow(self, solver: Solver, steps: int, tolerance: float) -> None:
        steps = min(steps, 999)
        z = start()
        exact = GAUSSIAN.flow(z, SCHEDULE.timesteps(steps, solver.spacing)[0], None)
        z0 = sample(GAUSSIAN.epsilon, z, schedule=SCHEDULE, solver=solver, steps=steps)
        assert (z0 - exact).norm() / exact.norm() < tolerance

    def test_second_order_is_worth_it(self) -> None:
        """Ten steps to a low level of noise: the error is a small part of DDIM's."""
        z = start()
        errors = {}
        for solver in (DDIM(), DPMSolverPP2M()):
            latents: list[Tensor] = []
            timesteps = SCHEDULE.timesteps(10, solver.spacing)
            sample(
                GAUSSIAN.epsilon,
                z,
                schedule=SCHEDULE,
                solver=solver,
                steps=10,
                on_step=collect(latents),
            )
            exact = GAUSSIAN.flow(z, timesteps[0], timesteps[-1])
            errors[solver.name] = (latents[-2] - exact).norm() / exact.norm()
        assert errors["dpm++2m"] < errors["ddim"] / 4

    @pytest.mark.parametrize("solver", [DDPM(), DDIM(eta=1.0), DDIM(eta=0.5), DPMSolverPP2MSDE()])
    @pytest.mark.parametrize(("steps", "tolerance"), [(100, 0.1), (1000, 0.02)])
    def test_stochastic_samplers_draw_from_the_data(
        self, solver: Solver, steps: int, tolerance: float
    ) -> None:
        noise = NoiseSource([0])
        z = noise.draw((1, 20000, 1, 1)).double()
        z0 = sample(GAUSSIAN.epsilon, z, schedule=SCHEDULE, solver=solver, steps=steps, noise=noise)
        assert abs(z0.mean() - GAUSSIAN.mean) < tolerance
        assert abs(z0.std() - GAUSSIAN.std) < tolerance

    @pytest.mark.parametrize("steps", [1, 3, 50])
    def test_ddpm_is_ddim_with_all_its_noise(self, steps: int) -> None:
        """2010.02502, section 4.1, and so with any number of steps."""
        torch.testing.assert_close(run(DDPM(), steps), run(DDIM(eta=1.0), steps))

    def test_one_step_is_the_estimate(self) -> None:
        z = start()
        for solver in (DDIM(), DPMSolverPP2M()):
            t = SCHEDULE.timesteps(1, solver.spacing)[0]
            z0 = sample(GAUSSIAN.epsilon, z, schedule=SCHEDULE, solver=solver, steps=1)
            level = SCHEDULE.level(t)
            expected = (z - level.sigma * GAUSSIAN.epsilon(z, t)) / level.alpha
            torch.testing.assert_close(z0, expected)

    @pytest.mark.parametrize("solver", EVERY_SOLVER)
    def test_a_sample_does_not_depend_on_its_batch(self, solver: Solver) -> None:
        def draw(seeds: list[int]) -> Tensor:
            noise = NoiseSource(seeds)
            z = noise.draw((3, 4, 4, 4))
            return sample(
                GAUSSIAN.epsilon, z, schedule=SCHEDULE, solver=solver, steps=7, noise=noise
            )

        among = draw([5, 2, 9])
        for place, seed in enumerate([5, 2, 9]):
            torch.testing.assert_close(among[place], draw([seed])[0], rtol=1e-6, atol=1e-6)
        assert (among[0] - among[1]).abs().mean() > 0.1

    @pytest.mark.parametrize("solver", EVERY_SOLVER)
    def test_a_solver_holds_nothing_back(self, solver: Solver) -> None:
        assert torch.equal(run(solver), run(solver))

    @pytest.mark.parametrize("name", SAMPLERS)
    def test_a_name_stands_for_a_solver(self, name: str) -> None:
        assert torch.equal(run(name), run(SAMPLERS[name]()))
        assert SAMPLERS[name]().describe()["name"] == name

    def test_a_model_can_name_each(self) -> None:
        assert set(get_args(SamplerName)) == set(SAMPLERS)

    def test_eta_is_on_record(self) -> None:
        assert DDIM(eta=0.5).describe() == {
            "name": "ddim",
            "spacing": "leading",
            "eta": 0.5,
        }

    def test_steps_are_reported(self) -> None:
        calls = []
        run(DDIM(), 3, on_step=lambda done, total, z: calls.append((done, total, z.shape)))
        assert calls == [(i, 3, (2, 3, 4, 4, 4)) for i in (1, 2, 3)]

    @pytest.mark.parametrize("sampler", ["euler", "DDIM", 5, None, DDIM])
    def test_unknown_sampler(self, sampler: Any) -> None:
        with pytest.raises(BrainLDMError, match="expected one of ddpm, ddim, dpm") as refusal:
            run(sampler)
        assert f"Unknown sampler {sampler!r}" in str(refusal.value)

    @pytest.mark.parametrize("eta", [-0.1, 1.5, math.nan])
    def test_eta_that_cannot_be(self, eta: float) -> None:
        with pytest.raises(BrainLDMError, match=f"eta is {eta}: expected a number from 0 .* to 1"):
            DDIM(eta=eta)

    @pytest.mark.parametrize("solver", [DDPM(), DDIM(eta=0.1)])
    @pytest.mark.parametrize(
        ("noise", "got"), [(None, "got none"), (NoiseSource([1]), "got one with seeds for 1")]
    )
    def test_noise_is_missing(self, solver: Solver, noise: NoiseSource | None, got: str) -> None:
        with pytest.raises(BrainLDMError, match=f"needs a noise source .* 2 samples, and {got}"):
            run(solver, noise=noise)

    def test_nothing_is_computed_before_a_mistake_is_found(self) -> None:
        def denoise(z: Tensor, t: int) -> Tensor:
            pytest.fail("the network was called")

        with pytest.raises(BrainLDMError, match="steps is 1001"):
            sample(denoise, start(), schedule=SCHEDULE, solver="ddim", steps=1001)


def collect(latents: list[Tensor]) -> Callable[[int, int, Tensor], None]:
    """Keep the latent after each step."""
    return lambda done, total, z: latents.append(z)
