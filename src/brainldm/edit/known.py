"""What is known of the person whose head is edited: said, written beside the scan, or measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from brainldm.conditions import Conditions
from brainldm.config import ModelConfig
from brainldm.dataset.participants import read_people
from brainldm.dataset.sidecar import Provenance
from brainldm.errors import BrainLDMError, DataError, UsageError
from brainldm.image.volume import Volume
from brainldm.segment.measures import VOLUMES
from brainldm.segment.network import Network

TABLE = "participants.tsv"


@dataclass(frozen=True)
class Known:
    """Complete conditions.

    Args:
        conditions: of the person.
        origins: where each is from, by name.
        network: that labels the person's scan; None is the one that ships.
    """

    conditions: Conditions
    origins: Mapping[str, str] = field(default_factory=dict)
    network: Network | None = None

    @property
    def segmenter(self) -> Network:
        """What labels the person's scan."""
        return self.network or Network.of()


def complete(
    config: ModelConfig,
    said: Mapping[str, Mapping[str, str | float]],
    head: Callable[[], Volume],
    network: Network | None,
    option: str = "--known",
) -> Known:
    """Everything that a model is conditioned on, of one person.

    Args:
        config: the model's.
        said: where something stands, and what; the first that says it counts.
        head: gives the head, in any place, if it is to be measured.
        network: that measures and labels; None is the one that ships.
        option: of the command line, that says what stands nowhere.

    Raises:
        UsageError: something is not known, with what would say it.
        DataError: it would have to be measured, and the measures are not to be trusted.
    """
    values: dict[str, str | float] = {}
    origins: dict[str, str] = {}
    names = [variable.name for variable in config.conditions]
    for origin, each in said.items():
        for name in names:
            if name in each and name not in values:
                values[name], origins[name] = each[name], origin
    missing = [name for name in names if name not in values]
    asked, unmeasured = [name for name in missing if name not in VOLUMES], ""
    if missing and not asked:  # else measuring would be in vain
        measuring = network or Network.of()
        try:
            volumes = measuring.measure(head()).volumes
        except DataError as error:
            unmeasured = f"; they were not measured: {error}"
        else:
            origin = f"measured ({measuring.identity})"
            for name, volume in zip(VOLUMES, volumes, strict=True):
                if name in missing:
                    values[name], origins[name] = round(volume, 2), origin
        asked = [name for name in missing if name not in values]
    if asked:
        options = " ".join(f"{option} {name}={_example(config, name)}" for name in asked)
        raise UsageError(
            f"Not known of this person, and not given: {', '.join(asked)}. Expected what the "
            f"model is conditioned on, such as {options} (conditions=... in Python){unmeasured}."
        )
    return Known(Conditions.of(values), origins, network)


def written(provenance: Provenance) -> dict[str, str | float]:
    """What the sidecar of a head that brainldm made or prepared says of it."""
    return {**provenance.measured, **provenance.values}


def in_table(scan: Path) -> dict[str, str | float]:
    """What the table of the data set that a scan lies in says of the person.

    Raises:
        BrainLDMError: the table cannot be read, or cannot be used as it is.
    """
    label = scan.name.split("_")[0]
    for folder in scan.absolute().parents[:4]:
        table = folder / TABLE
        if label.startswith("sub-") and table.is_file():
            try:
                person = read_people(table).find([label])
            except BrainLDMError as error:
                raise type(error)(f"{error} Or leave the data set: copy the scan.") from None
            return dict(person.values) if person else {}
    return {}


def _example(config: ModelConfig, name: str) -> str:
    [variable] = [each for each in config.conditions if each.name == name]
    if variable.labels:
        return "|".join(variable.labels)
    return f"{(variable.low + variable.high) / 2:g}"
