"""What can be done with a scan, as `brainldm edit` does it: each job says what will lie on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Bool
from numpy import ndarray as Array

from brainldm.conditions import Conditions
from brainldm.edit.counterfactual import Like, counterfactuals
from brainldm.edit.inpaint import inpaint
from brainldm.edit.interpolate import between
from brainldm.edit.inverted import Inverted
from brainldm.edit.known import Known
from brainldm.edit.original import Original
from brainldm.edit.superresolve import super_resolve
from brainldm.edit.writing import tag
from brainldm.errors import UsageError
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from brainldm.workers import Progress


@dataclass(frozen=True)
class Walk:
    """How latents are walked up and down.

    Args:
        steps: each way.
        extrapolate: accept conditions outside the model's ranges.
    """

    steps: int
    extrapolate: bool = False


Results = tuple[Inverted, Volume, Iterator[Volume]]
"""The scan as the model has it, what the results are compared with, and the results."""


class Job(ABC):
    """Something that is done with a scan."""

    @property
    @abstractmethod
    def tags(self) -> list[str]:
        """What the name of each result ends in."""

    @abstractmethod
    def make(
        self, model: BrainLDM, original: Original, walk: Walk, progress: Progress | None
    ) -> Results:
        """Do it; errors as the functions that do."""


@dataclass(frozen=True)
class Change(Job):
    """Other conditions.

    Args:
        known: of the person.
        asked: for each result.
        names: of what changes.
        like: what results are.

    Raises:
        UsageError: two results would have one name.
    """

    known: Known
    asked: Sequence[Conditions]
    names: Sequence[str]
    like: Like

    def __post_init__(self) -> None:
        if len(set(self.tags)) < len(self.tags):
            raise UsageError(f"Two results would be {self.tags[0]}: expected different ones.")

    @property
    def tags(self) -> list[str]:
        """What it became."""
        return [tag(each, self.names) for each in self.asked]

    def make(
        self, model: BrainLDM, original: Original, walk: Walk, progress: Progress | None
    ) -> Results:
        """Edit it."""
        inverted = Inverted.of(
            model,
            original,
            self.known,
            steps=walk.steps,
            extrapolate=walk.extrapolate,
            progress=progress,
            samples=len(self.asked) + 1,
        )
        before = original.volume if self.like == "native" else inverted.image
        results = counterfactuals(
            inverted, self.asked, self.like, extrapolate=walk.extrapolate, progress=progress
        )
        return inverted, before, results


@dataclass(frozen=True)
class Fill(Job):
    """A part made anew.

    Args:
        known: of the person.
        hole: where, on the scan's grid.
        seeds: one for each result.
    """

    known: Known
    hole: Bool[Array, "x y z"]
    seeds: Sequence[int]

    @property
    def tags(self) -> list[str]:
        """The seeds."""
        return [f"inpainted_seed-{seed}" for seed in self.seeds]

    def make(
        self, model: BrainLDM, original: Original, walk: Walk, progress: Progress | None
    ) -> Results:
        """Fill it."""
        inverted, results = inpaint(
            model,
            original,
            self.known,
            self.hole,
            self.seeds,
            steps=walk.steps,
            extrapolate=walk.extrapolate,
            progress=progress,
        )
        return inverted, original.volume, results


@dataclass(frozen=True)
class SuperResolve(Job):
    """Thick slices, or a part of a head, made fine and whole.

    Args:
        known: of the person.
        seeds: one for each result.
    """

    known: Known
    seeds: Sequence[int]

    @property
    def tags(self) -> list[str]:
        """The seeds."""
        return [f"super-resolved_seed-{seed}" for seed in self.seeds]

    def make(
        self, model: BrainLDM, original: Original, walk: Walk, progress: Progress | None
    ) -> Results:
        """Make it fine."""
        before, inverted, results = super_resolve(
            model,
            original,
            self.known,
            self.seeds,
            steps=walk.steps,
            extrapolate=walk.extrapolate,
            progress=progress,
        )
        return inverted, before, results


@dataclass(frozen=True)
class Interpolate(Job):
    """On the way to another head.

    Args:
        known: of the person.
        other: the other head.
        other_known: of the other person.
        number: of heads.
    """

    known: Known
    other: Original
    other_known: Known
    number: int

    @property
    def tags(self) -> list[str]:
        """Their places on the way."""
        return [f"interpolated-{place}" for place in range(1, self.number + 1)]

    def make(
        self, model: BrainLDM, original: Original, walk: Walk, progress: Progress | None
    ) -> Results:
        """Go there."""
        first, second = (
            Inverted.of(model, each, known, steps=walk.steps, extrapolate=walk.extrapolate)
            for each, known in ((original, self.known), (self.other, self.other_known))
        )
        results = between(
            first, second, self.number, extrapolate=walk.extrapolate, progress=progress
        )
        return first, first.image, results
