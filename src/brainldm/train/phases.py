"""Phases of a run: steps in a row that have settings of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Annotated, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainldm.config.base import wrong_fields

SUM = 1e-6
"""By how much the shares of all phases may miss 1."""


class Phase(BaseModel):
    """A share of all steps, and beside it the settings that differ in it, as a preset has them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    share: Annotated[float, Field(gt=0, le=1)]

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that differ."""
        return dict(self.model_extra or {})


class _Training(Protocol):
    @property
    def steps(self) -> int: ...


class _Phased(Protocol):
    @property
    def phases(self) -> Sequence[Phase]: ...

    @property
    def training(self) -> _Training: ...

    def model_dump(self, *, exclude: set[str]) -> dict[str, Any]: ...

    @classmethod
    def model_validate(cls, obj: Any) -> Any: ...


Settings = TypeVar("Settings", bound=_Phased)


@dataclass(frozen=True)
class Span(Generic[Settings]):
    """The steps of a phase, from `first` on, and all settings that hold in it."""

    first: int
    steps: int
    settings: Settings


class Course(Generic[Settings]):
    """What holds at which step.

    Args:
        settings: of a stage.

    Raises:
        ValueError: phases that do not add up, or that change what cannot be changed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.spans = tuple(_spans(settings))

    def at(self, step: int) -> Span[Settings]:
        """The span that a step (from 0) lies in."""
        return next(span for span in reversed(self.spans) if span.steps and span.first <= step)


def _spans(settings: Settings) -> Iterator[Span[Settings]]:
    steps, phases = settings.training.steps, settings.phases
    if not phases:
        yield Span(0, steps, settings)
        return
    if abs(sum(phase.share for phase in phases) - 1) > SUM:
        shares = " + ".join(f"{phase.share:g}" for phase in phases)
        raise ValueError(f"phases: expected shares of all steps with the sum 1, got {shares}")
    base = settings.model_dump(exclude={"phases"})
    ends = [0, *(round(end * steps) for end in accumulate(phase.share for phase in phases))]
    for number, (phase, (first, end)) in enumerate(zip(phases, pairwise(ends), strict=True)):
        try:
            own = type(settings).model_validate(merge(base, phase.changes))
        except ValidationError as error:
            raise ValueError(f"phases.{number}: {'; '.join(wrong_fields(error))}") from error
        yield Span(first, end - first, own)


def merge(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some of them changed, at any depth."""
    merged = dict(settings)
    for key, value in changes.items():
        deep = isinstance(value, Mapping)
        merged[key] = merge(merged.get(key) or {}, value) if deep else value
    return merged


def keys(changes: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The keys of changes at every depth, with their paths: loss, loss.kl, ..."""
    for key, value in changes.items():
        yield path + key
        if isinstance(value, Mapping):
            yield from keys(value, f"{path}{key}.")
