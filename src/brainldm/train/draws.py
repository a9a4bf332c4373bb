"""What is random in training, decided by seed, step and place in the batch alone.

Neither the number of processes nor an interruption changes what a sample is or draws.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch


@dataclass(frozen=True)
class Draw:
    """One sample: the `position`-th of `of` in the batch of a step."""

    seed: int
    step: int
    position: int
    of: int

    def index(self, count: int) -> int:
        """Which of `count` things to take: all of them once, in random order, then again."""
        number = self.step * self.of + self.position
        return int(_order(self.seed, number // count, count)[number % count])

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Random numbers for a purpose, on a device; another purpose's are independent."""
        return torch.Generator(device).manual_seed(self.number(purpose))

    def number(self, purpose: str) -> int:
        """A seed, of the 32 bits that PyTorch's CPU generator looks at."""
        return _mix(purpose, self.seed, self.step, self.position)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(_mix("order", seed, epoch))
    return torch.randperm(count, generator=generator)


def _mix(*parts: str | int) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")
