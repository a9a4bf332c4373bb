"""Simulated heads: reproducible, labelled by measurement, and over the range they should cover."""

from __future__ import annotations

import pytest
import torch

from brainldm.checkpoint import load_config
from brainldm.image.grid import Grid
from brainldm.register.kept import load_template
from brainldm.register.template import Template
from brainldm.simulate.subject import TEMPLATE_INTRACRANIAL_ML, own_volumes
from brainldm.simulate.template import template_anatomy
from brainldm.simulate.tissues import place
from tests.template_head import SimulatedHead, simulate

DEMO = load_config("demo")
GRID = Grid.of(DEMO.shape, DEMO.affine)

COARSE = GRID.coarser(2)


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template()


@pytest.fixture(scope="module")
def heads(template: Template) -> list[SimulatedHead]:
    return [simulate(seed, template, COARSE) for seed in range(1000, 1006)]


def test_a_seed_is_a_subject(template: Template, heads: list[SimulatedHead]) -> None:
    again = simulate(1000, template, COARSE)
    assert torch.equal(again.image, heads[0].image)
    assert again.conditions == heads[0].conditions
    assert (heads[0].clean - heads[1].clean).abs().max() > 0.2


def test_a_twin_differs_in_its_volumes_alone(
    template: Template, heads: list[SimulatedHead]
) -> None:
    for seed, head in zip((1000, 1001), heads, strict=False):
        one, other = head.conditions, simulate(seed, template, COARSE, twin=True).conditions
        assert (one.sex, one.age) == (other.sex, other.age)
        # What they aim at lies opposite each other about 45 mL, and about 1455 mL.
        volumes = [(c.ventricular_volume_ml, c.brain_volume_ml) for c in (one, other)]
        middle = [(a + b) / 2 for a, b in zip(*volumes, strict=True)]
        assert middle[0] == pytest.approx(45, abs=12)
        assert middle[1] == pytest.approx(1455, abs=60)


def test_the_ventricular_volume_is_that_of_the_tissue_map(heads: list[SimulatedHead]) -> None:
    for head in heads:
        ml = head.ventricles.sum().item() * COARSE.spacing[0] ** 3 / 1000
        assert ml == pytest.approx(head.conditions.ventricular_volume_ml)
        assert 5 < ml < 100


def test_brains_are_scaled_up_to_the_templates_head(heads: list[SimulatedHead]) -> None:
    for head in heads:
        native = head.brain.sum().item() * COARSE.spacing[0] ** 3 / 1000
        assert 1200 < head.conditions.brain_volume_ml < 1700
        assert native < head.conditions.brain_volume_ml  # the MNI152 head is larger than most


def test_the_whole_head_is_in_the_image(heads: list[SimulatedHead]) -> None:
    for head in heads:
        assert head.image.min() >= 0
        assert head.image.max() <= 1
        assert head.clean[:, :, -1].max() == 0  # the crown
        assert head.clean[:, -1].mean() < 0.01  # at most the tip of the nose


def test_the_template_is_an_anatomy(template: Template) -> None:
    anatomy = template_anatomy(3.0)
    assert template.intracranial_ml == pytest.approx(TEMPLATE_INTRACRANIAL_ML, rel=1e-3)
    ventricles, brain = own_volumes(anatomy)
    assert 12 < ventricles < 25
    assert brain == pytest.approx(template.brain[:2].sum().item() / 1000, rel=0.06)
    within = anatomy.flows.shares[2].sum().item() * 0.027
    assert within == pytest.approx(template.intracranial_ml, rel=0.02)
    for number in (2, 3, 4, 7, 8, 10, 11, 12, 16, 24, 506, 507, 511, 515):
        assert (anatomy.tissues == place(number)).sum() > 10, number
