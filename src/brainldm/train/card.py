"""The card of what a run made: data, settings, figures, hashes, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import BaseModel

from brainldm._version import __version__
from brainldm.config import ModelConfig, Variable
from brainldm.dataset.prepared import PreparedData
from brainldm.train.covariates import Covariates
from brainldm.train.presets import to_yaml
from brainldm.train.segmenter_settings import SegmenterSettings
from brainldm.train.settings import AutoencoderSettings, DecoderSettings, DiffusionSettings

BINS = 10
BAR = 40
"""Characters of the longest bar of a histogram."""


def autoencoder_card(
    data: PreparedData,
    held_out: int,
    settings: AutoencoderSettings,
    configuration: Mapping[str, Any],
    figures: Mapping[str, float],
) -> str:
    """Of stage 1; `held_out` is how many heads are."""
    counts = [
        f"- {len(data)} heads, {held_out} of them held out, "
        f"{' x '.join(map(str, data.grid.shape))} voxels"
    ]
    return _card("Autoencoder of T1-weighted heads", counts, settings, configuration, figures)


def model_card(
    covariates: Covariates,
    held_out: int,
    settings: DiffusionSettings,
    configuration: Mapping[str, Any],
    model: ModelConfig,
    figures: Mapping[str, float],
) -> str:
    """Of a whole model; `held_out` is how many heads are."""
    lines = [
        f"- {len(covariates.index)} heads, {held_out} of them held out; "
        f"{len(covariates.left_out)} more lacked a condition and were left out",
        f"- {' x '.join(map(str, model.shape))} voxels; latent "
        f"{' x '.join(map(str, model.latent.shape))}, scale {model.latent.scale:g}",
        "",
        "## Conditions",
    ]
    columns = iter(covariates.context.T.numpy())
    for variable in model.conditions:
        own = np.stack([next(columns) for _ in variable.columns])
        lines += ["", f"{variable.name}:", "", "```text", *_histogram(variable, own), "```"]
    title = f"{model.name}: a latent diffusion model of T1-weighted heads"
    return _card(title, lines, settings, configuration, figures)


def decoder_card(
    covariates: Covariates,
    held_out: int,
    settings: DecoderSettings,
    configuration: Mapping[str, Any],
    figures: Mapping[str, float],
) -> str:
    """Of a model whose decoder was finished; `held_out` is how many heads are."""
    counts = [f"- {len(covariates.index)} heads, {held_out} of them held out"]
    title = "A latent diffusion model of T1-weighted heads, its decoder finished"
    return _card(title, counts, settings, configuration, figures)


def segmenter_card(
    settings: SegmenterSettings, configuration: Mapping[str, Any], figures: Mapping[str, float]
) -> str:
    """Of a segmenter, which learned from anatomies and is judged on others."""
    lines = [
        f"- {settings.subjects} simulated subjects, deformed from the anatomies "
        f"{', '.join(configuration['anatomies'])}",
        f"- held out: {', '.join(configuration['held_out']) or 'none'}",
    ]
    return _card("Segmenter of heads", lines, settings, configuration, figures)


def _card(
    title: str,
    data: Sequence[str],
    settings: BaseModel,
    configuration: Mapping[str, Any],
    figures: Mapping[str, float],
) -> str:
    hashes = [
        f"- {name}: `{configuration[name]}`"
        for name in ("data", "autoencoder", "from")
        if configuration.get(name)
    ]
    lines = [
        f"# {title}",
        "",
        f"Trained with brainldm {__version__}. For research; not for diagnosis.",
        "",
        "## Data",
        "",
        *data,
        "",
        "## Figures",
        "",
        *(f"- {name}: {value:.4g}" for name, value in figures.items()),
        *([] if figures else ["None: no subject was held out."]),
        "",
        *(("## Hashes (SHA-256)", "", *hashes, "") if hashes else ()),
        "## Settings",
        "",
        "```yaml",
        to_yaml(settings).rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _histogram(variable: Variable, values: np.ndarray[Any, Any]) -> Iterator[str]:
    """Bars of text over the range that values (columns, N) have."""
    if variable.labels:
        ones = (values == 1).sum(1)
        counts = ones if len(ones) > 1 else np.array([values.size - ones[0], ones[0]])
        names = list(variable.labels)
    else:
        counts, edges = np.histogram(values, BINS)
        ends = variable.low + edges * (variable.high - variable.low)
        names = [f"{a:.6g} to {b:.6g} {variable.unit}".rstrip() for a, b in pairwise(ends)]
    width = max(map(len, names))
    for name, count in zip(names, counts, strict=True):
        bar = "#" * round(BAR * count / max(counts.max(), 1))
        yield f"{name:>{width}} | {bar} {count}"
