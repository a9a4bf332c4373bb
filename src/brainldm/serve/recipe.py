"""How to make a head again outside the page: a line for the shell, and one of Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from brainldm.conditions import STANDARD
from brainldm.pipeline.choice import Model, Sampling
from brainldm.sampling.solvers import DDIM

USUAL = Sampling()


def command(
    model: Model, conditions: Mapping[str, str | float], seed: int, sampling: Sampling
) -> str:
    """The call of `brainldm generate`.

    Args:
        model: that made it.
        conditions: all of them, in the model's units.
        seed: of the noise.
        sampling: how it was made.
    """
    words = ["brainldm", "generate"]
    for name, value in conditions.items():
        text = value if isinstance(value, str) else f"{value:.17g}"
        if name in STANDARD:
            words += [f"--{name.replace('_', '-')}", text]
        else:
            words += ["--condition", f"{name}={text}"]
    words += ["--seed", str(seed)]
    for name, value in _unusual(sampling).items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    if model.source != "demo":
        words += ["--model", str(model.source)]
    if model.dtype != "auto":
        words += ["--dtype", model.dtype]
    return shlex.join([*words, "--out", "heads"])


def python(
    model: Model, conditions: Mapping[str, str | float], seed: int, sampling: Sampling
) -> str:
    """The same from Python."""
    loading = [repr(str(model.source))]
    if model.dtype != "auto":
        loading.append(f"dtype={model.dtype!r}")
    asked = {name: value for name, value in _unusual(sampling).items() if name != "eta"}
    if sampling.eta is not None:
        asked["sampler"] = DDIM(eta=sampling.eta)
    arguments = [repr(dict(conditions)), f"seed={seed}"]
    arguments += [f"{name}={value!r}" for name, value in asked.items()]
    lines = ["from brainldm import BrainLDM"]
    if sampling.eta is not None:
        lines.append("from brainldm.sampling.solvers import DDIM")
    return "\n".join(
        [
            *lines,
            "",
            f"model = BrainLDM.from_pretrained({', '.join(loading)})",
            f"[head] = model.generate({', '.join(arguments)})",
            f'head.save("brain_seed-{seed}_T1w.nii.gz")',
        ]
    )


def _unusual(sampling: Sampling) -> dict[str, Any]:
    """What differs from what is usual, by the name of the option and of the argument."""
    names = ("sampler", "steps", "guidance", "eta", "extrapolate")
    values = {name: getattr(sampling, name) for name in names}
    return {name: value for name, value in values.items() if value != getattr(USUAL, name)}
