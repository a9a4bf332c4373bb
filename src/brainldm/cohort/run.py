"""`brainldm cohort run`: from a plan to a finished data set, whatever happens between.

What is done stands in journals (`cohort.records`), one for each process that runs. A run looks at
them, checks every file they name by its hash, and makes the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from brainldm.cohort.finish import finish, verify
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.gate import Checking
from brainldm.cohort.local import Local
from brainldm.cohort.maker import Facts, Made, Making
from brainldm.cohort.on_ray import OnRay
from brainldm.cohort.parts import WHOLE, Batch, Part
from brainldm.cohort.plan import Plan, read_plan
from brainldm.cohort.settings import MadeBy, Planned, Settings
from brainldm.cohort.sheet import Sheet
from brainldm.cohort.watch import Watch
from brainldm.conditions import ConditionRanges
from brainldm.errors import UsageError
from brainldm.pipeline.choice import Model, Sampling
from brainldm.segment.network import Network
from brainldm.workers import Progress


class Engine(Protocol):
    """Where volumes are made: `Local`, or `OnRay`."""

    facts: Facts

    def make(self, making: Making, batches: Iterator[Batch]) -> Iterator[Made]:
        """Make volumes, each given back once it is whole on the disk."""

    def close(self) -> None:
        """Let go of what is held."""


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


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """What is to be made, and how.

    Args:
        table: the plan.
        out: the data set.
        model: that makes the volumes.
        sampling: of latents.
        checking: of volumes.
        network: labels the heads; None labels none.
        batch: rows that are denoised together; None takes what suits the device.
        part: of the plan.
        ray: "local", or the address of a Ray cluster; None makes it in this process.
        cores: of each of Ray's workers.
    """

    table: Path
    out: Path
    model: Model
    sampling: Sampling
    checking: Checking = field(default_factory=Checking)
    network: Network | None = None
    batch: int | None = None
    part: Part = WHOLE
    ray: str | None = None
    cores: int | None = None

    def run(self, progress: Progress = lambda done, total, name: None) -> Summary:
        """Make the volumes, or resume.

        Args:
            progress: called with what is done, of how much, and the name of the phase.

        Raises:
            UsageError: what the model cannot do, or a folder that holds something else.
            DataError: a plan with mistakes; each is listed.
            ModelError: a model that cannot be loaded.
            StorageError: a disk that is full. What was made is kept.
        """
        config = self.model.config()
        self.sampling.check(config)
        self.checking.check()
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"The batch is {self.batch}: expected 1 or more.")
        extrapolate = self.sampling.extrapolate
        plan = read_plan(self.table, ConditionRanges(config.conditions), extrapolate=extrapolate)
        folder = CohortFolder(self.out)
        with closing(self._engine()) as engine:
            # A cohort that is resumed keeps its batches, though memory may be short now.
            usual = folder.settings.batch if folder.is_begun else engine.facts.batch
            settings = Settings(
                model=MadeBy(name=config.name, hash=engine.facts.hash),
                plan=Planned(sha256=plan.sha256, rows=len(plan)),
                sampling=self.sampling.describe(config),
                extrapolate=extrapolate,
                dtype=engine.facts.dtype,
                batch=self.batch or usual,
                gate=self.checking.describe(),
                labels=self.network.identity if self.network else None,
            )
            plan = folder.begin(settings, config, plan)
            return self._make(folder, plan, engine, progress)

    def _engine(self) -> Engine:
        return OnRay(self.model, self.ray, self.cores) if self.ray else Local(self.model)

    def _make(
        self, folder: CohortFolder, plan: Plan, engine: Engine, progress: Progress
    ) -> Summary:
        part, batch = self.part, folder.settings.batch
        rows = part.rows(len(plan), batch)
        with folder.journal(part.name) as journal:
            records = folder.records()
            verify(folder, records, rows, progress)
            gate = self.checking.gate()
            sheet = Sheet(folder, len(plan)) if part.is_whole else None
            shown = frozenset(sheet.rows if sheet else ())
            before = sum(row in records for row in rows)
            watch = Watch(
                folder.summary(None if part.is_whole else part.name),
                len(rows),
                before,
                sheet,
                lambda done, total: progress(done, total, "volumes"),
            )
            making = Making(self.sampling, gate, folder, shown, self.network)
            for made in engine.make(making, part.batches(plan, batch, records)):
                journal.add(made.record)
                watch.add(made)
        if sheet:
            finish(folder, sheet)
        return Summary(watch.done - before, watch.done, part.is_whole)
