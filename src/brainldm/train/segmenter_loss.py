"""What the segmenter's training minimises, with its gradient, some voxels at a time.

PyTorch would go through the scores of a batch, 100 MB, two dozen times; on the CPU that took as
long as the network.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.autograd.function import once_differentiable

SLAB = 2**14
"""Voxels at a time on the CPU, whose scores stay in the cache."""
SLAB_ON_GPU = 2**22
"""Which launches few operations, in half a gigabyte."""


def losses(
    rows: Float[Tensor, "n c"], structures: UInt8[Tensor, " n"], sides: UInt8[Tensor, " n"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """The three parts of the loss.

    Args:
        rows: of each voxel, the scores of K structures, and, last, that of the right side.
        structures: what is there, from 0 to K - 1.
        sides: where: 0 neither, 1 left, 2 right.

    Returns:
        The cross-entropy of structures; 1 - the mean Dice of those that are there, without the
        first, of probabilities over the whole batch (Milletari et al. 2016, 1606.04797); and the
        cross-entropy of sides, where there is one.
    """
    entropy, dice, side = _Losses.apply(rows, structures, sides)  # type: ignore[no-untyped-call]
    return entropy, dice, side


class _Losses(torch.autograd.Function):
    """With probabilities p, what is there y, the common part C and the sizes P + T of a structure,
    Dice is 2 C / (P + T), and its derivative with respect to p 2 (y - C / (P + T)) / (P + T).
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, structures: Tensor, sides: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(N, K + 1), (N,), (N,)."""
        count = rows.shape[1] - 1
        common, probable, there = (rows.new_zeros(count, dtype=torch.float32) for _ in range(3))
        entropy, side, lateral = (rows.new_zeros((), dtype=torch.float64) for _ in range(3))
        for part in _slabs(rows):
            scores, what = rows[part, :-1].float(), structures[part].long()
            logarithms = scores.log_softmax(1)
            own = logarithms.gather(1, what[:, None])
            entropy -= own.sum()
            probable += logarithms.exp_().sum(0)
            common += logarithms.zero_().scatter_(1, what[:, None], own.exp()).sum(0)
            there += torch.bincount(what, minlength=count)
            right, has_side = _sides(rows[part, -1], sides[part])
            lateral += has_side.sum()
            side += (torch.nn.functional.softplus(-right) * has_side).sum()
        present = there[1:] > 0
        sizes = probable + there
        dice = 2 * common[1:][present] / sizes[1:][present]
        lateral.clamp_(min=1)
        ctx.save_for_backward(rows, structures, sides, common, sizes, there, lateral)
        parts = entropy / len(rows), 1 - dice.sum() / max(len(dice), 1), side / lateral
        return tuple(each.float() for each in parts)  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_entropy: Tensor, of_dice: Tensor, of_side: Tensor
    ) -> tuple[Tensor, None, None]:
        """Probabilities are computed again."""
        rows, structures, sides, common, sizes, there, lateral = ctx.saved_tensors
        gradient = torch.empty_like(rows)
        counts = (there > 0).float()
        counts[0] = 0
        weights = -2 * of_dice / counts.sum().clamp(min=1) * counts / sizes.clamp(min=1)
        everywhere = -weights * common / sizes.clamp(min=1)
        a_voxel = (of_entropy / len(rows)).float()
        for part in _slabs(rows):
            what = structures[part].long()[:, None]
            p = rows[part, :-1].float().softmax(1)
            own = weights[what] * p.gather(1, what)
            spread = p * everywhere
            spread -= p * (spread.sum(1, keepdim=True) + own - a_voxel)
            spread.scatter_add_(1, what, own - a_voxel)
            gradient[part, :-1] = spread
            right, has_side = _sides(rows[part, -1], sides[part])
            slope = torch.sigmoid(-right) * has_side * (of_side / lateral).float()
            gradient[part, -1] = torch.where(sides[part] == 2, -slope, slope)
        return gradient, None, None


def _slabs(rows: Tensor) -> list[slice]:
    size = SLAB_ON_GPU if rows.is_cuda else SLAB
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def _sides(score: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
    """The score of the side that is right, and whether there is one."""
    score = score.float()
    return torch.where(sides == 2, score, -score), sides > 0
