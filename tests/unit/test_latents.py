"""A sample's noise depends on its own seed alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from brainldm.errors import BrainLDMError
from brainldm.sampling.noise import NoiseSource

SHAPE = (3, 4, 5, 6)


def test_noise_is_of_a_batch_and_standard_normal() -> None:
    noise = NoiseSource(range(8)).draw((3, 20, 28, 20))
    assert noise.shape == (8, 3, 20, 28, 20)
    assert noise.dtype == torch.float32
    assert noise.device.type == "cpu"
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01


def test_a_sample_does_not_depend_on_its_batch() -> None:
    """Every draw of every sample, to the last bit."""
    among, other, alone = NoiseSource([3, 1, 4]), NoiseSource([4, 3]), NoiseSource([4])
    for _ in range(3):
        a, b, c = (source.draw(SHAPE) for source in (among, other, alone))
        assert torch.equal(a[2], c[0])
        assert torch.equal(b[0], c[0])
        assert torch.equal(a[0], b[1])


def test_draws_and_seeds_differ() -> None:
    source = NoiseSource([1, 2])
    first, second = source.draw(SHAPE), source.draw(SHAPE)
    for a, b in ((first[0], first[1]), (first[0], second[0]), (first[1], second[1])):
        assert (a - b).abs().mean() > 0.5


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    NoiseSource([1]).draw(SHAPE)
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_from_numpy_and_the_largest() -> None:
    a, b = NoiseSource(list(np.arange(2))), NoiseSource((0, 1))
    assert torch.equal(a.draw(SHAPE), b.draw(SHAPE))
    assert len(NoiseSource([0, 2**63 - 1])) == 2


@pytest.mark.parametrize("seed", [1.0, 1.5, True, np.True_, -1, 2**63, "7", None, float("nan")])
def test_what_is_not_a_seed(seed: Any) -> None:
    with pytest.raises(BrainLDMError) as refusal:
        NoiseSource([0, seed])
    message = str(refusal.value)
    assert repr(seed) in message
    assert "expected a whole number from 0 to 2**63 - 1, for instance 7" in message


@pytest.mark.parametrize("seeds", [7, "7", b"7", None])
def test_what_is_not_a_sequence_of_seeds(seeds: Any) -> None:
    with pytest.raises(
        BrainLDMError, match=r"expected a sequence .*, for instance \[7\]"
    ) as refusal:
        NoiseSource(seeds)
    assert f"seeds is {seeds!r}" in str(refusal.value)


def test_no_seeds() -> None:
    with pytest.raises(BrainLDMError, match="seeds is empty: expected one for each sample"):
        NoiseSource([])
