"""What a training is warned of, or refused, before anything is loaded."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from brainldm.dataset.prepared import PreparedData
from brainldm.errors import UsageError
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.train import estimate
from brainldm.train.estimate import check_preset, warn_of_length
from brainldm.train.phases import Course
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings


def heads(*spacing: float) -> PreparedData:
    return SimpleNamespace(folder=Path("data"), grid=SimpleNamespace(spacing=spacing))  # type: ignore[return-value]


def test_a_preset_is_for_voxels_of_its_size() -> None:
    for stage in (AutoencoderSettings, DiffusionSettings):
        check_preset(heads(1, 1, 1), load_settings("ukb-1mm", stage).run)
        check_preset(heads(2, 2.01, 2), load_settings("demo-2mm", stage).run)
        check_preset(heads(10, 10, 10), load_settings("tiny", stage).run)
        with pytest.raises(UsageError, match=r"are for voxels of 1 mm, and data has 2 x 2 x 2 mm"):
            check_preset(heads(2, 2, 2), load_settings("ukb-1mm", stage).run)
        any_size = load_settings("ukb-1mm", stage, ["run.voxel_mm=null"])
        check_preset(heads(2, 2, 2), any_size.run)


def test_a_run_of_months_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_peak", lambda device, dtype: 1e9)
    settings = load_settings("tiny", AutoencoderSettings)
    with torch.device("meta"):
        network = AutoencoderKL(settings.network)
        inputs = [(torch.empty(1, 1, 32, 48, 32),)]
    with warnings.catch_warnings(action="error"):
        warn_of_length(Course(settings), network, inputs, "cpu")
    long = load_settings("tiny", AutoencoderSettings, ["training.steps=100000000"])
    with pytest.warns(UserWarning, match=r"takes \d+\.\d days at least on cpu.*training.steps=N"):
        warn_of_length(Course(long), network, inputs, "cpu")
