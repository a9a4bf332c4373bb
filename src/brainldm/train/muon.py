"""Muon: steps whose matrices are orthogonal (Jordan et al. 2024; Liu et al. 2025, 2502.16982).

PyTorch's own takes matrices alone, and no convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable
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
            for weight in group["params"]:
                if weight.ndim > 1 and weight.grad is not None:
                    self._turn(weight, weight.grad, group["lr"], group["weight_decay"])
                    weight.grad = None  # AdamW leaves it alone
        super().step()

    def _turn(self, weight: nn.Parameter, gradient: Tensor, rate: float, decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())  # AdamW looks for it when it reads a state
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(state["momentum"], MOMENTUM).flatten(1)  # Nesterov's
        step = orthogonal(ahead) * (RMS * max(ahead.shape) ** 0.5)
        weight.mul_(1 - rate * decay).sub_(step.view_as(weight), alpha=rate)


def orthogonal(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """About the nearest matrix whose singular values are 1, by Newton and Schulz's iteration.

    Its rounds are polynomials in the matrix of inner products, which is smaller.

    Args:
        matrix: (M, N).

    Returns:
        (M, N), of singular values between about 0.7 and 1.2 where they were not tiny.
    """
    a, b, c = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp(min=TINY)
    gram = x @ x.T
    one = torch.eye(len(x), dtype=x.dtype, device=x.device)
    whole = one
    for _ in range(ROUNDS):
        factor = a * one + (b * one + c * gram) @ gram
        whole, gram = factor @ whole, factor @ gram @ factor
    y: Tensor = whole @ x
    return y if wide is matrix else y.T
