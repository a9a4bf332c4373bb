"""The rule that measures heads, and the arithmetic of the figures."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from brainldm.checkpoint import load_config
from brainldm.demo.figures import Figure, side_by_side
from brainldm.errors import BrainLDMError, MissingExtraError
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.register.kept import load_template
from brainldm.segment.rule import VolumeRule, find_cavity
from brainldm.segment.segmenter import check_segmentation
from brainldm.simulate.template_head import SimulatedHead, simulate

DEMO = load_config("demo")
GRID = Grid.of(DEMO.shape, DEMO.affine)


def simulated(*seeds: int) -> list[SimulatedHead]:
    return [simulate(seed, load_template(), GRID) for seed in seeds]


@pytest.fixture(scope="module")
def rule() -> VolumeRule:
    return VolumeRule.learn(simulated(*range(10)), GRID, load_template().intracranial_ml)


@pytest.fixture(scope="module")
def held_out() -> list[SimulatedHead]:
    return simulated(*range(100_000, 100_004))


@pytest.mark.parametrize("kind", ["clean", "image"])
def test_the_rule_holds_on_heads_it_has_not_seen(
    rule: VolumeRule, held_out: list[SimulatedHead], kind: str
) -> None:
    for head in held_out:
        ventricles, brain = rule.measure(getattr(head, kind).numpy())
        assert ventricles == pytest.approx(head.conditions.ventricular_volume_ml, abs=5)
        assert brain == pytest.approx(head.conditions.brain_volume_ml, abs=80)


def test_the_rule_does_not_depend_on_the_unit_of_intensity(
    rule: VolumeRule, held_out: list[SimulatedHead]
) -> None:
    image = held_out[0].clean.numpy()
    assert rule.measure(0.9 * image) == pytest.approx(rule.measure(image), rel=0.02)


def test_fluid_that_is_filled_is_missed_by_the_rule(
    rule: VolumeRule, held_out: list[SimulatedHead]
) -> None:
    head = held_out[0]
    filled = np.where(head.ventricles.numpy() > 0.2, 0.78, head.clean.numpy())
    assert rule.measure(filled)[0] < 0.3 * rule.measure(head.clean.numpy())[0]


def test_the_cavity_holds_the_brain_and_not_the_scalp(held_out: list[SimulatedHead]) -> None:
    for head in held_out:
        mask = find_cavity(head.clean.numpy(), GRID).mask
        brain = head.brain.numpy() > 0.5
        assert (mask & brain).sum() > 0.995 * brain.sum()
        assert mask.sum() < 1.7 * brain.sum()  # with bone and scalp it would be over twice as much


def test_images_that_cannot_be_measured_are_refused(rule: VolumeRule) -> None:
    with pytest.raises(BrainLDMError, match=r"Expected an image of shape \(80, 112, 80\).*grid"):
        rule.measure(np.ones((8, 8, 8), np.float32))
    with pytest.raises(BrainLDMError, match=r"Expected a head with a brain.*viewer"):
        rule.measure(np.zeros(GRID.shape, np.float32))


def test_a_figure_says_whether_it_is_where_it_should_be() -> None:
    assert Figure("r", 0.96, 0.95).verdict == "reached"
    assert Figure("r", 0.94, 0.95).verdict == "MISSED"
    assert Figure("slope", 1.2, 0.85, 1.15).verdict == "MISSED"
    assert Figure("slope", float("nan"), 0.85, 1.15).verdict == "MISSED"
    assert Figure("error", 3.0).verdict == ""
    assert "at least 0.85, at most 1.15" in str(Figure("slope", 1.2, 0.85, 1.15))


def test_the_contact_sheet_has_both_kinds_side_by_side(held_out: list[SimulatedHead]) -> None:
    head = held_out[0]
    white = Volume(np.ones(GRID.shape, np.float32), np.array(GRID.affine))
    sheet = np.asarray(Image.open(io.BytesIO(side_by_side([white], [head]))))
    middle = sheet.shape[1] // 2
    assert sheet[:, :middle].mean() > 150
    assert 10 < sheet[:, middle:].mean() < 100


@pytest.mark.parametrize(("name", "package"), [("ants", "ants"), ("simulated", "nilearn")])
def test_what_a_segmentation_needs_is_named_before_anything_is_measured(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid.of(GRID.shape, GRID.affine)
    check_segmentation(name, grid)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda asked: None if asked == package else real(asked)
    )
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*brainldm\[evaluate\]"):
        check_segmentation(name, grid)
    check_segmentation("none", grid)
