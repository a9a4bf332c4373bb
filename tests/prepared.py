"""A small prepared data set, as `brainldm prepare` writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from brainldm.dataset.bids import SPACE
from brainldm.image.volume import Volume

SHAPE = (16, 16, 16)
AFFINE = np.diag([-10.0, 10.0, 10.0, 1.0])


def write_prepared(folder: Path, subjects: int = 6, shape: tuple[int, int, int] = SHAPE) -> Path:
    """Blobs whose size follows the brain volume; sex, age and a score beside it."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in shape), indexing="ij")
    radius = torch.stack(axes).norm(dim=0)
    rows = ["participant_id\tsex\tage\tventricular_volume_ml\tbrain_volume_ml\tscore"]
    for i in range(subjects):
        size = 0.5 + 0.3 * i / subjects
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(i))
        image = ((size - radius) * 4).sigmoid() * (0.9 + 0.1 * noise)
        name = f"sub-{i:02d}"
        path = folder / name / "anat" / f"{name}_space-{SPACE}_T1w.nii.gz"
        Volume(image.numpy(), AFFINE).save(path)
        rows.append(f"{name}\t{'FM'[i % 2]}\t{50 + 7 * i % 30}\t{20 + 5 * i}\t{1300 + 40 * i}\t{i}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    described = {
        "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
        "age": {"Description": "Age", "Units": "year"},
        "ventricular_volume_ml": {"Description": "Ventricles", "Units": "mL"},
        "brain_volume_ml": {"Description": "Brain", "Units": "mL"},
    }
    (folder / "participants.json").write_text(json.dumps(described))
    grid = {"shape": list(shape), "affine": AFFINE.tolist()}
    (folder / "prepare.json").write_text(json.dumps({"grid": grid, "settings": grid}))
    return folder
