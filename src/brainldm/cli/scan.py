"""Options of a verb that works on a scan of a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainldm.cli.options import (
    ModelOptions,
    Scaled,
    Segmenter,
    assigned,
    integer,
    number_or_label,
)
from brainldm.config.slips import did_you_mean
from brainldm.errors import UsageError

if TYPE_CHECKING:
    from brainldm.config import ModelConfig
    from brainldm.edit.jobs import Walk
    from brainldm.edit.known import Known

Known_ = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="What the person is, as sex=F or age=61, if it does not stand beside the scan "
        "(sidecar, participants.tsv); volumes are measured. Repeatable.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ScanOptions(ModelOptions):
    """A scan, what is known of it, and how it is walked up to its noise."""

    file: Annotated[
        Path, typer.Argument(metavar="SCAN", help="T1-weighted scan of a whole head: NIfTI or MGH.")
    ]
    known: Known_ = None
    segmenter: Segmenter = None
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

    def walk(self, config: ModelConfig) -> Walk:
        """How latents are walked.

        Raises:
            UsageError: steps that the model does not have.
        """
        from brainldm.edit.inverted import STEPS
        from brainldm.edit.jobs import Walk
        from brainldm.sampling.schedules import Schedule
        from brainldm.sampling.solvers import DDIM

        steps = STEPS if self.steps is None else self.steps
        Schedule.of(config.schedule).timesteps(steps, DDIM().spacing)
        return Walk(steps, self.extrapolate)

    def known_of(
        self, scan: Path, config: ModelConfig, typed: list[str] | None, option: str = "--known"
    ) -> Known:
        """What is known of a person, within the model's ranges.

        Args:
            scan: of the person.
            config: the model's.
            typed: what was said with the option.
            option: its name.

        Raises:
            BrainLDMError: something is not known, or not what the model knows.
        """
        from brainldm.conditions import ConditionRanges
        from brainldm.edit.known import TABLE, complete, in_table, written
        from brainldm.edit.reading import sidecar_of
        from brainldm.image.plausible import check_header
        from brainldm.image.volume import Volume
        from brainldm.segment.network import Network

        check_header(scan)
        values = assigned(typed or (), option)
        names = [variable.name for variable in config.conditions]
        unknown = next((name for name in values if name not in names), None)
        if unknown is not None:
            raise UsageError(
                f"{option} {unknown}: expected a condition of the model, one of "
                f"{', '.join(names)}." + did_you_mean(unknown, names)
            )
        said = {
            "given": {name: number_or_label(value) for name, value in values.items()},
            "sidecar": written(sidecar_of(scan)),
            TABLE: in_table(scan),
        }
        network = Network.of(self.segmenter) if self.segmenter else None
        found = complete(config, said, lambda: Volume.load(scan), network, option)
        ConditionRanges(config.conditions).normalise([found.conditions], self.extrapolate)
        return found
