"""`brainldm convert`: weights from any known layout to another."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

import typer


class Layout(StrEnum):
    """What a model's directory can look like."""

    BRAINLDM = "brainldm"
    MONAI = "monai"
    GENERATIVEMODELS = "generativemodels"


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Convert a model's weights between the published layout, MONAI's and brainldm's own."""

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm convert published --out model",
        "brainldm convert model --to monai --out bundle/models",
    )

    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Model to convert: demo, published, or a directory with a model's files, whose "
            "layout is recognised.",
        ),
    ]
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Directory for the converted model.")
    ]
    to: Annotated[
        Layout,
        typer.Option(
            help="Layout to write. brainldm: safetensors and config.json. monai: autoencoder.pt "
            "and model.pt with the names of MONAI >= 1.4. generativemodels: the same files with "
            "the original names."
        ),
    ] = Layout.BRAINLDM
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is in the directory.")
    ] = False

    def run(self) -> None:
        """Convert, and say where the model is."""
        from brainldm.checkpoint import convert

        convert(self.source, self.out, to=self.to.value, overwrite=self.overwrite)
        typer.echo(f"Saved {self.source} as {self.to.value} in {self.out.resolve()}")
