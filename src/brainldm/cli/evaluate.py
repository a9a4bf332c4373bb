"""`brainldm evaluate`: how good a generated set is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainldm.cli.options import Device

QUICK_SCANS, QUICK_PAIRS, PAIRS = 80, 50, 1000
Folder = Path | None


def evaluate(
    generated: Annotated[
        Folder, typer.Option(metavar="DIR", help="Generated heads, with their sidecars.")
    ] = None,
    real: Annotated[
        Folder,
        typer.Option(
            metavar="DIR",
            help="Real scans that the model was not trained on, with a participants.tsv.",
        ),
    ] = None,
    out: Annotated[
        Folder, typer.Option(metavar="DIR", help="Where report.html and report.json go.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Put two reports side by side instead."),
    ] = None,
    training: Annotated[
        Folder, typer.Option(metavar="DIR", help="The training scans, to look for copies.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="demo|published|DIR", help="Whose autoencoder reconstructs real scans."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help=f"A first answer in minutes: at most {QUICK_SCANS} scans a set, {QUICK_PAIRS} "
            "pairs, no volumes unless asked for.",
        ),
    ] = False,
    extractor: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Of features: random (no download), medicalnet or resnet-2.5d."
        ),
    ] = "random",
    extractor_weights: Annotated[
        Folder,
        typer.Option(
            metavar="FILE",
            help="The extractor's weights; \"download\" fetches MedicalNet's from Hugging Face.",
        ),
    ] = None,
    shrinkage: Annotated[
        float,
        typer.Option(help="Of covariances, for FID of fewer scans than features, such as 0.1."),
    ] = 0.0,
    segmentation: Annotated[
        str | None,
        typer.Option(
            metavar="ants|simulated|none",
            help="How volumes are measured: with ANTsPy, or by a rule that holds for simulated "
            "heads alone. Default: ants, with --quick none.",
        ),
    ] = None,
    volumes: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Volumes that SynthSeg, FreeSurfer or FSL measured, .csv or .tsv; may be given "
            "again. Instead of --segmentation.",
        ),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(min=1, help=f"Random pairs of each set. Default: {PAIRS}, as in the paper."),
    ] = None,
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Bring scans on other grids to the first real scan's."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the pairs and of the samples shown.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, each on one core.")] = 1,
    device: Device = "auto",
    cache: Annotated[
        Folder,
        typer.Option(
            metavar="DIR",
            help="What was measured on each scan is kept here. Default: cache in the folder of "
            "--out.",
        ),
    ] = None,
) -> None:
    """Compare generated heads with real ones: FID, MS-SSIM, 4-G-R-SSIM, conditions, copies.

    An interrupted evaluation goes on where it was when the same command is given again.
    """
    if compare:
        _compare(*compare, out)
        return
    if generated is None or real is None or out is None:
        raise typer.BadParameter(
            "Expected --generated DIR, --real DIR and --out DIR, or --compare A.json B.json."
        )
    if volumes and segmentation:
        raise typer.BadParameter("Give --volumes or --segmentation, not both.")

    from brainldm.cli.progress import parts
    from brainldm.evaluate.report import write_report
    from brainldm.evaluate.run import Question
    from brainldm.evaluate.run import evaluate as answer
    from brainldm.files import make_folder
    from brainldm.models.device import pick_device

    make_folder(out)
    if str(extractor_weights) == "download":
        from brainldm.evaluate.extractors import download_medicalnet

        extractor_weights = download_medicalnet(extractor)
    question = Question(
        generated,
        real,
        training,
        model,
        extractor,
        extractor_weights,
        shrinkage,
        segmentation or ("none" if quick else "ants"),
        tuple(volumes or ()),
        pairs or (QUICK_PAIRS if quick else PAIRS),
        QUICK_SCANS if quick else None,
        resample,
        seed,
    )
    with parts() as progress:
        result, plan = answer(
            question, cache or out / "cache", jobs, str(pick_device(device)), progress
        )
    html, machine = write_report(result, plan.grid, out)
    for warning in result.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    for figure in result.figures:
        typer.echo(str(figure))
    typer.echo(f"Wrote {html.resolve()} and {machine.name}")


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
