"""`brainldm convert`: weights from any known layout to another."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Layout(StrEnum):
    """What a model's directory can look like."""

    BRAINLDM = "brainldm"
    MONAI = "monai"
    GENERATIVEMODELS = "generativemodels"


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="demo, published, or a directory with a model's files, recognised by itself.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The directory to write.")],
    to: Annotated[
        Layout,
        typer.Option(
            help="brainldm: safetensors and config.json. monai: autoencoder.pt and model.pt with "
            "the names of MONAI >= 1.4. generativemodels: the same files with the original names."
        ),
    ] = Layout.BRAINLDM,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is in the directory.")
    ] = False,
) -> None:
    """Convert a model's weights between the published layout, MONAI's and brainldm's own."""
    from brainldm.checkpoint import convert as convert_checkpoint

    convert_checkpoint(source, out, to=to.value, overwrite=overwrite)
    typer.echo(f"Saved {source} as {to.value} in {out.resolve()}")
