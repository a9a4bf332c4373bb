"""`brainldm cohort run`: from a plan to a finished data set, whatever happens between.

What is done stands in journals (`cohort.records`), one for each process that runs. A run looks at
them, checks every file they name by its hash, and makes the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from brainldm.cohort.dataset import (
    Settings,
    open_cohort,
    read_settings,
)
from brainldm.cohort.finish import Progress, finish, verify
from brainldm.cohort.gate import TOLERANCE, Gate, describe_gate
from brainldm.cohort.local import Local
from brainldm.cohort.maker import Batch, Facts, Made, Making
from brainldm.cohort.on_ray import OnRay
from brainldm.cohort.plan import Plan, read_plan
from brainldm.cohort.records import WORK, Journal, Records
from brainldm.cohort.sheet import Sheet
from brainldm.cohort.watch import Watch
from brainldm.conditions import ConditionRanges
from brainldm.config import ModelConfig
from brainldm.errors import BrainLDMError
from brainldm.image.grid import Grid
from brainldm.pipeline.choice import Model, Sampling
from brainldm.segment.segmenter import check_segmentation, segmenter


class Engine(Protocol):
    """Where volumes are made: `Local`, or `OnRay`."""

    facts: Facts

    def make(self, making: Making, batches: Iterator[Batch]) -> Iterator[Made]:
        """Make volumes, each given back once it is whole on the disk."""

    def close(self) -> None:
        """Let go of what is held."""


@dataclass(frozen=True)
class Request:
    """What a run is asked for.

    Args:
        table: the plan.
        out: the data set.
        model: that makes the volumes.
        sampling: of latents.
        batch: rows that are denoised together; None takes what suits the device.
        on_failure: what the quality gate does: "redraw", "flag" or "off".
        measure: how volumes are measured: "ants", "simulated" or "none".
        tolerance: condition to mL, of the gate.
        shard: (k, n) makes the k-th of n parts, from 1; None makes all.
        ray: "local", or the address of a Ray cluster; None makes it in this process.
        cores: of each of Ray's workers.
    """

    table: Path
    out: Path
    model: Model
    sampling: Sampling
    batch: int | None = None
    on_failure: Literal["off", "flag", "redraw"] = "off"
    measure: str = "none"
    tolerance: Mapping[str, float] | None = None
    shard: tuple[int, int] | None = None
    ray: str | None = None
    cores: int | None = None

    @property
    def tolerances(self) -> dict[str, float]:
        """Of all that is measured: those given, and the usual ones."""
        return {**TOLERANCE, **(self.tolerance or {})}


@dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Args:
        made: volumes that were made now.
        done: of the part that was asked for.
        finished: the data set is whole.
    """

    made: int
    done: int
    finished: bool


def run_cohort(request: Request, progress: Progress = lambda done, total, name: None) -> Summary:
    """Make a cohort, or go on with it.

    Args:
        request: what to make.
        progress: called with what is done, of how much, and the name of the phase.

    Raises:
        BrainLDMError: a plan with mistakes (each is listed), a folder that holds something else,
            a model that cannot be loaded, a disk that is full. What was made is kept.
    """
    config = request.model.config()
    _check(request, config)
    extrapolate = request.sampling.extrapolate
    plan = read_plan(request.table, ConditionRanges(config.conditions), extrapolate=extrapolate)
    engine: Engine = (
        OnRay(request.model, request.ray, request.cores) if request.ray else Local(request.model)
    )
    try:
        settings = _settings(request, config, plan, engine.facts)
        plan = open_cohort(request.out, settings, config, plan)
        return _make(request, config, settings, plan, engine, progress)
    finally:
        engine.close()


def _check(request: Request, config: ModelConfig) -> None:
    """Refuse what cannot be made before a model is loaded or a folder made."""
    request.sampling.check(config)
    check_segmentation(request.measure, Grid.of(config.shape, config.affine))
    if request.shard:
        k, n = request.shard
        if not 1 <= k <= n:
            raise BrainLDMError(f"The shard is {k}/{n}: expected K/N with K from 1 to N.")
    if request.batch is not None and request.batch < 1:
        raise BrainLDMError(f"The batch is {request.batch}: expected 1 or more.")
    unknown = (request.tolerance or {}).keys() - TOLERANCE.keys()
    if unknown:
        raise BrainLDMError(
            f"There is no tolerance of {', '.join(sorted(unknown))}: expected "
            f"{' or '.join(TOLERANCE)}, which are measured."
        )
    if request.tolerance and (request.measure == "none" or request.on_failure == "off"):
        raise BrainLDMError(
            "A tolerance was given, but nothing is measured or checked: expected --measure and "
            "--gate with it."
        )


def _gate(request: Request, config: ModelConfig, progress: Progress) -> Gate:
    cache = request.out / WORK / "segmentation"
    measures = segmenter(
        request.measure,
        Grid.of(config.shape, config.affine),
        cache,
        lambda done, total: progress(done, total, "learn to segment"),
    )
    return Gate(request.on_failure, measures, request.tolerances)


def _settings(request: Request, config: ModelConfig, plan: Plan, facts: Facts) -> Settings:
    return Settings(
        {"name": config.name, "hash": facts.hash},
        {"sha256": plan.sha256, "rows": len(plan)},
        request.sampling.describe(),
        request.sampling.extrapolate,
        facts.dtype,
        request.batch or _begun_with(request.out) or facts.batch,
        describe_gate(request.on_failure, request.measure, request.tolerances),
    )


def _begun_with(out: Path) -> int | None:
    """The size of batches of a cohort that is gone on with: memory may be short now."""
    try:
        return int(read_settings(out)["batch"])
    except (BrainLDMError, KeyError, ValueError):
        return None


def _make(
    request: Request,
    config: ModelConfig,
    settings: Settings,
    plan: Plan,
    engine: Engine,
    progress: Progress,
) -> Summary:
    out, shard = request.out, request.shard
    name = f"shard-{shard[0]:06d}-of-{shard[1]:06d}" if shard else "all"
    journal = Journal(out, name)
    try:
        records = Records(out, len(plan))
        mine = _mine(len(plan), settings.batch, shard)
        verify(out, records, mine, progress)
        gate = _gate(request, config, progress)
        sheet = None if shard else Sheet(out, len(plan))
        shown = frozenset(sheet.rows if sheet else ())
        done = sum(row in records for row in mine)
        summary = out / WORK / f"{name}-summary.json" if shard else out / "summary.json"
        watch = Watch(
            summary, len(mine), done, sheet, lambda some, of: progress(some, of, "volumes")
        )
        making = Making(request.sampling, gate, out.resolve(), shown)
        batches = _batches(plan, settings.batch, shard, records)
        for made in engine.make(making, batches):
            journal.add(made.record)
            watch.add(made)
    finally:
        journal.close()
    if sheet:
        finish(out, sheet)
    return Summary(watch.done - done, watch.done, shard is None)


def _mine(count: int, batch: int, shard: tuple[int, int] | None) -> range | list[int]:
    """The rows of a part: every n-th batch."""
    if shard is None:
        return range(count)
    k, n = shard
    return [row for row in range(count) if row // batch % n == k - 1]


def _batches(
    plan: Plan, size: int, shard: tuple[int, int] | None, records: Records
) -> Iterator[Batch]:
    """Batches of a part that have volumes to make, read from the plan as they are asked for."""
    k, n = shard or (1, 1)
    for start in range((k - 1) * size, len(plan), n * size):
        rows = range(start, min(start + size, len(plan)))
        wanted = frozenset(row for row in rows if row not in records)
        if wanted:
            yield Batch(tuple(plan.rows(rows.start, rows.stop)), wanted)
