"""`brainldm demo`: what made the demo model, for those who work on brainldm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.command import add
from brainldm.cli.options import ComputingOptions, ModelName, Segmenter, names


@dataclass(frozen=True, kw_only=True)
class Figures(ComputingOptions):
    """Measure a model of simulated heads: half an hour on two cores.

    Prints each figure beside what it should be.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm demo figures --label-maps label-maps --only training_seg_02,training_seg_19",
    )

    label_maps: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of label maps to take anatomies from.")
    ]
    model: ModelName = "demo"
    only: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Names of those that the model has not learned from."),
    ] = ""
    scan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prepared scan of a person, to be reconstructed too."),
    ] = None
    segmenter: Segmenter = None
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
        from brainldm.image.volume import Volume
        from brainldm.pipeline.brain import BrainLDM
        from brainldm.pipeline.choice import Model
        from brainldm.segment.network import Network
        from brainldm.simulate.heads import Heads

        scan = Volume.load(self.scan) if self.scan else None
        network = Network.of(self.segmenter)
        # The figures are the model's, whatever precision the processor would choose.
        model = BrainLDM.load(Model(source=self.model, dtype="float32"))
        heads = Heads.of(self.label_maps, names(self.only))
        evaluate(model, heads, network, self.out, scan, typer.echo)
        typer.echo(f"Wrote figures.json, heads.csv and contact-sheet.png in {self.out.resolve()}")


demo = typer.Typer(no_args_is_help=True, help="The demo model: how good it is.")
add(demo, Figures)
