"""How far a model's heads lie from those of a data set on the mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from brainldm import BrainLDM
from brainldm.errors import StorageError
from brainldm.pipeline.choice import Model, Sampling
from brainldm.pipeline.request import Request
from brainldm.train.centre import SEED, off_centre
from brainldm.train.latents import Encoded, Latents


def test_people_are_compared_with_heads_made_for_them(
    model: BrainLDM, toy_directory: Path, tmp_path: Path
) -> None:
    """Two people, the first of them twice, who lie 0.25 beside what is made for them."""
    context = torch.rand(3, 4)
    requests = [Request(context[h].numpy(), {}, SEED + i) for i, h in enumerate((0, 2, 0))]
    first, other, again = (sample.latent for sample in model.sample(requests, Sampling()))
    scale, beside = 0.5, 0.25
    heads = torch.stack([(first + again) / 2, torch.full_like(first, 99.0), other]) + beside
    # The mirror image of each, too.
    both = torch.stack([heads - 1, heads + 1], dim=1) / scale
    encoded = Encoded(Latents([both.numpy()]), scale, context)
    choice = Model(source=toy_directory, device="cpu", dtype="float32")
    file = tmp_path / "centre"
    found = off_centre(choice, encoded, [0, 2], 3, file)
    assert (found - beside).abs().max() < 1e-5
    assert torch.equal(off_centre(choice, encoded, [0], 1, file), found)  # not made again
    file.write_bytes(b"no array")
    with pytest.raises(StorageError, match="it is made anew"):
        off_centre(choice, encoded, [0, 2], 3, file)
