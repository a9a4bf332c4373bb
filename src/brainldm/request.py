"""Which samples are asked for: conditions matched with seeds or noise, nothing left open."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import ModelConfig
from brainldm.errors import BrainLDMError
from brainldm.latents import NoiseSource


@dataclass(frozen=True)
class Request:
    """One sample.

    Args:
        conditions: complete.
        seed: None where noise is given in its place.
        drawn: names of the conditions that were drawn with the seed.
    """

    conditions: Conditions
    seed: int | None = None
    drawn: tuple[str, ...] = ()


def requests_from_seeds(
    ranges: ConditionRanges,
    conditions: Conditions | Sequence[Conditions],
    seeds: Sequence[int] | None,
) -> list[Request]:
    """One request for each seed; random seeds, one for each of the conditions, if None.

    Raises:
        BrainLDMError: what is not a seed, or numbers of conditions and seeds that do not match.
    """
    people = _listed(conditions)
    if seeds is None:
        seeds = [secrets.randbelow(2**31) for _ in people]  # short enough to type again
    NoiseSource(seeds)  # refuses what is not a seed, before conditions are drawn with it
    requests = []
    for each, seed in zip(_one_for_each(people, len(seeds), "seeds"), seeds, strict=True):
        complete, drawn = ranges.complete(each, int(seed))
        requests.append(Request(complete, int(seed), drawn))
    return requests


def requests_from_noise(
    config: ModelConfig, conditions: Conditions | Sequence[Conditions], noise: Tensor
) -> list[Request]:
    """One request for each sample of the noise (B, C, X, Y, Z), which is checked.

    Raises:
        BrainLDMError: noise that the model cannot start from, or numbers of conditions and samples
            that do not match.
    """
    channels, factor = config.latent.shape[0], config.unet.factor
    expected = (
        f"expected a tensor (B, {channels}, X, Y, Z) with X, Y and Z multiples of {factor}; the "
        f"model's own is (B, {', '.join(map(str, config.latent.shape))})"
    )
    if not isinstance(noise, Tensor):
        raise BrainLDMError(f"noise is a {type(noise).__name__}: {expected}.")
    if noise.ndim != 5 or noise.shape[1] != channels or 0 in noise.shape:
        raise BrainLDMError(f"noise has the shape {tuple(noise.shape)}: {expected}.")
    sides = noise.shape[2:]
    if any(side % factor for side in sides):
        smaller = tuple(max(side // factor, 1) * factor for side in sides)
        larger = tuple(-(-side // factor) * factor for side in sides)
        raise BrainLDMError(
            f"noise has the size {tuple(sides)}: {expected}. The nearest sizes that work are "
            f"{smaller} and {larger}."
        )
    if not torch.isfinite(noise).all():
        raise BrainLDMError("noise has values that are NaN or infinite: expected finite ones.")
    return [Request(each) for each in _one_for_each(_listed(conditions), len(noise), "noise")]


def _listed(conditions: Conditions | Sequence[Conditions]) -> list[Conditions]:
    return [conditions] if isinstance(conditions, Conditions) else list(conditions)


def _one_for_each(people: list[Conditions], count: int, of: str) -> list[Conditions]:
    if len(people) == 1:
        return people * count
    if len(people) != count:
        raise BrainLDMError(
            f"{len(people)} conditions came with {count} {of}: expected as many of one as of the "
            "other, or one Conditions for all."
        )
    return people
