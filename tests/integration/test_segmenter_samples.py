"""What the segmenter learns from: views of heads, as some scanner might show them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainldm.image.smoothing import REACH, smooth
from brainldm.simulate import tissues
from brainldm.simulate.anatomy import box_grid
from brainldm.train.draws import Draw
from brainldm.train.label_pool import Head
from brainldm.train.phases import Course
from brainldm.train.pretend import (
    draw_colours,
    draw_view,
    read_view,
    scan,
    undress,
)
from brainldm.train.segmenter import PLAIN
from brainldm.train.segmenter_samples import SegmenterSamples, targets
from brainldm.train.segmenter_settings import Scans
from tests.learning import same
from tests.phantoms import tissues_at
from tests.segmenters import settings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.of(tissues_at(box_grid(3.0).points()))


def test_a_view_without_change_is_the_head(head: Head) -> None:
    seen, size = torch.from_numpy(head.tissues), head.tissues.shape
    middle = np.array(size) / 2
    assert torch.equal(read_view(seen, size, np.eye(3), middle), seen)
    wider = read_view(seen, [side + 10 for side in size], np.eye(3), middle)
    assert torch.equal(wider[5:-5, 5:-5, 5:-5], seen)
    assert not wider[:5].any()
    shifts = [torch.full(size, shift) for shift in (2.0, 0.0, -1.0)]
    shifted = read_view(seen, size, np.eye(3), middle, shifts)
    assert torch.equal(shifted[:-2, :, 1:], seen[2:, :, :-1])


@pytest.mark.parametrize("warp", [0, 2])
def test_views_lie_in_the_head(head: Head, warp: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        view = draw_view(head, (24, 24, 24), Scans(warp=warp), rng, CPU)
        within = tissues.of_kind("brain", "ventricle", "fluid")[view.numpy()]
        assert within.mean() > 0.05


def test_what_is_taken_away_has_no_label(head: Head) -> None:
    rng = np.random.default_rng(0)
    seen, counts = torch.from_numpy(head.tissues), head.counts
    stripped, left = undress(seen, counts, Scans(strip=1, cut=0), rng)
    assert not left[tissues.of_kind("outside")].any()
    assert left.any()
    assert not tissues.of_kind("outside")[stripped.numpy()].any()
    brain = tissues.of_kind("brain", "ventricle")
    assert np.array_equal(brain[stripped.numpy()], brain[head.tissues])
    cut, _ = undress(seen, counts, Scans(strip=0, cut=1), rng)
    assert 0 < cut.count_nonzero() < seen.count_nonzero()
    whole, _ = undress(seen, counts, Scans(strip=0, cut=0), rng)
    assert torch.equal(whole, seen)


def test_a_plain_scan_shows_its_tissues(head: Head) -> None:
    rng = np.random.default_rng(0)
    seen = torch.from_numpy(head.tissues)
    plain = Scans(random=0, stray=0, coarse=0, blur=0, bias=0, noise=0, gamma=0, exposure=0)
    colours = draw_colours(plain, None, rng)
    image = scan(seen, head.counts, colours, plain, rng)
    structures = targets(seen)["structures"]
    fluid, grey, white = (float(image[structures == each].mean()) for each in (3, 2, 1))
    assert fluid < grey - 0.1 < white - 0.2
    part = np.s_[20:40, 30:50, 20:40]
    alone = scan(seen[part], head.counts, colours, plain, rng)
    within = structures[part] == 1
    assert abs(float(alone[within].mean()) - white) < 0.05  # as bright as in the whole head
    assert image.dtype == torch.float32
    assert image.shape == seen.shape


def test_coarse_scans_are_smooth(head: Head) -> None:
    seen = torch.from_numpy(head.tissues)
    rough, smooth = (
        scan(
            seen,
            head.counts,
            draw_colours(PLAIN, None, np.random.default_rng(0)),
            Scans(coarse=coarse, plane_mm=4, slice_mm=8, blur=0, noise=0),
            np.random.default_rng(0),
        )
        for coarse in (0, 1)
    )
    assert smooth.diff(dim=2).norm() < 0.7 * rough.diff(dim=2).norm()


def test_a_blur_is_scipys() -> None:
    image = torch.rand(12, 14, 16, generator=torch.Generator().manual_seed(0))
    deviations = [0.3, 1.0, 2.0]
    wanted = ndimage.gaussian_filter(image.numpy(), deviations, truncate=REACH, mode="nearest")
    assert np.abs(smooth(image[None], deviations)[0].numpy() - wanted).max() < 1e-6


def test_samples_follow_from_their_draw(head: Head) -> None:
    samples = SegmenterSamples(lambda i: head, ["a", "b"], None, Course(settings()), CPU)
    first, again, other = (samples(Draw(0, step, 0, 1)) for step in (0, 0, 1))
    assert same(first, again)
    assert not same(first["image"], other["image"])
    assert first["image"].shape == (1, 32, 32, 32)
    assert first["structures"].dtype == first["sides"].dtype == torch.uint8
    assert samples.subject(Draw(0, 0, 0, 1)) in "ab"
