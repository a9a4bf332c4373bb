"""Reading one file of weights, whatever wrote it, without running what is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from brainldm.checkpoint.archive import check_archive, unreadable
from brainldm.checkpoint.unwrap import Weights, refuse_odd, unwrap
from brainldm.errors import ModelError, StorageError


def read_state_dict(path: str | Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The tensors that `read_weights` finds; arguments and errors are its own."""
    return read_weights(path, dtype).state


def read_weights(path: str | Path, dtype: torch.dtype | None = None) -> Weights:
    """Read the weights in a `.safetensors`, `.pt` or `.pth` file, on the CPU.

    Weights inside `{"state_dict": ...}` and its like, or under `module.` (DataParallel),
    `_orig_mod.` (torch.compile) or `model.` (Lightning), are unwrapped. Nothing in the file is
    executed: a pickle is opened with `weights_only=True`. The check sums of an archive hold.

    Args:
        path: the file.
        dtype: what the tensors are cast to; None leaves them as they are stored.

    Raises:
        StorageError: no such file, or no permission to read it.
        ModelError: it is damaged, not a file of weights, holds Python objects other than tensors or
            tensors other than arrays of real numbers, or more than one set of weights could be
            meant.
    """
    path = Path(path)
    _check_is_weights(path)
    try:
        if path.suffix == ".safetensors":
            weights = unwrap(_read_cast(path, dtype) if dtype else load_file(path), path)
        else:
            check_archive(path)
            weights = unwrap(torch.load(path, map_location="cpu", weights_only=True), path)
            _check_size(weights.state, path)
    except ModelError:
        raise
    except MemoryError as error:
        raise ModelError(
            f"The memory does not suffice to read {path} ({path.stat().st_size:,} bytes). Close "
            "other programs, or use a machine with more."
        ) from error
    except Exception as error:
        # Damaged bytes can fail anywhere in the readers, with almost any kind of exception.
        raise _unreadable(path, error) from error
    if dtype:
        state = {name: tensor.to(dtype) for name, tensor in weights.state.items()}
        weights = Weights(state, weights.scale)
    return weights


def _read_cast(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """Read tensor by tensor; the file is opened for each, since what is mapped of an open file
    counts as memory in use.
    """
    with safe_open(path, "pt") as file:
        names = list(file.keys())
    state = {}
    for name in names:
        with safe_open(path, "pt") as file:
            tensor = file.get_tensor(name)
        refuse_odd(name, tensor, path)
        state[name] = tensor.to(dtype, copy=True)
    return state


def _check_size(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that are larger than the file, as those are that repeat one number."""
    declared, size = sum(t.numel() * t.itemsize for t in state.values()), path.stat().st_size
    if declared > size:
        raise ModelError(
            f"{path} declares {declared:,} bytes of weights, and has {size:,}: expected tensors "
            "that the file holds. Copy or download it again."
        )


def _check_is_weights(path: Path) -> None:
    """Name what can be told from the first bytes better than the readers would."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except (OSError, ValueError) as error:  # a name with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise StorageError(
            f"Cannot read the weights {path}: {reason}. Expected a .safetensors, .pt or .pth file; "
            "check the path and its permissions."
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
    return unreadable(path, reason)
