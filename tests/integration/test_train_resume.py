"""A run goes on bitwise after any interruption, and a full disk loses nothing."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from brainldm.errors import ModelError, StorageError
from brainldm.files.filling import LOCK
from brainldm.train.stage import Stage
from tests.conftest import ROOT
from tests.learning import (
    Interrupted,
    Line,
    interrupt_at,
    read,
    same,
    train,
    train_first,
    train_second,
)
from tests.prepared import write_prepared


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("stop", [0, 7, 9, 10, 59])
def test_an_interruption_at_any_step_changes_nothing(
    stop: int, optimiser: str, tmp_path: Path
) -> None:
    chosen = f"training.optimiser={optimiser}"
    whole = train(Line(chosen), tmp_path / "whole.pt")

    def interrupt(step: int, loss: Tensor) -> Tensor:
        if step == stop:
            raise Interrupted
        return loss

    with pytest.raises(Interrupted):
        train(Line(chosen, spoil=interrupt), tmp_path / "parts.pt")
    steps: list[int] = []
    parts = train(
        Line(chosen), tmp_path / "parts.pt", lambda done, total, losses: steps.append(done)
    )
    assert steps[0] == stop // 10 * 10  # it went on from the last state
    assert same(parts.weights, whole.weights)
    assert (tmp_path / "parts.pt").read_bytes() == (tmp_path / "whole.pt").read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of stage 1 without interruption."""
    return train_first(data, tmp_path_factory.mktemp("runs") / "first")


def test_stage_1_goes_on_bitwise(data: Path, first: Path, tmp_path: Path) -> None:
    for stop in (3, 8):  # before the discriminator has an optimiser's state, and after
        with pytest.raises(Interrupted):
            train_first(data, tmp_path / "run", progress=interrupt_at(stop))
    train_first(data, tmp_path / "run")
    state = read(first / "state.pt")
    assert {"autoencoder average", "autoencoder optimiser", "discriminator optimiser"} <= set(state)
    assert same(read(tmp_path / "run" / "state.pt"), state)
    assert_same_files(tmp_path / "run", first)


def assert_same_files(folder: Path, other: Path) -> None:
    """All files of two runs are the same, byte by byte."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert sorted(files) == sorted(
        path.relative_to(other) for path in other.rglob("*") if path.is_file()
    )
    for file in files:
        assert (folder / file).read_bytes() == (other / file).read_bytes(), file


def test_stage_2_goes_on_bitwise(data: Path, first: Path, tmp_path: Path) -> None:
    changes = ("condition_dropout=0.3", "training.steps=8", "run.save_every=3")
    whole, parts = tmp_path / "a" / "run", tmp_path / "b" / "run"
    train_second(data, whole, first, *changes)
    with pytest.raises(Interrupted):
        train_second(data, parts, first, *changes, progress=interrupt_at(5))
    train_second(data, parts, first, *changes)
    assert same(read(parts / "state.pt"), read(whole / "state.pt"))
    assert_same_files(parts, whole)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.learning import train_first

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
train_first(Path(sys.argv[1]), Path(sys.argv[2]), progress=progress)
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
    train_first(data, out)
    assert same(read(out / "state.pt"), read(first / "state.pt"))
    assert_same_files(out, first)


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
        with pytest.raises(StorageError, match=r"Cannot write the state .* earlier one is kept"):
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
    with pytest.raises(StorageError, match="No space left on device"):
        train_first(data, out, progress=progress)
    monkeypatch.undo()
    assert {path.name for path in out.iterdir()} == {LOCK, "run.json", "state.pt"}
    assert read(out / "state.pt")["step"] == step
    train_first(data, out)
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
    train(Line("training.steps=10"), state)
    damage(state)
    with pytest.raises(ModelError, match=r"Cannot resume from .*state\.pt: .* Remove the file"):
        train(stage, state)


def test_a_state_is_read_without_running_code(tmp_path: Path) -> None:
    torch.save({"step": 3, "line weights": Interrupted}, tmp_path / "state.pt")
    with pytest.raises(ModelError, match="Cannot resume from"):
        train(Line(), tmp_path / "state.pt")
