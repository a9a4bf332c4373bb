"""Latents under noise, and made anew by a model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from brainldm import BrainLDM
from brainldm.sampling.predictions import pick_prediction
from brainldm.train.draws import Draw
from brainldm.train.remade import remade

DRAW = Draw(seed=0, step=0, position=3, of=9)


def test_who_knows_the_head_makes_it_again(
    model: BrainLDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that tells the noise from this head leaves the head, of each orientation."""
    torch.manual_seed(0)
    head = torch.randn(2, *model.config.latent.shape)
    context = torch.rand(4)
    seen: list[float] = []
    kind = model.config.schedule.prediction

    def predict(z: Tensor, t: float, asked: Tensor) -> Tensor:
        assert torch.equal(asked, context[None])
        seen.append(t)
        level = model.schedule.level(t)
        truth = head[[min(((z - level.alpha * h).norm().item(), i) for i, h in enumerate(head))[1]]]
        epsilon = (z - level.alpha * truth) / level.sigma
        output = {"epsilon": epsilon, "v": level.alpha * epsilon - level.sigma * truth}[kind]
        x0, _ = pick_prediction(kind)(output, z, level)
        assert (x0 - truth).abs().max() < 1e-3
        return output

    monkeypatch.setattr(model.networks, "predict", predict)
    again = remade(model, head, context, DRAW)
    assert (again - head).abs().max() < 1e-3
    # Each began at a level of its own choice, neither near the head nor far from it.
    later = next(i for i in range(1, len(seen)) if seen[i] > seen[i - 1])
    first = [model.schedule.level(seen[i]).alpha for i in (0, later)]
    assert all(0.005 < alpha < 0.8 for alpha in first)


def test_the_same_draw_gives_the_same_latents(model: BrainLDM) -> None:
    head, context = torch.randn(2, *model.config.latent.shape), torch.rand(4)
    found = remade(model, head, context, DRAW)
    assert found.shape == head.shape
    assert torch.equal(remade(model, head, context, DRAW), found)
    other = Draw(seed=0, step=0, position=4, of=9)
    assert (remade(model, head, context, other) - found).abs().max() > 1e-3
