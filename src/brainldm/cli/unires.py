"""`brainldm unires`: thick scans of a person to sharp volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.options import ComputingOptions, Device, Out, Overwrite, names


@dataclass(frozen=True, kw_only=True)
class Unires(ComputingOptions):
    """Make sharp volumes of the thick scans of one person, one a contrast, on one grid.

    The scans are registered to each other rigidly, and what all of them saw is solved for together
    (joint total variation). Scans of one contrast, as their names end, are averaged in the model.
    One scan alone is denoised, or made sharper.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm unires T1.nii.gz T2.nii.gz FLAIR.nii.gz --out sharp",
        "brainldm unires a_T1w.nii.gz b_T1w.nii.gz --slice-thickness 4 --out sharp",
    )

    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Scans of one person: NIfTI or MGH.")
    ]
    out: Out
    contrasts: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Contrast of each scan, with commas, as T1w,T1w,FLAIR; what their names end in if "
            "left out.",
        ),
    ] = ""
    slice_thickness: Annotated[
        str,
        typer.Option(
            metavar="MM",
            help="Thickness of slices in mm, one for all scans, or one each, with commas; if left "
            "out, SliceThickness of the BIDS sidecar, or the distance between slices.",
        ),
    ] = ""
    model: Annotated[
        str | None,
        typer.Option(
            metavar="demo|published|DIR",
            help="Model whose grid in MNI152 space the volumes are brought to; that of the first "
            "scan's own space if left out.",
        ),
    ] = None
    voxel_size: Annotated[
        float, typer.Option(metavar="MM", help="Size of the volumes' voxels in mm without --model.")
    ] = 1.0
    regularisation: Annotated[
        float, typer.Option(metavar="NUMBER", help="Smoothness of the volumes; more is smoother.")
    ] = 4.0
    lowest_score: Annotated[
        float,
        typer.Option(
            metavar="NUMBER",
            help="Normalised mutual information below which two scans count as two people's; 1 "
            "takes all.",
        ),
    ] = 1.1
    device: Device = "auto"
    overwrite: Overwrite = False

    def run(self) -> None:
        """Make the volumes."""
        thicknesses = _numbers(self.slice_thickness)

        from brainldm.cli.progress import volumes
        from brainldm.models.device import pick_device
        from brainldm.unires.run import make_volumes

        device = pick_device(self.device)
        with volumes() as progress:
            made = make_volumes(
                self.files,
                self.out,
                contrasts=names(self.contrasts),
                thicknesses=thicknesses,
                model=self.model,
                voxel_size=self.voxel_size,
                regularisation=self.regularisation,
                lowest_score=self.lowest_score,
                device=device,
                overwrite=self.overwrite,
                say=lambda note: typer.echo(f"Note: {note}", err=True),
                progress=progress,
            )
        saved = ", ".join(path.name for path in made.images)
        typer.echo(
            f"Saved {saved} in {self.out.resolve()} after {made.iterations} iterations. Look at "
            f"{made.page.resolve()}"
        )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in names(text))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no list of mm, such as 5 or 5,4,4.", param_hint="--slice-thickness"
        ) from None
