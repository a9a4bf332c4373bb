"""The shapes in annotations are held while the tests run."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from brainldm.models.layers import upsample
from brainldm.models.unet import with_context


def test_an_array_of_another_shape_is_found() -> None:
    with pytest.raises(TypeCheckError):
        upsample(torch.zeros(1, 2, 4, 4))


def test_sides_with_one_name_must_agree() -> None:
    with pytest.raises(TypeCheckError):
        with_context(torch.zeros(2, 3, 4, 4, 4), torch.zeros(1, 4))
