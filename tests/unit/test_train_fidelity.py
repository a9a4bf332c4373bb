"""Conditions read off latents: leaving one out in closed form, and what the figures tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from brainldm.errors import DataError
from brainldm.image.volume import Volume
from brainldm.segment.measures import VOLUMES, Measures
from brainldm.train.fidelity import LAMBDAS, ConditionReader, volume_figures
from tests.toy import toy_config


def heads(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Latents that show the first of two conditions and hide the second."""
    generator = torch.Generator().manual_seed(seed)
    context = torch.rand(count, 2, generator=generator)
    latents = torch.randn(count, 3, 4, 4, 4, generator=generator)
    latents[:, 0] += 4 * context[:, 0, None, None, None]
    return latents, context


def left_out(latents: Tensor, context: Tensor, i: int, penalty: Tensor) -> Tensor:
    """The condition of one head about the mean of all, read by a regression on all others."""
    x, y = latents.flatten(1).double(), context[:, 0].double()
    others = [j for j in range(len(x)) if j != i]
    a = x[others] - x[others].mean(0)
    gram = a @ a.T / x.shape[1] + penalty * torch.eye(len(others))
    dual = torch.linalg.solve(gram, y[others] - y[others].mean())
    return y.mean() + (x[i] - x[others].mean(0)) @ (a.T @ dual) / x.shape[1]


def test_leaving_one_out_is_what_it_says() -> None:
    latents, context = heads(12, 0)
    reader = ConditionReader(latents, context)
    x = latents.flatten(1) - latents.flatten(1).mean(0)
    penalties = LAMBDAS * x.square().mean()
    errors = []
    for penalty in penalties:
        read = torch.stack([left_out(latents, context, i, penalty) for i in range(12)])
        others = context[:, 0].mean() - (context[:, 0] - context[:, 0].mean()) / 11
        errors.append((read - context[:, 0].mean() + others - context[:, 0]).norm())
        if (read - reader.of_real[:, 0]).abs().max() < 1e-5:
            chosen = len(errors) - 1
    assert torch.stack(errors).argmin() == chosen


def test_samples_that_follow_are_told_from_samples_that_do_not() -> None:
    reader = ConditionReader(*heads(200, 0))
    latents, asked = heads(64, 1)
    follow = dict(reader.figures(["size", "hidden"], asked, latents))
    assert follow["conditions/size: r, samples"] > 0.9
    assert follow["conditions/size: slope, samples"] == pytest.approx(1, abs=0.2)
    assert follow["conditions/size: r, real heads"] > 0.9
    assert abs(follow["conditions/hidden: r, real heads"]) < 0.3
    shuffled = dict(reader.figures(["size", "hidden"], asked.flip(0), latents))
    assert abs(shuffled["conditions/size: r, samples"]) < 0.4


@pytest.mark.parametrize("voxels", [2, 6])
def test_latents_that_tell_nothing_agree_with_nothing(voxels: int) -> None:
    r = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        latents = torch.randn(12, 3, voxels, voxels, voxels, generator=generator)
        context = torch.rand(12, 1, generator=generator)
        figures = dict(ConditionReader(latents, context).figures(["size"], context, latents))
        r.append(figures["conditions/size: r, real heads"])
    assert abs(sum(r) / len(r)) < 0.25


def test_conditions_all_alike_are_no_error() -> None:
    latents, _ = heads(6, 0)
    same = torch.full((6, 1), 0.5)
    figures = dict(ConditionReader(latents, same).figures(["size"], same, latents))
    assert figures["conditions/size: r, samples"] == 0


class FirstVoxels:
    """A segmenter that reads ventricles and brain in litres off two voxels."""

    identity = "first voxels"
    errors: ClassVar[Mapping[str, float]] = {"brain_volume_ml": 12.5}

    def measure(self, volume: Volume) -> Measures:
        """Unless the first voxel is 0."""
        ventricles, brain = (1000 * float(x) for x in volume.array.ravel()[:2])
        if not ventricles:
            raise DataError("no head")
        return Measures(ventricles, brain)


def image(*litres: float) -> Volume:
    array = np.zeros((2, 2, 2), np.float32)
    array.ravel()[: len(litres)] = litres
    return Volume(array, np.eye(4), scaled=True)


def test_volumes_asked_for_are_found_in_images_but_for_those_that_are_no_head() -> None:
    config = toy_config()
    names = [variable.name for variable in config.conditions]
    columns = [names.index(name) for name in VOLUMES]
    context = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    asked = [[config.conditions[c].denormalise(float(row[c])) for c in columns] for row in context]
    images = [image(v / 1000, b / 2000 + 0.1) for v, b in asked[:4]]
    figures = volume_figures(config, context, [*images, image()], FirstVoxels())
    assert figures["volumes/samples without a measure"] == 1
    assert figures["volumes/ventricular_volume_ml: slope"] == pytest.approx(1, abs=1e-4)
    assert figures["volumes/ventricular_volume_ml: mean absolute difference (mL)"] < 1e-3
    assert figures["volumes/brain_volume_ml: r"] == pytest.approx(1, abs=1e-4)
    assert figures["volumes/brain_volume_ml: slope"] == pytest.approx(0.5, abs=1e-3)
    off = np.mean([abs(100 - b / 2) for _, b in asked[:4]])
    found = figures["volumes/brain_volume_ml: mean absolute difference (mL)"]
    assert found == pytest.approx(off, rel=1e-4)
    assert figures["volumes/brain_volume_ml: of the segmenter itself (mL)"] == 12.5
    assert "volumes/ventricular_volume_ml: of the segmenter itself (mL)" not in figures


def test_where_no_image_is_a_head_or_no_condition_a_volume_no_agreement_is_claimed() -> None:
    context = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    none = volume_figures(toy_config(), context, [image(), image()], FirstVoxels())
    assert none == {"volumes/samples without a measure": 2}
    others = tuple(v for v in toy_config().conditions if not v.name.endswith("_ml"))
    assert volume_figures(toy_config(others), context, iter(()), FirstVoxels()) == {}
