"""A model corrected so that its heads have the volumes that they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import brainldm.train.calibrate as calibrating
from brainldm import BrainLDM
from brainldm.checkpoint import load_model, save_model
from brainldm.conditions import ConditionRanges, quantile
from brainldm.errors import BrainLDMError, DataError, UsageError
from brainldm.image.volume import Volume
from brainldm.models.unet import DiffusionUNet, with_context
from brainldm.pipeline.choice import Model
from brainldm.segment.network import Network
from brainldm.train.calibrate import Calibrate, Correction, opposites
from tests.toy import PUBLISHED, lively_unet, toy_unet, write_toy_model

SLOPES = np.array([[0.9, 0.1], [-0.3, 0.6]])
"""What ventricles and brain measure, for what both are asked to be."""
BESIDE = np.array([[0.02, -0.05], [0.04, 0.1]])
"""And for sex and age."""
START = np.array([0.1, 0.05])


def measure(context: np.ndarray) -> np.ndarray:
    """(..., 4) -> (..., 2), as a model that does not follow its conditions well."""
    return START + context[..., :2] @ BESIDE.T + context[..., 2:] @ SLOPES.T


@given(st.integers(0, 2**32 - 1))
def test_what_is_asked_for_corrected_measures_what_was_wanted(seed: int) -> None:
    draw = np.random.default_rng(seed)
    asked = draw.random((40, 2, 4))
    # What a seed adds of its own, equal at the mean of all seeds to nothing, does no harm.
    own = draw.normal(size=(40, 1, 2))
    correction = Correction.of(asked, measure(asked) + own - own.mean(0), [2, 3])
    wanted = draw.random((7, 4))
    corrected = wanted @ correction.matrix.T + correction.offset
    assert np.abs(measure(corrected) - wanted[:, 2:]).max() < 1e-9
    assert np.array_equal(corrected[:, :2], wanted[:, :2])
    ends = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
    reached = ends @ correction.matrix.T + correction.offset
    assert abs(max(reached.max() - 1, -reached.min()) - correction.beyond) < 1e-9


@given(st.integers(0, 2**32 - 1))
def test_a_pair_lies_on_either_side_of_the_medians(seed: int) -> None:
    ranges = ConditionRanges(PUBLISHED.conditions)
    one, other = (person.given for person in opposites(ranges, seed))
    assert (one, other) == tuple(person.given for person in opposites(ranges, seed))
    for variable in PUBLISHED.conditions:
        a, b = one[variable.name], other[variable.name]
        if variable.labels:
            assert {a, b} <= set(variable.labels)
        else:
            median = quantile(variable, 0.5)
            assert (a - median) * (b - median) <= 0
            assert variable.low <= min(a, b) <= max(a, b) <= variable.high


def folded(correction: Correction) -> tuple[DiffusionUNet, DiffusionUNet]:
    torch.manual_seed(0)
    before = lively_unet(3, 4).double().eval()
    after = DiffusionUNet(toy_unet(3, 4)).double().eval()
    after.load_state_dict(correction.fold(before.state_dict(), 3))
    return before, after


def contexts() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, 3, 8, 12, 8).double(), torch.tensor([10, 700]), torch.rand(2, 4).double()


@torch.no_grad()
def test_the_folded_network_answers_as_the_one_before_does_to_the_corrected_conditions() -> None:
    matrix = np.eye(4) + np.random.default_rng(0).normal(0, 0.2, (4, 4))
    before, after = folded(Correction(matrix, np.zeros(4)))
    z, t, context = contexts()
    x, token = with_context(z, context)
    other, changed = with_context(z, context @ torch.from_numpy(matrix).T)
    assert (after(x, t, token) - before(other, t, changed)).abs().max() < 1e-10
    assert (after(x, t, token) - before(x, t, token)).abs().max() > 1e-3


@torch.no_grad()
def test_an_offset_is_exact_where_the_first_convolution_sees_no_zeros() -> None:
    offset = np.array([0.0, 0.0, 0.05, -0.15])
    before, after = folded(Correction(np.eye(4), offset))
    z, _, context = contexts()
    x, token = with_context(z, context)
    other, changed = with_context(z, context + torch.from_numpy(offset))
    inner = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    assert (after.conv_in(x) - before.conv_in(other))[inner].abs().max() < 1e-12
    name = next(n for n, _ in before.named_modules() if n.endswith("attn2"))
    query = torch.randn(2, 5, before.get_submodule(name).to_q.in_features).double()
    ours, theirs = (net.get_submodule(name) for net in (after, before))
    assert (ours(query, token) - theirs(query, changed)).abs().max() < 1e-12


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy_model(tmp_path / "toy")


def calibrate(model: Path, out: Path, number: int = 16, overwrite: bool = False) -> Calibrate:
    choice = Model(source=str(model), dtype="float32")
    network = Network(Path("none"), "a segmenter")
    return Calibrate(model=choice, out=out, network=network, number=number, overwrite=overwrite)


def pretend(monkeypatch: pytest.MonkeyPatch, found: Callable[[np.ndarray], np.ndarray]) -> None:
    """Measure what a head was asked to be, changed."""
    ranges = {v.name: v for v in PUBLISHED.conditions}

    def measured(_: Network, volume: Volume) -> tuple[float, ...]:
        asked = volume.metadata["brainldm"]["conditions"]
        context = np.array([[asked[name]["normalised"] for name in ranges]])
        volumes = (ranges["ventricular_volume_ml"], ranges["brain_volume_ml"])
        pairs = zip(volumes, found(context)[0], strict=True)
        return tuple(v.denormalise(value) for v, value in pairs)

    monkeypatch.setattr(calibrating, "measured", measured)


def test_a_model_is_measured_corrected_and_written(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "FEWEST", 16)
    pretend(monkeypatch, measure)
    said: list[str] = []
    done: list[tuple[int, int]] = []
    out = calibrate(toy, tmp_path / "out").run(lambda *each: done.append(each), said.append)
    assert done == [(head, 16) for head in range(1, 17)]
    volumes, [beyond] = said[:2], said[2:]
    assert [line.split(":")[0] for line in volumes] == ["ventricular_volume_ml", "brain_volume_ml"]
    assert "of a range outside what it was trained on" in beyond
    old, new = load_model(toy), load_model(out)
    asked = np.random.default_rng(0).random((40, 2, 4))
    expected = Correction.of(asked, measure(asked), [2, 3]).fold(old.unet, 3)
    for name, tensor in expected.items():
        assert (new.unet[name] - tensor).abs().max() < 1e-4
    assert all(torch.equal(new.autoencoder[n], old.autoencoder[n]) for n in old.autoencoder)
    assert (
        "16 heads (seeds 1000000 to 1000007), measured by a segmenter"
        in (new.config.provenance["calibrated"])
    )
    assert old.hash in (out / "README.md").read_text()
    assert BrainLDM.from_pretrained(out).generate(seed=1)[0].array.shape == new.config.shape
    # It is whole, and may be replaced when that is asked for.
    with pytest.raises(UsageError):
        calibrate(toy, out).run()
    calibrate(toy, out, overwrite=True).run()


def test_what_cannot_be_corrected_is_refused(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def refused(model: Path, error: type[BrainLDMError], match: str) -> None:
        with pytest.raises(error, match=match):
            calibrate(model, out).run()
        assert not out.exists()

    refused(toy, UsageError, "number is 16: expected 30 heads or more, an even number")
    with pytest.raises(UsageError, match="number is 31: expected 30"):
        calibrate(toy, out, number=31).run()
    monkeypatch.setattr(calibrating, "FEWEST", 16)
    pretend(monkeypatch, lambda context: context[:, 2:] * (1, 0.1))
    refused(toy, DataError, r"brain_volume_ml .* a slope of 0\.\d+: expected 0.25 or more")
    pretend(monkeypatch, lambda context: np.full((1, 2), np.nan))
    refused(toy, DataError, "measures 0 of 16 heads: expected nine in ten or more")
    [sex, age, *_] = PUBLISHED.conditions
    refused(write_toy_model(tmp_path / "few", (sex, age)), UsageError, "no volume among its")
    loaded = load_model(toy)
    config = loaded.config.model_copy(update={"null_context": -1.0})
    save_model(tmp_path / "null", config, loaded.autoencoder, loaded.unet)
    refused(tmp_path / "null", UsageError, "trained with condition_dropout")
