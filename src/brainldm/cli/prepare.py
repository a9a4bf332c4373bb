"""`brainldm prepare`: scans of people to what a model is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.options import DataSet, Scaled


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Register scans to MNI152 rigidly, bring them to a model's grid, measure what is unknown.

    Ventricular and brain volume are measured where the table lacks them. The result is a BIDS
    derivative data set with a quality page; scans that cannot be used are left out, and named.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm prepare scans --table people.tsv --jobs 4 --out data",
        "brainldm prepare bids --model demo --registered --out data",
    )
    resumes: ClassVar[bool] = True

    scans: Annotated[
        Path,
        typer.Argument(
            metavar="SCANS",
            help="Scans: a BIDS data set, a folder with NIfTI or MGH files or UK Biobank archives "
            "(field 20252), or a text file with one path a line.",
        ),
    ]
    out: DataSet
    model: Annotated[
        str,
        typer.Option(
            metavar="demo|published|DIR",
            help="Model whose grid the scans are brought to; weights of the published one are "
            "not needed.",
        ),
    ] = "published"
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of participants (.tsv or .csv), with any of the columns sex, age, "
            "ventricular_volume_ml and brain_volume_ml, or UK Biobank's fields 31, 21003, 25004 "
            "and 25009; the participants.tsv of SCANS if left out.",
        ),
    ] = None
    sex_codes: Annotated[
        str,
        typer.Option(metavar="CODES", help="Meaning of the table's codes for sex, as 1=M,2=F."),
    ] = ""
    registered: Annotated[
        bool,
        typer.Option(
            "--registered",
            help="Take the scans as registered to MNI152 space: check that, and only resample.",
        ),
    ] = False
    scaled: Scaled = False
    incomplete: Annotated[
        bool,
        typer.Option(
            "--incomplete", help="Take skull-stripped and cropped heads too, each with a note."
        ),
    ] = False
    bias_field: Annotated[bool, typer.Option("--bias-field", help="Correct bias fields (N4).")] = (
        False
    )
    segmentation: Annotated[
        str,
        typer.Option(
            metavar="network|ants|DIR",
            help="Method that measures what the table lacks: the segmenter that ships, ANTsPy (a "
            "minute a scan), or a folder that `brainldm train segmenter` wrote.",
        ),
    ] = "network"
    unires: Annotated[
        bool,
        typer.Option(
            "--unires",
            help="Make each head of all scans of its person: T1w, T2w, FLAIR and PDw beside each "
            "other, as thick as they are (see `brainldm unires`); about 5 GB of memory each.",
        ),
    ] = False
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="INTEGER",
            help="Number of scans at a time, each on one core with about 3 GB of memory.",
        ),
    ] = 1

    def run(self) -> None:
        """Prepare the scans; exit code 1 if any of them failed."""
        codes = _sex_codes(self.sex_codes)

        from brainldm.cli.progress import counted
        from brainldm.prepare import prepare

        with counted("scans") as progress:
            summary = prepare(
                self.scans,
                self.out,
                model=self.model,
                table=self.table,
                sex_codes=codes,
                registered=self.registered,
                scaled=self.scaled,
                incomplete=self.incomplete,
                bias_field=self.bias_field,
                segmentation=self.segmentation,
                unires=self.unires,
                jobs=self.jobs,
                progress=progress,
                say=lambda note: typer.echo(f"Note: {note}", err=True),
            )
        for failure in summary.failures:
            typer.echo(f"Failed: {failure.subject}: {failure.reason}", err=True)
        typer.echo(
            f"Prepared {summary.prepared} scans (read as: {summary.layout}), "
            f"{len(summary.failures)} failed. Look at {(self.out / 'quality.html').resolve()}"
        )
        if summary.failures:
            raise typer.Exit(1)


def _sex_codes(text: str) -> dict[str, str]:
    codes = {}
    for pair in filter(None, text.split(",")):
        code, _, sex = pair.partition("=")
        if not code.strip() or sex.strip().upper() not in ("F", "M"):
            raise typer.BadParameter(
                f"{text!r} is not a list such as 1=M,2=F.", param_hint="--sex-codes"
            )
        codes[code.strip()] = sex.strip().upper()
    return codes
