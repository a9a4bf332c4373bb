"""What the JSON file beside an image says: where the image comes from, and that it is not a scan.

Keys that BIDS defines stand at the top; ours are in the block "brainldm".
"""

from __future__ import annotations

from typing import Any

from brainldm._version import __version__
from brainldm.config import ModelConfig


def synthetic_sidecar(
    config: ModelConfig,
    model_hash: str,
    *,
    conditions: dict[str, dict[str, Any]],
    drawn: tuple[str, ...],
    seed: int | None,
    sampler: dict[str, str | float | int],
    clipped: float | None,
) -> dict[str, Any]:
    """The sidecar of a generated head.

    Args:
        config: the model's.
        model_hash: the model's weights.
        conditions: in both units, from `ConditionRanges.describe`.
        drawn: the conditions among them that nobody asked for.
        seed: None where the noise was given.
        sampler: its name, steps, guidance and eta.
        clipped: the fraction of voxels brought to an end of [0, 1]; None where none may be.
    """
    return {
        "Description": "Synthetic T1-weighted head from a latent diffusion model; shows no person",
        "SkullStripped": False,
        "Units": "arbitrary",
        "synthetic": True,
        "brainldm": {
            **_origin(config, model_hash),
            "conditions": conditions,
            "drawn": list(drawn),
            "seed": seed,
            "sampler": sampler,
            "intensity": {"scale": [0, 1], "clipped_fraction": clipped},
        },
    }


def reconstruction_sidecar(
    config: ModelConfig, model_hash: str, prepared: dict[str, Any]
) -> dict[str, Any]:
    """The sidecar of a scan that went through the autoencoder.

    Args:
        config: the model's.
        model_hash: the model's weights.
        prepared: what was done to the scan before, from `BrainLDM.prepare`.
    """
    return {
        "Description": "A head image encoded and decoded by the autoencoder of a latent diffusion "
        "model; details differ from the original",
        "Units": "arbitrary",
        "synthetic": False,
        "brainldm": {**_origin(config, model_hash), "prepared": prepared},
    }


def _origin(config: ModelConfig, model_hash: str) -> dict[str, Any]:
    return {
        "version": __version__,
        "model": {
            "name": config.name,
            "hash": model_hash,
            "licence": config.provenance["licence"],
        },
        "space": "MNI152, RAS+, mm",
    }
