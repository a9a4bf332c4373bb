"""`brainldm edit`: a real scan as it would be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from brainldm.cli import voice
from brainldm.cli.options import (
    ModelOptions,
    Out,
    Overwrite,
    Scaled,
    Segmenter,
    assigned,
    integer,
    number_or_label,
)
from brainldm.config.slips import did_you_mean
from brainldm.errors import UsageError
from brainldm.files import make_folder, refuse_existing

if TYPE_CHECKING:
    from brainldm.conditions import Conditions
    from brainldm.config import ModelConfig
    from brainldm.edit.inverted import Inverted
    from brainldm.edit.known import Known
    from brainldm.edit.original import Original
    from brainldm.edit.writing import Edited

CHANGE = "Change (75 is what it is to be, +10 or -5 the difference; several with commas)"


@dataclass(frozen=True, kw_only=True)
class Edit(ModelOptions):
    """Change a real scan: the same head older, or with larger ventricles.

    The scan is registered to MNI152 space, sent up to the noise that gives it back, and down again
    under other conditions. What the model changed then is changed in the scan itself, in its own
    space and resolution; all else stays, bit for bit.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm edit scan.nii.gz --age +10 --known sex=F --known age=61 --out edited",
        "brainldm edit heads/brain_seed-3_T1w.nii.gz --ventricular-volume-ml +10,+20 --out edited",
    )

    file: Annotated[
        Path, typer.Argument(metavar="SCAN", help="T1-weighted scan of a whole head: NIfTI or MGH.")
    ]
    age: Annotated[
        str | None, typer.Option(metavar="YEARS", help="Age in years.", rich_help_panel=CHANGE)
    ] = None
    ventricular_volume_ml: Annotated[
        str | None,
        typer.Option(metavar="ML", help="Volume of the ventricles in mL.", rich_help_panel=CHANGE),
    ] = None
    brain_volume_ml: Annotated[
        str | None,
        typer.Option(
            metavar="ML",
            help="Volume of the brain in mL, normalised for head size.",
            rich_help_panel=CHANGE,
        ),
    ] = None
    sex: Annotated[str | None, typer.Option(metavar="F|M", help="Sex.", rich_help_panel=CHANGE)] = (
        None
    )
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Further condition of the model, as `brainldm info` lists them. Repeatable.",
            rich_help_panel=CHANGE,
        ),
    ] = None
    known: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What the person is, as sex=F or age=61, if it does not stand beside the scan "
            "(sidecar, participants.tsv); volumes are measured. Repeatable.",
        ),
    ] = None
    segmenter: Segmenter = None
    like: Annotated[
        Literal["native", "model"],
        typer.Option(
            help="Result in the scan's own space, changed where the model changed it; or as the "
            "model decodes it, on its grid."
        ),
    ] = "native"
    registered: Annotated[
        bool, typer.Option("--registered", help="Take the scan as lying in MNI152 space.")
    ] = False
    scaled: Scaled = False
    steps: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Number of steps up to the noise, and down again; 16 if left out.",
        ),
    ] = None
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Accept conditions outside the model's ranges.")
    ] = False
    out: Out = Path(".")
    overwrite: Overwrite = False

    def run(self) -> None:
        """Refuse what cannot be done, then do it."""
        from brainldm.conditions import ConditionRanges
        from brainldm.edit.changes import check_changes, people, series
        from brainldm.edit.reading import read_original
        from brainldm.edit.writing import Edited, tag
        from brainldm.image.plausible import check_header
        from brainldm.sampling.schedules import Schedule
        from brainldm.sampling.solvers import DDIM

        config = self.choice().config()
        Schedule.of(config.schedule).timesteps(self._steps, DDIM().spacing)
        changes = self._changes()
        several = series(changes)
        check_changes(several, config)
        check_header(self.file)
        known = self._known(config)
        asked = people(known.conditions, several, config)
        ranges = ConditionRanges(config.conditions)
        ranges.normalise([known.conditions, *asked], self.extrapolate)
        tags = [tag(each, list(changes)) for each in asked]
        if len(set(tags)) < len(tags):
            raise UsageError(f"Two results would be {tags[0]}: expected different ones.")
        edited = Edited(self.out, self.file, tags)
        if not self.overwrite:
            refuse_existing(list(edited.files()))
        original = read_original(self.file, registered=self.registered, scaled=self.scaled)
        make_folder(self.out)
        self._make(edited, original, known, asked)

    @property
    def _steps(self) -> int:
        from brainldm.edit.inverted import STEPS

        return STEPS if self.steps is None else self.steps

    def _changes(self) -> dict[str, str]:
        """What is to become of each condition, as it was typed."""
        from brainldm.conditions import STANDARD

        typed = {name: getattr(self, name) for name in STANDARD}
        further = assigned(self.condition or (), "--condition")
        twice = next((name for name in further if name in STANDARD), None)
        if twice is not None:
            option, value = twice.replace("_", "-"), further[twice]
            raise UsageError(f"--condition {twice}={value}: give it as --{option} {value} instead.")
        return {**{name: text for name, text in typed.items() if text is not None}, **further}

    def _known(self, config: ModelConfig) -> Known:
        """What is known of the person."""
        from brainldm.edit.known import TABLE, complete, in_table, written
        from brainldm.edit.reading import sidecar_of
        from brainldm.image.volume import Volume
        from brainldm.segment.network import Network

        typed = assigned(self.known or (), "--known")
        names = [variable.name for variable in config.conditions]
        unknown = next((name for name in typed if name not in names), None)
        if unknown is not None:
            raise UsageError(
                f"--known {unknown}: expected a condition of the model, one of {', '.join(names)}."
                + did_you_mean(unknown, names)
            )
        said = {
            "given": {name: number_or_label(value) for name, value in typed.items()},
            "sidecar": written(sidecar_of(self.file)),
            TABLE: in_table(self.file),
        }
        network = Network.of(self.segmenter) if self.segmenter else None
        return complete(config, said, lambda: Volume.load(self.file), network)

    def _make(
        self, edited: Edited, original: Original, known: Known, asked: list[Conditions]
    ) -> None:
        from brainldm.edit.counterfactual import counterfactuals
        from brainldm.edit.inverted import Inverted
        from brainldm.edit.writing import caption
        from brainldm.pipeline.brain import BrainLDM
        from brainldm.pipeline.display import bars

        model = BrainLDM.load(self.choice())
        with bars(not voice.quiet) as progress:
            inverted = Inverted.of(
                model,
                original,
                known,
                steps=self._steps,
                extrapolate=self.extrapolate,
                progress=progress,
                samples=len(asked) + 1,
            )
            before = original.volume if self.like == "native" else inverted.image
            volumes = counterfactuals(
                inverted, asked, self.like, extrapolate=self.extrapolate, progress=progress
            )
            for place, volume in enumerate(volumes):
                edited.write(place, before, volume)
                typer.echo(f"{edited.images[place].name}: {caption(volume)}")
        self._finish(edited, inverted)

    def _finish(self, edited: Edited, inverted: Inverted) -> None:
        """Write the page, and say how far the results are to be trusted."""
        from brainldm.edit.writing import facts

        edited.finish(facts(inverted), inverted.doubts)
        for doubt in (*inverted.original.notes, *inverted.doubts):
            typer.echo(f"Warning: {doubt}", err=True)
        typer.echo(
            f"The autoencoder gives the scan back with {inverted.floor_psnr:.1f} dB; the noise "
            f"that gives it back has a root mean square of {inverted.noise_rms:.2f} (1 where the "
            "model knows such heads)"
        )
        count = len(edited.images)
        what = edited.images[0].name if count == 1 else f"{count} heads"
        typer.echo(f"Saved {what} in {edited.folder.resolve()}; look at {edited.page.name}")
