"""Phases: what holds at which step, and runs that go through several of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from brainldm.errors import UsageError
from brainldm.train.phases import Course, merge
from brainldm.train.presets import load_settings
from brainldm.train.settings import AutoencoderSettings, DiffusionSettings
from tests.documents import ROOT, blocks
from tests.learning import Interrupted, Line, interrupt_at, read, same, train

PHASES = (
    "phases=[{share: 0.25, crop: [8, 8, 8], loss: {kl: 1.0e-7}}, "
    "{share: 0.75, training: {learning_rate: 0.01, fall: 1}}]"
)


def settings(*changes: str) -> AutoencoderSettings:
    return load_settings("tiny", AutoencoderSettings, changes)


def test_the_documented_phases_are_read() -> None:
    (block,) = blocks(ROOT / "docs/training.md", "yaml")
    (phases,) = yaml.safe_load(block.text).values()
    crops, whole = Course(
        load_settings("demo-2mm", AutoencoderSettings, [f"phases={phases}"])
    ).spans
    assert crops.settings.crop == (48, 56, 48)
    assert whole.settings.crop is None
    assert whole.settings.training.fall == 1


def test_without_phases_the_settings_hold_for_all_steps() -> None:
    (span,) = Course(settings()).spans
    assert (span.first, span.steps, span.settings) == (0, 12, settings())


def test_what_holds_at_which_step() -> None:
    course = Course(settings(PHASES, "training.steps=20"))
    first, second = course.spans
    assert (first.first, first.steps, second.first, second.steps) == (0, 5, 5, 15)
    assert [course.at(step) is first for step in (0, 4, 5, 19)] == [True, True, False, False]
    assert first.settings.crop == (8, 8, 8)
    assert first.settings.loss.kl == 1e-7
    assert second.settings.crop is None
    assert second.settings.training.fall == 1
    # What a phase does not change is as it was.
    plain = settings("training.steps=20")
    assert first.settings.training == plain.training
    assert second.settings.loss == plain.loss


def test_a_phase_of_no_steps_is_passed_over() -> None:
    course = Course(settings(PHASES, "training.steps=1"))
    assert [span.steps for span in course.spans] == [0, 1]
    assert course.at(0) is course.spans[1]


def test_a_change_has_the_last_word_in_all_phases() -> None:
    course = Course(settings(PHASES, "training.learning_rate=0.5", "crop=null", "loss.kl=0"))
    for span in course.spans:
        assert span.settings.training.learning_rate == 0.5
        assert span.settings.crop is None
        assert span.settings.loss.kl == 0
    assert course.spans[1].settings.training.fall == 1
    again = settings(PHASES, "phases.0.share=0.5", "phases.1.share=0.5", "phases.1.crop=[8, 8, 8]")
    assert [span.steps for span in Course(again).spans] == [6, 6]
    assert Course(again).spans[1].settings.crop == (8, 8, 8)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ("[{share: 0.5}, {share: 0.4}]", r"shares of all steps with the sum 1, got 0.5 \+ 0.4"),
        ("[{crop: null}]", r"phases.0.share: Field required"),
        ("[{share: 2}]", r"phases.0.share: Input should be less than or equal to 1"),
        ("[{share: 1, crap: null}]", r"phases.0: crap: Extra inputs are not permitted"),
        ("[{share: 1, training: {fall: 3}}]", r"phases.0: training.fall: Input should be less"),
        ("[{share: 1, training: 3}]", r"phases.0: training: Input should be a valid dict"),
        ("[{share: 1, training: {steps: 3}}]", r"phases.0: training.steps is the same in all"),
        ("[{share: 1, network: {}}]", r"phases.0: network is the same in all"),
        ("[{share: 1, run: {workers: 1}}]", r"phases.0: run is the same in all"),
    ],
)
def test_phases_that_are_wrong(phases: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings(f"phases={phases}")


def test_what_stage_2_fixes() -> None:
    for key in ("flip", "schedule", "ranges", "about"):
        with pytest.raises(UsageError, match=f"phases.0: {key} is the same in all phases"):
            load_settings("tiny", DiffusionSettings, [f"phases=[{{share: 1, {key}: null}}]"])
    changes = ["phases=[{share: 0.5, condition_dropout: 0.5}, {share: 0.5, min_snr: 5}]"]
    course = Course(load_settings("tiny", DiffusionSettings, changes))
    assert [span.settings.condition_dropout for span in course.spans] == [0.5, 0]
    assert [span.settings.min_snr for span in course.spans] == [None, 5]


def test_settings_are_merged_at_any_depth() -> None:
    settings: dict[str, Any] = {"a": {"b": 1, "c": {"d": 2}}, "e": None}
    merged = merge(settings, {"a": {"c": {"d": 3}}, "e": {"f": 4}})
    assert merged == {"a": {"b": 1, "c": {"d": 3}}, "e": {"f": 4}}
    assert settings["a"]["c"]["d"] == 2


LINE = (
    "phases=[{share: 0.5, training: {batch_size: 4, weight_decay: 0.1, beta2: 0.9}}, "
    "{share: 0.5, training: {learning_rate: 0.01, fall: 0.5, ema_decay: 0.5}}]"
)


def test_a_run_goes_through_its_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float, float]] = []
    step = torch.optim.AdamW.step

    def record(self: torch.optim.AdamW, *arguments: Any) -> Any:
        (group,) = self.param_groups
        seen.append((group["lr"], group["weight_decay"], group["betas"][1]))
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    stage = Line(LINE, "training.steps=8", "training.warmup=2")
    train(stage, tmp_path / "state.pt")
    assert [rate for rate, _, _ in seen] == pytest.approx(
        [0.025, 0.05, 0.05, 0.05, 0.005, 0.01, 0.01, 0.005]
    )
    assert [decay for _, decay, _ in seen] == [0.1] * 4 + [0] * 4
    assert [beta2 for _, _, beta2 in seen] == [0.9] * 4 + [0.999] * 4


@pytest.mark.parametrize("stop", [3, 30, 31, 59])
def test_a_run_goes_on_bitwise_in_any_phase(stop: int, tmp_path: Path) -> None:
    whole = train(Line(LINE), tmp_path / "whole.pt")
    with pytest.raises(Interrupted):
        train(Line(LINE), tmp_path / "parts.pt", interrupt_at(stop))
    parts = train(Line(LINE), tmp_path / "parts.pt")
    assert same(parts.weights, whole.weights)
    assert (tmp_path / "parts.pt").read_bytes() == (tmp_path / "whole.pt").read_bytes()
    assert read(tmp_path / "parts.pt")["step"] == 60
