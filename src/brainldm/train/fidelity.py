"""Whether samples follow their conditions, read off their latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

LAMBDAS = torch.logspace(-4, 2, 13, dtype=torch.float64)
"""Strengths of the ridge penalty to choose from, in units of the mean variance of a head."""


class ConditionReader:
    """Reads the conditions of a head off its latent: ridge regression on real heads.

    It needs no segmentation and no further network, and so serves any condition. Its penalty is
    chosen, and its own reliability known, by leaving out one head at a time (in closed form:
    Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 7.10).

    What is read off a head left out is about the mean of all heads: that of the others falls as its
    own value rises, and where latents tell nothing would agree with the truth at r = -1.

    Args:
        latents: of real heads, (N, ...).
        context: theirs, (N, V).
    """

    def __init__(self, latents: Tensor, context: Tensor) -> None:
        self.context = context.double()
        x = latents.flatten(1)
        self.centre = x.mean(0)
        x = x - self.centre
        gram = (x @ x.T).double() / x.shape[1]
        rows = gram.mean(0)  # centred again: what single precision leaves would pass for a signal
        gram = gram - rows - rows[:, None] + rows.mean()
        values, vectors = torch.linalg.eigh(gram)
        self.mean = self.context.mean(0)
        y = self.context - self.mean
        left_out, duals = [], []
        for penalty in LAMBDAS * values.mean().clamp(min=1e-12):
            inverse = vectors / (values.clamp(min=0) + penalty) @ vectors.T
            dual = inverse @ y
            smoother = gram @ inverse + 1 / len(x)
            error = (y - gram @ dual) / (1 - smoother.diagonal())[:, None].clamp(min=1e-6)
            left_out.append(self.context - error)
            duals.append(dual)
        errors = torch.stack([(each - self.context).square().mean(0) for each in left_out])
        best = errors.argmin(0)
        columns = range(self.context.shape[1])
        self.of_real = torch.stack([left_out[best[i]][:, i] for i in columns], 1)
        self.of_real += y / max(len(x) - 1, 1)
        dual = torch.stack([duals[best[i]][:, i] for i in columns], 1)
        self.weights = x.T @ dual.to(x.dtype) / x.shape[1]

    def read(self, latents: Tensor) -> Tensor:
        """The context that latents (N, ...) look like, (N, V)."""
        return self.mean + ((latents.flatten(1) - self.centre) @ self.weights).double()

    def figures(
        self, names: Sequence[str], asked: Tensor, latents: Tensor
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
                r, slope = _agreement(truth[:, i], found[:, i])
                yield f"conditions/{name}: r, {which}", r
                yield f"conditions/{name}: slope, {which}", slope


def _agreement(truth: Tensor, found: Tensor) -> tuple[float, float]:
    x, y = truth - truth.mean(), found - found.mean()
    covariance = (x @ y).item()
    spread = (x.norm() * y.norm()).item()
    variance = (x @ x).item()
    return (covariance / spread if spread else 0.0, covariance / variance if variance else 0.0)
