"""Options that say who a head is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from brainldm.cli.options import assigned, number, number_or_label
from brainldm.conditions import STANDARD, Conditions
from brainldm.config import ModelConfig
from brainldm.errors import UsageError

PERSON = "Person (what is left out is drawn with the seed)"


@dataclass(frozen=True, kw_only=True)
class PersonOptions:
    """The conditions of a head."""

    sex: Annotated[
        str | None,
        typer.Option(metavar="F|M", help="Sex: F (female) or M (male).", rich_help_panel=PERSON),
    ] = None
    age: Annotated[
        float | None,
        typer.Option(parser=number, metavar="YEARS", help="Age in years.", rich_help_panel=PERSON),
    ] = None
    ventricular_volume_ml: Annotated[
        float | None,
        typer.Option(
            parser=number,
            metavar="ML",
            help="Volume of the ventricles (cerebrospinal fluid) in mL.",
            rich_help_panel=PERSON,
        ),
    ] = None
    brain_volume_ml: Annotated[
        float | None,
        typer.Option(
            parser=number,
            metavar="ML",
            help="Volume of the brain in mL, normalised for head size.",
            rich_help_panel=PERSON,
        ),
    ] = None
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Further condition of the model, as `brainldm info` lists them. Repeatable.",
            rich_help_panel=PERSON,
        ),
    ] = None
    normalised: Annotated[
        bool,
        typer.Option(
            "--normalised",
            help="Take the values above on the model's own scale, where 0 and 1 are the ends of "
            "its ranges (sex: 0 female, 1 male), not in years and mL.",
            rich_help_panel=PERSON,
        ),
    ] = False

    def conditions(self, config: ModelConfig) -> Conditions:
        """What the options ask of a model.

        Raises:
            UsageError: a further condition is not NAME=VALUE, is given twice, or has an option of
                its own.
        """
        return Conditions(
            number_or_label(self.sex) if self.sex and self.normalised else self.sex,
            self.age,
            self.ventricular_volume_ml,
            self.brain_volume_ml,
            others=self._others(config),
            normalised=self.normalised,
        )

    def _others(self, config: ModelConfig) -> dict[str, str | float]:
        labels = {variable.name: variable.labels or () for variable in config.conditions}
        others: dict[str, str | float] = {}
        for name, value in assigned(self.condition or (), "--condition").items():
            if name in STANDARD:
                raise UsageError(
                    f"--condition {name}={value}: give it as --{name.replace('_', '-')} {value} "
                    "instead."
                )
            others[name] = value if value in labels.get(name, ()) else number_or_label(value)
        return others
