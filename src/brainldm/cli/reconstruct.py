"""`brainldm reconstruct`: a real scan through the autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.options import ModelOptions, Out, Overwrite, Preview, Scaled
from brainldm.cli.saved import saved
from brainldm.files import make_folder, refuse_existing
from brainldm.image.reading import image_stem
from brainldm.image.volume import Volume, output_paths


@dataclass(frozen=True, kw_only=True)
class Reconstruct(ModelOptions):
    """Send a real scan through the autoencoder: what the model can represent at best.

    The scan is resampled to the model's grid as its header says (no registration), and its
    intensities are scaled to [0, 1], unless brainldm wrote them.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm reconstruct scan.nii.gz --preview --out reconstructions",
    )

    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Scan of a head in MNI152 space: NIfTI or MGH.")
    ]
    out: Out = Path(".")
    scaled: Scaled = False
    preview: Preview = False
    overwrite: Overwrite = False

    def run(self) -> None:
        """Read the scan, then the model."""
        path = self.out / f"{image_stem(self.file)}_reconstruction.nii.gz"
        scan = Volume.load(self.file, scaled=self.scaled or None)
        if not self.overwrite:
            refuse_existing(output_paths(path))
        make_folder(self.out)

        from brainldm.metrics.similarity import psnr
        from brainldm.pipeline.brain import BrainLDM

        model = BrainLDM.load(self.choice())
        prepared = model.prepare(scan)
        reconstruction = model.reconstruct(scan)
        reconstruction.save(path, overwrite=self.overwrite, preview=self.preview)
        decibels = psnr(reconstruction.array, prepared.array)
        typer.echo(f"PSNR against the scan on the model's grid: {decibels:.2f} dB")
        typer.echo(saved([path]))
