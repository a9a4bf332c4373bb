"""Likely slips are answered with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainldm.checkpoint import load_config
from brainldm.cohort.design import Design
from brainldm.cohort.draw import draw_plan
from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import published_config
from brainldm.config.slips import did_you_mean
from brainldm.errors import BrainLDMError, MissingExtraError, UsageError
from brainldm.sampling.solvers import pick_solver
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings
from brainldm.train.train_diffusion import TrainDiffusion

RANGES = ConditionRanges(published_config().conditions)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("female", " Did you mean F?"),
        ("f", " Did you mean F?"),
        ("X", ""),
        ("F", ""),
    ],
)
def test_the_nearest_label(word: str, hint: str) -> None:
    assert did_you_mean(word, ("F", "M")) == hint


@pytest.mark.parametrize(
    ("conditions", "hint"),
    [
        ({"brain_volume_ml": 1.45}, "Is it in litres? Then write 1450."),
        ({"brain_volume_ml": 1_450_000}, "Is it in mm3? Then write 1450."),
        ({"ventricular_volume_ml": 30_000}, "Is it in mm3? Then write 30."),
        ({"age": 780}, "Is it in months? Then write 65."),
        ({"age": 0.7}, "Is it normalised? Then say so"),
        ({"age": 20}, "--extrapolate)."),
        ({"sex": "female"}, "Did you mean F?"),
        ({"sex": 1.0}, "To give a normalised value, say so"),
        ({"gender": "F"}, "Did you mean sex?"),
        ({"ventricular_volume": 30}, "Did you mean ventricular_volume_ml?"),
    ],
)
def test_conditions(conditions: dict[str, str | float], hint: str) -> None:
    with pytest.raises(UsageError) as error:
        RANGES.normalise([RANGES.complete(Conditions.of(conditions), seed=0)[0]])
    assert hint in str(error.value)


def test_years_where_normalised_values_are_expected() -> None:
    with pytest.raises(UsageError, match="Is it in years\\? Then it is not normalised"):
        RANGES.normalise([Conditions.from_normalised(0, 65, 0.5, 0.5)])


def test_names_of_samplers_models_and_settings() -> None:
    with pytest.raises(UsageError, match="Did you mean unipc"):
        pick_solver("UniPC")
    with pytest.raises(BrainLDMError, match="Did you mean published"):
        load_config("Published")
    with pytest.raises(UsageError, match="Did you mean demo-2mm"):
        load_settings("demo2mm", AutoencoderSettings)
    with pytest.raises(UsageError, match=r"training\.lr: .* Did you mean learning_rate"):
        load_settings("tiny", AutoencoderSettings, ["training.lr=1e-4"])
    with pytest.raises(UsageError, match=r"adversarial\.weigth: .* Did you mean weight"):
        load_settings("ukb-1mm", AutoencoderSettings, ["loss.adversarial.weigth=1"])


def test_low_rank_changes_need_their_package_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    training = TrainDiffusion(
        data=tmp_path / "none",
        settings=DiffusionSettings.model_construct(),
        out=tmp_path / "run",
        source="demo",
        lora=4,
    )
    for call in (training.run, training.describe):
        with pytest.raises(MissingExtraError, match=r"brainldm\[lora\]"):
            call()


def test_a_plan_of_people_outside_the_range(tmp_path: Path) -> None:
    table = tmp_path / "people.tsv"
    table.write_text("sex\tage\tventricular_volume_ml\tbrain_volume_ml\nF\t90\t30\t1400\n")
    out = tmp_path / "plan.tsv"
    with pytest.raises(BrainLDMError, match=r"age is 90 years.*--extrapolate"):
        draw_plan(Design(3, like=table), published_config(), out)
    draw_plan(Design(3, like=table, extrapolate=True), published_config(), out)
    assert [line.split("\t")[3] for line in out.read_text().splitlines()[1:]] == ["90.0"] * 3
    with pytest.raises(UsageError, match="extrapolation is for a table"):
        draw_plan(Design(3, extrapolate=True), published_config(), tmp_path / "other.tsv")
