"""What can be asked of a model, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from brainldm.conditions import Conditions
from brainldm.config import published_config
from brainldm.errors import BrainLDMError, ModelError, UsageError
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Sampling
from brainldm.pipeline.request import match_requests
from brainldm.sampling.solvers import DDIM, DDPM, Solver, UniPC
from tests.toy import PERSON, toy_config

LATENT = toy_config().latent.shape


def world_centre(volume: Volume) -> np.ndarray:
    return volume.affine[:3] @ [*((np.array(volume.array.shape) - 1) / 2), 1]


def test_noise_takes_the_place_of_seeds(model: BrainLDM) -> None:
    noise = torch.randn(LATENT, generator=torch.Generator().manual_seed(7))[None]
    (given,) = model.generate(PERSON, noise=noise, steps=2)
    (seeded,) = model.generate(PERSON, [7], steps=2)
    np.testing.assert_array_equal(given.array, seeded.array)
    assert given.metadata["brainldm"]["seed"] is None


def test_noise_of_another_size_keeps_the_centre(model: BrainLDM) -> None:
    volumes = model.generate(PERSON, noise=torch.zeros(2, 3, 8, 12, 10), steps=1)
    assert [volume.array.shape for volume in volumes] == [(16, 24, 20)] * 2
    (own,) = model.generate(PERSON, [0], steps=1)
    np.testing.assert_allclose(world_centre(volumes[0]), world_centre(own), atol=1e-9)
    np.testing.assert_array_equal(volumes[0].affine[:3, :3], own.affine[:3, :3])


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (torch.zeros(1, 4, 8, 8, 8), r"the shape \(1, 4, 8, 8, 8\): expected .*\(B, 3, X, Y, Z\)"),
        (torch.zeros(3, 8, 8, 8), r"the shape \(3, 8, 8, 8\)"),
        (torch.zeros(1, 3, 9, 8, 7), r"nearest sizes that work are \(8, 8, 6\) and \(10, 8, 8\)"),
        (torch.full((1, 3, 8, 8, 8), math.nan), "NaN or infinite"),
        (np.zeros((1, 3, 8, 8, 8)), "noise is a ndarray: expected a tensor"),
    ],
)
def test_noise_that_cannot_be_taken(model: BrainLDM, noise: Any, message: str) -> None:
    with pytest.raises(BrainLDMError, match=message):
        model.generate(PERSON, noise=noise, steps=1)


def test_noise_and_seeds_exclude_each_other(model: BrainLDM) -> None:
    with pytest.raises(BrainLDMError, match="Both seeds and noise were given: expected one"):
        model.generate(PERSON, [1], noise=torch.zeros(1, *LATENT))


def test_noise_does_not_draw_conditions(model: BrainLDM) -> None:
    with pytest.raises(BrainLDMError, match="age is missing"):
        model.generate(Conditions(sex="F"), noise=torch.zeros(1, *LATENT))


def test_noise_does_not_suffice_for_a_sampler_that_draws_more(model: BrainLDM) -> None:
    with pytest.raises(BrainLDMError, match=r"ddpm draws noise on the way .* give the seeds"):
        model.generate(PERSON, noise=torch.zeros(1, *LATENT), sampler="ddpm", steps=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 7}, "seeds is 7: expected a sequence of whole numbers"),
        ({"seeds": []}, "seeds is empty: expected one for each sample"),
        ({"seeds": [1.5]}, r"The seed 1\.5 cannot be used: expected a whole number from 0"),
        ({"seeds": [-1]}, "The seed -1 cannot be used"),
        ({"seeds": [2**63]}, f"The seed {2**63} cannot be used"),
        ({"steps": 0}, "steps is 0: expected a whole number from 1 to 1000"),
        ({"guidance": 2.0}, "trained without condition dropout: expected 1"),
        ({"guidance": math.nan}, "guidance is nan: expected a finite number"),
        ({"steps": -3}, "steps is -3: expected"),
        ({"steps": 1001}, "steps is 1001: expected a whole number from 1 to 1000"),
        ({"sampler": "euler"}, r"Unknown sampler 'euler': expected one of .*ddim"),
        ({"conditions": [PERSON] * 2, "seeds": [1, 2, 3]}, "2 conditions were given with 3 seeds"),
        ({"conditions": Conditions(sex="F", age=90)}, r"90 years \(1\.211 normalised\)"),
    ],
)
def test_bad_requests(model: BrainLDM, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BrainLDMError, match=message):
        model.generate(**{"conditions": PERSON, "seeds": [0], **arguments})


def test_extrapolation(model: BrainLDM) -> None:
    (volume,) = model.generate(Conditions(sex="F", age=90), [0], steps=1, extrapolate=True)
    assert volume.metadata["brainldm"]["conditions"]["age"]["value"] == 90


def test_sampling_says_what_is_settled() -> None:
    config = toy_config()
    assert Sampling().describe(config) == {
        "name": "unipc", "spacing": "karras", "steps": 16, "guidance": 1.0,
    }  # fmt: skip
    noisy = config.model_copy(update={"sampler": "ddpm"})
    assert Sampling().solver(noisy) == DDPM()
    assert Sampling(sampler="ddim", eta=0.5, steps=3).solver(noisy) == DDIM(eta=0.5)
    assert Sampling(sampler=DDIM(eta=0.5)) == Sampling(sampler=DDIM(eta=0.5))


@pytest.mark.parametrize("sampler", ["ddpm", UniPC()])
def test_eta_is_of_ddim_alone(sampler: str | Solver) -> None:
    with pytest.raises(UsageError, match=r"eta is 0\.5, and the sampler (ddpm|unipc) has none"):
        Sampling(sampler=sampler, eta=0.5).check(toy_config())


def test_what_cannot_be_asked_for_is_known_from_the_configuration() -> None:
    """No weights are read: there are none."""
    config = published_config()
    for sampling, error in (
        (Sampling(steps=1001), UsageError),
        (Sampling(sampler="euler"), UsageError),
        (Sampling(sampler=""), UsageError),
        (Sampling(guidance=2.0), ModelError),
    ):
        with pytest.raises(error):
            match_requests(config, PERSON, [0], sampling=sampling)
    for conditions, seeds in ((Conditions(sex="X"), [0]), (PERSON, [-1])):
        with pytest.raises(UsageError):
            match_requests(config, conditions, seeds, sampling=Sampling())
