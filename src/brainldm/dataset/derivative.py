"""A BIDS derivative that a command fills, and goes on filling when it is run again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from brainldm._version import __version__
from brainldm.dataset.bids import VERSION
from brainldm.dataset.sidecar import OURS
from brainldm.errors import UsageError
from brainldm.files import read_json, to_json, write_together
from brainldm.files.filling import LOCK, filling


@contextmanager
def open_derivative(
    out: Path, name: str, command: str, settings: Mapping[str, Any], not_bids: Iterable[str] = ()
) -> Iterator[None]:
    """Fill the folder of a data set, a new one or one that is there, while no other process does.

    Args:
        out: the data set.
        name: as people read it.
        command: that fills it, as `brainldm prepare`.
        settings: what every file in it was made with, as JSON has it.
        not_bids: what a validator of BIDS passes over.

    Raises:
        UsageError: something else is there, or a data set with other settings.
        StorageError: another process fills it, or it cannot be written.
        DataError: its description is damaged.
    """
    description = out / "dataset_description.json"
    with filling(out, description, "a data set begun with the same settings"):
        _begin(out, description, name, command, settings, not_bids)
        yield


def _begin(
    out: Path,
    description: Path,
    name: str,
    command: str,
    settings: Mapping[str, Any],
    not_bids: Iterable[str],
) -> None:
    if os.path.isfile(description):
        content = read_json(description, f"a data set that `{command}` began. Remove it")
        found = content.get(OURS)
        found = found if isinstance(found, dict) else {}
        differing = sorted(key for key, each in settings.items() if found.get(key) != each)
        if differing:
            raise UsageError(
                f"{out} holds another data set: it differs in {', '.join(differing)}. Choose "
                "another folder, or remove this one."
            )
    content = {
        "Name": name,
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "brainldm", "Version": __version__, "Description": command}],
        OURS: dict(settings),
    }
    ignored = "".join(f"{name}\n" for name in (LOCK, *not_bids))
    # The description last: with it, the data set is begun.
    write_together({out / ".bidsignore": ignored.encode(), description: to_json(content)})
