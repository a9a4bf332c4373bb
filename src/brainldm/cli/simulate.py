"""`brainldm simulate`: heads whose tissues, volumes and contrast are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import typer

from brainldm.cli.options import DataSet, LabelMaps, names


@dataclass(frozen=True, kw_only=True)
class Simulate:
    """Simulate heads with known truth: an image, its labels, and the volumes counted on them.

    Heads are deformed from label maps of real ones (`brainldm download label-maps`), or from the
    MNI152 template. The result is a BIDS derivative data set, which `brainldm train` and
    `brainldm evaluate` take as it is.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm simulate --number 20 --jobs 2 --out heads",
        "brainldm simulate --as-scanned --number 5 --out scans",
    )
    resumes: ClassVar[bool] = True

    out: DataSet
    number: Annotated[int, typer.Option(min=1, metavar="INTEGER", help="Number of subjects.")] = 20
    label_maps: LabelMaps = None
    only: Annotated[
        str, typer.Option(metavar="NAMES", help="Names of the anatomies to take, with commas.")
    ] = ""
    leave_out: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Names of anatomies to keep for testing, with commas."),
    ] = ""
    contrast: Annotated[
        Literal["t1w", "t2w", "flair", "random"],
        typer.Option(help="Contrast of the images; random is for training a segmenter."),
    ] = "t1w"
    voxel_size: Annotated[
        float, typer.Option(metavar="MM", help="Size of the voxels in mm, such as 1 or 2.")
    ] = 2.0
    seed: Annotated[
        int,
        typer.Option(min=0, metavar="INTEGER", help="Seed of the first subject; the next follow."),
    ] = 0
    twins: Annotated[
        bool,
        typer.Option("--twins", help="Make each subject a second time, with other volumes."),
    ] = False
    as_scanned: Annotated[
        bool,
        typer.Option(
            "--as-scanned",
            help="Write images as a scanner gives them, in any pose and scale, without labels, to "
            "try `brainldm prepare` on.",
        ),
    ] = False
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="INTEGER",
            help="Number of heads at a time, each on one core with about 1.5 GB of memory.",
        ),
    ] = 1

    def run(self) -> None:
        """Simulate the heads that are not there yet."""
        from brainldm.cli.progress import parts
        from brainldm.simulate.run import simulate_data_set

        with parts() as progress:
            summary = simulate_data_set(
                self.out,
                self.number,
                label_maps=self.label_maps,
                only=names(self.only),
                leave_out=names(self.leave_out),
                contrast=self.contrast,
                voxel_size=self.voxel_size,
                seed=self.seed,
                twins=self.twins,
                scanned=self.as_scanned,
                jobs=self.jobs,
                progress=progress,
            )
        typer.echo(
            f"Simulated {summary.made} heads; {summary.heads} are in {self.out}. "
            f"{summary.redrawn} pairs of volumes were out of an anatomy's reach and drawn again."
        )
