"""`brainldm edit`: a real scan as it would be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from brainldm.cli import voice
from brainldm.cli.options import Out, Overwrite, assigned, integer
from brainldm.cli.scan import Known_, ScanOptions
from brainldm.errors import UsageError
from brainldm.files import make_folder, refuse_existing

if TYPE_CHECKING:
    from brainldm.config import ModelConfig
    from brainldm.edit.inverted import Inverted
    from brainldm.edit.jobs import Change, Fill, Interpolate, Job, SuperResolve
    from brainldm.edit.writing import Edited

CHANGE = "Change (75 is what it is to be, +10 or -5 the difference; several with commas)"


@dataclass(frozen=True, kw_only=True)
class Edit(ScanOptions):
    """Change a real scan: the same head older, with larger ventricles, or with a lesion filled.

    The scan is registered to MNI152 space, sent up to the noise that gives it back, and down again
    under other conditions. What the model changed then is changed in the scan itself, in its own
    space and resolution; all else stays, bit for bit.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm edit scan.nii.gz --age +10 --known sex=F --known age=61 --out edited",
        "brainldm edit heads/brain_seed-3_T1w.nii.gz --ventricular-volume-ml +10,+20 --out edited",
        "brainldm edit scan.nii.gz --mask lesion.nii.gz --known sex=F --known age=61 --out filled",
        "brainldm edit thick.nii.gz --super-resolve --known sex=F --known age=61 --out fine",
    )

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
    like: Annotated[
        Literal["native", "model"],
        typer.Option(
            help="Result in the scan's own space, changed where the model changed it; or as the "
            "model decodes it, on its grid."
        ),
    ] = "native"
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Part to be made anew, such as a lesion: an image on the scan's grid that is 0 "
            "elsewhere.",
        ),
    ] = None
    super_resolve: Annotated[
        bool,
        typer.Option(
            "--super-resolve",
            help="Make a scan of thick slices, or of a part of the head, as fine and as whole as "
            "the model, on its grid.",
        ),
    ] = False
    other: Annotated[
        Path | None,
        typer.Option(
            "--with", metavar="SCAN", help="Other scan, to go to from this one step by step."
        ),
    ] = None
    known_of_other: Known_ = None
    number: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Number of heads: with --mask and --super-resolve with the seeds SEED, SEED + 1, "
            "..., 1 if left out; with --with on the way, both ends included, 5 if left out.",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Seed for what --mask and --super-resolve draw; a random one if left out.",
        ),
    ] = None
    out: Out = Path(".")
    overwrite: Overwrite = False

    def run(self) -> None:
        """Refuse what cannot be done, then do it."""
        from brainldm.edit.reading import read_original
        from brainldm.edit.writing import Edited, caption
        from brainldm.pipeline.brain import BrainLDM
        from brainldm.pipeline.display import bars

        config = self.choice().config()
        walk, job = self.walk(config), self._job(config)
        edited = Edited(self.out, self.file, job.tags)
        if not self.overwrite:
            refuse_existing(list(edited.files()))
        original = read_original(self.file, registered=self.registered, scaled=self.scaled)
        make_folder(self.out)
        model = BrainLDM.load(self.choice())
        with bars(not voice.quiet) as progress:
            inverted, before, results = job.make(model, original, walk, progress)
            for place, volume in enumerate(results):
                edited.write(place, before, volume)
                typer.echo(f"{edited.images[place].name}: {caption(volume)}")
        self._finish(edited, inverted)

    def _job(self, config: ModelConfig) -> Job:
        """What is to be done."""
        changes = self._changes()
        wanted = [
            name
            for name, given in (
                ("a change of conditions", changes),
                ("--mask", self.mask),
                ("--super-resolve", self.super_resolve),
                ("--with", self.other),
            )
            if given
        ]
        if len(wanted) > 1:
            raise UsageError(f"Got {' and '.join(wanted)}: expected one of them at a time.")
        draws = self.mask or self.super_resolve
        if self.seed is not None and not draws:
            raise UsageError(
                "--seed is for --mask and --super-resolve: nothing else is drawn. Leave it out."
            )
        if self.number is not None and not (draws or self.other):
            raise UsageError(
                "--number is for --mask, --super-resolve and --with: expected several values of a "
                "condition instead, such as --age 50,60,70."
            )
        if self.mask:
            return self._fill(config, self.mask)
        if self.super_resolve:
            return self._super_resolve(config)
        return (
            self._interpolate(config, self.other) if self.other else self._change(config, changes)
        )

    def _change(self, config: ModelConfig, changes: dict[str, str]) -> Change:
        from brainldm.conditions import ConditionRanges
        from brainldm.edit.changes import check_changes, people, series
        from brainldm.edit.jobs import Change

        several = series(changes)
        check_changes(several, config)
        known = self.known_of(self.file, config, self.known)
        asked = people(known.conditions, several, config)
        ConditionRanges(config.conditions).normalise(asked, self.extrapolate)
        return Change(known, asked, list(changes), self.like)

    def _fill(self, config: ModelConfig, mask: Path) -> Fill:
        from brainldm.edit.inpaint import enlarged
        from brainldm.edit.jobs import Fill
        from brainldm.image.volume import Volume

        seeds = self._seeds()
        known = self.known_of(self.file, config, self.known)
        hole = enlarged(Volume.load(mask), Volume.load(self.file))
        return Fill(known, hole, seeds)

    def _super_resolve(self, config: ModelConfig) -> SuperResolve:
        from brainldm.edit.jobs import SuperResolve

        seeds = self._seeds()
        return SuperResolve(self.known_of(self.file, config, self.known), seeds)

    def _seeds(self) -> list[int]:
        from brainldm.pipeline.request import random_seed
        from brainldm.sampling.noise import check_seeds

        number = 1 if self.number is None else self.number
        if number < 1:
            raise UsageError(f"--number is {number}: expected a number of heads, 1 or more.")
        first = random_seed() if self.seed is None else self.seed
        return check_seeds(range(first, first + number))

    def _interpolate(self, config: ModelConfig, other: Path) -> Interpolate:
        from brainldm.edit.interpolate import check_number
        from brainldm.edit.jobs import Interpolate
        from brainldm.edit.reading import read_original

        number = 5 if self.number is None else self.number
        check_number(number)
        known = self.known_of(self.file, config, self.known)
        far = self.known_of(other, config, self.known_of_other, "--known-of-other")
        there = read_original(other, registered=self.registered, scaled=self.scaled)
        return Interpolate(known, there, far, number)

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

    def _finish(self, edited: Edited, inverted: Inverted) -> None:
        """Write the page, and say how far the results are to be trusted."""
        from brainldm.edit.writing import facts

        edited.finish(facts(inverted), inverted.doubts)
        for doubt in (*inverted.original.notes, *inverted.doubts):
            typer.echo(f"Warning: {doubt}", err=True)
        head = "result" if self.super_resolve else "scan"
        typer.echo(
            f"The autoencoder gives the {head} back with {inverted.floor_psnr:.1f} dB; the noise "
            f"that gives it back has a root mean square of {inverted.noise_rms:.2f} (1 where the "
            "model knows such heads)"
        )
        count = len(edited.images)
        what = edited.images[0].name if count == 1 else f"{count} heads"
        typer.echo(f"Saved {what} in {edited.folder.resolve()}; look at {edited.page.name}")
