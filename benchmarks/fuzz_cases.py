"""The readers that users get, each with sound files for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.fuzz_files import (
    CSV,
    PEOPLE,
    RANGES,
    REPORT,
    RUN,
    SEGMENTED,
    STATE,
    archive,
    autoencoder,
    cohort,
    heads,
    mgh,
    nifti,
    pair,
    prepared,
    preset,
    sidecar,
    texts,
    toy,
)
from brainldm.checkpoint import load_config, load_model, read_state_dict
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.plan import read_plan
from brainldm.dataset.participants import read_people
from brainldm.dataset.prepared import read_prepared
from brainldm.dataset.scans import find_scans
from brainldm.dataset.sidecar import read_provenance
from brainldm.evaluate.comparison import compare_reports
from brainldm.evaluate.sets import find_heads
from brainldm.image.volume import Volume
from brainldm.prepare.reading import read_scan
from brainldm.segment.tables import read_volumes
from brainldm.train.covariates import read_covariates
from brainldm.train.first_stage import describe_first_stage
from brainldm.train.folder import RunFolder
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings


@dataclass(frozen=True)
class Reader:
    """A way into brainldm.

    Args:
        name: of it.
        make: writes sound files into a folder.
        read: reads what is in a folder, and ends in whatever it likes.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]


def table(folder: Path) -> object:
    """Both tables."""
    for file in ("people.tsv", "people.csv"):
        people = read_people(folder / file, sex_codes={"9": "F"}, visits={"200": "3"})
        people.refuse_breaks()
        people.unused({"01": people.find(("sub-01",))})
    return None


def read_data(folder: Path) -> object:
    """A prepared data set, its images and its conditions."""
    data = read_prepared(folder / "data")
    data.check_images()
    read_covariates(data, ["age", "sex", "score"])
    return [data.image(i) for i in range(len(data))]


def read_cohort(folder: Path) -> object:
    """What a command looks at that resumes it."""
    found = CohortFolder(folder / "out")
    plan = read_plan(folder / "plan.tsv", RANGES)
    return found.settings, found.check(), found.config, [*found.records()], plan.rows(0, 2)


def read_preset(folder: Path) -> object:
    """Both stages."""
    file = str(folder / "mine.yaml")
    return load_settings(file, AutoencoderSettings), load_settings(file, DiffusionSettings)


def read_scans(folder: Path) -> object:
    """Each scan in a folder."""
    return [read_scan(scan) for scan in find_scans(folder).scans]


def reader(
    name: str, make: Callable[[Path], object], read: Callable[[Path], object]
) -> tuple[str, Reader]:
    return name, Reader(name, lambda folder: make(folder) and None, read)


READERS = dict(
    (
        reader(
            "weights .pt",
            lambda f: torch.save({"ema": STATE, "epoch": 3}, f / "w.pt"),
            lambda f: read_state_dict(f / "w.pt"),
        ),
        reader(
            "weights .pth, old",
            lambda f: torch.save(STATE, f / "w.pth", _use_new_zipfile_serialization=False),
            lambda f: read_state_dict(f / "w.pth"),
        ),
        reader(
            "weights .safetensors",
            lambda f: save_file(STATE, f / "w.safetensors"),
            lambda f: read_state_dict(f / "w.safetensors", torch.bfloat16),
        ),
        reader("model", lambda f: toy(f, "brainldm"), lambda f: load_model(f / "model")),
        reader(
            "model of the zoo",
            lambda f: toy(f, "generativemodels"),
            lambda f: load_model(f / "model"),
        ),
        reader("configuration", lambda f: toy(f, "monai"), lambda f: load_config(f / "model")),
        reader("autoencoder", autoencoder, describe_first_stage),
        reader(
            "people",
            texts(
                people_tsv=PEOPLE,
                people_csv=CSV,
                people_json=json.dumps(
                    {"age": {"Units": "years"}, "sex": {"Levels": {"1": "male"}}}
                ),
            ),
            table,
        ),
        reader(
            "plan",
            texts(
                plan_tsv="participant_id\tseed\tsex\tage (months)\nsub-1\t1\tF\t700\n",
                plan_json='{"age": {"Units": "months"}}',
            ),
            lambda f: read_plan(f / "plan.tsv", RANGES).rows(0, 2),
        ),
        reader(
            "volumes",
            texts(volumes_csv=f"{SEGMENTED}sub-01,1500000,9000,9500,300000\n"),
            lambda f: read_volumes(f / "volumes.csv", 1500.0),
        ),
        reader(
            "list",
            texts(list_txt="a.nii # one\nsub-02_T1w.nii.gz\n"),
            lambda f: find_scans(f / "list.txt"),
        ),
        reader("sidecar", sidecar, lambda f: read_provenance(f / "a.json")),
        reader("prepared", prepared, read_data),
        reader("cohort", cohort, read_cohort),
        reader("preset", preset, read_preset),
        reader(
            "run", texts(run_json=RUN, state_pt=""), lambda f: RunFolder(f).open(json.loads(RUN))
        ),
        reader(
            "report",
            texts(a_json=REPORT, b_json=REPORT),
            lambda f: compare_reports(f / "a.json", f / "b.json"),
        ),
        reader("heads", heads, lambda f: find_heads(f, "real")),
        reader("image .nii.gz", nifti, lambda f: Volume.load(f / "sub-1_T1w.nii.gz")),
        reader(
            "image .nii",
            lambda f: nifti(f, "a.nii", np.float32),
            lambda f: Volume.load(f / "a.nii"),
        ),
        reader("image .mgz", mgh, lambda f: Volume.load(f / "head.mgz")),
        reader("image .hdr", pair, lambda f: Volume.load(f / "head.hdr")),
        reader("scan", nifti, read_scans),
        reader("scan of UK Biobank", archive, read_scans),
    )
)
