"""JSON and YAML of any content are an answer or a message to every reader of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainldm.checkpoint import load_config
from brainldm.cohort.settings import Settings
from brainldm.config import ModelConfig
from brainldm.dataset.participants import read_people
from brainldm.dataset.prepared import read_prepared
from brainldm.dataset.sidecar import read_provenance
from brainldm.errors import BrainLDMError
from brainldm.evaluate.comparison import compare_reports
from brainldm.files.reading import LARGEST_TEXT
from brainldm.train.first_stage import describe_first_stage
from brainldm.train.folder import RunFolder
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings
from tests.prepared import write_prepared
from tests.toy import PUBLISHED

NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, 1e308, -0.0, 2**63])
WORDS = st.text(max_size=8) | st.sampled_from(["F", "age", "years", "n/a", "nan", "\ud800"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
FIGURE = {"section": "fid", "name": "r", "value": 0.5, "interval": [0.1, 0.9], "real": 1e-3}
SOUND: dict[str, Any] = {
    "config.json": json.loads(PUBLISHED.to_json()),
    "a.json": {
        "brainldm": {
            "conditions": {"age": {"value": 65, "unit": "years", "normalised": [0.5]}},
            "gate": {"redraws": 1, "faults": [], "measured": {"brain_volume_ml": 1500.5}},
            "registration": {"matrix": [[1.0, 0.0]], "similarity": 0.9},
        }
    },
    "cohort.json": {
        "model": {"name": "toy", "hash": "0"},
        "plan": {"sha256": "0", "rows": 3},
        "sampling": {"steps": 2},
        "extrapolate": False,
        "dtype": "float32",
        "batch": 4,
        "gate": {"on_failure": "off", "tolerance": {"age": 3.0}},
    },
    "autoencoder.json": {
        "autoencoder": PUBLISHED.autoencoder.model_dump(mode="json"),
        "shape": PUBLISHED.shape,
        "affine": PUBLISHED.affine,
    },
    "run.json": {"stage": "autoencoder", "settings": {"training": {"steps": 3}}},
    "report.json": {"protocol": {"pairs": 10}, "figures": [FIGURE]},
    "participants.json": {"age": {"Units": "years"}, "sex": {"Levels": {"1": "male"}}},
    "prepare.json": {"grid": {"shape": [16] * 3, "affine": [[1, 0, 0, 0]] * 4}, "settings": {}},
}


def people(folder: Path) -> object:
    (folder / "participants.tsv").write_text("participant_id\tage\tsex\n1\t60\tF\n")
    return read_people(folder / "participants.tsv")


def resume(folder: Path) -> None:
    (folder / "state.pt").touch()
    RunFolder(folder).open({"stage": "autoencoder"})


READERS: dict[str, Callable[[Path], object]] = {
    "config.json": load_config,
    "a.json": lambda folder: read_provenance(folder / "a.json").values,
    "cohort.json": lambda folder: Settings.read(folder / "cohort.json"),
    "autoencoder.json": describe_first_stage,
    "run.json": resume,
    "report.json": lambda folder: compare_reports(*[folder / "report.json"] * 2),
    "participants.json": people,
    "prepare.json": lambda folder: read_prepared(folder).grid,
}


def changed(data: st.DataObject, content: Any) -> Any:
    """Another value in place of one at any depth."""
    if isinstance(content, dict | list | tuple) and content and data.draw(st.integers(0, 3)):
        keys = list(content) if isinstance(content, dict) else range(len(content))
        key = data.draw(st.sampled_from(keys))
        copy = dict(content) if isinstance(content, dict) else list(content)
        copy[key] = changed(data, content[key])
        return copy
    return data.draw(VALUES)


def beside(name: str, folder: Path) -> None:
    """What a reader looks for before it reads."""
    if name == "prepare.json" and not (folder / name).exists():
        write_prepared(folder, 2)
    if name == "config.json":
        for file in ("autoencoder.safetensors", "unet.safetensors"):
            (folder / file).touch()


in_one_folder = settings(
    deadline=None,
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", READERS)
@in_one_folder
@given(data=st.data())
def test_any_json(name: str, data: st.DataObject, tmp_path: Path) -> None:
    beside(name, tmp_path)
    text = json.dumps(changed(data, SOUND[name]))
    (tmp_path / name).write_text(text)
    with suppress(BrainLDMError):
        READERS[name](tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_a_text_as_large_as_no_text_is_not_read(name: str, tmp_path: Path) -> None:
    beside(name, tmp_path)
    with (tmp_path / name).open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)
    with pytest.raises(BrainLDMError, match=rf"{name} has more than 67,108,864 bytes"):
        READERS[name](tmp_path)


@in_one_folder
@given(data=st.data())
def test_a_configuration_that_is_read_is_written_and_read(data: st.DataObject) -> None:
    text = json.dumps(changed(data, SOUND["config.json"]))
    with suppress(BrainLDMError):
        config = ModelConfig.from_json(text, "config.json")
        assert ModelConfig.from_json(config.to_json(), "config.json") == config


@in_one_folder
@given(data=st.data(), text=st.text(max_size=60))
def test_any_preset(data: st.DataObject, text: str, tmp_path: Path) -> None:
    content = {"autoencoder": {"training": {"steps": 3}}, "diffusion": {"pairs": True}}
    for each in (text, json.dumps(changed(data, content))):
        (tmp_path / "mine.yaml").write_text(each, encoding="utf-8", errors="replace")
        for stage in (AutoencoderSettings, DiffusionSettings):
            with suppress(BrainLDMError):
                load_settings(str(tmp_path / "mine.yaml"), stage)
            with suppress(BrainLDMError):
                load_settings("tiny", stage, [f"training.steps={each}", each])


NO_PRESETS = [
    "- " * 500,
    "[" * 500,
    "!!python/object:os.system x",
    "&a [*a]",
    '{"\\ud800": 1}',  # half of a character
]


@pytest.mark.parametrize("text", NO_PRESETS)
def test_presets_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(BrainLDMError):
        load_settings(str(tmp_path / "mine.yaml"), AutoencoderSettings)
