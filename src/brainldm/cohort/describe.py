"""What describes a finished data set to people and programs, as BIDS asks for it.

dataset_description.json   README.md   .bidsignore   participants.tsv, .json
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brainldm.cohort.draw import describe
from brainldm.cohort.records import Record, Records
from brainldm.cohort.row import SEED
from brainldm.cohort.settings import Settings
from brainldm.config import ModelConfig, Variable
from brainldm.dataset.bids import VERSION
from brainldm.dataset.tsv import write_row
from brainldm.files import to_json
from brainldm.segment.writing import names_table

MANIFEST, SUMMARY = "manifest.jsonl", "summary.json"
SHEET, REPORT = "contact-sheet.png", "report.html"
OURS = (MANIFEST, SUMMARY, SHEET, REPORT)
"""At the top, beside what BIDS knows."""


class Participants:
    """The lines of participants.tsv.

    Args:
        config: of the model.
        settings: of the cohort.
    """

    def __init__(self, config: ModelConfig, settings: Settings) -> None:
        self._conditions = [v.name for v in config.conditions]
        self._measures = settings.gate.measures

    @property
    def header(self) -> bytes:
        """The names of the columns."""
        measured = (f"{name}_measured" for name in self._measures)
        return write_row(("participant_id", *self._conditions, SEED, *measured, "flags"))

    def line(self, record: Record) -> bytes:
        """One participant."""
        asked = (record.values[name] for name in self._conditions)
        measured = (record.measured.get(name) for name in self._measures)
        flags = "; ".join(record.flags)
        return write_row((f"sub-{record.label}", *asked, str(record.seed), *measured, flags))


def descriptions(config: ModelConfig, settings: Settings) -> dict[str, bytes]:
    """The other files, by name."""
    named = {"dseg.tsv": names_table()} if settings.labels else {}
    return named | {
        "participants.json": to_json(_columns(config.conditions, settings.gate.measures)),
        "dataset_description.json": to_json(_description(config, settings)),
        "README.md": _readme(config, settings).encode(),
        ".bidsignore": "".join(f"{name}\n" for name in OURS).encode(),
    }


def finished(records: Records) -> bytes:
    """The summary of a finished cohort, with nothing in it that depends on how it was made."""
    redraws = flagged = count = 0
    for record in records:
        count += 1
        redraws += record.redraws
        flagged += bool(record.flags)
    content = {"state": "finished", "volumes": count, "redraws": redraws, "flagged": flagged}
    return to_json(content)


def _columns(variables: Sequence[Variable], measures: Sequence[str]) -> dict[str, Any]:
    described: dict[str, Any] = {v.name: describe(v) for v in variables}
    described[SEED] = {"Description": "Seed that the volume was made with"}
    for name in measures:
        described[f"{name}_measured"] = {
            "Description": f"{name}, measured on the volume",
            "Units": described[name]["Units"],
        }
    described["flags"] = {"Description": "What the quality gate found and let pass"}
    return described


def _description(config: ModelConfig, settings: Settings) -> dict[str, Any]:
    return {
        "Name": "Synthetic T1-weighted heads",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "License": config.provenance["licence"],
        "GeneratedBy": [
            {
                "Name": "brainldm",
                "Version": settings.version,
                "Description": "brainldm cohort run: a latent diffusion model",
            }
        ],
        "brainldm": {"synthetic": True, **settings.to_json()},
    }


def _readme(config: ModelConfig, settings: Settings) -> str:
    return f"""# Synthetic T1-weighted heads

**Synthetic: none of these {settings.plan.rows} heads is a person's.** They were made by brainldm
{settings.version} with the model {config.name}: {config.provenance["description"]}.

`participants.tsv` says what each head was asked to be, in the units of `participants.json`.
What was asked for is in `code/`, the hash of every file in `{MANIFEST}`.

{config.provenance.get("limitations", "")}
"""
