"""`brainldm generate`: heads from conditions."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from brainldm.cli import voice
from brainldm.cli.options import (
    Labels,
    ModelOptions,
    Out,
    Overwrite,
    Preview,
    SamplingOptions,
    Segmenter,
    integer,
)
from brainldm.cli.person import PersonOptions
from brainldm.cli.saved import saved
from brainldm.errors import UsageError
from brainldm.files import make_folder, refuse_existing
from brainldm.image.volume import output_paths

if TYPE_CHECKING:
    from brainldm.image.volume import Volume
    from brainldm.pipeline.request import Request


@dataclass(frozen=True, kw_only=True)
class Generate(ModelOptions, SamplingOptions, PersonOptions):
    """Generate synthetic T1-weighted heads of a chosen sex, age, ventricular and brain volume.

    Writes brain_seed-SEED_T1w.nii.gz and beside it a .json that says how it was made.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm generate --sex F --age 65 --preview --out heads",
        "brainldm generate --age 70 --ventricular-volume-ml 45 --seed 3 --number 5 --out heads",
    )

    seed: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Seed for the noise of the first head; a random one if left out.",
        ),
    ] = None
    heads: Annotated[
        int,
        typer.Option(
            "--number",
            parser=integer,
            metavar="INTEGER",
            help="Number of heads, with the seeds SEED, SEED + 1, ...",
        ),
    ] = 1
    labels: Labels = False
    segmenter: Segmenter = None
    preview: Preview = False
    out: Out = Path(".")
    overwrite: Overwrite = False

    def run(self) -> None:
        """Refuse what cannot be made, then make it."""
        paths = self._paths()
        if not self.overwrite:
            refuse_existing([file for path in paths.values() for file in output_paths(path)])

        from brainldm.pipeline.brain import BrainLDM
        from brainldm.pipeline.display import bars
        from brainldm.pipeline.request import match_requests

        choice, sampling = self.choice(), self.sampling()
        config = choice.config()
        requests = match_requests(config, self.conditions(config), list(paths), sampling=sampling)
        label = self._labeller(list(paths.values()))
        make_folder(self.out)
        model = BrainLDM.load(choice)
        with bars(not voice.quiet) as progress:
            volumes = model.stream(requests, sampling, progress=progress)
            labelled = []
            for path, volume in zip(paths.values(), volumes, strict=True):
                volume.save(path, overwrite=self.overwrite, preview=self.preview)
                labelled += [label(volume, path)] if label else []
        typer.echo("\n".join((*map(_summary, requests), *labelled)))
        typer.echo(saved(list(paths.values())))

    def _labeller(self, paths: list[Path]) -> Callable[[Volume, Path], str] | None:
        """What writes the labels of a head, if they are wanted."""
        if not self.labels:
            return None
        from brainldm.segment.network import Network
        from brainldm.segment.writing import Labeller, dseg_files

        if not self.overwrite:
            refuse_existing([file for path in paths for file in dseg_files(self.out, path)])
        return Labeller(Network.of(self.segmenter), self.out).write

    def _paths(self) -> dict[int, Path]:
        """Where the head of each seed goes."""
        if self.heads < 1:
            raise UsageError(f"--number is {self.heads}: expected a number of heads, 1 or more.")
        first = secrets.randbelow(2**31) if self.seed is None else self.seed
        seeds = range(first, first + self.heads)
        return {seed: self.out / f"brain_seed-{seed}_T1w.nii.gz" for seed in seeds}


def _summary(request: Request) -> str:
    """One line: who the head is, and what of that was drawn."""
    values = []
    for name, condition in request.conditions.items():
        value = condition["value"]
        text = value if isinstance(value, str) else f"{value:.1f} {condition['unit']}".rstrip()
        drawn = " (drawn)" if name in request.drawn else ""
        values.append(f"{name.removesuffix('_ml').replace('_', ' ')} {text}{drawn}")
    return f"Seed {request.seed}: {', '.join(values)}"
