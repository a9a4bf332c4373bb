"""The training loop of both stages: resumable to the bit, on one process or many (Accelerate)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from brainldm.errors import ModelError
from brainldm.train.draws import Draw
from brainldm.train.feed import Batch, Share, feed
from brainldm.train.learner import Learner
from brainldm.train.loop_settings import Training
from brainldm.train.monitor import Monitor
from brainldm.train.phases import Span
from brainldm.train.stage import Findings, Stage
from brainldm.train.state import load_state, save_state

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Trained:
    """What comes of a run: the averaged model's weights on the CPU, and what validation found.

    `weights` is empty on all processes but the first.
    """

    weights: dict[str, Tensor]
    findings: Findings


def fit(stage: Stage, accelerator: Accelerator, state: Path, monitor: Monitor) -> Trained:
    """Train, from the state that an earlier run left if there is one.

    Args:
        stage: what learns from what.
        accelerator: from `accelerated`.
        state: the file that keeps weights and optimisers.
        monitor: is told of every step.

    Returns:
        The averaged model.

    Raises:
        UsageError: a batch that the processes cannot share.
        DataError: a sample that cannot be read.
        ModelError: a loss that is not finite, or a state of other networks.
        StorageError: a state that cannot be written.
    """
    course = stage.course
    training, run = course.settings.training, course.settings.run
    share = Share(accelerator.process_index, accelerator.num_processes, run.micro_batch)
    for span in course.spans:  # what cannot be shared is refused before anything is learned
        share.draws(training.seed, 0, span.settings.training.batch_size)
    learners = _learners(stage, accelerator)
    model = next(iter(learners.values()))
    start = saved = load_state(state, learners, accelerator)
    draws = (
        share.draws(training.seed, step, course.at(step).settings.training.batch_size)
        for step in range(start, training.steps)
    )
    monitor.begin(start, training.steps)
    steps = feed(stage.samples, draws, run.workers, accelerator.device)
    for step, batches in enumerate(steps, start):
        span = course.at(step)
        reported: dict[str, Tensor] = {}
        for name, learner in learners.items():
            if not stage.learns(name, step):
                continue
            rate = stage.learning_rate(name, step) * _pace(step, span)
            learner.prepare(rate, span.settings.training)
            reported |= _backward(stage, name, learners, batches, step, accelerator)
            norm = learner.clip(span.settings.training.gradient_norm, accelerator)
            losses = _everywhere(reported, accelerator)
            scaled = accelerator.scaler is not None  # which skips a step that overflows
            if not all(map(_finite, losses.values())) or not (scaled or _finite(norm)):
                raise _diverged(stage, step, losses, norm, state, saved)
            learner.step()
        model.average(_decay(step, span.settings.training))
        monitor.step(step + 1, losses)
        ended = step + 1 == training.steps
        if ended or (step + 1) % run.save_every == 0:
            save_state(state, step + 1, learners, accelerator)
            saved = step + 1
        if not ended and (step + 1) % run.validate_every == 0:
            with _looking(model, accelerator) as network:
                monitor.findings(step + 1, stage.validate(network, step + 1))
    with _looking(model, accelerator) as network:
        findings = stage.validate(network, training.steps)
        weights = model.weights()
    monitor.findings(training.steps, findings)
    return Trained(weights, findings)


def _learners(stage: Stage, accelerator: Accelerator) -> dict[str, Learner]:
    """All networks of a stage; the first is the model, whose weights may be averaged."""
    averages = any(span.settings.training.ema_decay for span in stage.course.spans)
    optimiser = stage.course.settings.training.optimiser
    model = next(iter(stage.networks))
    return {
        name: Learner.of(
            network,
            optimiser,
            stage.gentle(name),
            averages and name == model,
            accelerator,
            stage.blend if name == model else 1.0,
        )
        for name, network in stage.networks.items()
    }


def _backward(
    stage: Stage,
    name: str,
    learners: Mapping[str, Learner],
    batches: Sequence[Batch],
    step: int,
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """Gradients of a network over the parts of a batch, and the mean of its losses."""
    networks = {each: learner.network for each, learner in learners.items()}
    reported: dict[str, Tensor] = {}
    for i, batch in enumerate(batches, 1):
        last = i == len(batches)  # only then do processes exchange gradients
        with contextlib.nullcontext() if last else accelerator.no_sync(networks[name]):
            parts = stage.loss(name, networks, batch, step)
            accelerator.backward(parts["loss"] / len(batches))
        for key, value in parts.items():
            each = value.detach() / len(batches)
            reported[f"{name}/{key}"] = reported.get(f"{name}/{key}", 0) + each
    return reported


@contextlib.contextmanager
def _looking(model: Learner, accelerator: Accelerator) -> Iterator[nn.Module]:
    """The averaged model, without gradients."""
    with model.averaged(), torch.no_grad():
        yield accelerator.unwrap_model(model.network)


def _everywhere(values: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """The mean over all processes."""
    stacked = torch.stack([value.float() for value in values.values()])
    means: Any = accelerator.reduce(stacked, reduction="mean")
    return dict(zip(values, means.tolist(), strict=True))


def _finite(value: float) -> bool:
    return abs(value) < float("inf")  # false for NaN too


def _diverged(
    stage: Stage, step: int, losses: Mapping[str, float], norm: float, state: Path, saved: int
) -> ModelError:
    training = stage.course.at(step).settings.training
    seed, size = stage.course.settings.training.seed, training.batch_size
    subjects = [stage.samples.subject(Draw(seed, step, i, size)) for i in range(size)]
    values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    kept = f"{state} keeps the state after step {saved}" if saved else "Nothing was saved before it"
    return ModelError(
        f"Training diverged at step {step + 1}: {values}, gradient norm {norm:g}, where finite "
        f"numbers were expected. The batch: {', '.join(dict.fromkeys(subjects))}. {kept}. Look at "
        "these images; if they are sound, start a new run with a lower training.learning_rate or "
        "with training.precision=float32."
    )


def _decay(step: int, training: Training) -> float:
    return min(training.ema_decay, (1 + step) / (10 + step))


def _pace(step: int, span: Span[Any]) -> float:
    """The learning rate at a step, as a part of its phase's highest."""
    training, done = span.settings.training, step - span.first
    pace = min(1.0, (done + 1) / training.warmup) if training.warmup else 1.0
    if training.fall:
        pace = min(pace, (span.steps - done) / (training.fall * span.steps))
    return pace
