"""Which samples are asked for: conditions matched with seeds or noise, nothing left open."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import ModelConfig
from brainldm.errors import BrainLDMError
from brainldm.models.sizes import check_sides
from brainldm.sampling.noise import NoiseSource
from brainldm.sampling.schedules import Schedule
from brainldm.sampling.solvers import Solver, pick_solver


@dataclass(frozen=True, eq=False)
class Request:
    """One sample.

    Args:
        conditions: complete.
        seed: None where noise is given in its place.
        noise: what to start from, (C, X, Y, Z), if it was given.
        drawn: names of the conditions that were drawn with the seed.
    """

    conditions: Conditions
    seed: int | None = None
    noise: Tensor | None = None
    drawn: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sample:
    """A denoised latent that waits for its decoder.

    Args:
        latent: (C, X, Y, Z).
        request: what it was made for.
        sampling: how, for the record.
    """

    latent: Tensor
    request: Request
    sampling: Mapping[str, str | float]


def choose_sampling(
    config: ModelConfig, sampler: str | Solver, steps: int | None, guidance: float
) -> tuple[Solver, int]:
    """The solver, and how many steps it takes.

    Raises:
        BrainLDMError: an unknown sampler, or steps or a guidance that the model does not have.
    """
    solver = pick_solver(sampler)
    steps = solver.usual_steps if steps is None else steps
    Schedule.of(config.schedule).timesteps(steps, solver.spacing)
    null_context(config, guidance)
    return solver, steps


def null_context(config: ModelConfig, guidance: float) -> float:
    """What stands for no conditions, where guidance asks for them to be left out.

    Raises:
        BrainLDMError: not a finite number, or the model always had conditions.
    """
    if not math.isfinite(guidance):
        raise BrainLDMError(f"guidance is {guidance}: expected a finite number, such as 1.5.")
    if guidance != 1 and config.null_context is None:
        raise BrainLDMError(
            f"guidance is {guidance:g}, but {config.name} was trained without condition "
            "dropout: expected 1. Leave it out, or train a model with condition_dropout=0.1."
        )
    return config.null_context or 0.0


def match_requests(
    config: ModelConfig,
    conditions: Conditions | Sequence[Conditions],
    seeds: Sequence[int] | None,
    noise: Tensor | None,
) -> list[Request]:
    """One request for each seed or, if noise (B, C, X, Y, Z) is given, for each sample of it.

    With neither, seeds are random, one for each of the conditions.

    Raises:
        BrainLDMError: both are given, what is not a seed, noise that the model cannot start from,
            or numbers that do not match.
    """
    people = [conditions] if isinstance(conditions, Conditions) else list(conditions)
    if noise is None:
        return _from_seeds(ConditionRanges(config.conditions), people, seeds)
    if seeds is None:
        return _from_noise(config, people, noise)
    raise BrainLDMError(
        "Both seeds and noise were given: expected one of them, since the noise takes the place "
        "of what the seeds draw."
    )


def initial_noise(
    requests: Sequence[Request], shape: Sequence[int]
) -> tuple[Tensor, NoiseSource | None]:
    """Where the samples start, (B, C, X, Y, Z), and where more noise comes from, if from seeds.

    Args:
        requests: all with a seed, or all with noise.
        shape: (C, X, Y, Z) of what the seeds draw.
    """
    given = [request.noise for request in requests if request.noise is not None]
    if given:
        return torch.stack(given), None
    source = NoiseSource([request.seed for request in requests if request.seed is not None])
    return source.draw(shape), source


def _from_seeds(
    ranges: ConditionRanges, people: list[Conditions], seeds: Sequence[int] | None
) -> list[Request]:
    if seeds is None:
        seeds = [secrets.randbelow(2**31) for _ in people]  # short enough to type again
    NoiseSource(seeds)  # refuses what is not a seed, before conditions are drawn with it
    requests = []
    for each, seed in zip(_one_for_each(people, len(seeds), "seeds"), seeds, strict=True):
        complete, drawn = ranges.complete(each, int(seed))
        requests.append(Request(complete, int(seed), drawn=drawn))
    return requests


def _from_noise(config: ModelConfig, people: list[Conditions], noise: Tensor) -> list[Request]:
    channels, factor = config.latent.shape[0], config.unet.factor
    expected = (
        f"expected a tensor (B, {channels}, X, Y, Z) with X, Y and Z multiples of {factor}; the "
        f"model's own is (B, {', '.join(map(str, config.latent.shape))})"
    )
    if not isinstance(noise, Tensor):
        raise BrainLDMError(f"noise is a {type(noise).__name__}: {expected}.")
    if noise.ndim != 5 or noise.shape[1] != channels or 0 in noise.shape:
        raise BrainLDMError(f"noise has the shape {tuple(noise.shape)}: {expected}.")
    check_sides(noise.shape[2:], factor, "noise")
    if not torch.isfinite(noise).all():
        raise BrainLDMError("noise has values that are NaN or infinite: expected finite ones.")
    people = _one_for_each(people, len(noise), "samples of noise")
    return [Request(each, noise=start) for each, start in zip(people, noise, strict=True)]


def _one_for_each(people: list[Conditions], count: int, of: str) -> list[Conditions]:
    if len(people) == 1:
        return people * count
    if len(people) != count:
        raise BrainLDMError(
            f"{len(people)} conditions were given with {count} {of}: expected as many of one as of "
            "the other, or one Conditions for all."
        )
    return people
