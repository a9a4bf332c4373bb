"""What a model shows of itself, in a terminal and in a notebook."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from brainldm.config import ModelConfig, Variable
from brainldm.image.grid import Grid
from brainldm.workers import Progress


def facts(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """What a user wants to know of a model, by its name."""
    spacing = dict.fromkeys(f"{side:g}" for side in Grid.of(config.shape, config.affine).spacing)
    return {
        "model": config.name,
        "conditions": ", ".join(map(_condition, config.conditions)) or "none",
        "voxels": f"{' x '.join(map(str, config.shape))} of {' x '.join(spacing)} mm, MNI152 space",
        "computes": f"on {device} in {str(dtype).removeprefix('torch.')}",
        "description": config.provenance.get("description", ""),
        "licence": config.provenance.get("licence", ""),
    }


def as_text(facts: dict[str, str]) -> str:
    """A line for each of the first facts, for a terminal."""
    name, *rest = [(key, value) for key, value in facts.items() if value][:4]
    return "\n".join([f"BrainLDM {name[1]}", *(f"  {key}: {value}" for key, value in rest)])


def as_html(facts: dict[str, str]) -> str:
    """A table, for a notebook."""
    rows = "".join(
        f'<tr><th style="text-align:left">{html.escape(key)}</th>'
        f'<td style="text-align:left">{html.escape(value)}</td></tr>'
        for key, value in facts.items()
        if value
    )
    return f"<table>{rows}</table>"


def _condition(variable: Variable) -> str:
    if variable.labels:
        return f"{variable.name} ({'/'.join(variable.labels)})"
    unit = f" {variable.unit}" if variable.unit else ""
    return f"{variable.name} ({variable.low:.4g} to {variable.high:.4g}{unit})"


@contextmanager
def bars(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """What to call after each step: what was given or, in a terminal or a notebook, bars.

    Args:
        progress: a callable, False for none, True for bars anywhere; None shows them to people.
    """
    if progress is None:
        progress = _seen()
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield None
    else:
        with phases() as shown:
            yield shown


@contextmanager
def phases() -> Iterator[Progress]:
    """A bar for each phase of sampling, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Bars(*columns, TimeRemainingColumn(), TextColumn("left"), console=console) as shown:
        tasks = {phase: shown.add_task(phase, total=None) for phase in ("denoise", "decode")}

        def progress(done: int, total: int, phase: str) -> None:
            shown.update(tasks[phase], total=total, completed=done)

        yield progress


def _seen() -> bool:
    """Whether somebody looks: standard error is a terminal, or a notebook that can draw bars."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return console.is_terminal
