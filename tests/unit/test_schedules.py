"""Schedules and predictions against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from brainldm.errors import BrainLDMError
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.predictions import PREDICTIONS, pick_prediction
from brainldm.sampling.schedules import CLEAN, Schedule, Spacing

SCHEDULE = Schedule.scaled_linear()


class TestSchedule:
    def test_alpha_and_sigma_are_on_the_unit_circle(self) -> None:
        for t in range(1000):
            assert SCHEDULE.alpha(t) ** 2 + SCHEDULE.sigma(t) ** 2 == pytest.approx(1, abs=1e-14)

    def test_noise_grows(self) -> None:
        levels = [CLEAN, *map(SCHEDULE.level, range(1000))]
        assert all(a.lambda_ > b.lambda_ for a, b in pairwise(levels))

    def test_betas_are_linear_in_their_square_root(self) -> None:
        products = torch.cat([torch.ones(1, dtype=torch.float64), SCHEDULE.alphas_cumprod])
        roots = (1 - products[1:] / products[:-1]).sqrt()
        expected = torch.linspace(0.0015**0.5, 0.0205**0.5, 1000, dtype=torch.float64)
        torch.testing.assert_close(roots, expected, rtol=1e-9, atol=0)

    def test_published_timesteps(self) -> None:
        assert SCHEDULE.timesteps(50) == list(range(980, -1, -20))

    @pytest.mark.parametrize(("spacing", "most"), [("leading", 1000), ("linspace", 999)])
    def test_timesteps_descend_and_exist(self, spacing: Spacing, most: int) -> None:
        for steps in range(1, most + 1):
            timesteps = SCHEDULE.timesteps(steps, spacing)
            assert len(timesteps) == steps
            assert all(a > b for a, b in pairwise([1000, *timesteps, -1]))

    @pytest.mark.parametrize("steps", [0, -3, 1001, 2.0, 2.5, "10", True, None])
    def test_steps_that_cannot_be(self, steps: Any) -> None:
        with pytest.raises(BrainLDMError) as refusal:
            SCHEDULE.timesteps(steps)
        message = str(refusal.value)
        assert f"steps is {steps!r}: expected a whole number from 1 to 1000" in message

    def test_linspace_has_one_step_less(self) -> None:
        with pytest.raises(BrainLDMError, match=r"steps is 1000: expected .* from 1 to 999"):
            SCHEDULE.timesteps(1000, "linspace")

    def test_steps_from_numpy(self) -> None:
        assert SCHEDULE.timesteps(np.int64(2)) == [500, 0]  # type: ignore[arg-type]

    @pytest.mark.parametrize("betas", [(0, 0.02), (0.02, 0.01), (0.01, 1), (math.nan, 0.02)])
    def test_betas_that_cannot_be(self, betas: tuple[float, float]) -> None:
        with pytest.raises(BrainLDMError, match="expected 0 < beta_start <= beta_end < 1"):
            Schedule.scaled_linear(1000, *betas)

    def test_no_timesteps(self) -> None:
        with pytest.raises(BrainLDMError, match="num_train_timesteps is 0: expected 1 or more"):
            Schedule.scaled_linear(0)

    def test_training_pairs(self) -> None:
        """Each sample is noised to its own timestep; z and v are a rotation of z0 and noise."""
        z0, noise = NoiseSource([1, 2, 3]).draw((2, 3, 4, 5)), NoiseSource([4, 5, 6])
        epsilon = noise.draw((2, 3, 4, 5))
        t = torch.tensor([0, 400, 999])
        z, v = SCHEDULE.add_noise(z0, epsilon, t), SCHEDULE.v_target(z0, epsilon, t)
        assert z.dtype == v.dtype == torch.float32
        for i, timestep in enumerate(t.tolist()):
            level = SCHEDULE.level(timestep)
            torch.testing.assert_close(z[i], level.alpha * z0[i] + level.sigma * epsilon[i])
            torch.testing.assert_close(level.alpha * z[i] - level.sigma * v[i], z0[i])
            torch.testing.assert_close(level.sigma * z[i] + level.alpha * v[i], epsilon[i])


class TestPredictions:
    @pytest.mark.parametrize("timestep", [0, 1, 500, 999])
    def test_all_say_the_same(self, timestep: int) -> None:
        x0, epsilon = NoiseSource([1, 2]).draw((3, 4, 4, 4)).double()
        level = SCHEDULE.level(timestep)
        z = level.alpha * x0 + level.sigma * epsilon
        v = level.alpha * epsilon - level.sigma * x0
        outputs = {"epsilon": epsilon, "v": v, "x0": x0, "flow": epsilon - x0}
        for name, output in outputs.items():
            got = PREDICTIONS[name](output, z, level)
            torch.testing.assert_close(got, (x0, epsilon), rtol=1e-9, atol=1e-11)

    def test_unknown(self) -> None:
        with pytest.raises(BrainLDMError, match="'score': expected one of epsilon, v, x0, flow"):
            pick_prediction("score")
