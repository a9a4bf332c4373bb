"""Sound files of every kind that brainldm reads."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from brainldm.checkpoint import convert
from brainldm.cohort.folder import CohortFolder
from brainldm.cohort.plan import read_plan
from brainldm.cohort.records import Record
from brainldm.conditions import ConditionRanges
from brainldm.config import published_config
from brainldm.dataset.scans import ARCHIVED_SCAN
from tests.cohorts import settings_of
from tests.prepared import write_prepared
from tests.toy import write_toy_model

STATE = {"a.weight": torch.arange(60.0).reshape(3, 4, 5), "a.bias": torch.ones(3)}
AFFINE = np.diag([-4.0, 4.0, 4.0, 1.0])
HEAD = np.random.default_rng(0).random((40, 50, 40), dtype=np.float32)
RANGES = ConditionRanges(published_config().conditions)
PEOPLE = (
    "participant_id\tsex\tage\tventricular_volume_ml\tbrain_volume_ml\tsite\n"
    'sub-01\tF\t60\t30.5\t1450\tA\nsub-02\tmale\t71.25\tn/a\t1500\t"B ""C"""\n'
)
CSV = (
    "eid,31-0.0,21003-2.0,25004-2.0,25009-2.0,brain_volume (mm3)\n"
    "100,1,60,30500,1500000,1500000\n200,0,70,,,1400000\n"
)
SEGMENTED = "subject,total intracranial,left lateral ventricle,right lateral ventricle,csf\n"
RUN = '{"stage": "autoencoder", "settings": {"training": {"steps": 3, "rate": 1e-4}, "a": [1]}}'
FIGURE = {"section": "fid", "name": "age: r", "value": 0.5, "interval": [0.1, 0.9], "real": 1e-3}
REPORT = json.dumps({"protocol": {"pairs": 10, "real": [1, 2]}, "figures": [FIGURE]})


def texts(**contents: str) -> Callable[[Path], None]:
    """Writes texts by the names of files, of which the last _ is the point."""

    def make(folder: Path) -> None:
        for name, content in contents.items():
            (folder / ".".join(name.rsplit("_", 1))).write_text(content, encoding="utf-8")

    return make


def toy(folder: Path, to: str) -> None:
    """A model of toy size in a layout."""
    if to == "brainldm":
        write_toy_model(folder / "model")
        return
    write_toy_model(folder / "ours")
    convert(folder / "ours", folder / "model", to=to)
    for file in (folder / "ours").iterdir():
        file.unlink()
    (folder / "ours").rmdir()
    config = json.loads((folder / "model/config.json").read_bytes())
    config |= {"weights": {}, "hash": ""}  # else any other file is refused by its sum
    (folder / "model/config.json").write_text(json.dumps(config))


def nifti(folder: Path, name: str = "sub-1_T1w.nii.gz", dtype: type = np.int16) -> None:
    """A head, and the JSON file that brainldm writes beside one."""
    image = nib.Nifti1Image((HEAD * 1000).astype(dtype), AFFINE)
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=1)
    image.header.set_xyzt_units("mm")
    folder.mkdir(exist_ok=True)
    nib.save(image, folder / name)


def archive(folder: Path) -> None:
    """A head as UK Biobank packs it."""
    nifti(folder, "T1.nii.gz")
    with zipfile.ZipFile(folder / "1000012_20252_2_0.zip", "w") as file:
        file.write(folder / "T1.nii.gz", ARCHIVED_SCAN)
    (folder / "T1.nii.gz").unlink()


def mgh(folder: Path) -> None:
    """A head as FreeSurfer packs it."""
    nib.save(nib.MGHImage(HEAD, AFFINE), folder / "head.mgz")


def pair(folder: Path) -> None:
    """A head in two files."""
    nib.save(nib.Nifti1Pair(HEAD, AFFINE), folder / "head.img")


def sidecar(folder: Path) -> None:
    """A head with its origin beside it."""
    block = {
        "version": "0.1.0",
        "model": {"name": "demo", "hash": "0", "licence": "x"},
        "conditions": {"age": {"value": 65, "unit": "years", "normalised": [0.5]}},
        "drawn": ["age"],
        "seed": 3,
        "gate": {"redraws": 1, "faults": [], "measured": {"brain_volume_ml": 1500.5}},
        "source": {"name": "a.nii", "sha256": "0"},
        "registration": {"matrix": AFFINE.tolist(), "similarity": 0.9},
        "histogram": [1, 2],
        "intensity": {"scale": [0, 1], "clipped_fraction": 0.0},
    }
    (folder / "a.json").write_text(json.dumps({"synthetic": True, "brainldm": block}))


def heads(folder: Path) -> None:
    """A set of heads with a table."""
    for name in ("sub-01_T1w.nii", "sub-02_T1w.nii"):
        nifti(folder, name)
    (folder / "participants.tsv").write_text(PEOPLE)


def prepared(folder: Path) -> None:
    """A prepared data set."""
    write_prepared(folder / "data", 3)


def cohort(folder: Path) -> None:
    """A cohort that was begun, and its manifest."""
    (folder / "plan.tsv").write_text("participant_id\tseed\tage\nsub-1\t1\t60\nsub-2\t2\t61\n")
    plan = read_plan(folder / "plan.tsv", RANGES)
    CohortFolder(folder / "out").begin(settings_of(plan), published_config(), plan)
    record = Record(0, "1", 1, 0, (), {"age": 60}, (), {})
    (folder / "out/manifest.jsonl").write_bytes(record.to_line() * 2)


def autoencoder(folder: Path) -> None:
    """What a run of stage 1 says of itself."""
    config = published_config()
    content = {
        "autoencoder": config.autoencoder.model_dump(mode="json"),
        "shape": config.shape,
        "affine": config.affine,
        "sha256": "0",
    }
    (folder / "autoencoder.json").write_text(json.dumps(content))


def preset(folder: Path) -> None:
    """The smallest of those that ship."""
    shipped = Path(__file__).parents[1] / "src/brainldm/train/presets/tiny.yaml"
    (folder / "mine.yaml").write_bytes(shipped.read_bytes())
