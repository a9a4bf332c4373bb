"""The verbs of `brainldm`. None of them imports torch before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from brainldm._version import __version__
from brainldm.cli.cohort import cohort
from brainldm.cli.command import add
from brainldm.cli.convert import Convert
from brainldm.cli.demo import demo
from brainldm.cli.download import Download
from brainldm.cli.edit import Edit
from brainldm.cli.evaluate import Evaluate
from brainldm.cli.generate import Generate
from brainldm.cli.info import Info
from brainldm.cli.prepare import Prepare
from brainldm.cli.reconstruct import Reconstruct
from brainldm.cli.segment import Segment
from brainldm.cli.serve import Serve
from brainldm.cli.simulate import Simulate
from brainldm.cli.train import train
from brainldm.cli.unires import Unires

app = typer.Typer(
    name="brainldm",
    no_args_is_help=True,
    epilog="Start with: brainldm generate --sex F --age 65 --preview --out heads",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(Generate, Edit, Reconstruct, Segment, Serve, Info, Convert, Download),
    *(Unires, Prepare, Simulate, Evaluate),
):
    add(app, command)
app.add_typer(train, name="train")
app.add_typer(cohort, name="cohort")
app.add_typer(demo, name="demo", hidden=True)


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
