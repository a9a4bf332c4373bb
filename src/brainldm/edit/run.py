"""Editing from Python: what the methods of `BrainLDM` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.conditions import Conditions
from brainldm.dataset.sidecar import Provenance
from brainldm.edit.changes import Changes, people
from brainldm.edit.counterfactual import LIKE, Like, counterfactuals
from brainldm.edit.inpaint import enlarged
from brainldm.edit.inpaint import inpaint as filled
from brainldm.edit.interpolate import between, check_number
from brainldm.edit.inverted import STEPS, Inverted
from brainldm.edit.known import Known, complete, written
from brainldm.edit.original import Original
from brainldm.edit.superresolve import super_resolve as super_resolved
from brainldm.errors import UsageError
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.display import bars
from brainldm.pipeline.request import Person, random_seed
from brainldm.sampling.noise import check_seeds
from brainldm.workers import Progress


def invert(
    model: BrainLDM,
    volume: Volume,
    conditions: Person | None = None,
    *,
    motion: Float[Array, "4 4"] | None = None,
    steps: int | None = None,
    extrapolate: bool = False,
    progress: Progress | bool | None = None,
) -> Inverted:
    """As `BrainLDM.invert`."""
    original = Original.of(volume, motion)
    known = known_of(model, original, conditions)
    with bars(progress) as shown:
        return Inverted.of(
            model, original, known, steps=steps or STEPS, extrapolate=extrapolate, progress=shown
        )


def edit(
    model: BrainLDM,
    volume: Volume,
    changes: Changes | Sequence[Changes],
    conditions: Person | None = None,
    *,
    motion: Float[Array, "4 4"] | None = None,
    like: Like = "native",
    steps: int | None = None,
    extrapolate: bool = False,
    progress: Progress | bool | None = None,
) -> list[Volume]:
    """As `BrainLDM.edit`."""
    if like not in LIKE:
        raise UsageError(f"like is {like!r}: expected one of {', '.join(LIKE)}.")
    original = Original.of(volume, motion)
    known = known_of(model, original, conditions)
    asked = people(known.conditions, changes, model.config)
    model.ranges.normalise(asked, extrapolate)
    with bars(progress) as shown:
        inverted = Inverted.of(
            model,
            original,
            known,
            steps=steps or STEPS,
            extrapolate=extrapolate,
            progress=shown,
            samples=len(asked) + 1,
        )
        return list(counterfactuals(inverted, asked, like, extrapolate=extrapolate, progress=shown))


def inpaint(
    model: BrainLDM,
    volume: Volume,
    mask: Volume | Array,
    conditions: Person | None = None,
    *,
    seeds: Sequence[int] | None = None,
    motion: Float[Array, "4 4"] | None = None,
    steps: int | None = None,
    extrapolate: bool = False,
    progress: Progress | bool | None = None,
) -> list[Volume]:
    """As `BrainLDM.inpaint`."""
    original = Original.of(volume, motion)
    if not isinstance(mask, Volume):
        mask = Volume(np.asarray(mask), volume.affine)
    hole = enlarged(mask, volume)
    known = known_of(model, original, conditions)
    numbers = check_seeds([random_seed()] if seeds is None else seeds)
    with bars(progress) as shown:
        _, volumes = filled(
            model,
            original,
            known,
            hole,
            numbers,
            steps=steps or STEPS,
            extrapolate=extrapolate,
            progress=shown,
        )
        return list(volumes)


def super_resolve(
    model: BrainLDM,
    volume: Volume,
    conditions: Person | None = None,
    *,
    seeds: Sequence[int] | None = None,
    motion: Float[Array, "4 4"] | None = None,
    steps: int | None = None,
    extrapolate: bool = False,
    progress: Progress | bool | None = None,
) -> list[Volume]:
    """As `BrainLDM.super_resolve`."""
    original = Original.of(volume, motion)
    known = known_of(model, original, conditions)
    numbers = check_seeds([random_seed()] if seeds is None else seeds)
    with bars(progress) as shown:
        _, _, volumes = super_resolved(
            model,
            original,
            known,
            numbers,
            steps=steps or STEPS,
            extrapolate=extrapolate,
            progress=shown,
        )
        return list(volumes)


def interpolate(
    model: BrainLDM,
    first: Inverted | Volume,
    second: Inverted | Volume,
    number: int,
    *,
    steps: int | None = None,
    extrapolate: bool = False,
    progress: Progress | bool | None = None,
) -> list[Volume]:
    """As `BrainLDM.interpolate`."""
    check_number(number)
    with bars(progress) as shown:
        start, end = (
            each
            if isinstance(each, Inverted)
            else invert(model, each, steps=steps, extrapolate=extrapolate, progress=False)
            for each in (first, second)
        )
        return list(between(start, end, number, extrapolate=extrapolate, progress=shown))


def known_of(model: BrainLDM, original: Original, conditions: Person | None) -> Known:
    """What was given, and what the volume's own metadata say; errors as `complete`."""
    given: Mapping[str, str | float | None] = {}
    if isinstance(conditions, Conditions):
        if conditions.normalised:
            conditions = model.ranges.denormalise(model.ranges.normalise([conditions], True)[0])
        given = conditions.given
    elif conditions is not None:
        given = conditions
    unknown = set(given) - {variable.name for variable in model.config.conditions}
    if unknown:
        model.ranges.normalise([Conditions.of(given)])  # which says so
    said = {
        "given": {name: value for name, value in given.items() if value is not None},
        "metadata": written(Provenance.of(original.volume.metadata)),
    }
    return complete(model.config, said, lambda: original.volume, None)
