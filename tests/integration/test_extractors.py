"""Networks of features: their weights, what is refused, and sets on other grids."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import resnet50
from torch import Tensor

from brainldm.errors import BrainLDMError
from brainldm.evaluate.extractors import Extractor, download_medicalnet
from brainldm.evaluate.measures import Measuring, measure
from brainldm.evaluate.sets import common_grid, find_heads
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume

SHAPE = (24, 32, 28)


def image(seed: int = 0) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))


def network(flat: bool) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return resnet50(
            spatial_dims=2 if flat else 3,
            n_input_channels=3 if flat else 1,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        ).eval()


@pytest.fixture(scope="module")
def medicalnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as MedicalNet publishes it: names of DataParallel, and a head for segmentation."""
    state = {f"module.{name}": value for name, value in network(False).state_dict().items()}
    state["module.conv_seg.0.weight"] = torch.zeros(1)
    file = tmp_path_factory.mktemp("weights") / "resnet_50_23dataset.pth"
    torch.save({"state_dict": state}, file)
    return file


def test_random_features_need_no_file_and_no_unit_of_intensity() -> None:
    extractor = Extractor.of("random", None)
    features = extractor.features(image())
    assert features.shape == (32,)
    assert (extractor.features(7 * image() + 3) - features).abs().max() < 1e-4
    assert (extractor.features(image(1)) - features).abs().max() > 1e-4
    assert extractor.identity == "random"


def test_medicalnet_is_the_network_that_the_file_is_of(medicalnet: Path) -> None:
    extractor = Extractor.of("medicalnet", medicalnet)
    features = extractor.features(image())
    z = (image() - image().mean()) / image().std()
    with torch.no_grad():
        expected = network(False)(z[None, None]).flatten()
    assert features.shape == (2048,)
    assert (features - expected).norm() < 1e-4 * expected.norm()
    assert re.fullmatch(r"medicalnet-[0-9a-f]{12}", extractor.identity)


def test_slices_of_three_planes(tmp_path: Path) -> None:
    file = tmp_path / "resnet50.pth"
    torch.save(network(True).state_dict(), file)
    extractor = Extractor.of("resnet-2.5d", file)
    features = extractor.features(image())
    assert features.shape == (2048,)
    z = (image() - image().mean()) / image().std()
    planes = []
    for axis, side in enumerate(SHAPE):
        at = [round(0.1 * side + i * (0.8 * side - 1) / 15) for i in range(16)]
        slices = z.movedim(axis, 0)[at]
        with torch.no_grad():
            planes.append(network(True)(slices[:, None].expand(-1, 3, -1, -1)).mean(0))
    expected = torch.stack(planes).mean(0)
    assert (features - expected).norm() < 1e-4 * expected.norm()


def test_extractors_that_cannot_be_had(medicalnet: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    for name, weights, says in (
        ("vgg", None, "No extractor is 'vgg': expected random, medicalnet, resnet-2.5d"),
        ("random", medicalnet, "leave --extractor-weights out"),
        ("medicalnet", None, "needs its weights"),
        ("medicalnet", tmp_path / "none.pth", "Cannot read"),
    ):
        with pytest.raises(BrainLDMError, match=re.escape(says)):
            Extractor.of(name, weights)
    for file, says in (
        ("text.pth", "damaged or not a file of weights"),
        ("other.pth", r"3\d\d weights are missing, 1 are unknown or of another shape"),
    ):
        with pytest.raises(BrainLDMError, match=says):
            Extractor.of("medicalnet", tmp_path / file).features(image())
    with pytest.raises(BrainLDMError, match="Only the weights of medicalnet can be downloaded"):
        download_medicalnet("resnet-2.5d")


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*where: str) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(BrainLDMError, match=r"no network.*--extractor-weights FILE"):
        download_medicalnet("medicalnet")


def heads(folder: Path, orientation: str = "LAS") -> Path:
    """Two images, stored in any order of axes."""
    folder.mkdir()
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])
    for seed in range(2):
        smooth = torch.nn.functional.interpolate(image(seed)[None, None, ::4, ::4, ::4], SHAPE)
        stored = nib.Nifti1Image(smooth[0, 0].numpy(), affine)
        start = nib.orientations.io_orientation(affine)
        goal = nib.orientations.axcodes2ornt(orientation)
        turned = stored.as_reoriented(nib.orientations.ornt_transform(start, goal))
        Volume(turned.get_fdata(), turned.affine).save(folder / f"sub-{seed}_T1w.nii.gz")
    return folder


def test_other_orientations_are_resampled_only_if_asked(tmp_path: Path) -> None:
    real = find_heads(heads(tmp_path / "real"), "real")
    generated = find_heads(heads(tmp_path / "generated", "PIR"), "generated")
    sets = {"real": real, "generated": generated}
    with pytest.raises(BrainLDMError, match=r"orientation LAS.*orientation PIR.*--resample"):
        common_grid(sets, resample=False)
    grid = common_grid(sets, resample=True)
    for a, b in zip(real, generated, strict=True):
        np.testing.assert_allclose(a.read(grid).array, b.read(grid).array, atol=1e-5)


def test_intensities_are_scaled_unless_they_are_said_to_be(tmp_path: Path) -> None:
    grid = Grid.of(SHAPE, np.diag([-4.0, 4.0, 4.0, 1.0]))
    folder = heads(tmp_path / "heads")
    bright = tmp_path / "bright"
    for file in folder.iterdir():
        head = Volume.load(file)
        Volume(4000 * head.array + 7, head.affine).save(bright / file.name)
    for dim, other in zip(find_heads(folder, "real"), find_heads(bright, "real"), strict=True):
        found = other.read(grid).array
        np.testing.assert_allclose(found, dim.read(grid).array, atol=1e-5)
        assert (found.min(), found.max()) == (0, 1)
    said, _ = find_heads(folder, "real", scaled=True)
    np.testing.assert_array_equal(said.read(grid).array, Volume.load(said.path).array)
    wrong, _ = find_heads(bright, "real", scaled=True)
    with pytest.raises(BrainLDMError, match=r"said to be scaled to \[0, 1\]"):
        wrong.read(grid)


def test_features_of_two_extractors_do_not_mix(medicalnet: Path, tmp_path: Path) -> None:
    head, _ = find_heads(heads(tmp_path / "real"), "real")
    grid = Grid.of(SHAPE, np.diag([-4.0, 4.0, 4.0, 1.0]))
    cache = tmp_path / "cache"
    first = measure(head, Measuring(grid, Extractor.of("random", None), cache, None, "cpu"))
    again = measure(head, Measuring(grid, Extractor.of("random", None), cache, None, "cpu"))
    np.testing.assert_array_equal(first.features, again.features)
    other = Measuring(grid, Extractor.of("medicalnet", medicalnet), cache, None, "cpu")
    with pytest.raises(BrainLDMError, match=r"features of the extractor random: expected medic"):
        measure(head, other)
