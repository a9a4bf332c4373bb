"""Latents are encoded once, and read with a clear word when they are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from brainldm.config import AutoencoderConfig
from brainldm.errors import ModelError, StorageError
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.train.accelerated import accelerated
from brainldm.train.latents import Latents, encode_all
from brainldm.train.settings import Training


def test_latents_are_encoded_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoencoderKL(AutoencoderConfig(channels=(4, 8), norm_num_groups=2, num_res_blocks=1))
    heads = torch.rand(3, 1, 8, 8, 8)
    loaded: list[int] = []

    def load(head: int) -> Tensor:
        loaded.append(head)
        return heads[head]

    with accelerated(Training(steps=1, learning_rate=1), "cpu") as accelerator:
        for _ in range(2):
            latents = encode_all(model, load, 3, True, tmp_path, accelerator)
    assert loaded == [0, 1, 2]
    assert len(latents) == 3
    with torch.no_grad():
        for head in range(3):
            for orientation, image in enumerate((heads[head], heads[head].flip(1))):
                mean = model.encode(image[None])[0][0]
                assert torch.equal(latents[head][orientation], mean)
    subset = torch.stack([latents[0], latents[2]])
    assert latents.deviation([0, 2]) == pytest.approx(subset.std(correction=0).item(), rel=1e-5)


def test_latents_that_are_damaged_or_not_finite(tmp_path: Path) -> None:
    model = AutoencoderKL(AutoencoderConfig(channels=(4, 8), norm_num_groups=2, num_res_blocks=1))

    def encode(load: Any) -> Latents:
        with accelerated(Training(steps=1, learning_rate=1), "cpu") as accelerator:
            return encode_all(model, load, 2, False, tmp_path, accelerator)

    with pytest.raises(ModelError, match="latents of head 1 that are NaN"):
        encode(lambda head: torch.full((1, 8, 8, 8), float("nan")))
    assert not list(tmp_path.iterdir())
    encode(lambda head: torch.rand(1, 8, 8, 8))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(StorageError, match=r"Cannot read the latents .*00000\.npy.*Remove"):
        encode(lambda head: torch.rand(1, 8, 8, 8))
