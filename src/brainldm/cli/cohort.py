"""`brainldm cohort`: a plan, the volumes of it, and the shards of it gathered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from brainldm.cli.options import Device, Dtype, Guidance, Memory, ModelName, Sampler, Steps, integer
from brainldm.errors import BrainLDMError

cohort = typer.Typer(no_args_is_help=True, help="Many volumes: draw a plan, make it, resume it.")

Folder = Annotated[Path, typer.Option("--out", metavar="DIR", help="The data set.")]


def _pairs(texts: list[str] | None, option: str, example: str) -> dict[str, str]:
    """NAME=VALUE, each name once."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value) or name in found:
            raise BrainLDMError(
                f"{option} is {text!r}: expected NAME=VALUE, such as {example}, each name once."
            )
        found[name] = value
    return found


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BrainLDMError(f"{option} has {text!r}: expected a number.") from None


@cohort.command()
def plan(
    out: Annotated[Path, typer.Option(metavar="TABLE.tsv", help="The plan; beside it a .json.")],
    heads: Annotated[
        int,
        typer.Option("--number", parser=integer, metavar="INTEGER", help="How many volumes."),
    ] = 10,
    seed: Annotated[
        int,
        typer.Option(parser=integer, metavar="INTEGER", help="The same seed gives the same plan."),
    ] = 0,
    model: ModelName = "demo",
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Draw rows of this table of people, with their correlations, instead of "
            "distributions.",
        ),
    ] = None,
    distribution: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=...",
            help="uniform, normal:MEAN:SD, lognormal:MEDIAN:SD, or F:0.5,M:0.5 of a category; the "
            "model's own if left out. Repeatable.",
        ),
    ] = None,
    correlation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:NAME=R", help="Of two conditions, for instance 0.5. Repeatable."
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW:HIGH", help="Only people within, or of labels. Repeatable."),
    ] = None,
    balance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=EDGES]",
            help="As many of each group: sex, or age=44:57:70:82. Every combination, if repeated.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a plan.")] = False,
) -> None:
    """Draw a table of people: one row a volume, with a seed and conditions."""
    from brainldm.checkpoint import load_config
    from brainldm.cohort.design import Design
    from brainldm.cohort.draw import draw_plan
    from brainldm.config import PUBLISHED
    from brainldm.files import refuse_existing

    if not overwrite:
        refuse_existing([out, out.with_suffix(".json")])
    correlations = {}
    for name, text in _pairs(correlation, "--correlation", "age:ventricular_volume_ml=0.5").items():
        first, _, second = name.partition(":")
        correlations[first, second] = _number(text, "--correlation")
    design = Design(
        heads,
        seed,
        like,
        _pairs(distribution, "--distribution", "age=normal:65:8"),
        correlations,
        _pairs(limit, "--limit", "age=70:82"),
        {name: edges for name, _, edges in (text.partition("=") for text in balance or ())},
    )
    # The published model's conditions are known without its weights.
    config = PUBLISHED if model == "published" else load_config(model)
    for group, count in draw_plan(design, config, out).items():
        typer.echo(f"{count} {group or 'volumes'}")
    typer.echo(f"Wrote {out.resolve()}")


@cohort.command()
def run(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help=".tsv or .csv with participant_id, seed and conditions, units in the header.",
        ),
    ],
    out: Folder,
    model: ModelName = "demo",
    steps: Steps = None,
    sampler: Sampler = "unipc",
    guidance: Guidance = 1.0,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Accept values outside the model's ranges.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Volumes that are denoised together; as many as suit the device if left out.",
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    gate: Annotated[
        str | None,
        typer.Option(
            metavar="redraw|flag",
            help="Check every volume; what fails is made again with another seed, or flagged.",
        ),
    ] = None,
    measure: Annotated[
        str,
        typer.Option(
            metavar="ants|simulated|none",
            help="Measure ventricles and brain of every volume: with ANTsPy (a minute each), or by "
            "a rule that holds for the demo model alone.",
        ),
    ] = "none",
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ML",
            help="How far the gate lets a measured volume be from the one asked for. Repeatable.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Make the K-th of N parts; gather them with merge."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="local|ADDRESS", help="Make it on Ray: on this machine, or on that cluster."
        ),
    ] = None,
    cores_per_worker: Annotated[
        int | None,
        typer.Option(parser=integer, metavar="INTEGER", help="Of each of Ray's workers."),
    ] = None,
) -> None:
    """Make every volume of a plan, as a BIDS data set.

    Started again, it goes on where it was stopped, in whatever way; the result is the same.
    """
    from brainldm.cli.progress import volumes
    from brainldm.cohort.run import Request, run_cohort
    from brainldm.pipeline.choice import Model, Sampling

    if gate not in (None, "redraw", "flag"):
        raise BrainLDMError(f"--gate is {gate!r}: expected redraw or flag.")
    if cores_per_worker is not None and (ray is None or cores_per_worker < 1):
        raise BrainLDMError("--cores-per-worker is for --ray: expected 1 or more, together.")
    limits = _pairs(tolerance, "--tolerance", "ventricular_volume_ml=10")
    request = Request(
        table,
        out,
        Model(source=model, device=device, dtype=dtype, memory=memory),
        Sampling(sampler=sampler, steps=steps, guidance=guidance, extrapolate=extrapolate),
        batch,
        cast(Literal["off", "redraw", "flag"], gate or "off"),
        measure,
        {name: _number(text, "--tolerance") for name, text in limits.items()},
        _shard(shard),
        ray,
        cores_per_worker,
    )
    with volumes() as progress:
        summary = run_cohort(request, progress)
    before = summary.done - summary.made
    typer.echo(f"Made {summary.made} volumes" + (f"; {before} were there." if before else "."))
    if summary.finished:
        typer.echo(f"The data set is {out.resolve()}; look at report.html in it.")
    else:
        typer.echo(f"This shard is done. When all are: brainldm cohort merge --out {out}")


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit()):
        raise BrainLDMError(f"--shard is {text!r}: expected K/N, such as 3/100.")
    return int(k), int(n)


@cohort.command()
def merge(out: Folder) -> None:
    """Gather the shards of a cohort into one finished data set."""
    from brainldm.cli.progress import volumes
    from brainldm.cohort.finish import merge_cohort

    with volumes() as progress:
        count = merge_cohort(out, progress)
    typer.echo(f"{count} volumes are whole. The data set is {out.resolve()}.")
