"""From what a training program saved to one network's weights: the one set that can be meant."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from brainldm.errors import ModelError

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "unet_state_dict",
    "autoencoder_state_dict",
    "ema",
    "ema_model",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
)
"""Keys under which training programs keep the weights beside the optimiser's and others."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and Lightning put before every name."""
SCALES = ("scale_factor", "latent_scale", "scaling_factor")
"""Keys under which training programs keep the latent's scale."""
_AVERAGE = re.compile(r"(^|[_.])(ema|averaged?|shadow|swa)([_.]|$)")
_DEPTH = 3
"""How deep in a file a second set of weights is looked for."""


@dataclass(frozen=True)
class Weights:
    """One network's weights.

    Args:
        state: names to tensors, without gradients.
        scale: the latent's scale that the file says beside them; None where it says none.
    """

    state: dict[str, Tensor]
    scale: float | None = None


def unwrap(content: Any, path: Path) -> Weights:
    """Find the weights in the content of a file.

    Raises:
        ModelError: there are none, more than one set could be meant, or they are no plain tensors
            of numbers.
    """
    key, state = _find(content, path)
    if others := [*(_rivals(content, key, state) if key else ()), *_twins(state)]:
        raise ModelError(
            f"{path} holds more than one set of weights: {key or 'one'}, {', '.join(others)}. "
            "Expected one: raw and averaged weights, for instance, make different heads. Save the "
            "one that you mean alone, with torch.save."
        )
    scale = _scale(content, path) if key else None
    for name in SCALES:
        if name in state and state[name].numel() == 1:  # as a buffer among the weights
            scale = _scale({name: state.pop(name)}, path)
    if len(state) > 1 and state.get("n_averaged", torch.ones(2)).numel() == 1:
        del state["n_averaged"]  # torch's AveragedModel
    state = _bare(state)
    for name, tensor in state.items():
        refuse_odd(name, tensor, path)
    return Weights({name: tensor.detach() for name, tensor in state.items()}, scale)


def _find(content: Any, path: Path) -> tuple[str, dict[str, Tensor]]:
    """The likeliest set of weights and its key, which is empty where the file is that set."""
    if _is_state_dict(content):
        return "", dict(content)
    found = [key for key in WRAPPERS if isinstance(content, Mapping) and key in content]
    keys = [key for key in found if _is_state_dict(content[key])]
    if keys:
        return keys[0], dict(content[keys[0]])
    if isinstance(content, Mapping):
        got = f"the entries {', '.join(map(str, list(content)[:8])) or '(none)'}"
    else:
        got = f"a {type(content).__name__}"
    raise ModelError(
        f"{path} holds {got}: expected a state dict, which maps names to tensors, as it is or "
        f"under one of {', '.join(WRAPPERS)}. Save the network's state dict alone with torch.save."
    )


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(name, str) for name in content)
        and all(isinstance(tensor, Tensor) for tensor in content.values())
    )


def _bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that every name has."""
    bare = dict(state)
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in bare)), None):
        bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    return bare


def _rivals(content: Mapping[Any, Any], key: str, state: Mapping[str, Tensor]) -> Iterator[str]:
    """Other entries that hold weights of the same network, or say that they hold an average."""
    names = _signature(state)
    for other, held in content.items():
        if other == key:
            continue
        sets = list(_sets(held, _DEPTH))
        named = bool(sets) and _AVERAGE.search(str(other).lower())
        if named or any(_signature(each) == names for each in sets):
            yield str(other)


def _sets(content: Any, depth: int) -> Iterator[Mapping[str, Tensor]]:
    """State dicts in a value, and lists of tensors as if they had names."""
    if _is_state_dict(content):
        yield content
    elif isinstance(content, list | tuple) and content:
        if all(isinstance(each, Tensor) for each in content):
            yield {str(i): each for i, each in enumerate(content)}
    elif isinstance(content, Mapping) and depth:
        for each in content.values():
            yield from _sets(each, depth - 1)


def _signature(state: Mapping[str, Tensor]) -> frozenset[str]:
    """The names without dots, which some averages take out."""
    return frozenset(name.replace(".", "") for name in _bare(state))


def _twins(state: Mapping[str, Tensor]) -> list[str]:
    """Prefixes of an average whose names another prefix has too, such as model. and ema."""
    groups: dict[str, set[str]] = {}
    for name in state:
        head, _, rest = name.partition(".")
        groups.setdefault(head, set()).add(rest.replace(".", ""))
    averages = {head for head in groups if _AVERAGE.search(head.lower())}
    raw = {name for head, names in groups.items() if head not in averages for name in names if name}
    return sorted(f"{head}." for head in averages if groups[head] & raw)


def _scale(content: Mapping[Any, Any], path: Path) -> float | None:
    """The latent's scale among the entries beside the weights."""
    for name in SCALES:
        value = content.get(name)
        if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
            value = value.detach().to(torch.float64).item()
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not 0 < value <= sys.float_info.max:
                raise ModelError(
                    f"{path} says that the latent's {name} is {value}: expected a number above "
                    "0. The training that made it diverged, or the file is damaged."
                )
            return float(value)
    return None


def refuse_odd(name: str, tensor: Tensor, path: Path) -> None:
    """Raise a ModelError about a tensor that is no array of real numbers."""
    if kind := _odd(tensor):
        raise ModelError(
            f"{path}: {name} is {kind}: expected plain tensors of real numbers. Save the network's "
            "weights as such."
        )


def _odd(tensor: Tensor) -> str:
    """What keeps a tensor from being an array of numbers; empty if nothing does."""
    if type(tensor) not in (Tensor, Parameter):
        return f"a {type(tensor).__name__}"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout != torch.strided:
        return f"a sparse tensor ({tensor.layout})"
    if tensor.is_meta:
        return "a tensor without values (meta)"
    if tensor.is_quantized:
        return "a quantised tensor"
    if tensor.is_complex() or (tensor.is_floating_point() and tensor.itemsize < 2):
        return f"a tensor of {str(tensor.dtype).removeprefix('torch.')}"
    return ""
