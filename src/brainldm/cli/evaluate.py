"""`brainldm evaluate`: how good a generated set is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.options import ComputingOptions, Device, Scaled
from brainldm.errors import UsageError

QUICK_SCANS, QUICK_PAIRS, PAIRS = 80, 50, 1000
MEASURES = "How it is measured"


@dataclass(frozen=True, kw_only=True)
class Evaluate(ComputingOptions):
    """Compare generated heads with real ones: FID, MS-SSIM, 4-G-R-SSIM, conditions, copies.

    The same command resumes an evaluation that was interrupted.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm evaluate --generated synthetic --real data --quick --out report",
        "brainldm evaluate --compare before/report.json after/report.json",
    )
    resumes: ClassVar[bool] = True

    generated: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of generated heads, with their sidecars."),
    ] = None
    real: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of real scans that the model was not trained on, with a participants.tsv.",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Folder for the report: report.html and report.json."
        ),
    ] = None
    training: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the training scans, in which copies are looked for."
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            metavar="demo|published|DIR",
            help="Model whose autoencoder reconstructs real scans, to see what is lost by it.",
        ),
    ] = None
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="A.json B.json",
            help="Two reports to put side by side, in place of an evaluation.",
        ),
    ] = None
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"Give a first answer in minutes: at most {QUICK_SCANS} scans a set, "
            f"{QUICK_PAIRS} pairs, volumes only if asked for.",
        ),
    ] = False
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Bring scans on other grids to the first real scan's."),
    ] = False
    scaled: Scaled = False
    jobs: Annotated[
        int,
        typer.Option(min=1, metavar="INTEGER", help="Number of processes, each on one core."),
    ] = 1
    device: Device = "auto"
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for what was measured on each scan; cache in the folder of --out if left "
            "out.",
        ),
    ] = None
    extractor: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Network that extracts features for FID: random (nothing to download), "
            "medicalnet or resnet-2.5d.",
            rich_help_panel=MEASURES,
        ),
    ] = "random"
    extractor_weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Weights of that network; "download" fetches those of medicalnet from Hugging '
            "Face.",
            rich_help_panel=MEASURES,
        ),
    ] = None
    shrinkage: Annotated[
        float,
        typer.Option(
            metavar="NUMBER",
            help="Shrinkage of the features' covariances, such as 0.1, for an FID of fewer scans "
            "than features.",
            rich_help_panel=MEASURES,
        ),
    ] = 0.0
    segmentation: Annotated[
        str | None,
        typer.Option(
            metavar="network|ants|DIR|none",
            help="Method that measures volumes: the segmenter that ships, ANTsPy (a minute each), "
            "or a segmenter in a folder; network if left out, and none with --quick.",
            rich_help_panel=MEASURES,
        ),
    ] = None
    volumes: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Table (.csv or .tsv) of volumes that SynthSeg, FreeSurfer or FSL measured, in "
            "place of --segmentation. Repeatable.",
            rich_help_panel=MEASURES,
        ),
    ] = None
    pairs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="INTEGER",
            help=f"Number of random pairs of each set; {PAIRS} if left out, as in the paper.",
            rich_help_panel=MEASURES,
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="INTEGER",
            help="Seed for the pairs and the samples shown.",
            rich_help_panel=MEASURES,
        ),
    ] = 0

    def run(self) -> None:
        """Evaluate, or compare two evaluations."""
        if self.compare:
            _compare(*self.compare, self.out)
            return
        if self.generated is None or self.real is None or self.out is None:
            raise UsageError(
                "Expected --generated DIR, --real DIR and --out DIR, or --compare A.json B.json."
            )
        if self.volumes and self.segmentation:
            raise UsageError("Expected --volumes or --segmentation, and got both.")

        from brainldm.cli.progress import parts
        from brainldm.evaluate.extractors import Extractor
        from brainldm.evaluate.report import write_report
        from brainldm.evaluate.run import Evaluation
        from brainldm.files import make_folder
        from brainldm.models.device import pick_device
        from brainldm.pipeline.choice import Model

        device = str(pick_device(self.device))
        wanted = Evaluation(
            generated=self.generated,
            real=self.real,
            training=self.training,
            model=Model(source=self.model, device=device) if self.model else None,
            extractor=Extractor.of(self.extractor, self._extractor_weights()),
            shrinkage=self.shrinkage,
            segmentation=self.segmentation or ("none" if self.quick else "network"),
            volumes=tuple(self.volumes or ()),
            pairs=self.pairs or (QUICK_PAIRS if self.quick else PAIRS),
            most=QUICK_SCANS if self.quick else None,
            resample=self.resample,
            scaled=self.scaled,
            seed=self.seed,
            cache=self.cache or self.out / "cache",
            jobs=self.jobs,
            device=device,
        )
        make_folder(self.out)
        with parts() as progress:
            result = wanted.run(progress)
        html, machine = write_report(result, self.out)
        for warning in result.warnings:
            typer.echo(f"Warning: {warning}", err=True)
        for figure in result.figures:
            typer.echo(str(figure))
        typer.echo(f"Wrote {html.resolve()} and {machine.name}")

    def _extractor_weights(self) -> Path | None:
        if str(self.extractor_weights) != "download":
            return self.extractor_weights
        from brainldm.evaluate.extractors import download_medicalnet

        return download_medicalnet(self.extractor)


def _compare(first: Path, second: Path, out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from brainldm.evaluate.comparison import compare_reports, comparison_page
    from brainldm.files import write_together

    rows = compare_reports(first, second)
    table = Table("figure", str(first), str(second), "real", "")
    for row in rows:
        table.add_row(row.name, row.first, row.second, row.real, row.note)
    Console().print(table)
    if out is not None:
        write_together({out / "comparison.html": comparison_page(rows, first, second)})
        typer.echo(f"Wrote {(out / 'comparison.html').resolve()}")
