"""Do weights fit a network? And into it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from brainldm.errors import ModelError

_SHOWN = 3
"""Differences of each kind named in an error; a few tell which architecture the weights are of."""


def load_into(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load weights into a network, all of them or none.

    A network built on the `meta` device takes over the tensors, in its own dtype; any other gets
    a copy.

    Args:
        module: the network.
        state: its state dict, with the names of MONAI >= 1.4.
        what: the network's name in an error, with its article.

    Raises:
        ModelError: names or shapes differ, or a value is NaN or infinite.
    """
    check_fit(module, state, what)
    own = module.state_dict()
    assign = any(tensor.is_meta for tensor in own.values())
    if assign:
        state = {name: tensor.to(own[name].dtype) for name, tensor in state.items()}
    module.load_state_dict(state, assign=assign)


def check_fit(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Raise a ModelError unless names and shapes are the network's and all values finite."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    got = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != got:
        raise ModelError(
            f"The weights do not fit {what}. {_differences(expected, got)}\n"
            "Give weights of this architecture, or the configuration that they were trained with."
        )
    dtypes = {name: tensor.dtype for name, tensor in module.state_dict().items()}
    for name, tensor in state.items():
        if not tensor.is_floating_point() and dtypes[name].is_floating_point:
            raise ModelError(
                f"The weights of {what} are of another kind: {name} is of {tensor.dtype}, and "
                f"expected is {dtypes[name]}. Give weights that were not quantised."
            )
        # The extremes are NaN or infinite if any value is, and cost far less than isfinite().all().
        if tensor.numel() and not torch.stack(tensor.aminmax()).to(dtypes[name]).isfinite().all():
            raise ModelError(
                f"The weights of {what} are not numbers everywhere: {name} holds NaN or infinite "
                "values, where finite ones were expected. The training that made them diverged, "
                "or the file is damaged: take an earlier checkpoint or fetch it again."
            )


def _differences(
    expected: Mapping[str, tuple[int, ...]], got: Mapping[str, tuple[int, ...]]
) -> str:
    """The first few differences of each kind, after their number."""
    kinds = (
        [
            f"{name}: expected {shape}, got {got[name]}"
            for name, shape in expected.items()
            if name in got and got[name] != shape
        ],
        [
            f"{name}: expected {shape}, not in the file"
            for name, shape in expected.items()
            if name not in got
        ],
        [
            f"{name}: not in the network, got {shape}"
            for name, shape in got.items()
            if name not in expected
        ],
    )
    lines = [line for kind in kinds for line in kind[:_SHOWN]]
    count = sum(map(len, kinds))
    return f"{count} names or shapes differ, among them:\n  " + "\n  ".join(lines)
