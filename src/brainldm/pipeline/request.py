"""What each sample asks for: conditions matched with seeds or noise, nothing left open."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor

from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import ModelConfig
from brainldm.errors import UsageError
from brainldm.models.sizes import check_sides
from brainldm.pipeline.choice import Sampling
from brainldm.sampling.noise import check_seeds

Person = Conditions | Mapping[str, str | float | None]
"""Who a head is of: conditions, or what is given of them by name."""


@dataclass(frozen=True, eq=False)
class Request:
    """One sample.

    Args:
        context: its conditions in [0, 1], (V,).
        conditions: the same in both units, for the record, as `ConditionRanges.describe` has them.
        seed: None where noise is given in its place.
        noise: what to start from, (C, X, Y, Z), if it was given.
        drawn: names of the conditions that were drawn with the seed.
    """

    context: Float32[NDArray[np.float32], " v"]
    conditions: dict[str, dict[str, Any]]
    seed: int | None = None
    noise: Tensor | None = None
    drawn: tuple[str, ...] = ()


def match_requests(
    config: ModelConfig,
    conditions: Person | Sequence[Person],
    seeds: Sequence[int] | None = None,
    noise: Tensor | None = None,
    *,
    sampling: Sampling,
) -> list[Request]:
    """One request for each seed or, if noise is given, for each sample of it.

    What a model cannot be asked for is refused here, from its configuration alone.

    Args:
        config: the model's.
        conditions: one for all samples, or one for each. What is left out is drawn with the seed.
        seeds: one for each sample; random ones, one for each of the conditions, if neither seeds
            nor noise is given.
        noise: (B, C, X, Y, Z), in place of seeds.
        sampling: how samples will be made.

    Raises:
        UsageError: conditions or a sampling that are not the model's, seeds and noise both, what is
            not a seed, noise that the model cannot start from, or numbers that do not match.
        ModelError: guidance of a model that always had conditions.
    """
    sampling.check(config)
    people = _people(conditions)
    ranges = ConditionRanges(config.conditions)
    if noise is None:
        return _from_seeds(ranges, people, seeds, sampling.extrapolate)
    if seeds is None:
        return _from_noise(config, ranges, people, noise, sampling.extrapolate)
    raise UsageError(
        "Both seeds and noise were given: expected one of them, since the noise takes the place "
        "of what the seeds draw."
    )


def one_way(
    conditions: Person | Sequence[Person] | None, person: Mapping[str, str | float | None]
) -> Person | Sequence[Person]:
    """The conditions of a call that takes them as one argument, or each by its name.

    Raises:
        UsageError: both were given.
    """
    if conditions is None:
        return Conditions.of(person)
    if person:
        raise UsageError(
            f"conditions and {', '.join(person)} were both given: expected the conditions in one "
            "argument, or each by its name."
        )
    return conditions


def random_seed() -> int:
    """A seed for who gave none, short enough to type again."""
    return secrets.randbelow(2**31)


def _people(conditions: Person | Sequence[Person]) -> list[Conditions]:
    if isinstance(conditions, Conditions | Mapping):
        conditions = [conditions]
    people = []
    for each in conditions:
        if isinstance(each, Mapping):
            people.append(Conditions.of(each))
        elif isinstance(each, Conditions):
            people.append(each)
        else:
            raise UsageError(
                f"conditions has a {type(each).__name__}, {each!r}: expected Conditions, or a "
                'dictionary such as {"sex": "F", "age": 60}, one for all samples or one for each.'
            )
    return people


def _from_seeds(
    ranges: ConditionRanges,
    people: list[Conditions],
    seeds: Sequence[int] | None,
    extrapolate: bool,
) -> list[Request]:
    if seeds is None:
        seeds = [random_seed() for _ in people]
    numbers = check_seeds(seeds)
    requests = []
    for each, seed in zip(_one_for_each(people, len(numbers), "seeds"), numbers, strict=True):
        complete, drawn = ranges.complete(each, seed)
        [context] = ranges.normalise([complete], extrapolate)
        requests.append(Request(context, ranges.describe(complete), seed, drawn=drawn))
    return requests


def _from_noise(
    config: ModelConfig,
    ranges: ConditionRanges,
    people: list[Conditions],
    noise: Tensor,
    extrapolate: bool,
) -> list[Request]:
    channels, factor = config.latent.shape[0], config.unet.factor
    expected = (
        f"expected a tensor (B, {channels}, X, Y, Z) with X, Y and Z multiples of {factor}; the "
        f"model's own is (B, {', '.join(map(str, config.latent.shape))})"
    )
    if not isinstance(noise, Tensor):
        raise UsageError(f"noise is a {type(noise).__name__}: {expected}.")
    if noise.ndim != 5 or noise.shape[1] != channels or 0 in noise.shape:
        raise UsageError(f"noise has the shape {tuple(noise.shape)}: {expected}.")
    check_sides(noise.shape[2:], factor, "noise")
    if not torch.isfinite(noise).all():
        raise UsageError("noise has values that are NaN or infinite: expected finite ones.")
    people = _one_for_each(people, len(noise), "samples of noise")
    rows = ranges.normalise(people, extrapolate)
    return [
        Request(context, ranges.describe(each), noise=start)
        for context, each, start in zip(rows, people, noise, strict=True)
    ]


def _one_for_each(people: list[Conditions], count: int, of: str) -> list[Conditions]:
    if len(people) == 1:
        return people * count
    if len(people) != count:
        raise UsageError(
            f"{len(people)} conditions were given with {count} {of}: expected as many of one as of "
            "the other, or one Conditions for all."
        )
    return people
