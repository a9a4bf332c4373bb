"""`brainldm cohort`: a plan, the volumes of it, and the shards of it gathered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

import typer

from brainldm.cli.command import add
from brainldm.cli.options import (
    MACHINES,
    CoresPerWorker,
    Labels,
    ModelOptions,
    Ray,
    SamplingOptions,
    Segmenter,
    check_ray,
    integer,
)
from brainldm.cli.plan import Plan, number_in, pairs
from brainldm.errors import UsageError

if TYPE_CHECKING:
    from brainldm.cohort.parts import Part

DataSet = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the data set.")
]
CHECKS = "Checks of every volume"


@dataclass(frozen=True, kw_only=True)
class Run(ModelOptions, SamplingOptions):
    """Make every volume of a plan, as a BIDS data set.

    The same command resumes a cohort that was interrupted, in whatever way; the result is the same.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm cohort run people.tsv --out synthetic",
        "brainldm cohort run people.tsv --shard 3/100 --gate redraw --measure ants --out synthetic",
    )
    resumes: ClassVar[bool] = True

    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help="Plan: a .tsv or .csv with participant_id, seed and conditions, their units in "
            "the header.",
        ),
    ]
    out: DataSet
    batch: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Number of volumes that are denoised together; what suits the device if left out.",
        ),
    ] = None
    gate: Annotated[
        str | None,
        typer.Option(
            metavar="redraw|flag",
            help="Check of every volume; what fails is made again with another seed, or flagged.",
            rich_help_panel=CHECKS,
        ),
    ] = None
    measure: Annotated[
        str,
        typer.Option(
            metavar="network|ants|DIR|none",
            help="Measurement of the ventricles and the brain of every volume: by the segmenter "
            "that ships, with ANTsPy (a minute each), or by a segmenter in a folder.",
            rich_help_panel=CHECKS,
        ),
    ] = "none"
    labels: Labels = False
    segmenter: Segmenter = None
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ML",
            help="Tolerance of the check: the most mL between a volume measured and the one asked "
            "for. Repeatable.",
            rich_help_panel=CHECKS,
        ),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Part to make, the K-th of N; `brainldm cohort merge` gathers them.",
            rich_help_panel=MACHINES,
        ),
    ] = None
    ray: Ray = None
    cores_per_worker: CoresPerWorker = None

    def run(self) -> None:
        """Make what is missing."""
        from brainldm.cli.progress import volumes
        from brainldm.cohort.gate import Checking
        from brainldm.cohort.parts import WHOLE
        from brainldm.cohort.run import Cohort
        from brainldm.segment.network import Network

        if self.gate not in (None, "redraw", "flag"):
            raise UsageError(f"--gate is {self.gate!r}: expected redraw or flag.")
        check_ray(self.ray, self.cores_per_worker, self.threads)
        limits = pairs(self.tolerance, "--tolerance", "ventricular_volume_ml=10")
        wanted = Cohort(
            table=self.table,
            out=self.out,
            model=self.choice(),
            sampling=self.sampling(),
            batch=self.batch,
            checking=Checking(
                on_failure=cast(Literal["off", "redraw", "flag"], self.gate or "off"),
                measure=self.measure,
                tolerance={name: number_in(text, "--tolerance") for name, text in limits.items()},
            ),
            network=Network.of(self.segmenter) if self.labels else None,
            part=_part(self.shard) if self.shard else WHOLE,
            ray=self.ray,
            cores=self.cores_per_worker,
        )
        with volumes() as progress:
            summary = wanted.run(progress)
        before = summary.done - summary.made
        typer.echo(f"Made {summary.made} volumes" + (f"; {before} were there." if before else "."))
        if summary.finished:
            typer.echo(f"The data set is {self.out.resolve()}; look at report.html in it.")
        else:
            typer.echo(f"This shard is done. When all are: brainldm cohort merge --out {self.out}")


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Gather the shards of a cohort into one finished data set."""

    examples: ClassVar[tuple[str, ...]] = ("brainldm cohort merge --out synthetic",)
    resumes: ClassVar[bool] = True

    out: DataSet

    def run(self) -> None:
        """Gather them, and count the volumes."""
        from brainldm.cli.progress import volumes
        from brainldm.cohort.finish import merge_cohort

        with volumes() as progress:
            count = merge_cohort(self.out, progress)
        typer.echo(f"{count} volumes are whole. The data set is {self.out.resolve()}.")


def _part(text: str) -> Part:
    from brainldm.cohort.parts import Part

    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit()):
        raise UsageError(f"--shard is {text!r}: expected K/N, such as 3/100.")
    return Part(int(k), int(n))


cohort = typer.Typer(no_args_is_help=True, help="Many volumes: draw a plan, make it, resume it.")
add(cohort, Plan)
add(cohort, Run)
add(cohort, Merge)
