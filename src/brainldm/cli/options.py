"""Options that several verbs share, in groups that a command inherits, or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from brainldm.errors import UsageError
from brainldm.threads import use_threads

if TYPE_CHECKING:
    from brainldm.pipeline.choice import Model, Sampling

SAMPLING = "Sampling"
COMPUTING = "Model and computing"
MACHINES = "Several processes and machines"


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


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def assigned(texts: Sequence[str], option: str) -> dict[str, str]:
    """The names and values of NAME=VALUE, each name once; `option` they were given with.

    Raises:
        UsageError: one is not NAME=VALUE, or a name is there twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(
                f"{option} is {text!r}: expected NAME=VALUE, such as field_strength_t=3."
            )
        if name in values:
            raise UsageError(f"{option} {name} was given twice: expected one value for it.")
        values[name] = value
    return values


def number_or_label(text: str) -> str | float:
    """A number where it reads as one; on the model's own scale, a sex may be one."""
    try:
        return float(text)
    except ValueError:
        return text


def check_ray(ray: str | None, cores: int | None, threads: int | None) -> None:
    """Refuse options that contradict `--ray`.

    Raises:
        UsageError: cores of workers without a cluster, or threads beside one.
    """
    if cores is not None and (ray is None or cores < 1):
        raise UsageError("--cores-per-worker is for --ray: expected 1 or more, together.")
    if threads is not None and ray is not None:
        raise UsageError("--threads is not for --ray: expected --cores-per-worker in its place.")


def _models() -> list[str]:
    return ["demo", "published"]


def _samplers() -> list[str]:
    from brainldm.config import SamplerName

    return list(get_args(SamplerName))


ModelName = Annotated[
    str,
    typer.Option(
        autocompletion=_models,
        metavar="demo|published|DIR",
        help="Model: demo (ships with brainldm), published (fetched by `brainldm download`), or a "
        "directory with a model's files.",
        rich_help_panel=COMPUTING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        parser=integer,
        metavar="INTEGER",
        help="Number of threads to compute with; one for each core that may be used if left out.",
        rich_help_panel=COMPUTING,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="Device to compute on: auto (a CUDA GPU where there is one), cpu, cuda, cuda:1 or "
        "mps.",
        rich_help_panel=COMPUTING,
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="Folder for the files; made if it is missing."),
]
DataSet = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Data set to write; one that was interrupted is resumed.",
    ),
]
LabelMaps = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of label maps to take anatomies from; the MNI152 template if left out.",
    ),
]

Segmenter = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Segmenter: a folder that `brainldm train segmenter` wrote; the one that ships if "
        "left out.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="local|ADDRESS",
        help="Ray cluster to work on: this machine alone, or the cluster at an address.",
        rich_help_panel=MACHINES,
    ),
]
CoresPerWorker = Annotated[
    int | None,
    typer.Option(
        parser=integer,
        metavar="INTEGER",
        help="Number of cores of each of Ray's workers.",
        rich_help_panel=MACHINES,
    ),
]
Labels = Annotated[
    bool,
    typer.Option("--labels", help="Also label the structures of every head (_dseg.nii.gz)."),
]
Scaled = Annotated[
    bool,
    typer.Option("--scaled", help="Take intensities as they are, in [0, 1] already."),
]
Preview = Annotated[
    bool, typer.Option("--preview", help="Also draw a picture (.png) of three slices.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


@dataclass(frozen=True, kw_only=True)
class ComputingOptions:
    """With how many threads a verb computes."""

    threads: Threads = None

    def __post_init__(self) -> None:
        if self.threads is not None:
            use_threads(self.threads)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(ComputingOptions):
    """Which model, and where it computes."""

    model: ModelName = "demo"
    device: Device = "auto"
    dtype: Annotated[
        str,
        typer.Option(
            metavar="PRECISION",
            help="Precision to compute in: auto (half precision where the processor has it), "
            "float32, bfloat16 or float16.",
            rich_help_panel=COMPUTING,
        ),
    ] = "auto"
    memory: Annotated[
        str,
        typer.Option(
            metavar="auto|normal|low",
            help="Use of memory: low takes less than half of normal and is somewhat slower; auto "
            "is normal where that fits.",
            rich_help_panel=COMPUTING,
        ),
    ] = "auto"

    def choice(self) -> Model:
        """The model that the options name."""
        from brainldm.pipeline.choice import Model

        return Model(source=self.model, device=self.device, dtype=self.dtype, memory=self.memory)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How heads are sampled."""

    steps: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Number of denoising steps; the usual number of the sampler if left out.",
            rich_help_panel=SAMPLING,
        ),
    ] = None
    sampler: Annotated[
        str | None,
        typer.Option(
            autocompletion=_samplers,
            metavar="NAME",
            help="Sampler: unipc, dpm++2m, dpm++2m-sde, ddim or ddpm; the model's own if left out.",
            rich_help_panel=SAMPLING,
        ),
    ] = None
    eta: Annotated[
        float | None,
        typer.Option(
            parser=number,
            metavar="NUMBER",
            help="Noise that ddim adds at each step, from 0 (none, the default) to 1 (as much as "
            "ddpm).",
            rich_help_panel=SAMPLING,
        ),
    ] = None
    guidance: Annotated[
        float,
        typer.Option(
            parser=number,
            metavar="NUMBER",
            help="Strength of the conditions: 1 as in training, more to exaggerate them. For "
            "models trained with condition dropout.",
            rich_help_panel=SAMPLING,
        ),
    ] = 1.0
    extrapolate: Annotated[
        bool,
        typer.Option(
            "--extrapolate",
            help="Accept conditions outside the model's ranges.",
            rich_help_panel=SAMPLING,
        ),
    ] = False

    def sampling(self) -> Sampling:
        """How the options say that heads are sampled."""
        from brainldm.pipeline.choice import Sampling

        return Sampling(
            sampler=self.sampler,
            steps=self.steps,
            guidance=self.guidance,
            eta=self.eta,
            extrapolate=self.extrapolate,
        )
