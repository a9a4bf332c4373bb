"""Reading one file of weights, whatever wrote it, without running what is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from brainldm.errors import ModelError, StorageError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training programs keep the weights beside the optimiser's and others."""

_PARALLEL = "module."
"""What torch's DataParallel and DistributedDataParallel put before every name."""


def read_state_dict(path: str | Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors`, `.pt` or `.pth` file, on the CPU.

    Weights inside `{"state_dict": ...}` and its like, or under a DataParallel's `module.`, are
    unwrapped. Nothing in the file is executed: a pickle is opened with `weights_only=True`.

    Args:
        path: the file.
        dtype: what the tensors are cast to; None leaves them as they are stored.

    Raises:
        StorageError: no such file, or no permission to read it.
        ModelError: it is truncated, not a file of weights, holds Python objects other than tensors,
            or more than one set of weights could be meant.
    """
    path = Path(path)
    _check_is_weights(path)
    try:
        if path.suffix == ".safetensors":
            content: Any = _read_cast(path, dtype) if dtype else load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        # Damaged bytes can fail anywhere in the readers, with almost any kind of exception.
        raise _unreadable(path, error) from error
    state = _unwrap(content, path)
    if all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    return {name: tensor.to(dtype) for name, tensor in state.items()} if dtype else state


def _read_cast(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """Read tensor by tensor; the file is opened for each, since what is mapped of an open file
    counts as memory in use.
    """
    with safe_open(path, "pt") as file:
        names = list(file.keys())
    state = {}
    for name in names:
        with safe_open(path, "pt") as file:
            state[name] = file.get_tensor(name).to(dtype, copy=True)
    return state


def _check_is_weights(path: Path) -> None:
    """Name what can be told from the first bytes better than the readers would."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise StorageError(
            f"Cannot read the weights {path}: {error.strerror}. Expected a .safetensors, .pt or "
            ".pth file; check the path and its permissions."
        ) from error
    if start.lstrip().startswith(b"<"):
        raise ModelError(
            f"{path} is a web page: expected a file of weights. Some hosts answer a download with "
            "a page that asks for confirmation; fetch the file again, for instance with "
            "`brainldm download`."
        )


def _unreadable(path: Path, error: Exception) -> ModelError:
    forbidden = re.search(r"GLOBAL (\S+)", str(error))  # torch's weights-only reader names it
    if forbidden:
        return ModelError(
            f"{path} was refused: expected nothing but tensors, and it holds the Python object "
            f"{forbidden[1]}, which could run code when loaded. None was run. If you trust where "
            "the file is from, save its weights alone, with torch.save(model.state_dict(), ...), "
            "in the program that made it."
        )
    reason = (str(error).strip() or "it ends too early").splitlines()[0]
    if reason.startswith("Weights only load failed"):
        reason = "these are not the bytes of a PyTorch file"
    return ModelError(
        f"{path} is damaged or not a file of weights: expected what torch.save or safetensors "
        f"wrote, got {path.stat().st_size:,} bytes that cannot be read ({reason}). Copy or "
        "download it again."
    )


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if _is_state_dict(content):
        return dict(content)
    found = [key for key in _WRAPPERS if isinstance(content, Mapping) and key in content]
    states = [content[key] for key in found if _is_state_dict(content[key])]
    if len(states) == 1:
        return dict(states[0])
    if isinstance(content, Mapping):
        got = f"the entries {', '.join(map(str, list(content)[:8])) or '(none)'}"
    else:
        got = f"a {type(content).__name__}"
    raise ModelError(
        f"{path} holds {got}: expected a state dict, which maps names to tensors, as it is or "
        f"under one of {', '.join(_WRAPPERS)}. Save the network's state dict alone with torch.save."
    )


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(name, str) for name in content)
        and all(isinstance(tensor, Tensor) for tensor in content.values())
    )
