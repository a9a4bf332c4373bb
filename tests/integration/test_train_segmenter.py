"""The segmenter learns, its run goes on bitwise, and what it learns from is as it should be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from brainldm.config import SegmenterConfig
from brainldm.errors import DataError, ModelError, UsageError
from brainldm.image.labels import LabelImage
from brainldm.models.segmenter import SegmentationNetwork, from_blocks, to_blocks
from brainldm.segment.labelled import Labelled
from brainldm.segment.measures import VOLUMES, error_of
from brainldm.segment.overlap import overlaps
from brainldm.segment.structures import (
    NUMBERS,
    PLACE_OF_NUMBER,
    SIDE_OF_NUMBER,
    SIDE_OF_TISSUE,
    STRUCTURE_OF_TISSUE,
    STRUCTURES,
    of_kind,
)
from brainldm.segment.weights import DESCRIPTION, WEIGHTS, Description, load_segmenter
from brainldm.simulate import tissues
from brainldm.simulate.anatomy import box_grid
from brainldm.simulate.tissues import MIRROR
from brainldm.train import segmenter
from brainldm.train.draws import Draw
from brainldm.train.label_pool import Head
from brainldm.train.phases import Course
from brainldm.train.segmenter import SegmenterStage, judge, truth_of, voxel_rows
from brainldm.train.segmenter_loss import SLAB, losses
from brainldm.train.segmenter_samples import SegmenterSamples
from brainldm.train.state import load_state
from tests.learning import Interrupted, interrupt_at, read, same
from tests.phantoms import tissues_at
from tests.segmenters import cache_with_phantom, settings, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.of(tissues_at(box_grid(3.0).points()))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cache_with_phantom(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without interruption."""
    return train(cache, tmp_path_factory.mktemp("runs") / "whole")


def test_every_tissue_has_its_structure_and_its_side() -> None:
    for kind in ("brain", "ventricle", "fluid"):
        assert np.array_equal(of_kind(kind)[STRUCTURE_OF_TISSUE], tissues.of_kind(kind))
    outside = tissues.of_kind("outside", "air")
    assert not STRUCTURE_OF_TISSUE[outside].any()
    assert np.array_equal(STRUCTURE_OF_TISSUE[MIRROR], STRUCTURE_OF_TISSUE)
    assert np.array_equal(SIDE_OF_TISSUE[MIRROR], np.array([0, 2, 1])[SIDE_OF_TISSUE])
    paired = NUMBERS[:, 0] != NUMBERS[:, 1]
    inside = ~outside
    assert np.array_equal(paired[STRUCTURE_OF_TISSUE[inside]], SIDE_OF_TISSUE[inside] > 0)
    assert len({*NUMBERS.ravel().tolist()}) == len(STRUCTURES) + np.count_nonzero(paired)


def test_blocks_are_undone() -> None:
    x = torch.arange(2 * 3 * 4 * 6 * 8.0).view(2, 3, 4, 6, 8)
    assert torch.equal(from_blocks(to_blocks(x)), x)
    rows = voxel_rows(to_blocks(x))
    labels = voxel_rows(to_blocks(x[:, 1:2]))
    assert torch.equal(rows[:, 1:2], labels)


def test_all_that_it_has_takes_part() -> None:
    config = SegmenterConfig(channels=(8, 16), blocks=(1, 2), structures=3)
    network = SegmentationNetwork(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.rand(1, 1, 8, 12, 16, requires_grad=True)
    scores = network(x)
    assert scores.shape == (1, 8 * 4, 4, 6, 8)
    scores.square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()
    assert all(p.grad is not None and (p.grad != 0).any() for p in network.parameters())
    with pytest.raises(ValueError, match="multiples of norm_num_groups"):
        SegmenterConfig(channels=(8, 12), blocks=(1, 1), structures=3)


def test_a_side_that_does_not_fit_is_refused() -> None:
    network = SegmentationNetwork(SegmenterConfig(channels=(8, 8), blocks=(1, 1), structures=3))
    with pytest.raises(DataError, match="multiples of 4"):
        network(torch.zeros(1, 1, 8, 8, 6))
    with pytest.raises(UsageError, match="multiples of 4"):
        train(Path("nowhere"), Path("nowhere"), "crop=[32, 32, 30]")


def test_the_loss_of_certain_scores_is_that_of_labels() -> None:
    truth = torch.tensor([0, 0, 1, 1, 2, 2], dtype=torch.uint8)
    said = torch.tensor([0, 1, 1, 1, 2, 0])
    scores = torch.nn.functional.pad(100.0 * torch.nn.functional.one_hot(said, 4), (0, 1))
    entropy, dice, side = losses(scores, truth, torch.zeros_like(truth))
    assert float(entropy) == pytest.approx(100 * 2 / 6)
    assert float(dice) == pytest.approx(1 - (2 * 2 / 5 + 2 * 1 / 3) / 2)  # 3 is in neither
    assert float(side) == 0


@pytest.mark.parametrize("voxels", [1, 500, SLAB + 7])
def test_the_losses_are_pytorchs_and_so_is_their_gradient(voxels: int) -> None:
    torch.manual_seed(0)
    rows = (3 * torch.randn(voxels, 6, dtype=torch.float64)).requires_grad_()
    structures = torch.randint(0, 4, (voxels,), dtype=torch.uint8)  # the last is not there
    structures[0] = 1
    sides = torch.randint(0, 3, (voxels,), dtype=torch.uint8)
    narrow = rows.detach().float().requires_grad_()
    weights = torch.tensor([1.0, 0.7, 0.3])
    wanted, found = plain_losses(rows, structures, sides), losses(narrow, structures, sides)
    for parts in (wanted, found):
        torch.stack(parts).mul(weights).sum().backward()
    assert torch.stack(found).sub(torch.stack(wanted)).abs().max() < 1e-5
    assert rows.grad is not None
    assert narrow.grad is not None
    assert (narrow.grad - rows.grad).norm() < 1e-5 * rows.grad.norm()


def plain_losses(rows: Tensor, structures: Tensor, sides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same in PyTorch's functions."""
    scores, there = rows[:, :-1], F.one_hot(structures.long(), rows.shape[1] - 1).double()
    probabilities, present = scores.softmax(1), there.sum(0) > 0
    common = 2 * (probabilities * there).sum(0) / (probabilities + there).sum(0)
    present[0] = False
    right = F.binary_cross_entropy_with_logits(rows[:, -1], (sides == 2).double(), reduction="none")
    side = (right * (sides > 0)).sum() / (sides > 0).sum().clamp(min=1)
    return F.cross_entropy(scores, structures.long()), 1 - common[present].mean(), side


def test_overlaps_are_dice() -> None:
    place = {each.number: i for i, each in enumerate(STRUCTURES)}
    truth = np.array([[[place[4], place[5], place[16], place[10], place[11], 0]]])
    found = np.array([[[place[5], place[4], place[16], place[10], 0, 0]]])
    results = overlaps(found, truth)
    assert results["lateral ventricles"] == 1  # their parts count as one
    assert results["deep grey"] == 0.5  # the mean of a thalamus that is found and a caudate not
    assert results["brain-stem"] == 1
    assert "cortex" not in results


def test_a_perfect_segmenter_is_judged_so(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = truth_of(head)

    def judged(found: Labelled) -> dict[str, float]:
        monkeypatch.setattr(segmenter, "label", lambda volume, network: found)
        return judge(None, head, None, 0)  # type: ignore[arg-type]

    figures = judged(truth)
    errors = [figures.pop(error_of(name)) for name in VOLUMES]
    assert errors == [0, 0]
    assert set(figures.values()) == {1}
    other_side = NUMBERS[PLACE_OF_NUMBER, (SIDE_OF_NUMBER == 1).astype(int)][truth.image.array]
    figures = judged(replace(truth, image=LabelImage(other_side, np.eye(4))))
    assert figures["side"] == 0
    assert figures["cortex"] == 1
    twice = truth.volumes | {4: truth.volumes[4] + 5, 43: truth.volumes[43] + 2}
    assert abs(judged(replace(truth, volumes=twice))[error_of(VOLUMES[0])] - 7) < 1e-9
    nothing = Labelled(LabelImage(np.zeros_like(other_side), np.eye(4)), {}, truth.quality)
    assert judged(nothing)["side"] == 0


def test_it_learns(head: Head) -> None:
    """The loss falls on one image that is seen again and again."""
    course = Course(settings())
    samples = SegmenterSamples(lambda i: head, ["a"], None, course, CPU)
    batch = {name: tensor[None] for name, tensor in samples(Draw(0, 1, 0, 1)).items()}
    torch.manual_seed(0)
    network = SegmentationNetwork(
        SegmenterConfig(channels=(8, 8), blocks=(1, 1), structures=len(STRUCTURES))
    )
    stage = SegmenterStage(network, samples, course, [], None, lambda *found: None)
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    losses = []
    for _ in range(30):
        parts = stage.loss("segmenter", stage.networks, batch, 0)
        assert torch.allclose(parts["loss"], parts["entropy"] + parts["dice"] + 0.3 * parts["side"])
        optimiser.zero_grad()
        parts["loss"].backward()
        optimiser.step()
        losses.append(parts["loss"].item())
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_goes_on_bitwise(cache: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run / "subjects", out / "subjects")  # they need not be made again
    shutil.copy(run / "run.json", out)
    with pytest.raises(Interrupted):
        train(cache, out, progress=interrupt_at(5))
    assert Description.read(out).steps == 3  # what the last validation kept
    load_segmenter(out)
    train(cache, out)
    assert same(read(out / "state.pt"), read(run / "state.pt"))
    assert (out / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()
    assert (out / DESCRIPTION).read_bytes() == (run / DESCRIPTION).read_bytes()


def test_a_finished_run_is_left_alone(cache: Path, run: Path) -> None:
    before = (run / WEIGHTS).stat().st_mtime_ns
    assert train(cache, run) == run
    assert (run / WEIGHTS).stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="another configuration"):
        train(cache, run, "subjects=3")


def test_a_damaged_segmenter_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no segmenter"):
        load_segmenter(tmp_path)
    for name in (WEIGHTS, DESCRIPTION):
        shutil.copy(run / name, tmp_path)
    content = bytearray((run / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match="is not the file"):
        load_segmenter(tmp_path)
    for text in ('{"steps": 3}', "[]", '{"structures": [0]}'):
        (tmp_path / DESCRIPTION).write_text(text)
        with pytest.raises(DataError):
            load_segmenter(tmp_path)


def test_the_state_of_another_network_is_refused(cache: Path, run: Path, tmp_path: Path) -> None:
    assert load_state(tmp_path / "nothing.pt", {}, None) == 0  # type: ignore[arg-type]
    shutil.copytree(run / "subjects", tmp_path / "run" / "subjects")
    with pytest.raises(UsageError, match="holds other files"):
        train(cache, tmp_path / "run")
