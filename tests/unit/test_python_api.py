"""What a notebook and a terminal show of models and volumes, and short ways to ask for heads."""

from __future__ import annotations

import io
import re

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

import brainldm
from brainldm import BrainLDM, Conditions, Volume
from brainldm.errors import DataError, UsageError
from brainldm.pipeline import display
from brainldm.pipeline.display import bars
from tests.toy import SHAPE

AFFINE = np.diag([2.0, 2, 2, 1])
PERSON = {"sex": "F", "age": 60.0, "ventricular_volume_ml": 30.0, "brain_volume_ml": 1400.0}


def test_public_names_are_completed() -> None:
    assert {"BrainLDM", "Conditions", "Volume", "__version__"} <= set(dir(brainldm))


def test_a_person_in_every_way_is_the_same_person(model: BrainLDM) -> None:
    [expected] = model.generate(Conditions.of(PERSON), seeds=[7], steps=2)
    for [got] in (
        model.generate(**PERSON, seed=7, steps=2),
        model.generate(PERSON, seed=7, steps=2),
        model.generate([PERSON], seeds=[7], steps=2),
    ):
        np.testing.assert_array_equal(got.array, expected.array)
        assert got.metadata == expected.metadata


def test_what_is_left_out_is_drawn(model: BrainLDM) -> None:
    [volume] = model.generate(age=60, seed=7, steps=1)
    assert volume.metadata is not None
    assert volume.metadata["brainldm"]["drawn"] == ["sex", *list(PERSON)[2:]]


def test_a_person_that_is_none_is_refused(model: BrainLDM) -> None:
    with pytest.raises(UsageError, match=r"a str, 'F': expected Conditions, or a dictionary"):
        model.generate(["F"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="conditions and age were both given"):
        model.generate(Conditions(sex="F"), age=60)
    with pytest.raises(UsageError, match="seed and seeds were both given"):
        model.generate(sex="F", seed=1, seeds=[2])
    with pytest.raises(UsageError, match="no condition step"):
        model.generate(sex="F", step=10)


def test_a_model_shows_what_it_is(model: BrainLDM) -> None:
    assert repr(model).splitlines() == [
        "BrainLDM toy",
        "  conditions: sex (F/M), age (44 to 82 years), ventricular_volume_ml (6.996 to 171.4 mL), "
        "brain_volume_ml (1144 to 1794 mL)",
        f"  voxels: {' x '.join(map(str, SHAPE))} of 5 mm, MNI152 space",
        "  computes: on cpu in float32",
    ]
    page = model._repr_html_()
    assert re.search(r"<tr><th[^>]*>licence</th><td[^>]*>Apache-2.0</td></tr>", page)
    assert page.count("<table>") == page.count("</table>") == 1


def test_a_model_is_moved_only_to_where_it_can_compute(model: BrainLDM) -> None:
    assert model.to("cpu") is model
    assert model.to(torch.device("cpu")).device == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="There is no device 'cuda'"):
            model.to("cuda")
    assert model.device == torch.device("cpu")


def test_bars_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    def own(done: int, total: int, phase: str) -> None:
        """Count."""

    for seen in (True, False):
        monkeypatch.setattr(display, "_seen", lambda seen=seen: seen)
        for given, expected in ((own, True), (True, True), (False, False), (None, seen)):
            with bars(given) as progress:
                assert (progress is not None) == expected
                assert given is not own or progress is own


def test_bars_count(capsys: pytest.CaptureFixture[str], model: BrainLDM) -> None:
    model.generate(**PERSON, seed=1, steps=2, progress=True)
    assert re.search(r"denoise .* 2/2 .*\n?decode .* 1/1", capsys.readouterr().err)
    model.generate(**PERSON, seed=1, steps=2)
    assert capsys.readouterr().err == ""


def volume() -> Volume:
    array = np.random.default_rng(0).random((10, 12, 14), dtype=np.float32)
    return Volume(array, AFFINE, {"brainldm": {"seed": 7}})


def test_a_volume_is_an_array() -> None:
    one = volume()
    assert np.asarray(one) is one.array
    assert np.asarray(one, dtype=np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(one), one.array)
    with pytest.raises(ValueError, match="needs a copy"):
        np.asarray(one, dtype=np.int16, copy=False)
    assert np.mean(one) == one.array.mean()


def test_a_volume_shows_itself() -> None:
    one = volume()
    assert repr(one) == "Volume(10 x 12 x 14 voxels of 2 x 2 x 2 mm, intensities " + (
        f"{one.array.min():.3g} to {one.array.max():.3g}, seed 7)"
    )
    with Image.open(io.BytesIO(one._repr_png_())) as picture:
        assert picture.width > picture.height > 10


def test_a_volume_goes_to_nibabel_and_back() -> None:
    one = volume()
    image = one.to_nibabel()
    assert image.header["sform_code"] == image.header["qform_code"] == 4
    back = Volume.from_nibabel(image)
    np.testing.assert_array_equal(back.array, one.array)
    np.testing.assert_array_equal(back.affine, one.affine)
    single = nib.Nifti1Image(one.array[..., None], AFFINE)
    assert Volume.from_nibabel(single).array.shape == (10, 12, 14)


def test_what_is_no_image_of_one_volume_is_refused() -> None:
    with pytest.raises(DataError, match=r"Got a ndarray: .* into Volume\(array, affine\)"):
        Volume.from_nibabel(volume().array)
    with pytest.raises(DataError, match="three dimensions"):
        Volume.from_nibabel(nib.Nifti1Image(np.ones((4, 4, 4, 2), np.float32), AFFINE))
    with pytest.raises(DataError, match="complex64: expected real numbers"):
        Volume.from_nibabel(nib.Nifti1Image(np.ones((4, 4, 4), np.complex64), AFFINE))
    nowhere = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), AFFINE)
    nowhere.set_sform(None)
    nowhere.set_qform(None)
    with pytest.raises(DataError, match="does not say where in space it lies"):
        Volume.from_nibabel(nowhere)
    holed = np.ones((4, 4, 4), np.float32)
    holed[0] = np.nan
    with pytest.warns(UserWarning, match="16 of its 64 values are NaN"):
        Volume.from_nibabel(nib.Nifti1Image(holed, AFFINE))
    assert np.isnan(holed).sum() == 16
