"""Whether samples follow their conditions, read off their latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.metrics.agreement import agreement
from brainldm.metrics.ridge import ridge

LAMBDAS = torch.logspace(-4, 2, 13, dtype=torch.float64)
"""Strengths of the ridge penalty to choose from, in units of the mean variance of a head."""


class ConditionReader:
    """Reads the conditions of a head off its latent: ridge regression on real heads.

    It needs no segmentation and no further network, and so serves any condition.

    Args:
        latents: of real heads, (N, ...).
        context: theirs, (N, V).
    """

    def __init__(self, latents: Float[Tensor, " n *latent"], context: Float[Tensor, "n v"]) -> None:
        self.context = context.double()
        x = latents.flatten(1)
        self.centre = x.mean(0)
        x = x - self.centre
        gram = (x @ x.T).double() / x.shape[1]
        rows = gram.mean(0)  # centred again: what single precision leaves would pass for a signal
        gram = gram - rows - rows[:, None] + rows.mean()
        self.mean = self.context.mean(0)
        fitted = ridge(gram.numpy(), self.context.numpy(), LAMBDAS.numpy())
        dual, self.of_real = map(torch.from_numpy, fitted)
        self.weights = x.T @ dual.to(x.dtype) / x.shape[1]

    def read(self, latents: Float[Tensor, " s *latent"]) -> Float[Tensor, "s v"]:
        """The context that latents (N, ...) look like, (N, V)."""
        return self.mean + ((latents.flatten(1) - self.centre) @ self.weights).double()

    def figures(
        self,
        names: Sequence[str],
        asked: Float[Tensor, "s v"],
        latents: Float[Tensor, " s *latent"],
    ) -> Iterator[tuple[str, float]]:
        """How what was asked for is found again in samples, beside real heads' own conditions.

        Args:
            names: of the context's numbers, V.
            asked: (S, V).
            latents: of the samples, (S, ...).

        Yields:
            Pearson's r, and the slope of what is read over what was asked for.
        """
        pairs = (
            ("samples", asked.double(), self.read(latents)),
            ("real heads", self.context, self.of_real),
        )
        for i, name in enumerate(names):
            for which, truth, found in pairs:
                agree = agreement(truth[:, i].cpu(), found[:, i].cpu())
                yield f"conditions/{name}: r, {which}", agree.r
                yield f"conditions/{name}: slope, {which}", agree.slope
