"""`brainldm train`: an autoencoder, then a diffusion model, from prepared data; a segmenter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from brainldm.cli import options
from brainldm.cli.command import add
from brainldm.cli.options import (
    ComputingOptions,
    LabelMaps,
    ModelOptions,
    Out,
    Overwrite,
    integer,
    names,
)

if TYPE_CHECKING:
    from brainldm.train.train_decoder import TrainDecoder
    from brainldm.train.train_diffusion import TrainDiffusion


@dataclass(frozen=True, kw_only=True)
class RunOptions(ComputingOptions):
    """What every run needs."""

    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder of the run; one that was interrupted is resumed.",
        ),
    ]
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change of a setting, such as training.learning_rate=1e-4. Repeatable.",
        ),
    ] = None
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Device to train on: auto, cpu or cuda.")
    ] = "auto"
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print all settings, what each is, and what memory and time they take.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RunOptions):
    """What both stages need."""

    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Data set that `brainldm prepare` wrote.")
    ]
    preset: Annotated[
        str,
        typer.Option(metavar="NAME", help="Settings: ukb-1mm, demo-2mm, tiny, or a YAML file."),
    ]

    def _train(self, stage: str, training: TrainDiffusion | TrainDecoder) -> None:
        """Train what ends in a model, or say what would be trained."""
        if self.dry_run:
            typer.echo(training.describe())
            return
        from brainldm.cli.progress import steps

        with steps(stage) as progress:
            folder = training.run(progress, say=lambda line: typer.echo(line, err=True))
        if _first_process():
            typer.echo(f"The model is in {folder.resolve()}; use it with --model {folder.parent}")


@dataclass(frozen=True, kw_only=True)
class Autoencoder(TrainingOptions):
    """Train stage 1: heads to latents and back. The same command resumes an interrupted run."""

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm train autoencoder --data data --preset demo-2mm --out stage1",
        "brainldm train autoencoder --data data --preset ukb-1mm --out stage1 --dry-run",
    )
    resumes: ClassVar[bool] = True

    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Autoencoder to start from: demo, published, a model's directory, or a run.",
        ),
    ] = None

    def run(self) -> None:
        """Train, or say what would be trained."""
        from brainldm.train.presets import load_settings
        from brainldm.train.settings import AutoencoderSettings
        from brainldm.train.train_autoencoder import TrainAutoencoder

        training = TrainAutoencoder(
            data=self.data,
            settings=load_settings(self.preset, AutoencoderSettings, self.changes or ()),
            out=self.out,
            source=self.source,
            device=self.device,
        )
        if self.dry_run:
            typer.echo(training.describe())
            return
        from brainldm.cli.progress import steps

        with steps("autoencoder") as progress:
            folder = training.run(progress)
        if _first_process():
            typer.echo(f"The autoencoder is in {folder.resolve()}")


@dataclass(frozen=True, kw_only=True)
class Diffusion(TrainingOptions):
    """Train stage 2: from conditions to latents. The same command resumes an interrupted run."""

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm train diffusion --data data --preset demo-2mm --autoencoder stage1 --out model",
        "brainldm train diffusion --data data --preset demo-2mm --from demo --lora 16 --out model",
    )
    resumes: ClassVar[bool] = True

    autoencoder: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Autoencoder: a finished run of `brainldm train autoencoder`, or a model.",
        ),
    ] = None
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Model to start from: demo, published, or a model's directory.",
        ),
    ] = None
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:UNIT]",
            help="Column of participants.tsv to condition on, with its unit, such as kg/m2, or "
            "`category`; those of --from, or sex, age, ventricular_volume_ml and brain_volume_ml, "
            "if left out. Repeatable.",
        ),
    ] = None
    lora: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="RANK",
            help="Rank of low-rank changes (LoRA) to learn in place of all weights; needs --from.",
        ),
    ] = None

    def run(self) -> None:
        """Train, or say what would be trained."""
        from brainldm.train.presets import load_settings
        from brainldm.train.settings import DiffusionSettings
        from brainldm.train.train_diffusion import TrainDiffusion

        training = TrainDiffusion(
            data=self.data,
            settings=load_settings(self.preset, DiffusionSettings, self.changes or ()),
            out=self.out,
            autoencoder=self.autoencoder,
            source=self.source,
            conditions=self.condition or (),
            lora=self.lora,
            device=self.device,
        )
        self._train("diffusion", training)


@dataclass(frozen=True, kw_only=True)
class Decoder(TrainingOptions):
    """Finish the decoder of a model on latents as the model makes them. Resumes as the others do.

    All else of the model stays as it is.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm train decoder --data data --preset demo-2mm --from model --out finished",
    )
    resumes: ClassVar[bool] = True

    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Model to finish: demo, published, or a model's directory.",
        ),
    ]

    def run(self) -> None:
        """Train, or say what would be trained."""
        from brainldm.train.presets import load_settings
        from brainldm.train.settings import DecoderSettings
        from brainldm.train.train_decoder import TrainDecoder

        training = TrainDecoder(
            data=self.data,
            settings=load_settings(self.preset, DecoderSettings, self.changes or ()),
            source=self.source,
            out=self.out,
            device=self.device,
        )
        self._train("decoder", training)


@dataclass(frozen=True, kw_only=True)
class Segmenter(RunOptions):
    """Train a network that labels heads, on simulated ones. The same command resumes a run."""

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm train segmenter --label-maps maps --leave-out NAME,NAME --out segmenter",
        "brainldm train segmenter --label-maps maps --out segmenter --dry-run",
    )
    resumes: ClassVar[bool] = True

    label_maps: LabelMaps = None
    leave_out: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Names of anatomies to validate on, with commas; none of them is learned from.",
        ),
    ] = ""
    preset: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Settings, a YAML file; those that ship if left out."),
    ] = None
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="INTEGER",
            help="Number of subjects made at a time, each on one core with about 1.5 GB of memory.",
        ),
    ] = 1

    def run(self) -> None:
        """Train, or say what would be trained."""
        from brainldm.train.presets import SEGMENTER, load_settings
        from brainldm.train.segmenter_settings import SegmenterSettings
        from brainldm.train.train_segmenter import TrainSegmenter

        training = TrainSegmenter(
            label_maps=self.label_maps,
            settings=load_settings(
                self.preset or str(SEGMENTER), SegmenterSettings, self.changes or ()
            ),
            out=self.out,
            leave_out=names(self.leave_out),
            jobs=self.jobs,
            device=self.device,
        )
        if self.dry_run:
            typer.echo(training.describe())
            return
        from brainldm.cli.progress import counted, steps

        with counted("subjects") as subjects, steps("segmenter") as progress:
            folder = training.run(progress, subjects)
        if _first_process():
            typer.echo(f"The segmenter is in {folder.resolve()}")


@dataclass(frozen=True, kw_only=True)
class Calibrate(ModelOptions):
    """Correct a model so that its heads have the volumes that they are asked for.

    Heads are generated and measured; what they lack goes into the weights, and costs nothing later.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm train calibrate --model model --number 200 --out calibrated",
    )

    out: Out
    number: Annotated[
        int,
        typer.Option(
            parser=integer, metavar="INTEGER", help="Number of heads to generate and measure."
        ),
    ] = 100
    segmenter: options.Segmenter = None
    overwrite: Overwrite = False

    def run(self) -> None:
        """Measure, and write the corrected model."""
        from brainldm.cli.progress import counted
        from brainldm.segment.network import Network
        from brainldm.train.calibrate import Calibrate as Calibration

        calibration = Calibration(
            model=self.choice(),
            out=self.out,
            network=Network.of(self.segmenter),
            number=self.number,
            overwrite=self.overwrite,
        )
        with counted("heads") as progress:
            folder = calibration.run(progress, typer.echo)
        typer.echo(f"The corrected model is in {folder.resolve()}")


def _first_process() -> bool:
    """Whether this is the only process, or the first of those that torchrun or Slurm started."""
    return os.environ.get("RANK", "0") == "0"


train = typer.Typer(
    no_args_is_help=True,
    help="Train a model of your own: the autoencoder, then the diffusion. Or a segmenter.",
)
add(train, Autoencoder)
add(train, Diffusion)
add(train, Decoder)
add(train, Calibrate)
add(train, Segmenter)
