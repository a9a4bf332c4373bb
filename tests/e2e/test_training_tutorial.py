"""The tutorial about training, word for word, on fewer people and steps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainldm.checkpoint import load_config
from brainldm.checkpoint.fetch import cache_dir
from brainldm.simulate.sources import Source
from brainldm.simulate.template import NAME, template_anatomy
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings
from tests.conftest import Typed
from tests.documents import ROOT, commands

PAGE = ROOT / "docs/tutorial-training.md"
HOW_TO = ROOT / "docs/training.md"
SMALLER = {"20": "2", "training.steps=200": "training.steps=2", "16": "2"}
"""The tutorial's numbers, and the test's."""


def test_from_scans_to_samples_of_a_fine_tuned_model(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Coarser than the command would make it, which takes a minute.
    template_anatomy(1.5).save(Source(NAME, None).file(cache_dir() / "anatomies"))
    extra = {"train": ["--set", "run.samples=2", "--set", "run.sample_steps=2"]}
    for command in commands(PAGE, "bash"):
        words = [SMALLER.get(word, word) for word in command]
        code, said = typed(*words, *extra.get(words[1], []))
        assert code == 0, said
    with (tmp_path / "data/participants.tsv").open() as file:
        assert len(list(csv.DictReader(file, delimiter="\t"))) == 2
    card = (tmp_path / "run/models/README.md").read_text()
    assert "2 heads, 1 of them held out" in card
    assert "conditions/age: r, samples" in card
    image = nib.load(tmp_path / "heads/brain_seed-7_T1w.nii.gz")
    demo = load_config("demo")
    np.testing.assert_allclose(image.affine, demo.affine)
    assert image.shape == demo.shape
    made = json.loads((tmp_path / "heads/brain_seed-7_T1w.json").read_text())["brainldm"]
    assert made["conditions"]["age"]["value"] == 65
    assert "ventricular_volume_ml: 10 to 75 mL" in said  # by the last of them


@pytest.mark.parametrize(
    "words",
    [each for page in (PAGE, HOW_TO) for each in commands(page, "bash") if "--preset" in each],
)
def test_every_documented_setting_exists(words: list[str]) -> None:
    stage = AutoencoderSettings if "autoencoder" in words[:4] else DiffusionSettings
    changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    load_settings(words[words.index("--preset") + 1], stage, changes)
