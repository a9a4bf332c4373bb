"""The verbs of `brainldm`. None of them imports torch before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from brainldm._version import __version__
from brainldm.cli.cohort import cohort
from brainldm.cli.convert import convert
from brainldm.cli.download import download
from brainldm.cli.evaluate import evaluate
from brainldm.cli.generate import generate
from brainldm.cli.info import info
from brainldm.cli.prepare import prepare
from brainldm.cli.reconstruct import reconstruct
from brainldm.cli.train import train

app = typer.Typer(
    name="brainldm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(generate)
app.command()(reconstruct)
app.command()(info)
app.command()(convert)
app.command()(download)
app.command()(prepare)
app.add_typer(train, name="train")
app.command()(evaluate)
app.add_typer(cohort, name="cohort")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"brainldm {__version__}")
        raise typer.Exit


@app.callback()
def _brainldm(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Synthetic T1-weighted brain MRI of a chosen sex, age, ventricular and brain volume."""
