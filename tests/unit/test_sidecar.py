"""Where an image comes from: written and read as one record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainldm.dataset.sidecar import (
    Checked,
    Provenance,
    prepared_sidecar,
    read_provenance,
    reconstruction_sidecar,
    synthetic_sidecar,
)
from brainldm.errors import DataError
from tests.toy import toy_config

CONFIG = toy_config()
SIDECAR = synthetic_sidecar(
    CONFIG,
    "abc",
    conditions={
        "sex": {"value": "F", "unit": "", "normalised": 0.0},
        "age": {"value": 65, "unit": "years", "normalised": 0.55},
        "site": {"value": "B", "unit": "", "normalised": [0.0, 1.0, 0.0]},
    },
    drawn=("sex",),
    seed=None,
    sampler={"name": "ddim", "steps": 50, "guidance": 1.0},
    clipped=0.01,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(SIDECAR))
    found = read_provenance(file)
    assert found == Provenance.of(SIDECAR)
    assert found.values == {"sex": "F", "age": 65, "site": "B"}
    assert found.drawn == ("sex",)
    assert found.model
    assert found.model.hash == "abc"
    assert found.within(SIDECAR) == SIDECAR  # nothing is added, and 65 stays a whole number
    assert list(SIDECAR["brainldm"]) == [
        *("version", "model", "space", "conditions", "drawn", "seed", "sampler", "intensity")
    ]


def test_a_block_is_kept_with_what_is_added_to_it() -> None:
    later = {**SIDECAR, "brainldm": {**SIDECAR["brainldm"], "new": [1]}}
    checked = Checked(redraws=1, faults=("dark",), measured={"brain_volume_ml": 1400.5})
    added = Provenance.of(later).model_copy(update={"gate": checked}).within(later)
    gate = {"redraws": 1, "faults": ["dark"], "measured": {"brain_volume_ml": 1400.5}}
    assert added == {**later, "brainldm": {**later["brainldm"], "gate": gate}}


def test_other_images() -> None:
    assert reconstruction_sidecar(CONFIG, "abc", {"resampled": False})["synthetic"] is False
    assert "synthetic" not in prepared_sidecar(Provenance())


def test_no_provenance(tmp_path: Path) -> None:
    assert read_provenance(tmp_path / "a.json") == Provenance()
    (tmp_path / "a.json").write_text('{"Manufacturer": "elsewhere"}')
    assert read_provenance(tmp_path / "a.json").values == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"brainldm"', "is no JSON object"),
        ('{"brainldm": 3}', "not as brainldm writes it"),
        ('{"brainldm": {"conditions": {"age": 65}}}', r"conditions\.age"),
        ('{"brainldm": {"conditions": {"age": {"value": [1]}}}}', r"conditions\.age\.value"),
    ],
)
def test_a_damaged_sidecar_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=message) as error:
        read_provenance(tmp_path / "a.json")
    assert "a.json" in str(error.value)


@pytest.mark.parametrize(
    "value", ["1e999", "NaN", "-Infinity", "1" + "0" * 400, "[]", "{}", "null"]
)
def test_values_that_are_no_numbers(value: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    content = '{"brainldm": {"conditions": {"age": {"value": VALUE}}}}'
    file.write_text(content.replace("VALUE", value))
    with pytest.raises(DataError, match=r"a\.json: .*conditions\.age\.value"):
        read_provenance(file)


@pytest.mark.parametrize(
    "text",
    [
        '{"brainldm": "' + "x" * 2**26 + '"}',
        "[" * 10**5,
        '{"a":' * 10**5,
        '{"\\ud800": 1}',
        '{"a": ' + "1" * 5000 + "}",
        '{"brainldm": []}',
    ],
    ids=["huge", "deep list", "deep object", "half a character", "digits", "list"],
)
def test_json_that_is_none_of_ours(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json"):
        read_provenance(tmp_path / "a.json")
