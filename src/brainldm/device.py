"""Where and in what precision a model computes."""

from __future__ import annotations

import torch

from brainldm.errors import BrainLDMError

DTYPES = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """The device called "auto" (CUDA where there is one, else the CPU), "cpu", "cuda:1" or "mps".

    Raises:
        BrainLDMError: an unknown name, or a device that this machine or this PyTorch lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise BrainLDMError(
            f"Unknown device {name!r}: expected auto, cpu, cuda, cuda:N (N = 0, 1, ...) or mps."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BrainLDMError(
            f"There is no device {name!r}: PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices here. Use cpu, or install a PyTorch built "
            "for your GPU."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BrainLDMError(
            f"There is no device {name!r}: PyTorch {torch.__version__} sees no Apple GPU here. "
            "Use cpu."
        )
    return device


def pick_dtype(name: str) -> torch.dtype:
    """The precision called "auto" (float32), "float32" or "bfloat16" (autocast).

    Raises:
        BrainLDMError: another name.
    """
    if name not in DTYPES:
        raise BrainLDMError(f"Unknown dtype {name!r}: expected one of {', '.join(DTYPES)}.")
    return DTYPES[name]
