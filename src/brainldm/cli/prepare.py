"""`brainldm prepare`: from a folder of scans to a data set to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainldm.cli.options import ModelName


def prepare(
    scans: Annotated[
        Path,
        typer.Argument(
            metavar="SCANS",
            help="A BIDS data set, a folder with NIfTI files or UK Biobank archives (field 20252), "
            "or a text file with one path a line.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The data set to write; one that was begun before is gone on with."
        ),
    ],
    model: ModelName = "published",
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Participants, .tsv or .csv, with any of the columns sex, age, "
            "ventricular_volume_ml and brain_volume_ml, or UK Biobank's fields 31, 21003, 25004 "
            "and 25009. Default: the participants.tsv of SCANS.",
        ),
    ] = None,
    sex_codes: Annotated[
        str,
        typer.Option(metavar="CODES", help="What codes in the table mean, such as 1=M,2=F."),
    ] = "",
    registered: Annotated[
        bool,
        typer.Option(
            "--registered", help="The scans are in MNI152 space: check that, and only resample."
        ),
    ] = False,
    bias_field: Annotated[
        bool, typer.Option("--bias-field", help="Correct bias fields (N4).")
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Scans at a time, each on one core with about 3 GB.")
    ] = 1,
) -> None:
    """Register scans to MNI152 rigidly, bring them to a model's grid, measure what is unknown.

    Ventricular and brain volume are measured where the table lacks them. The result is a BIDS
    derivative data set with a quality page; scans that cannot be used are left out, and named.
    """
    codes = _sex_codes(sex_codes)

    from brainldm.cli.progress import counted
    from brainldm.prepare import prepare as prepare_scans

    with counted("scans") as progress:
        summary = prepare_scans(
            scans,
            out,
            model=model,
            table=table,
            sex_codes=codes,
            registered=registered,
            bias_field=bias_field,
            jobs=jobs,
            progress=progress,
        )
    for note in summary.notes:
        typer.echo(f"Note: {note}", err=True)
    for failure in summary.failures:
        typer.echo(f"Failed: {failure.subject}: {failure.reason}", err=True)
    typer.echo(
        f"Prepared {summary.prepared} scans (read as: {summary.layout}), "
        f"{len(summary.failures)} failed. Look at {(out / 'quality.html').resolve()}"
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
