"""`brainldm reconstruct`: a real scan through the autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainldm.cli.options import Device, Dtype, ModelName, Out, Overwrite, Preview
from brainldm.files import make_folder, refuse_existing
from brainldm.image.volume import Volume, nifti_stem, output_paths


def reconstruct(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A 3-D NIfTI of a head in MNI152 space.")
    ],
    out: Out = Path("."),
    model: ModelName = "demo",
    device: Device = "auto",
    dtype: Dtype = "auto",
    preview: Preview = False,
    overwrite: Overwrite = False,
) -> None:
    """Send a real scan through the autoencoder: what the model can represent at best.

    The scan is resampled to the model's grid as its header says (no registration), and its
    intensities are scaled to [0, 1].
    """
    path = out / f"{nifti_stem(file)}_reconstruction.nii.gz"
    scan = Volume.load(file)
    make_folder(out)
    if not overwrite:
        refuse_existing(output_paths(path))

    from brainldm.metrics.similarity import psnr
    from brainldm.pipeline.brain import BrainLDM

    pipeline = BrainLDM.from_pretrained(model, device=device, dtype=dtype)
    prepared = pipeline.prepare(scan)
    reconstruction = pipeline.reconstruct(scan)
    reconstruction.save(path, overwrite=overwrite, preview=preview)
    decibels = psnr(reconstruction.array, prepared.array)
    typer.echo(f"PSNR against the scan on the model's grid: {decibels:.2f} dB")
    typer.echo(f"Saved {path.name} in {out.resolve()}")
