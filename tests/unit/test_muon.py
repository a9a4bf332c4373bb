"""Muon: steps of layers' weights are orthogonal, those of all else AdamW's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from brainldm.train.muon import RMS, Muon, orthogonal


@given(rows=st.integers(1, 24), columns=st.integers(1, 24), seed=st.integers(0, 2**32 - 1))
def test_singular_values_come_near_1(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ orthogonal(matrix) @ vh.T
    assert (turned - turned.diag().diag()).abs().max() < 1e-6  # its singular vectors are kept
    large = s > 0.01 * s.norm()
    assert turned.diag()[large].min() > 0.6
    assert turned.diag().max() < 1.3


def test_no_gradient_is_no_step() -> None:
    assert not orthogonal(torch.zeros(3, 4)).any()


def one_step(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """What a step at a rate of 0.1 adds to a weight."""
    parameter = nn.Parameter(weight.clone())
    optimiser = Muon([parameter], lr=0.1, weight_decay=0.0)
    parameter.grad = gradient.clone()
    optimiser.step()
    return parameter.detach() - weight


def test_a_convolution_steps_as_the_matrix_of_its_outputs() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(6, 2, 3, 3, 3, generator=generator) for _ in range(2))
    step = one_step(weight, gradient)
    assert (step.flatten(1) - one_step(weight.flatten(1), gradient.flatten(1))).abs().max() < 1e-6
    expected = -0.1 * RMS * 54**0.5 * orthogonal(gradient.flatten(1))
    assert (step.flatten(1) - expected).abs().max() < 1e-5
    # A gradient's size does not matter, and steps have the size of AdamW's.
    assert (step - one_step(weight, 1000 * gradient)).abs().max() < 1e-5
    assert 0.1 < step.square().mean().sqrt() / 0.1 < 0.25


def test_a_bias_steps_as_with_adamw() -> None:
    weight, gradient = torch.zeros(3), torch.tensor([1.0, -2.0, 0.0])
    assert (one_step(weight, gradient) - torch.tensor([-0.1, 0.1, 0.0])).abs().max() < 1e-6


def test_weights_decay_by_the_rate() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimiser = Muon([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.zeros(2, 2)
    optimiser.step()
    assert parameter.tolist() == [[pytest.approx(0.95)] * 2] * 2
