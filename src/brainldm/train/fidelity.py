"""Whether samples follow their conditions: read off their latents, and measured in images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.config import ModelConfig
from brainldm.image.volume import Volume
from brainldm.metrics.agreement import agreement
from brainldm.metrics.ridge import ridge
from brainldm.segment.measures import VOLUMES
from brainldm.segment.segmenter import Segmenter, measured

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


def volume_figures(
    config: ModelConfig,
    context: Float[Tensor, "s v"],
    images: Iterable[Volume],
    segmenter: Segmenter,
) -> dict[str, float]:
    """How the volumes that were asked for are found again in samples, in mL.

    Args:
        config: of the model.
        context: what was asked for.
        images: the samples; they are not looked at where no condition is a volume.
        segmenter: measures them.

    Returns:
        Pearson's r, slope and mean absolute difference of each volume, beside the segmenter's own
        on held-out heads, and how many samples it does not trust its measures of.
    """
    volumes = [variable for variable in config.conditions if variable.name in VOLUMES]
    if not volumes:
        return {}
    own = segmenter.errors
    found = np.array([measured(segmenter, image) for image in images])
    there = np.isfinite(found[:, 0])
    figures = {"volumes/samples without a measure": float((~there).sum())}
    for variable in volumes if there.any() else ():
        name = f"volumes/{variable.name}"
        asked = variable.denormalise(context[:, config.columns.index(variable.name)].numpy()[there])
        agree = agreement(asked, found[there, VOLUMES.index(variable.name)])
        figures |= {f"{name}: r": agree.r, f"{name}: slope": agree.slope}
        figures[f"{name}: mean absolute difference (mL)"] = agree.absolute
        if variable.name in own:
            figures[f"{name}: of the segmenter itself (mL)"] = own[variable.name]
    return figures
