"""The auxiliary variables of ADMM for joint total variation.

With z for lambda D y, and w its multiplier, an iteration does

    v = w / rho + lambda D y,   z = max(q - 1/rho, 0) / q v,   w = rho (v - z)

where q is the norm of v over contrasts and directions. As w / rho = c v and z = (1 - c) v with
c = min(1, 1 / (rho q)), v and c are all that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.unires.gradient import Spacing, divergence, gradient

SLAB = 8
"""Planes that are computed at a time, so that they stay in the processor's cache."""


@dataclass
class Split:
    """z and w of all contrasts.

    Args:
        both: v, (C, 3, X, Y, Z).
        share: c, (X, Y, Z).
        rho: the weight of z = lambda D y.
    """

    both: Float[Tensor, "c 3 x y z"]
    share: Float[Tensor, "x y z"]
    rho: float = 1.0

    @classmethod
    def of(cls, volumes: Float[Tensor, "c x y z"]) -> Split:
        """All zero, for volumes of this shape."""
        contrasts, *shape = volumes.shape
        return cls(volumes.new_zeros((contrasts, 3, *shape)), volumes.new_zeros(shape))

    def rescale(self, rho: float) -> None:
        """Another rho; the multipliers stay what they are."""
        self.both.mul_(self.rho / rho)
        self.rho = rho

    def pull(self, contrast: int, spacing: Spacing, weight: float) -> Float[Tensor, "x y z"]:
        """-lambda D'(w - rho z) of a contrast whose lambda is `weight`."""
        return divergence(self.both[contrast] * (2 * self.share - 1), spacing, -self.rho * weight)

    def advance(
        self, volumes: Float[Tensor, "c x y z"], spacing: Spacing, weights: Sequence[float]
    ) -> float:
        """Compute v anew for these volumes; returns their joint total variation."""
        total = 0.0
        for start in range(0, volumes.shape[1], SLAB):
            rows = slice(start, start + SLAB)
            share = self.share[rows]
            variation, norm = torch.zeros_like(share), torch.zeros_like(share)
            for volume, both, weight in zip(volumes, self.both, weights, strict=True):
                # With the plane behind the slab, to which its last difference leads.
                steps = gradient(volume[start : start + SLAB + 1], spacing, weight)
                steps = steps[:, : len(share)]
                variation += steps.square().sum(dim=0)
                kept = both[:, rows]
                kept.mul_(share).add_(steps)
                norm += kept.square().sum(dim=0)
            share.copy_((self.rho * norm.sqrt()).reciprocal_().clamp_(max=1))
            total += float(variation.sqrt().sum(dtype=torch.float64))
        return total
