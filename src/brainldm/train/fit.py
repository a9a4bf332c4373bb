"""The training loop of both stages: resumable to the bit, on one process or many (Accelerate)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from brainldm.errors import BrainLDMError, require
from brainldm.models.device import pick_device, pick_dtype
from brainldm.train.draws import Draw, prefetch
from brainldm.train.monitor import Monitor
from brainldm.train.settings import Training
from brainldm.train.stage import Batch, Findings, Stage
from brainldm.train.state import Learner, load_state, save_state

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
        The averaged model (AdamW, Loshchilov and Hutter 2017, 1711.05101; averages as in Ho et al.
        2020, 2006.11239).

    Raises:
        BrainLDMError: a batch that the processes cannot share, a loss that is not finite, a sample
            that cannot be read, or a state that cannot be written.
    """
    training, run = stage.training, stage.run
    share, micro = _shares(training.batch_size, accelerator.num_processes, run.micro_batch)
    learners = {
        name: _learner(stage, name, network, accelerator)
        for name, network in stage.networks.items()
    }
    model = next(iter(learners.values()))
    start = load_state(state, learners, accelerator)
    first = accelerator.process_index * share
    steps = (
        [Draw(training.seed, step, first + i, training.batch_size) for i in range(share)]
        for step in range(start, training.steps)
    )
    wrapped = {name: learner.network for name, learner in learners.items()}
    saved = start
    monitor.begin(start, training.steps)
    for step, samples in enumerate(prefetch(stage.load, steps, run.workers), start):
        batches = [
            _stack(samples[i : i + micro], accelerator.device) for i in range(0, share, micro)
        ]
        reported: dict[str, Tensor] = {}
        for name, learner in learners.items():
            if not stage.learns(name, step):
                continue
            learner.set_rate(stage.learning_rate(name) * _pace(step, training))
            for i, batch in enumerate(batches, 1):
                last = i == len(batches)
                with contextlib.nullcontext() if last else accelerator.no_sync(learner.network):
                    parts = stage.loss(name, wrapped, batch, step)
                    accelerator.backward(parts["loss"] / len(batches))
                for key, value in parts.items():
                    each = value.detach() / len(batches)
                    reported[f"{name}/{key}"] = reported.get(f"{name}/{key}", 0) + each
            norm = learner.clip(training.gradient_norm, accelerator)
            losses = _everywhere(reported, accelerator)
            scaled = accelerator.scaler is not None  # which skips a step that overflows
            if not all(map(_finite, losses.values())) or not (scaled or _finite(norm)):
                raise _diverged(stage, step, losses, norm, state, saved)
            learner.step()
        model.average(_decay(step, training))
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


@contextlib.contextmanager
def _looking(model: Learner, accelerator: Accelerator) -> Iterator[nn.Module]:
    """The averaged model, without gradients."""
    with model.averaged(), torch.no_grad():
        yield accelerator.unwrap_model(model.network)


def _learner(stage: Stage, name: str, network: nn.Module, accelerator: Accelerator) -> Learner:
    slow = {id(p) for p in stage.gentle(name)}
    learning = [p for p in network.parameters() if p.requires_grad]
    fast = [p for p in learning if id(p) not in slow]
    gentle = [p for p in learning if id(p) in slow]
    groups = [{"params": fast, "pace": 1.0}, {"params": gentle, "pace": 0.1}]
    optimiser = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=0.0,
        betas=(0.9, stage.training.beta2),
        weight_decay=stage.training.weight_decay,
    )
    prepared, wrapped = accelerator.prepare(network, optimiser)
    is_model = name == next(iter(stage.networks))
    return Learner(prepared, wrapped, averages=is_model and stage.training.ema_decay > 0)


def _shares(size: int, processes: int, micro: int | None) -> tuple[int, int]:
    """How many samples a process takes at a step, and at a time."""
    share, rest = divmod(size, processes)
    if rest:
        raise BrainLDMError(
            f"A batch of {size} cannot be shared by {processes} processes: expected a multiple. "
            "Start another number of processes, or change training.batch_size (and with it the "
            "result)."
        )
    if share % (micro or share):
        raise BrainLDMError(
            f"The {share} samples of a process cannot be taken {micro} at a time: expected a "
            "divisor. Change run.micro_batch."
        )
    return share, micro or share


def _stack(samples: Sequence[Batch], device: torch.device) -> Batch:
    return {key: torch.stack([sample[key] for sample in samples]).to(device) for key in samples[0]}


def _everywhere(values: dict[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """The mean over all processes."""
    stacked = torch.stack([value.float() for value in values.values()])
    means: Any = accelerator.reduce(stacked, reduction="mean")
    return dict(zip(values, means.tolist(), strict=True))


def _finite(value: float) -> bool:
    return abs(value) < float("inf")  # false for NaN too


def _diverged(
    stage: Stage, step: int, losses: dict[str, float], norm: float, state: Path, saved: int
) -> BrainLDMError:
    size, seed = stage.training.batch_size, stage.training.seed
    subjects = [stage.subject(Draw(seed, step, i, size)) for i in range(size)]
    values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    kept = f"{state} keeps the state after step {saved}" if saved else "Nothing was saved before it"
    return BrainLDMError(
        f"Training diverged at step {step + 1}: {values}, gradient norm {norm:g}, where finite "
        f"numbers were expected. The batch: {', '.join(dict.fromkeys(subjects))}. {kept}. Look at "
        "these images; if they are sound, start a new run with a lower training.learning_rate or "
        "with training.precision=float32."
    )


def _decay(step: int, training: Training) -> float:
    return min(training.ema_decay, (1 + step) / (10 + step))


def _pace(step: int, training: Training) -> float:
    pace = min(1.0, (step + 1) / training.warmup) if training.warmup else 1.0
    if training.fall:
        pace = min(pace, (training.steps - step) / (training.fall * training.steps))
    return pace


@contextlib.contextmanager
def accelerated(
    training: Training, device: str = "auto", tracker: str | None = None, folder: Path | None = None
) -> Iterator[Accelerator]:
    """Accelerate for one run; torchrun, Slurm or `accelerate launch` say how many processes.

    Args:
        training: its precision is used.
        device: "auto", "cpu" or "cuda".
        tracker: "tensorboard", "wandb" or another of Accelerate's; "none" or None for none.
        folder: where the tracker writes, once `init_trackers` is called.

    Raises:
        BrainLDMError: a device that is not there, a precision that it lacks, or a tracker that
            Accelerate cannot start.
        MissingExtraError: Accelerate or TensorBoard is not installed.
    """
    require("train", "Training", "accelerate")
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import ProjectConfiguration

    place = pick_device(device)
    dtype = pick_dtype(training.precision, place)
    precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "no")
    log_with = None if tracker in (None, "none") else tracker
    if log_with == "tensorboard":
        require("train", "Logging to TensorBoard", "tensorboard")
    installed = {tracker.value for tracker in get_available_trackers()}
    if log_with in LOGGER_TYPE_TO_CLASS and log_with not in installed:
        raise BrainLDMError(
            f"run.tracker is {log_with}, which is not installed: install its package, or choose "
            "another one, or none."
        )
    AcceleratorState._reset_state()  # of an earlier run in this program
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            cpu=place.type == "cpu",
            log_with=log_with,
            project_config=ProjectConfiguration(project_dir=str(folder) if folder else None),
        )
    except ValueError as error:
        raise BrainLDMError(
            f"Accelerate cannot start: {error}. Expected settings that suit this machine; look at "
            "run.tracker and training.precision."
        ) from error
    try:
        yield accelerator
    finally:
        accelerator.end_training()
