"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def integer(text: str) -> int:
    """An integer, or a message that says what was given."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an integer, such as 7.") from None


def number(text: str) -> float:
    """A number, or a message that says what was given."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number, such as 65 or 0.5.") from None


ModelName = Annotated[
    str,
    typer.Option(
        metavar="demo|published|DIR",
        help="The model that ships with brainldm, the one that `brainldm download` fetches, or a "
        "directory with a model's files: brainldm's own or the published ones.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files; made if missing.")]
Steps = Annotated[
    int | None,
    typer.Option(
        parser=integer,
        metavar="INTEGER",
        help="Denoising steps; as many as are usual for the sampler if left out.",
    ),
]
Sampler = Annotated[str, typer.Option(help="unipc, dpm++2m, ddim or ddpm.")]
Guidance = Annotated[
    float,
    typer.Option(
        parser=number,
        metavar="NUMBER",
        help="How far to follow the conditions: 1 as trained, more beyond; for models trained "
        "with condition dropout.",
    ),
]
Device = Annotated[
    str, typer.Option(help="auto (a CUDA GPU where there is one), cpu, cuda, cuda:1 or mps.")
]
Dtype = Annotated[
    str,
    typer.Option(
        help="auto (half precision where the processor has it), float32, bfloat16 or float16."
    ),
]
Memory = Annotated[
    str, typer.Option(help="auto, or low (less than half the memory, somewhat slower).")
]
Preview = Annotated[
    bool, typer.Option("--preview", help="Also draw a PNG of three orthogonal slices.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
