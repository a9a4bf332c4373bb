"""`brainldm cohort plan`: a table of people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from brainldm.cli.options import integer
from brainldm.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Draw a table of people: one row a volume, with a seed and conditions."""

    examples: ClassVar[tuple[str, ...]] = (
        "brainldm cohort plan --number 200 --balance sex --out people.tsv",
        "brainldm cohort plan --like participants.tsv --limit age=60:82 --out people.tsv",
    )

    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="TABLE.tsv", help="Table to write, with a .json beside it."
        ),
    ]
    heads: Annotated[
        int,
        typer.Option(
            "--number", parser=integer, metavar="INTEGER", help="Number of volumes to plan."
        ),
    ] = 10
    seed: Annotated[
        int,
        typer.Option(
            parser=integer,
            metavar="INTEGER",
            help="Seed for the plan; the same one draws the same plan.",
        ),
    ] = 0
    model: Annotated[
        str,
        typer.Option(
            metavar="demo|published|DIR",
            help="Model whose conditions and ranges the plan keeps to; weights of the published "
            "one are not needed.",
        ),
    ] = "demo"
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Table of people to draw rows from, with their correlations, in place of "
            "distributions.",
        ),
    ] = None
    distribution: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=...",
            help="Distribution of a condition: uniform, normal:MEAN:SD, lognormal:MEDIAN:SD, or "
            "F:0.5,M:0.5 of a category; the model's own if left out. Repeatable.",
        ),
    ] = None
    correlation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:NAME=R",
            help="Correlation of two conditions, such as 0.5. Repeatable.",
        ),
    ] = None
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LOW:HIGH",
            help="Limits of a condition, or the labels to allow: only people within are drawn. "
            "Repeatable.",
        ),
    ] = None
    balance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=EDGES]",
            help="Groups to draw equally many people of: sex, or age=44:57:70:82; every "
            "combination of groups if repeated.",
        ),
    ] = None
    extrapolate: Annotated[
        bool,
        typer.Option(
            "--extrapolate",
            help="Accept people of --like outside the model's ranges; `brainldm cohort run` takes "
            "them with the same option.",
        ),
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a plan that exists.")] = (
        False
    )

    def run(self) -> None:
        """Draw the plan, and count its groups."""
        from brainldm.checkpoint import load_config
        from brainldm.cohort.design import Design
        from brainldm.cohort.draw import draw_plan
        from brainldm.files import refuse_existing

        if not self.overwrite:
            refuse_existing([self.out, self.out.with_suffix(".json")])
        design = Design(
            self.heads,
            self.seed,
            self.like,
            pairs(self.distribution, "--distribution", "age=normal:65:8"),
            self._correlations(),
            pairs(self.limit, "--limit", "age=70:82"),
            {
                name: edges
                for name, _, edges in (text.partition("=") for text in self.balance or ())
            },
            extrapolate=self.extrapolate,
        )
        for group, count in draw_plan(design, load_config(self.model), self.out).items():
            typer.echo(f"{count} {group or 'volumes'}")
        typer.echo(f"Wrote {self.out.resolve()}")

    def _correlations(self) -> dict[tuple[str, str], float]:
        correlations = {}
        given = pairs(self.correlation, "--correlation", "age:ventricular_volume_ml=0.5")
        for names, text in given.items():
            first, _, second = names.partition(":")
            correlations[first, second] = number_in(text, "--correlation")
        return correlations


def pairs(texts: list[str] | None, option: str, example: str) -> dict[str, str]:
    """NAME=VALUE, each name once."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value) or name in found:
            raise UsageError(
                f"{option} is {text!r}: expected NAME=VALUE, such as {example}, each name once."
            )
        found[name] = value
    return found


def number_in(text: str, option: str) -> float:
    """The number that an option says of a name."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option} has {text!r}: expected a number.") from None
