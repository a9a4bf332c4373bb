"""Muon: steps whose matrices are orthogonal (Jordan et al. 2024; Liu et al. 2025, 2502.16982).

PyTorch's own takes matrices alone, and no convolutions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.95
RMS = 0.2
"""Of an AdamW step, about, as a part of the learning rate (2502.16982): the rate suits both."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of x, x^3, x^5: takes singular values from 0.01 to 1 near 1 in five rounds (Jordan et al.)."""
ROUNDS = 5
TINY = 1e-7


class Muon(torch.optim.AdamW):
    """Muon for weights, of convolutions as matrices with a row for each output; AdamW for the rest.

    Args:
        params: parameters, or groups of them.
        options: of AdamW.
    """

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, **options, fused=False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step; gradients of weights are forgotten on the way."""
        for group in self.param_groups:
            alike = defaultdict(list)
            for weight in group["params"]:
                if weight.ndim > 1 and weight.grad is not None:
                    alike[weight.flatten(1).shape].append((weight, weight.grad))
                    weight.grad = None  # AdamW leaves it alone
            for weights in alike.values():  # together: a GPU takes as long for one
                self._turn(weights, group["lr"], group["weight_decay"])
        super().step()

    def _turn(
        self, weights: Sequence[tuple[nn.Parameter, Tensor]], rate: float, decay: float
    ) -> None:
        aheads = []
        for weight, gradient in weights:
            state = self.state[weight]
            if not state:
                state["step"] = torch.zeros(())  # AdamW looks for it when it reads a state
                state["momentum"] = torch.zeros_like(weight)
            state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            aheads.append(gradient.lerp(state["momentum"], MOMENTUM).flatten(1))  # Nesterov's
        steps = orthogonal(torch.stack(aheads)) * (RMS * max(aheads[0].shape) ** 0.5)
        for (weight, _), step in zip(weights, steps, strict=True):
            weight.mul_(1 - rate * decay).sub_(step.view_as(weight), alpha=rate)


def orthogonal(matrix: Float[Tensor, "*b m n"]) -> Float[Tensor, "*b m n"]:
    """About the nearest matrix whose singular values are 1, by Newton and Schulz's iteration.

    Its rounds are polynomials in the matrix of inner products, which is smaller.

    Args:
        matrix: (M, N), or several.

    Returns:
        The same shape, of singular values between about 0.7 and 1.2 where they were not tiny.
    """
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT
    x = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=TINY)
    gram = x @ x.mT
    one = torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
    whole = one
    for _ in range(ROUNDS):
        factor = a * one + (b * one + c * gram) @ gram
        whole, gram = factor @ whole, factor @ gram @ factor
    y: Tensor = whole @ x
    return y if wide is matrix else y.mT
