"""`brainldm train`: an autoencoder, then a diffusion model, from prepared data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from brainldm.cli.options import integer

train = typer.Typer(
    no_args_is_help=True, help="Train a model of your own: the autoencoder, then the diffusion."
)

Data = Annotated[Path, typer.Option(metavar="DIR", help="What `brainldm prepare` wrote.")]
Run = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="The run's folder; the same one goes on.")
]
PresetName = Annotated[
    str, typer.Option("--preset", metavar="NAME", help="ukb-1mm, demo-2mm, tiny, or a YAML file.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, for instance training.learning_rate=1e-4. Repeatable.",
    ),
]
TrainDevice = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only print settings, sizes, and estimates of memory and time."),
]


@train.command()
def autoencoder(
    data: Data,
    out: Run,
    preset: PresetName,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Start from this autoencoder: demo, published, a model's directory, or a run.",
        ),
    ] = None,
    changes: Changes = None,
    device: TrainDevice = "auto",
    dry_run: DryRun = False,
) -> None:
    """Stage 1: heads to latents and back. Started again, it goes on where it stopped."""
    from brainldm.train.settings import AutoencoderSettings, load_settings

    settings = load_settings(preset, AutoencoderSettings, changes or ())
    if dry_run:
        from brainldm.train.estimate import describe_autoencoder

        typer.echo(describe_autoencoder(data, settings, source, device))
        return
    from brainldm.cli.progress import steps
    from brainldm.train.run import train_autoencoder

    with steps("autoencoder") as progress:
        folder = train_autoencoder(
            data, settings, out, source=source, device=device, progress=progress
        )
    if _first_process():
        typer.echo(f"The autoencoder is in {folder.resolve()}")


@train.command()
def diffusion(
    data: Data,
    out: Run,
    preset: PresetName,
    autoencoder: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="A finished run of `brainldm train autoencoder`, or a model."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="MODEL", help="Start from this model: demo, published, a directory."
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:UNIT]",
            help="A column of participants.tsv to condition on, its unit such as kg/m2, or "
            "`category`. Repeatable; by default those of --from, or sex, age, "
            "ventricular_volume_ml and brain_volume_ml.",
        ),
    ] = None,
    lora: Annotated[
        str | None,
        typer.Option(metavar="RANK", help="With --from: learn low-rank changes, not all weights."),
    ] = None,
    changes: Changes = None,
    device: TrainDevice = "auto",
    dry_run: DryRun = False,
) -> None:
    """Stage 2: from conditions to latents. Started again, it goes on where it stopped."""
    from brainldm.train.settings import DiffusionSettings, load_settings

    settings = load_settings(preset, DiffusionSettings, changes or ())
    rank = integer(lora) if lora is not None else None
    if dry_run:
        from brainldm.train.estimate import describe_diffusion

        typer.echo(describe_diffusion(data, settings, autoencoder, source, condition or (), device))
        return
    from brainldm.cli.progress import steps
    from brainldm.train.run import train_diffusion

    with steps("diffusion") as progress:
        folder = train_diffusion(
            data,
            settings,
            out,
            autoencoder=autoencoder,
            source=source,
            conditions=condition or (),
            lora=rank,
            device=device,
            progress=progress,
            say=lambda line: typer.echo(line, err=True),
        )
    if _first_process():
        typer.echo(f"The model is in {folder.resolve()}; use it with --model {folder.parent}")


def _first_process() -> bool:
    """Whether this is the only process, or the first of those that torchrun or Slurm started."""
    return os.environ.get("RANK", "0") == "0"
