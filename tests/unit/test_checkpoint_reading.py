"""One file of weights: what is read, and what is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from brainldm.checkpoint import load_into, read_state_dict
from brainldm.errors import BrainLDMError

STATE = {"a.weight": torch.arange(3000.0), "a.bias": torch.ones(3)}


def assert_is_state(state: dict[str, Tensor]) -> None:
    assert state.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert state[name].device.type == "cpu"
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)


def save(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE},
        {"model_state_dict": STATE, "optimizer": {"step": 1}},
        {f"module.{name}": tensor for name, tensor in STATE.items()},
        {"state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}},
    ],
    ids=["plain", "state_dict", "model", "model_state_dict", "parallel", "wrapped parallel"],
)
def test_read_pickles(content: Any, suffix: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    save(content, path, _use_new_zipfile_serialization=zipped)
    assert_is_state(read_state_dict(path))


def test_read_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "weights.safetensors")
    assert_is_state(read_state_dict(tmp_path / "weights.safetensors"))


def test_saved_from_a_gpu_read_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pt"
    with monkeypatch.context() as patch:
        # What torch writes beside each tensor that lies on a GPU.
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(STATE, path)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)
    assert_is_state(read_state_dict(path))


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "before torch 1.6", "safetensors"])
def test_truncated(kind: str, part: float, tmp_path: Path) -> None:
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(BrainLDMError) as error:
        read_state_dict(path)
    message = str(error.value)
    assert str(path) in message
    assert "is damaged or not a file of weights: expected what torch.save or safet" in message
    assert f"got {int(part * len(content)):,} bytes" in message
    assert "download it again" in message


class Attack:
    """A pickle of this runs a command when it is loaded without care."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["zip", "before torch 1.6", "plain pickle"])
def test_pickle_that_runs_code_is_refused(kind: str, tmp_path: Path) -> None:
    path, proof = tmp_path / "weights.pt", tmp_path / "code-ran"
    content = {**STATE, "b": Attack(f"touch {proof}")}
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps({"b": content["b"]}, protocol=2))
    else:
        save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(BrainLDMError) as error:
        read_state_dict(path)
    message = str(error.value)
    assert not proof.exists()
    assert f"{path} was refused: expected nothing but tensors" in message
    assert "holds the Python object posix.system, which could run code" in message
    assert "torch.save(model.state_dict(), ...)" in message

    # The attack is real: the same file, loaded without care, does run it.
    if kind == "zip":
        torch.load(path, weights_only=False)
        assert proof.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"state_dict": STATE, "loss": np.float64(1)}, r"numpy\S*scalar"),
    ],
    ids=["whole network", "numpy beside the weights"],
)
def test_other_objects_are_refused(content: Any, name: str, tmp_path: Path) -> None:
    save(content, tmp_path / "weights.pt")
    with pytest.raises(BrainLDMError, match=f"Python object {name}, .* save its weights alone"):
        read_state_dict(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (torch.ones(3), "a Tensor"),
        ([1, 2], "a list"),
        ({}, r"the entries \(none\)"),
        ({"epoch": 3, "weights": STATE}, "the entries epoch, weights"),
    ],
)
def test_what_is_no_state_dict(content: Any, got: str, tmp_path: Path) -> None:
    save(content, tmp_path / "weights.pt")
    with pytest.raises(BrainLDMError, match=f"holds {got}: expected a state dict.* Save the net"):
        read_state_dict(tmp_path / "weights.pt")


def test_web_page_in_place_of_weights(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("<!DOCTYPE html><html>Virus scan warning</html>")
    with pytest.raises(BrainLDMError, match=r"is a web page: expected .* `brainldm download`"):
        read_state_dict(tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["missing.pt", "."])
def test_no_such_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(BrainLDMError, match=r"Cannot read the weights .* check the path"):
        read_state_dict(tmp_path / name)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.GroupNorm(2, 4))


def test_load_into_copies() -> None:
    module, other = network(), network()
    state = other.state_dict()
    load_into(module, state, "the network")
    torch.testing.assert_close(module.state_dict(), state)
    module[0].weight.data.zero_()
    assert state["0.weight"].any()


def test_load_into_a_network_without_memory() -> None:
    with torch.device("meta"):
        module = network()
    state = network().half().state_dict()
    load_into(module, state, "the network")
    assert module[0].weight.dtype == torch.float32
    torch.testing.assert_close(module[0].weight.data, state["0.weight"].float())
    assert module[0].weight.requires_grad


def test_weights_of_another_architecture() -> None:
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.Linear(3, 2)).state_dict()
    del state["1.bias"]
    with pytest.raises(BrainLDMError) as error:
        load_into(module, state, "the network")
    message = str(error.value)
    assert "The weights do not fit the network. 7 names or shapes differ" in message
    assert "0.weight: expected (4, 1, 3, 3, 3), got (4, 2, 3, 3, 3)" in message
    assert "1.bias: expected (4,), not in the file" in message
    assert "1.running_mean: not in the network, got (4,)" in message
    assert "2.weight" not in message  # only the first few of a kind
    assert "Give weights of this architecture" in message
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value: float) -> None:
    state = network().state_dict()
    state["0.weight"][1, 0, 2, 0, 1] = value
    with pytest.raises(BrainLDMError, match=r"0\.weight holds NaN or infinite values.* earlier"):
        load_into(network(), state, "the network")
