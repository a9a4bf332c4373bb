"""Where and in what precision a model computes."""

from __future__ import annotations

import torch

from brainldm.errors import UsageError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def pick_device(name: str) -> torch.device:
    """The device called "auto" (CUDA where there is one, else the CPU), "cpu", "cuda:1" or "mps".

    Raises:
        UsageError: an unknown name, or a device that this machine or this PyTorch lacks.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(
            f"Unknown device {name!r}: expected auto, cpu, cuda, cuda:N (N = 0, 1, ...) or mps."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"There is no device {name!r}: PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices here. Use cpu, or install a PyTorch built "
            "for your GPU."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(
            f"There is no device {name!r}: PyTorch {torch.__version__} sees no Apple GPU here. "
            "Use cpu."
        )
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision called "auto", "float32", "bfloat16" or "float16".

    "auto" is bfloat16 where the processor computes in it, else float16 on a CUDA GPU, else float32.

    Raises:
        UsageError: another name, or float16 without a CUDA GPU.
    """
    if name not in DTYPES:
        raise UsageError(f"Unknown dtype {name!r}: expected one of {', '.join(DTYPES)}.")
    if name == "float16" and device.type != "cuda":
        raise UsageError(
            f"The dtype float16 is for CUDA GPUs, and the device is {device}: choose bfloat16, "
            "float32 or auto."
        )
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the instructions are there; emulated, bfloat16 is slower than float32."""
    # Newer than our oldest PyTorch.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
