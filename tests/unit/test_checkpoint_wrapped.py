"""Weights as training programs leave them: unwrapped where one set can be meant, else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainldm.checkpoint import convert, load_model, read_state_dict
from brainldm.errors import ModelError
from tests.toy import write_toy_model

STATE = {"a.weight": torch.arange(3000.0), "b.bias": torch.ones(3)}
RAW = {name: torch.zeros_like(tensor) for name, tensor in STATE.items()}


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def read(content: Any, folder: Path) -> dict[str, Tensor]:
    torch.save(content, folder / "weights.pt")
    return read_state_dict(folder / "weights.pt")


@pytest.mark.parametrize(
    "content",
    [
        {name: nn.Parameter(tensor) for name, tensor in STATE.items()},
        under("_orig_mod."),
        under("module._orig_mod."),
        {"state_dict": under("model."), "epoch": 3, "optimizer_states": [{"state": RAW}]},
        {"n_averaged": torch.tensor(7), **under("module.")},
        {"ema": STATE, "decay": 0.999},
        {"state_dict": STATE, "discriminator": {"c.weight": torch.ones(2)}},
        {"unet_state_dict": STATE, "scale_factor": torch.tensor(0.9), "epoch": 1},
        {**STATE, "scale_factor": torch.tensor(0.9)},
    ],
    ids=[
        "parameters",
        "compiled",
        "compiled and parallel",
        "Lightning",
        "AveragedModel",
        "averaged alone",
        "beside a discriminator",
        "beside the scale",
        "scale among the weights",
    ],
)
def test_one_set_of_weights_is_read(content: Any, tmp_path: Path) -> None:
    state = read(content, tmp_path)
    assert state.keys() == STATE.keys()
    for name, tensor in STATE.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)
        assert type(state[name]) is Tensor
        assert not state[name].requires_grad


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"state_dict": STATE, "model": RAW}, "state_dict, model"),
        ({"model": RAW, "ema": STATE}, "model, ema"),
        ({"model_state_dict": RAW, "ema_model": STATE}, "model_state_dict, ema_model"),
        ({"model": RAW, "ema": {"decay": 0.9, "shadow_params": [*STATE.values()]}}, "model, ema"),
        ({"model": RAW, "best": {"epoch": 1, "weights": STATE}}, "model, best"),
        ({"model": RAW, "teacher": under("module.")}, "model, teacher"),
        ({"state_dict": {**under("model.", RAW), **under("ema_model.")}}, "state_dict, ema_model."),
        (
            {
                "state_dict": {
                    **under("model.", RAW),
                    "model_ema.decay": torch.tensor(0.9),
                    "model_ema.aweight": STATE["a.weight"],
                }
            },
            "state_dict, model_ema.",
        ),
        ({**under("online_model.", RAW), **under("ema_model.")}, "one, ema_model."),
    ],
)
def test_two_sets_of_weights_are_refused(content: Any, named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"more than one set of weights: {named}. Expected one"):
        read(content, tmp_path)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:Sparse CSR")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.ones(3, dtype=torch.complex64), "a tensor of complex64"),
        (lambda: torch.ones(3, 3).to_sparse(), "a sparse tensor"),
        (lambda: torch.ones(3, 3).to_sparse_csr(), "a sparse tensor"),
        (lambda: torch.ones(3, device="meta"), r"a tensor without values \(meta\)"),
        (lambda: torch.ones(3).to(torch.float8_e4m3fn), "a tensor of float8_e4m3fn"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested tensor"),
    ],
)
def test_odd_tensors_are_refused(make: Any, kind: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"b is {kind}.*: expected plain tensors of real numbers"):
        read({"a": torch.ones(2), "b": make()}, tmp_path)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    write_toy_model(folder / "model")
    convert(folder / "model", folder / "zoo", to="monai")
    config = json.loads((folder / "zoo/config.json").read_text())
    for key in ("weights", "hash"):
        del config[key]
    (folder / "zoo/config.json").write_text(json.dumps(config))
    return folder / "zoo"


@pytest.mark.parametrize("among", [True, False])
def test_scale_beside_the_weights_is_that_of_the_configuration(zoo: Path, among: bool) -> None:
    unet = torch.load(zoo / "model.pt", weights_only=True)

    def save(scale: Tensor | float) -> None:
        beside = {**unet, "scale_factor": torch.as_tensor(scale)}
        other = {"state_dict": unet, "scale_factor": scale}
        torch.save(beside if among else other, zoo / "model.pt")

    try:
        save(torch.tensor(0.5))
        load_model(zoo)
        save(0.9)
        with pytest.raises(ModelError, match=r"scale is 0\.9, and the configuration 0\.5: expect"):
            load_model(zoo)
        save(float("nan"))
        with pytest.raises(ModelError, match=r"scale_factor is nan: expected a number above 0"):
            load_model(zoo)
        torch.save({"state_dict": unet, "scale_factor": 10**400}, zoo / "model.pt")
        with pytest.raises(ModelError, match=r"scale_factor is 10+: expected a number above 0"):
            load_model(zoo)
    finally:
        torch.save(unet, zoo / "model.pt")
