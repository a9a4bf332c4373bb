"""The training loop: it learns, goes on bitwise after any interruption, and stops without loss."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from brainldm.config import AutoencoderConfig
from brainldm.errors import BrainLDMError
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.train.checkpointing import checkpoint_blocks
from brainldm.train.draws import AHEAD, Draw, prefetch
from brainldm.train.fit import Trained, accelerated, fit
from brainldm.train.monitor import Monitor, Progress
from brainldm.train.run import train_autoencoder, train_diffusion
from brainldm.train.settings import (
    AutoencoderSettings,
    DiffusionSettings,
    Running,
    Training,
    load_settings,
)
from brainldm.train.stage import Batch, Stage
from brainldm.train.state import Learner
from tests.conftest import ROOT
from tests.prepared import write_prepared
from tests.toy import lively_unet

TRAINING = Training(steps=60, batch_size=8, learning_rate=0.05, warmup=5, ema_decay=0.9, held_out=0)
QUIET = ("run.tracker=none", "run.validate_every=100")


class Interrupted(Exception):
    pass


class Line(Stage):
    """Learns that y is the sum of x; `spoil` may change the loss of a step."""

    def __init__(
        self,
        training: Training = TRAINING,
        spoil: Callable[[int, Tensor], Tensor] = lambda step, loss: loss,
        width: int = 3,
        **run: Any,
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = nn.Linear(width, 1)
        super().__init__({"line": network}, training, Running(save_every=10, **run))
        self.spoil = spoil

    def load(self, draw: Draw) -> Batch:
        x = torch.randn(3, generator=draw.generator("x"))
        return {"x": x, "y": x.sum(0, keepdim=True)}

    def subject(self, draw: Draw) -> str:
        return f"sub-{draw.index(12):02d}"

    def loss(
        self, name: str, networks: Mapping[str, nn.Module], batch: Batch, step: int
    ) -> dict[str, Tensor]:
        loss = (networks[name](batch["x"]) - batch["y"]).square().mean()
        return {"loss": self.spoil(step, loss)}


def train(stage: Stage, state: Path, progress: Progress | None = None) -> Trained:
    with accelerated(stage.training, "cpu") as accelerator:
        return fit(stage, accelerator, state, Monitor(accelerator, progress))


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal bitwise."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def read(state: Path) -> Any:
    return torch.load(state, weights_only=True)


def test_it_learns(tmp_path: Path) -> None:
    trained = train(Line(TRAINING.model_copy(update={"steps": 400})), tmp_path / "state.pt")
    assert (trained.weights["weight"] - 1).abs().max() < 0.02


@pytest.mark.parametrize("stop", [0, 7, 9, 10, 59])
def test_an_interruption_at_any_step_changes_nothing(stop: int, tmp_path: Path) -> None:
    whole = train(Line(), tmp_path / "whole.pt")

    def interrupt(step: int, loss: Tensor) -> Tensor:
        if step == stop:
            raise Interrupted
        return loss

    with pytest.raises(Interrupted):
        train(Line(spoil=interrupt), tmp_path / "parts.pt")
    steps: list[int] = []
    parts = train(Line(), tmp_path / "parts.pt", lambda done, total, losses: steps.append(done))
    assert steps[0] == stop // 10 * 10  # it went on from the last state
    assert same(parts.weights, whole.weights)
    assert same(read(tmp_path / "parts.pt"), read(tmp_path / "whole.pt"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("data"))


def settings(*changes: str) -> AutoencoderSettings:
    """Of stage 1, with a discriminator that begins at step 4."""
    adversarial = "loss.adversarial={weight: 0.1, start: 4, layers: 1, channels: 4}"
    rate = "loss.adversarial.learning_rate=1e-3"
    return load_settings("tiny", AutoencoderSettings, [adversarial, rate, *QUIET, *changes])


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stage 1 without interruption."""
    return train_autoencoder(data, settings(), tmp_path_factory.mktemp("runs") / "first")


def interrupt_at(stop: int) -> Progress:
    def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
        if done == stop:
            raise Interrupted

    return progress


def test_stage_1_goes_on_bitwise(data: Path, first: Path, tmp_path: Path) -> None:
    for stop in (3, 8):  # before the discriminator has an optimiser's state, and after
        with pytest.raises(Interrupted):
            train_autoencoder(data, settings(), tmp_path / "run", progress=interrupt_at(stop))
    train_autoencoder(data, settings(), tmp_path / "run")
    state = read(first / "state.pt")
    assert {"autoencoder average", "autoencoder optimiser", "discriminator optimiser"} <= set(state)
    assert same(read(tmp_path / "run" / "state.pt"), state)
    for name in ("autoencoder.safetensors", "autoencoder.json", "README.md", "run.json"):
        assert (tmp_path / "run" / name).read_bytes() == (first / name).read_bytes()


def test_stage_2_goes_on_bitwise(data: Path, first: Path, tmp_path: Path) -> None:
    changes = (*QUIET, "condition_dropout=0.3", "training.steps=8", "run.save_every=3")
    diffusion = load_settings("tiny", DiffusionSettings, changes)
    whole, parts = tmp_path / "a" / "run", tmp_path / "b" / "run"
    train_diffusion(data, diffusion, whole, autoencoder=first)
    with pytest.raises(Interrupted):
        train_diffusion(data, diffusion, parts, autoencoder=first, progress=interrupt_at(5))
    train_diffusion(data, diffusion, parts, autoencoder=first)
    assert same(read(parts / "state.pt"), read(whole / "state.pt"))
    for file in (whole / "models").iterdir():
        assert (parts / "models" / file.name).read_bytes() == file.read_bytes()


KILLED = """
import os, signal, sys
from brainldm.train.run import train_autoencoder
from tests.unit.test_train_loop import settings

fsyncs = 0

def fsync(number):  # a state is written, but not yet in its place
    global fsyncs
    fsyncs += 1
    if fsyncs == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

def progress(done, total, losses):
    if done == int(sys.argv[3]):
        os._exit(9)

os.fsync = fsync
train_autoencoder(sys.argv[1], settings(), sys.argv[2], progress=progress)
"""


def test_a_killed_process_goes_on_bitwise(data: Path, first: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stop = random.randint(6, 9)
    places = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    # The second process is killed as it writes its second state, the run's last one.
    for step, fsyncs, code, kept in ((stop, 99, 9, 5), (99, 2, -signal.SIGKILL, 10)):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(data), str(out), str(step), str(fsyncs)],
            env={**os.environ, "PYTHONPATH": places},
            capture_output=True,
            text=True,
            check=False,
        )
        assert killed.returncode == code, killed.stderr
        assert read(out / "state.pt")["step"] == kept, stop
    train_autoencoder(data, settings(), out)
    assert same(read(out / "state.pt"), read(first / "state.pt"))
    assert not list(out.glob(".*"))


def test_a_batch_in_parts_is_the_whole_batch(data: Path, first: Path, tmp_path: Path) -> None:
    whole = train(Line(), tmp_path / "whole.pt").weights["weight"]
    for micro in (1, 4):
        parts = train(Line(micro_batch=micro), tmp_path / f"{micro}.pt").weights["weight"]
        assert (parts - whole).abs().max() < 1e-6
    run = train_autoencoder(data, settings("run.micro_batch=1"), tmp_path / "run")
    a, b = (load_file(folder / "autoencoder.safetensors") for folder in (run, first))
    worst = max((a[key] - b[key]).norm() / b[key].norm().clamp(min=1e-3) for key in b)
    assert worst < 1e-4


@pytest.mark.parametrize("name", ["autoencoder", "unet"])
def test_activation_checkpointing_gives_the_same_gradients(name: str) -> None:
    torch.manual_seed(0)
    if name == "autoencoder":
        config = AutoencoderConfig(channels=(4, 8), norm_num_groups=2, num_res_blocks=1)
        network, inputs = AutoencoderKL(config), (torch.rand(1, 1, 8, 8, 8), torch.tensor(0.5))
    else:
        network, inputs = (
            lively_unet(1, 4),
            (torch.randn(1, 5, 4, 4, 4), torch.ones(1), torch.rand(1, 1, 4)),
        )
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            checkpoint_blocks(network)
        network.zero_grad()
        output = network(*inputs)
        result = output if isinstance(output, Tensor) else output[0]
        result.square().sum().backward()
        gradients.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    assert gradients[0]
    assert same(*gradients)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda loss: loss * float("nan"),
        lambda loss: loss * 1e38 * 1e38,
        lambda loss: (loss * 0).sqrt(),  # 0, whose gradient is not finite
    ],
)
def test_divergence_stops_and_keeps_the_last_good_state(
    spoilt: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    def spoil(step: int, loss: Tensor) -> Tensor:
        return spoilt(loss) if step == 25 else loss

    state = tmp_path / "state.pt"
    with pytest.raises(BrainLDMError) as error:
        train(Line(spoil=spoil), state)
    message = str(error.value)
    draws = [Draw(0, 25, i, 8) for i in range(8)]
    assert "diverged at step 26: line/loss" in message
    subjects = dict.fromkeys(Line().subject(draw) for draw in draws)
    assert f"The batch: {', '.join(subjects)}. " in message
    assert f"{state} keeps the state after step 20" in message
    assert read(state)["step"] == 20
    assert same(train(Line(), state).weights, train(Line(), tmp_path / "whole.pt").weights)


def test_divergence_before_anything_was_saved(tmp_path: Path) -> None:
    with pytest.raises(BrainLDMError, match=r"at step 1: .* Nothing was saved before it"):
        train(Line(spoil=lambda step, loss: loss * float("nan")), tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), RuntimeError("zip")])
def test_a_full_disk_keeps_the_earlier_state(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = torch.save, 0

    def half(content: object, file: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            file.write(b"half of it")
            raise failure
        save(content, file)

    state = tmp_path / "state.pt"
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(BrainLDMError, match=r"Cannot write the state .* earlier one is kept"):
            train(Line(), state)
    assert read(state)["step"] == 20
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert same(train(Line(), state).weights, train(Line(), tmp_path / "whole.pt").weights)


@pytest.mark.parametrize(("writes", "step"), [(0, 10), (1, 12)], ids=["state", "autoencoder"])
def test_a_full_disk_at_the_end_loses_nothing(
    writes: int,
    step: int,
    data: Path,
    first: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = writes

    def full(number: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
        if done == total:
            monkeypatch.setattr(os, "fsync", full)

    out = tmp_path / "run"
    with pytest.raises(BrainLDMError, match="No space left on device"):
        train_autoencoder(data, settings(), out, progress=progress)
    monkeypatch.undo()
    assert sorted(path.name for path in out.iterdir()) == ["run.json", "state.pt"]
    assert read(out / "state.pt")["step"] == step
    train_autoencoder(data, settings(), out)
    assert same(read(out / "state.pt"), read(first / "state.pt"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "stage"),
    [
        (cut, Line()),
        (lambda path: path.write_bytes(b""), Line()),
        (lambda path: torch.save({"step": 3}, path), Line()),
        (lambda path: None, Line(width=4)),
    ],
    ids=["cut", "empty", "nothing in it", "other network"],
)
def test_a_state_that_does_not_fit(
    damage: Callable[[Path], object], stage: Stage, tmp_path: Path
) -> None:
    state = tmp_path / "state.pt"
    train(Line(TRAINING.model_copy(update={"steps": 10})), state)
    damage(state)
    with pytest.raises(BrainLDMError, match=r"Cannot go on from .*state\.pt: .* Remove the file"):
        train(stage, state)


def test_a_state_is_read_without_running_code(tmp_path: Path) -> None:
    torch.save({"step": 3, "line weights": Interrupted}, tmp_path / "state.pt")
    with pytest.raises(BrainLDMError, match="Cannot go on from"):
        train(Line(), tmp_path / "state.pt")


@pytest.mark.parametrize(
    ("processes", "micro", "message"),
    [
        (3, None, "A batch of 8 cannot be shared by 3 processes: expected a multiple"),
        (2, 3, "The 4 samples of a process cannot be taken 3 at a time: expected a divisor"),
    ],
)
def test_a_batch_that_cannot_be_shared(
    processes: int, micro: int | None, message: str, tmp_path: Path
) -> None:
    accelerator: Any = SimpleNamespace(num_processes=processes)
    with pytest.raises(BrainLDMError, match=message):
        fit(Line(micro_batch=micro), accelerator, tmp_path / "state.pt", Monitor.__new__(Monitor))


def test_the_rate_rises_and_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    monkeypatch.setattr(Learner, "set_rate", lambda self, rate: rates.append(rate))
    training = Training(steps=20, batch_size=2, learning_rate=2, warmup=4, fall=0.5, held_out=0)
    train(Line(training), tmp_path / "state.pt")
    rising, falling = [0.5, 1, 1.5], [2 * i / 10 for i in range(10, 0, -1)]
    assert rates == pytest.approx([*rising, *[2] * 7, *falling])


def test_the_result_is_the_average_of_the_weights(tmp_path: Path) -> None:
    stage = Line(TRAINING.model_copy(update={"steps": 15}))
    mean = stage.networks["line"].weight.detach().clone()

    def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
        if done:
            step = done - 1
            mean.lerp_(
                stage.networks["line"].weight.detach(), 1 - min(0.9, (1 + step) / (10 + step))
            )

    weights = train(stage, tmp_path / "state.pt", progress).weights
    assert torch.allclose(weights["weight"], mean, atol=1e-6)
    assert not torch.allclose(stage.networks["line"].weight, mean, atol=1e-3)


def test_gentle_parameters_learn_at_a_tenth_of_the_rate(tmp_path: Path) -> None:
    class Gentle(Line):
        def gentle(self, name: str) -> list[nn.Parameter]:
            return [self.networks[name].get_parameter("bias")]

    stage = Gentle(Training(steps=1, batch_size=8, learning_rate=0.01, held_out=0))
    before = {k: v.clone() for k, v in stage.networks["line"].state_dict().items()}
    after = train(stage, tmp_path / "state.pt").weights
    # The first step of Adam is as long as the rate.
    for name, rate in (("weight", 0.01), ("bias", 0.001)):
        assert torch.allclose((after[name] - before[name]).abs(), torch.tensor(rate), rtol=1e-3)


@pytest.mark.parametrize("count", [4, 7, 12])
def test_each_sample_comes_once_an_epoch_on_any_number_of_processes(count: int) -> None:
    def drawn(processes: int) -> list[int]:
        share = 4 // processes
        return [
            Draw(0, step, process * share + i, 4).index(count)
            for step in range(3 * count)
            for process in range(processes)
            for i in range(share)
        ]

    one = drawn(1)
    assert drawn(2) == drawn(4) == one
    epochs = [one[i : i + count] for i in range(0, len(one), count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_what_a_sample_draws_depends_on_its_place_and_purpose() -> None:
    def numbers(draw: Draw, purpose: str) -> tuple[float, ...]:
        return tuple(torch.rand(3, generator=draw.generator(purpose)).tolist())

    different = {
        numbers(Draw(seed, step, place, 8), purpose)
        for seed in (0, 1)
        for step in (0, 1)
        for place in (0, 1)
        for purpose in ("noise", "time")
    }
    assert len(different) == 16
    assert numbers(Draw(0, 1, 1, 8), "noise") == numbers(Draw(0, 1, 1, 8), "noise")


def test_samples_are_read_a_little_ahead_and_in_order() -> None:
    begun: list[int] = []

    def steps() -> Any:
        for step in range(50):
            begun.append(step)
            yield [Draw(0, step, i, 2) for i in range(2)]

    samples = prefetch(lambda draw: (draw.step, draw.position), steps(), workers=3)
    assert next(samples) == [(0, 0), (0, 1)]
    assert len(begun) == AHEAD + 1
    assert [step[0][0] for step in samples] == list(range(1, 50))


def test_a_sample_that_cannot_be_read_stops_training(tmp_path: Path) -> None:
    class Broken(Line):
        def load(self, draw: Draw) -> Batch:
            if draw.step == 12:
                raise BrainLDMError("sub-07 is damaged")
            return super().load(draw)

    with pytest.raises(BrainLDMError, match="sub-07 is damaged"):
        train(Broken(), tmp_path / "state.pt")
    assert read(tmp_path / "state.pt")["step"] == 10
