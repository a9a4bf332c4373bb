"""Simulated heads: reproducible, measured, of the contrast asked for, and whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from brainldm.errors import UsageError
from brainldm.image.grid import Grid
from brainldm.simulate.contrast import MATERIALS, SEQUENCES, draw_palette
from brainldm.simulate.deform import jacobian
from brainldm.simulate.head import SimulatedHead, picture, simulate
from brainldm.simulate.priors import Priors
from brainldm.simulate.subject import (
    REACH,
    TEMPLATE_INTRACRANIAL_ML,
    Ranges,
    draw_subject,
    own_volumes,
)
from brainldm.simulate.tissues import NUMBERS, TISSUES, of_kind, place
from tests.phantoms import phantom

GRID = Grid.of(
    (48, 64, 48), np.array([[-4.0, 0, 0, 94], [0, 4, 0, -142], [0, 0, 4, -82], [0, 0, 0, 1]])
)
OWN = own_volumes(phantom())
RANGES = Ranges((OWN[0] * 0.5, OWN[0] * 2.5), (OWN[1] * 0.95, OWN[1] * 1.03))


@pytest.fixture(scope="module")
def head() -> SimulatedHead:
    return simulate(phantom(), 1, GRID, ranges=RANGES)


def test_a_seed_is_a_head_whatever_the_number_of_threads(head: SimulatedHead) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 3)
    again = simulate(phantom(), 1, GRID, ranges=RANGES)
    torch.set_num_threads(before)
    assert torch.equal(head.image, again.image)
    assert (head.labels == again.labels).all()
    assert head.conditions == again.conditions
    other = simulate(phantom(), 2, GRID, ranges=RANGES)
    assert (head.clean - other.clean).abs().max() > 0.2


def test_volumes_are_counted_on_the_labels(head: SimulatedHead) -> None:
    ventricles = np.isin(head.labels, (4, 5, 43, 44)).sum() * 0.064
    assert head.conditions.ventricular_volume_ml == pytest.approx(ventricles)
    kinds = {kind: NUMBERS[of_kind(kind)] for kind in ("brain", "fluid")}
    brain = np.isin(head.labels, kinds["brain"]).sum() * 0.064
    within = brain + ventricles + np.isin(head.labels, kinds["fluid"]).sum() * 0.064
    normalised = brain * TEMPLATE_INTRACRANIAL_ML / within
    assert head.conditions.brain_volume_ml == pytest.approx(normalised)


@pytest.mark.parametrize("factors", [(0.5, 0.95), (2.5, 1.03)])
def test_targets_are_reached_without_a_fold(factors: tuple[float, float]) -> None:
    targets = (OWN[0] * factors[0], OWN[1] * factors[1])
    subject = draw_subject(phantom(), 5, targets=targets)
    assert jacobian(subject.displacement).min() > 0
    got = picture(subject, GRID, "t1w").conditions
    assert got.ventricular_volume_ml == pytest.approx(targets[0], rel=0.12)
    assert got.brain_volume_ml == pytest.approx(targets[1], rel=0.03)


def test_targets_out_of_reach_are_drawn_again_and_counted() -> None:
    low, high = REACH[0]
    wide = replace(RANGES, ventricular_ml=(OWN[0] * low / 2, OWN[0] * high * 2))
    subjects = [draw_subject(phantom(), seed, wide) for seed in range(3)]
    assert sum(subject.redrawn for subject in subjects) > 0
    assert all(OWN[0] * low < s.targets[0] < OWN[0] * high for s in subjects)
    with pytest.raises(UsageError, match=r"phantom has ventricles of .* cannot be given"):
        draw_subject(phantom(), 0, targets=(OWN[0] * high * 2, OWN[1]))
    with pytest.raises(UsageError, match="100 pairs were drawn"):
        draw_subject(phantom(), 0, Ranges((500, 600)))


def test_targets_do_not_change_anything_else(head: SimulatedHead) -> None:
    one, other = head.subject, draw_subject(phantom(), 1, targets=(OWN[0] * 1.5, OWN[1]))
    assert one.targets != other.targets
    for name in ("sex", "age", "mirrored", "scale"):
        assert getattr(one, name) == getattr(other, name)


def test_a_mirrored_subject_is_the_mirror_image(head: SimulatedHead) -> None:
    one, other = (
        picture(replace(head.subject, mirrored=mirrored), GRID, "t1w") for mirrored in (False, True)
    )
    assert one.conditions == other.conditions
    flipped = other.labels[::-1]
    left, right = place(2), place(41)
    for a, b in ((left, right), (right, left)):
        same = (one.labels == NUMBERS[a]) == (flipped == NUMBERS[b])
        assert same.mean() > 0.999  # a point on the face of two voxels may fall to either
    a, b = (np.argwhere(other.labels == number)[:, 0].mean() for number in (2, 41))
    assert a > b  # the grid's first axis goes to the left


def test_contrasts_are_of_the_same_head(head: SimulatedHead) -> None:
    subject = head.subject
    heads = {name: picture(subject, GRID, name) for name in ("t1w", "t2w", "flair", "random")}
    labels = heads["t1w"].labels
    assert all((head.labels == labels).all() for head in heads.values())
    deep = {
        name: {n: head.clean[torch.from_numpy(labels == n)].median() for n in (2, 4, 3)}
        for name, head in heads.items()
    }
    assert deep["t1w"][2] > deep["t1w"][3] > deep["t1w"][4]
    assert deep["t2w"][4] > deep["t2w"][3] > deep["t2w"][2]
    assert deep["flair"][4] < 0.3 * deep["flair"][3]


def test_an_image_is_within_its_scale_and_the_head_within_the_image(head: SimulatedHead) -> None:
    for each in (head, picture(head.subject, GRID, "random")):
        for image in (each.clean, each.image):
            assert image.dtype == torch.float32
            assert image.min() >= 0
            assert image.max() <= 1
        assert each.labels.dtype == np.int16
        assert (each.image - each.clean).abs().max() > 0
    assert head.labels[:, :, -1].max() == 0
    assert head.labels[:, -1].max() == 0


def test_partial_volume_lies_between_its_tissues(head: SimulatedHead) -> None:
    values = head.clean[torch.from_numpy(np.isin(head.labels, (2, 41, 4, 43)))]
    white, fluid = values.quantile(0.9), values.quantile(0.001)
    between = ((values > fluid + 0.2) & (values < white - 0.2)).float().mean()
    assert between > 0.003


def test_grey_matter_nears_white_with_age() -> None:
    def contrast(age: float) -> float:
        palette = draw_palette("t1w", age, None, np.random.default_rng(0))
        return float(palette.means[place(2)] - palette.means[place(3)])

    assert contrast(82) < 0.9 * contrast(44)


def test_priors_take_the_place_of_what_is_computed() -> None:
    priors = Priors({2: (200.0, 0.0), 3: (50.0, 0.0), 507: (1.0, 0.0)})
    palette = draw_palette("t1w", 63, priors, np.random.default_rng(0))
    assert palette.means[place(2)] == pytest.approx(SEQUENCES["t1w"].white)
    assert palette.means[place(3)] == pytest.approx(SEQUENCES["t1w"].white / 4)
    assert palette.means[place(507)] > 0.1  # lumped with fat there
    both = [palette.means[place(number)] for number in (3, 42)]
    assert both[0] == both[1]


def test_random_contrasts_differ_and_both_sides_agree() -> None:
    palettes = [draw_palette("random", 63, None, np.random.default_rng(i)) for i in range(2)]
    assert np.abs(palettes[0].means - palettes[1].means).max() > 0.2
    for i, tissue in enumerate(TISSUES):
        twin = [t.material for t in TISSUES].index(tissue.material)
        assert palettes[0].means[i] == palettes[0].means[twin]


def test_signals_are_those_of_the_equations() -> None:
    flair = SEQUENCES["flair"]
    assert flair.signal(MATERIALS["white"]) == pytest.approx(flair.white)
    assert flair.signal(MATERIALS["fluid"]) < 0.02 < flair.white < flair.signal(MATERIALS["grey"])
    t2w = SEQUENCES["t2w"]
    ratio = t2w.signal(MATERIALS["fluid"]) / t2w.signal(MATERIALS["white"])
    # (1 - exp(-5000/2569)) exp(-90/329) / (0.77 exp(-90/70)), full recovery of white matter.
    assert ratio == pytest.approx(0.857 * 0.7606 / (0.77 * 0.2765), rel=1e-2)


def test_an_oblique_grid_is_refused() -> None:
    turned = GRID.matrix
    turned[0, 1] = 0.5
    with pytest.raises(UsageError, match="axes are those of MNI152"):
        simulate(phantom(), 1, Grid.of(GRID.shape, turned), ranges=RANGES)
