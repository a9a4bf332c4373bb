"""From one head to another: spherically in noise, linearly in conditions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.conditions import ConditionRanges, Conditions
from brainldm.dataset.sidecar import MNI152
from brainldm.edit.counterfactual import metadata
from brainldm.edit.inverted import Inverted
from brainldm.errors import UsageError
from brainldm.image.volume import Volume
from brainldm.workers import Progress


def between(
    first: Inverted,
    second: Inverted,
    number: int,
    *,
    extrapolate: bool = False,
    progress: Progress | None = None,
) -> Iterator[Volume]:
    """Heads on the model's grid from one to the other, both as the model has them included.

    Args:
        first: where it starts.
        second: where it ends, of the same model and number of steps.
        number: of heads.
        extrapolate: accept conditions outside the model's ranges.
        progress: called after each step.

    Raises:
        UsageError: fewer than two heads.
    """
    check_number(number)
    shares = np.linspace(0, 1, number).tolist()
    ranges = first.model.ranges
    people = [
        mixed(ranges, first.known.conditions, second.known.conditions, share) for share in shares
    ]
    noise = torch.cat([slerp(first.noise, second.noise, share) for share in shares])
    latents = first.walk(people, noise=noise, extrapolate=extrapolate, progress=progress)
    sources = (first.original.source, second.original.source)
    for done, (latent, asked) in enumerate(zip(latents, people, strict=True), 1):
        said = metadata(first, "interpolation", asked, {"like": "model"}, MNI152, sources)
        yield Volume(first.picture(latent[None]), first.model.affine, said, scaled=True)
        if progress:
            progress(done, number, "decode")


def check_number(number: int) -> None:
    """Refuse fewer than two heads.

    Raises:
        UsageError: there are.
    """
    if number < 2:
        raise UsageError(
            f"{number} heads from one to another: expected 2 or more, the ends among them."
        )


def slerp(
    a: Float[Tensor, "1 c i j k"], b: Float[Tensor, "1 c i j k"], share: float
) -> Float[Tensor, "1 c i j k"]:
    """On the great circle between two noises, and linearly in their lengths (Shoemake 1985)."""
    lengths = float(a.norm()), float(b.norm())
    first, second = a / lengths[0], b / lengths[1]
    angle = math.acos(min(max(float((first * second).sum()), -1.0), 1.0))
    length = (1 - share) * lengths[0] + share * lengths[1]
    if math.sin(angle) < 1e-4:
        return length * torch.lerp(first, second, share)
    turned = math.sin((1 - share) * angle) * first + math.sin(share * angle) * second
    return turned * (length / math.sin(angle))


def mixed(ranges: ConditionRanges, a: Conditions, b: Conditions, share: float) -> Conditions:
    """Conditions between two, on the model's own scale; of many labels the nearer one's."""
    values: dict[str, str | float] = {}
    described = ranges.describe(a), ranges.describe(b)
    for variable in ranges.variables:
        ends = [each[variable.name] for each in described]
        if isinstance(ends[0]["normalised"], list):
            values[variable.name] = ends[round(share)]["value"]
        else:
            first, second = (float(end["normalised"]) for end in ends)
            values[variable.name] = (1 - share) * first + share * second
    return Conditions.of(values, normalised=True)
