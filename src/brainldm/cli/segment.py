"""`brainldm segment`: a head divided into its structures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.options import ComputingOptions, Out, Overwrite, Segmenter
from brainldm.errors import BrainLDMError, UsageError
from brainldm.files import make_folder, refuse_existing
from brainldm.image.volume import Volume


@dataclass(frozen=True, kw_only=True)
class Segment(ComputingOptions):
    """Label the structures of heads, and measure them.

    Writes for every image its labels on its own grid (_dseg.nii.gz), their names (.tsv), volumes
    and quality (.json) and a picture (.png); and volumes.tsv, with a row for each. An image that
    is not segmented with certainty gets no volumes.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm segment scan.nii.gz --segmenter run --out labels",
        "brainldm segment heads/*.nii.gz --segmenter run --out labels",
    )

    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Images of heads: NIfTI or MGH.")
    ]
    out: Out = Path(".")
    segmenter: Segmenter = None
    overwrite: Overwrite = False

    def run(self) -> None:
        """Label one image after another; one that cannot be read does not stop the rest."""
        from brainldm.cli.progress import counted
        from brainldm.segment.network import Network
        from brainldm.segment.writing import Labeller, dseg_files, write_volumes

        outputs = [path for file in self.files for path in dseg_files(self.out, file)]
        if len(set(outputs)) < len(outputs):
            raise UsageError(
                "Two of the images would have labels of one name: expected images whose names "
                "differ. Give them one at a time, each with an --out of its own."
            )
        if not self.overwrite:
            refuse_existing(outputs)
        labeller = Labeller(Network.of(self.segmenter), self.out, "scanner")
        make_folder(self.out)
        said, failed = [], 0
        with counted("images") as progress:
            for done, file in enumerate(self.files, 1):
                try:
                    said.append(labeller.write(Volume.load(file), file))
                except BrainLDMError as error:
                    failed += 1
                    said.append(f"{file.name}: not segmented: {error}")
                progress(done, len(self.files))
        typer.echo("\n".join(said))
        if failed == len(self.files):
            raise UsageError("None of the images could be segmented.")
        table = write_volumes(self.out)
        count, folder = len(self.files) - failed, self.out.resolve()
        typer.echo(f"Labels of {count} images and {table.name} are in {folder}")
        if failed:
            raise typer.Exit(1)
