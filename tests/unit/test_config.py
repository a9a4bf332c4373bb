from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from brainldm.config import (
    Bernoulli,
    Categorical,
    ModelConfig,
    Normal,
    Uniform,
    Variable,
)
from brainldm.errors import BrainLDMError, MissingExtraError, require
from tests.toy import PUBLISHED, toy_config


def published_dict(**changes: Any) -> dict[str, Any]:
    return {**json.loads(PUBLISHED.to_json()), **changes}


def test_published_model_is_the_papers() -> None:
    ranges = {v.name: (v.low, v.high) for v in PUBLISHED.conditions}
    assert ranges == {
        "sex": (0, 1),
        "age": (44, 82),
        "ventricular_volume_ml": (6.99568, 171.375),
        "brain_volume_ml": (1144.240, 1793.910),
    }
    assert PUBLISHED.shape == (160, 224, 160)
    assert PUBLISHED.autoencoder.factor == 8
    assert PUBLISHED.schedule.model_dump() == {
        "num_train_timesteps": 1000,
        "beta_start": 0.0015,
        "beta_end": 0.0205,
        "kind": "scaled_linear",
        "prediction": "epsilon",
    }


def test_published_field_of_view_is_symmetric_and_reaches_the_top_of_the_head() -> None:
    affine = np.array(PUBLISHED.affine)
    first = affine[:3, 3]
    last = affine[:3] @ [*(np.array(PUBLISHED.shape) - 1), 1]
    # x about 0 to within two voxels, z from -60.6 to 98.4 mm, as in MNI152
    assert abs(first[0] + last[0]) < 2
    np.testing.assert_allclose([first[2], last[2]], [-60.6, 98.4], atol=0.1)


def test_json_round_trip() -> None:
    for config in (PUBLISHED, toy_config()):
        assert ModelConfig.from_json(config.to_json(), "config.json") == config


def test_unknown_key_is_named_with_its_path() -> None:
    broken = published_dict()
    broken["unet"]["chanels"] = [1]
    with pytest.raises(
        BrainLDMError, match=r"my/config\.json[\s\S]*unet\.chanels: .*not permitted"
    ):
        ModelConfig.from_json(json.dumps(broken), "my/config.json")


def test_missing_part_is_named() -> None:
    broken = published_dict()
    del broken["affine"], broken["conditions"]
    with pytest.raises(BrainLDMError, match=r"conditions: Field required\n  affine: Field"):
        ModelConfig.from_json(json.dumps(broken), "config.json")


def test_text_that_is_not_json() -> None:
    with pytest.raises(BrainLDMError, match="does not describe a brainldm model"):
        ModelConfig.from_json("{", "config.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [160, 224, 168]}, r"latent .* decodes to \(160, 224, 160\)"),
        ({"affine": [[0, 0, 0, 0]] * 3 + [[0, 0, 0, 1]]}, "affine must be invertible"),
        ({"provenance": {"description": "x"}}, "provenance lacks licence"),
        ({"conditions": []}, "unet.in_channels is 7, but .* 0 conditions need 3"),
        ({"conditions": 2 * published_dict()["conditions"][:2]}, "names of their own each"),
        ({"latent": {"shape": [4, 20, 28, 20]}}, "latent_channels is 3, .* need 4"),
    ],
)
def test_parts_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BrainLDMError, match=message):
        ModelConfig.from_json(json.dumps(published_dict(**changes)), "config.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_head_channels": [0, 512]}, "one entry for each of the 3 levels"),
        ({"num_head_channels": [0, 500, 768]}, "level 1 has attention over 512 channels"),
        ({"norm_num_groups": 5}, "not all multiples of norm_num_groups 5"),
    ],
)
def test_unet_that_cannot_be_built(changes: dict[str, Any], message: str) -> None:
    broken = published_dict()
    broken["unet"].update(changes)
    with pytest.raises(BrainLDMError, match=message):
        ModelConfig.from_json(json.dumps(broken), "config.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 2, "high": 1, "distribution": Uniform(source="-")}, "low 2.0 is not below"),
        ({"labels": ("a", "b"), "distribution": Uniform(source="-")}, "a category needs labels"),
        (
            {"kind": "category", "labels": ("a", "b"), "distribution": Uniform(source="-")},
            "a category of two labels needs a bernoulli",
        ),
        (
            {
                "kind": "category",
                "labels": ("a", "b", "c"),
                "distribution": Bernoulli(probability=0.5, source="-"),
            },
            "more a categorical one",
        ),
        (
            {
                "kind": "category",
                "labels": ("a", "b", "c"),
                "distribution": Categorical(probabilities=(0.5, 0.4, 0.2), source="-"),
            },
            "with the sum 1",
        ),
        (
            {
                "kind": "category",
                "labels": ("a", "a"),
                "distribution": Bernoulli(probability=0.5, source="-"),
            },
            "labels are there twice",
        ),
    ],
)
def test_variable_that_makes_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Variable(name="x", **fields)


def test_every_distribution_of_the_published_model_says_where_it_comes_from() -> None:
    for variable in PUBLISHED.conditions:
        source = variable.distribution.source
        assert "Pinaya" in source or "assumption of brainldm" in source


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Normal(mean=0, sd=1, source="-").mean = 1  # type: ignore[misc]


def test_missing_extra_says_the_pip_command() -> None:
    require("train", "Training", "json")
    with pytest.raises(
        MissingExtraError, match=r"Training needs the package 'no_such_module'"
    ) as got:
        require("train", "Training", "no_such_module")
    assert 'pip install "brainldm[train]"' in str(got.value)


def test_importing_brainldm_and_its_config_does_not_import_torch() -> None:
    code = "import sys, brainldm, brainldm.config; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names() -> None:
    import brainldm

    assert brainldm.Conditions.__name__ == "Conditions"
    assert brainldm.Volume.__name__ == "Volume"
    with pytest.raises(AttributeError, match="no attribute 'Brain'"):
        _ = brainldm.Brain


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("unet", "num_res_blocks", 10**9, "less than or equal to 16"),
        ("autoencoder", "channels", [32] * 10_000, "at most 16 items"),
        ("autoencoder", "channels", [], "at least 1 item"),
        ("latent", "shape", [10**400, 20, 28, 20], "less than or equal to 65536"),
        ("unet", "norm_eps", -1, "greater than or equal to 0"),
    ],
)
def test_sizes_that_would_fill_the_memory(
    section: str, key: str, value: Any, expected: str
) -> None:
    content = published_dict()
    content[section][key] = value
    with pytest.raises(BrainLDMError, match=expected):
        ModelConfig.from_json(json.dumps(content), "config.json")


def test_a_shape_of_too_many_voxels() -> None:
    content = published_dict(shape=[65536, 65536, 65536])
    content["latent"]["shape"] = [3, 8192, 8192, 8192]
    with pytest.raises(BrainLDMError, match="expected at most 1,073,741,824 voxels"):
        ModelConfig.from_json(json.dumps(content), "config.json")


def test_an_affine_that_overflows() -> None:
    rows = [[1e308, 0, 0, 0], [0, 1e308, 0, 0], [0, 0, 1e308, 0], [0, 0, 0, 1]]
    with pytest.raises(BrainLDMError, match="affine must be invertible"):
        ModelConfig.from_json(json.dumps(published_dict(affine=rows)), "config.json")


def test_many_faults_are_counted() -> None:
    text = json.dumps(published_dict(conditions=["x"] * 1000))
    with pytest.raises(BrainLDMError, match=r"\n  \.\.\. and 980 more\n"):
        ModelConfig.from_json(text, "config.json")


@pytest.mark.parametrize("text", ["[" * 10**5, '{"name": ' * 10**5, "null", "", "[]", "NaN"])
def test_what_is_no_configuration(text: str) -> None:
    with pytest.raises(BrainLDMError, match="does not describe a brainldm model"):
        ModelConfig.from_json(text, "config.json")
