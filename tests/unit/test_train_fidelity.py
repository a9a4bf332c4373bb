"""Conditions read off latents: leaving one out in closed form, and what the figures tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from brainldm.train.fidelity import LAMBDAS, ConditionReader


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
