"""The network under fixed conditions, as a sampler calls it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Predict = Callable[[Tensor, float, Tensor], Tensor]
"""(z_t, t, context) -> output, tensors (B, C, X, Y, Z) but for the context, (B, V)."""


def denoiser(
    predict: Predict,
    context: Float[Tensor, "b v"],
    guidance: float = 1.0,
    null: float | Float[Tensor, "... v"] = 0.0,
) -> Callable[[Tensor, float], Tensor]:
    """(z_t, t) -> output, with classifier-free guidance (Ho and Salimans 2022, 2207.12598).

    Args:
        predict: the network.
        context: its conditions.
        guidance: w in (1 - w) output(no conditions) + w output(conditions), in other symbols than
            the paper's; at 1 the network is evaluated once.
        null: what the network takes for no conditions; or other conditions, (V,) or (B, V), from
            which the guided ones are led away.
    """

    def denoise(z: Tensor, t: float) -> Tensor:
        return predict(z, t, context)

    if guidance == 1:
        return denoise
    nobody = torch.as_tensor(null, dtype=context.dtype, device=context.device).expand_as(context)

    def guided(z: Tensor, t: float) -> Tensor:
        without = predict(z, t, nobody)
        return without + guidance * (predict(z, t, context) - without)

    return guided
