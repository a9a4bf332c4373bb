"""Random latents: one generator a sample, so that a sample depends on its own seed alone."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.errors import UsageError

SEED_LIMIT = 2**63


class NoiseSource:
    """Standard normal noise for a batch, from one random generator for each sample.

    The generators are on the CPU, so that a seed means the same noise on every device. PyTorch's
    CPU generator looks at the lowest 32 bits of a seed: seeds that differ by a multiple of 2**32
    draw the same noise.

    Args:
        seeds: one for each sample, whole numbers from 0 to 2**63 - 1.

    Raises:
        UsageError: no seeds, or one that is not such a number.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in check_seeds(seeds)]

    def __len__(self) -> int:
        return len(self._generators)

    def draw(self, shape: Sequence[int]) -> Float[Tensor, " b *latent"]:
        """The next noise, (B, *shape), float32 on the CPU.

        Args:
            shape: of one sample, for instance (C, X, Y, Z).
        """
        return torch.stack([torch.randn(tuple(shape), generator=g) for g in self._generators])


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """Seeds as Python's integers.

    Raises:
        UsageError: no seeds, or one that is not a whole number from 0 to 2**63 - 1.
    """
    if isinstance(seeds, str | bytes) or not hasattr(seeds, "__iter__"):
        raise UsageError(
            f"seeds is {seeds!r}: expected a sequence of whole numbers, one for each sample, "
            "for instance [7]."
        )
    numbers = [_checked(seed) for seed in seeds]
    if not numbers:
        raise UsageError("seeds is empty: expected one for each sample, for instance [7].")
    return numbers


def _checked(seed: object) -> int:
    # True and False are integers to Python, but nobody means them as seeds.
    if not isinstance(seed, bool):
        try:
            number = operator.index(seed)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if 0 <= number < SEED_LIMIT:
                return number
    raise UsageError(
        f"The seed {seed!r} cannot be used: expected a whole number from 0 to 2**63 - 1, "
        "for instance 7."
    )
