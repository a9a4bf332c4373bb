"""`brainldm demo`: what made the demo model, for those who work on brainldm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.command import add
from brainldm.cli.options import ComputingOptions, ModelName


@dataclass(frozen=True, kw_only=True)
class Figures(ComputingOptions):
    """Measure a model of simulated heads: half an hour on two cores.

    Prints each figure beside what it should be.
    """

    examples: ClassVar[tuple[str, ...]] = ("brainldm demo figures",)

    model: ModelName = "demo"
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for figures.json, heads.csv and contact-sheet.png.",
        ),
    ] = Path("build/demo-figures")

    def run(self) -> None:
        """Measure it."""
        from brainldm.demo.figures import evaluate
        from brainldm.pipeline.brain import BrainLDM
        from brainldm.pipeline.choice import Model

        # The figures are the model's, whatever precision the processor would choose.
        evaluate(BrainLDM.load(Model(source=self.model, dtype="float32")), self.out, typer.echo)
        typer.echo(f"Wrote figures.json, heads.csv and contact-sheet.png in {self.out.resolve()}")


demo = typer.Typer(no_args_is_help=True, help="The demo model: how good it is.")
add(demo, Figures)
