"""The training loop that both stages share: seeded, resumable, with averaged weights."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from brainldm.files import write_together

Network = TypeVar("Network", bound=nn.Module)
SAVE_EVERY = 180.0
"""Seconds between two saved states."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast.

    Args:
        steps: optimiser steps in all.
        learning_rate: the highest.
        warmup: the steps over which the learning rate rises to it.
        fall: the last fraction of all steps, over which it falls to 0.
        beta2: of AdamW.
        ema_decay: how much of the averaged weights each step keeps (less at the start).
        seed: of the start and of every random draw on the way.
    """

    steps: int
    learning_rate: float
    warmup: int = 200
    fall: float = 0.5
    beta2: float = 0.999
    ema_decay: float = 0.999
    seed: int = 0


def fit(
    model: Network,
    loss: Callable[[Network, int], Tensor],
    recipe: Recipe,
    state: Path,
    log: Callable[[str], None],
    gentle: Iterable[nn.Parameter] = (),
) -> Network:
    """Train, from the state that an earlier run left if there is one.

    Args:
        model: initialised; its weights are changed.
        loss: (model, step) -> a scalar; draws from torch's global generator, which is seeded for
            each step, so that a resumed run draws what an uninterrupted one would.
        recipe: how long and how fast.
        state: the file that keeps weights and optimiser.
        log: takes a line now and then.
        gentle: parameters that learn at a tenth of the rate, and do not count for the norm to which
            gradients are clipped.

    Returns:
        The averaged model (AdamW, Loshchilov and Hutter 2017, 1711.05101; averages as in Ho et al.
        2020, 2006.11239).
    """
    model.requires_grad_()
    average = copy.deepcopy(model).requires_grad_(False)
    slow = {id(p) for p in gentle}
    groups = [
        [p for p in model.parameters() if (id(p) in slow) == is_slow] for is_slow in (False, True)
    ]
    optimiser = torch.optim.AdamW(
        [{"params": group, "pace": pace} for group, pace in zip(groups, (1.0, 0.1), strict=True)],
        betas=(0.9, recipe.beta2),
        weight_decay=1e-4,
    )
    start = _resume(state, model, average, optimiser)
    saved = logged = time.monotonic()
    recent: list[float] = []
    for step in range(start, recipe.steps):
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = group["pace"] * recipe.learning_rate * _pace(step, recipe)
        value = loss(model, step)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(groups[0], 1.0)
        optimiser.step()
        decay = min(recipe.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 1 - decay)
        recent.append(value.item())
        now = time.monotonic()
        last = step + 1 == recipe.steps
        if last or now - logged > 30:
            pace = (now - logged) / len(recent)
            mean = sum(recent) / len(recent)
            log(f"step {step + 1}/{recipe.steps}  loss {mean:.5f}  {pace:.3f} s a step")
            logged, recent = now, []
        if last or now - saved > SAVE_EVERY:
            _save(state, model, average, optimiser, step + 1)
            saved = now
    return average


def _pace(step: int, recipe: Recipe) -> float:
    pace = min(1.0, (step + 1) / recipe.warmup)
    if recipe.fall:
        pace = min(pace, (recipe.steps - step) / (recipe.fall * recipe.steps))
    return pace


def _save(
    path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, step: int
) -> None:
    content = io.BytesIO()
    torch.save(
        {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
        },
        content,
    )
    write_together({path: content.getvalue()})


def _resume(
    path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
