"""The data set on disk: a BIDS derivative of synthetic heads.

dataset_description.json   README.md   .bidsignore   participants.tsv, .json
manifest.jsonl             summary.json   contact-sheet.png   report.html
code/plan.tsv, .json   code/cohort.json   code/model.json    what was asked for, how it is made
sub-LABEL/anat/sub-LABEL_space-MNI152NLin2009aSym_T1w.nii.gz, .json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from brainldm._version import __version__
from brainldm.cohort.draw import describe
from brainldm.cohort.plan import SEED, Plan
from brainldm.cohort.records import MANIFEST, WORK, Records
from brainldm.config import ModelConfig, Variable
from brainldm.dataset.bids import VERSION
from brainldm.dataset.table import write_row
from brainldm.errors import BrainLDMError
from brainldm.files import make_folder, to_json, write_aside, write_together

COHORT = Path("code/cohort.json")
MODEL = Path("code/model.json")
OURS = (MANIFEST, "summary.json", "contact-sheet.png", "report.html")
"""At the top, beside what BIDS knows."""


@dataclass(frozen=True)
class Settings:
    """What the bytes of a data set hang on; another cannot go on with it.

    Args:
        model: its name, and the hash of its weights.
        plan: SHA-256 of its table, and the number of rows.
        sampling: sampler, steps, guidance.
        extrapolate: conditions outside the model's ranges were accepted.
        dtype: of the computation.
        batch: rows that are denoised together; the first one begins at row 0.
        gate: how volumes are checked and measured.
        version: of brainldm.
    """

    model: Mapping[str, str]
    plan: Mapping[str, str | int]
    sampling: Mapping[str, str | float]
    extrapolate: bool
    dtype: str
    batch: int
    gate: Mapping[str, Any]
    version: str = __version__


def open_cohort(out: Path, settings: Settings, config: ModelConfig, plan: Plan) -> Plan:
    """Make the folder of a cohort, or go on with the one that is there.

    Returns:
        The plan, as it is kept in the folder.

    Raises:
        BrainLDMError: something else is there, or a cohort with other settings.
    """
    wanted = json.loads(json.dumps(asdict(settings)))
    table = out / "code" / f"plan{plan.table.file.suffix}"
    if (out / COHORT).is_file():
        differ = sorted(_differences(read_settings(out), wanted))
        if differ:
            raise BrainLDMError(
                f"{out} holds another cohort, which differs in:\n  "
                + "\n  ".join(differ)
                + "\nChoose another folder, or ask for what was asked before."
            )
    elif _is_foreign(out):
        raise BrainLDMError(
            f"{out} holds other files. Expected a new or an empty folder, or a cohort begun with "
            "the same plan, model and options."
        )
    make_folder(out / WORK)
    if not (out / COHORT).is_file():
        _copy(plan.table.file, table)
        if plan.table.file.with_suffix(".json").is_file():
            _copy(plan.table.file.with_suffix(".json"), table.with_suffix(".json"))
        write_together({out / MODEL: config.to_json().encode()})
        write_together({out / COHORT: to_json(wanted)})  # last: with it, the cohort is begun
    return plan.at(table)


def _is_foreign(out: Path) -> bool:
    """Whether a folder is not empty, and not one that was being made when its process ended."""
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    return bool(names) and not (WORK in names and names <= {WORK, "code"})


def read_model(out: Path) -> ModelConfig:
    """The model that a cohort is made with.

    Raises:
        BrainLDMError: the file cannot be read.
    """
    try:
        return ModelConfig.from_json((out / MODEL).read_text(encoding="utf-8"), str(out / MODEL))
    except OSError as error:
        raise BrainLDMError(f"Cannot read {out / MODEL}: {error.strerror}.") from error


def read_settings(out: Path) -> dict[str, Any]:
    """What a cohort was begun with, as JSON.

    Raises:
        BrainLDMError: there is no cohort.
    """
    try:
        content: dict[str, Any] = json.loads((out / COHORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrainLDMError(
            f"{out} holds no cohort: cannot read {out / COHORT}: {error}. Expected a folder that "
            "`brainldm cohort run` made."
        ) from error
    return content


def _differences(found: Any, wanted: Any, at: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = found.keys() | wanted.keys()
        return [
            line
            for name in names
            for line in _differences(found.get(name), wanted.get(name), f"{at} {name}".strip())
        ]
    return [] if found == wanted else [f"{at}: {found} there, {wanted} now"]


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as content, write_aside(target) as file:
        shutil.copyfileobj(content, file)


def close_cohort(
    out: Path, config: ModelConfig, settings: Mapping[str, Any], records: Records
) -> None:
    """Write what describes a finished data set; the manifest last.

    Args:
        out: the data set.
        config: of the model.
        settings: from `read_settings`.
        records: of every row.
    """
    variables = config.conditions
    measures = settings["gate"]["measures"]
    columns = [v.name for v in variables]
    header = ["participant_id", *columns, SEED, *(f"{m}_measured" for m in measures), "flags"]
    with write_aside(out / "participants.tsv") as table, write_aside(out / MANIFEST) as manifest:
        table.write(write_row(header))
        for record in records:
            measured = (record.measured.get(m) for m in measures)
            flags = "; ".join(record.flags)
            values = (record.values[each] for each in columns)
            name = f"sub-{record.label}"
            table.write(write_row((name, *values, str(record.seed), *measured, flags)))
            manifest.write(record.to_line())
    write_together(
        {
            out / "participants.json": to_json(_columns(variables, measures)),
            out / "dataset_description.json": to_json(_description(config, settings)),
            out / "README.md": _readme(config, settings, len(records)).encode(),
            out / ".bidsignore": "".join(f"{name}\n" for name in OURS).encode(),
        }
    )


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


def _description(config: ModelConfig, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Name": "Synthetic T1-weighted heads",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "License": config.provenance["licence"],
        "GeneratedBy": [
            {
                "Name": "brainldm",
                "Version": settings["version"],
                "Description": "brainldm cohort run: a latent diffusion model",
            }
        ],
        "brainldm": {"synthetic": True, **settings},
    }


def _readme(config: ModelConfig, settings: Mapping[str, Any], count: int) -> str:
    return f"""# Synthetic T1-weighted heads

**Synthetic: none of these {count} heads is a person's.** They were made by brainldm
{settings["version"]} with the model {config.name}: {config.provenance["description"]}.

`participants.tsv` says what each head was asked to be, in the units of `participants.json`.
What was asked for is in `code/`, the hash of every file in `{MANIFEST}`.

{config.provenance.get("limitations", "")}
"""
