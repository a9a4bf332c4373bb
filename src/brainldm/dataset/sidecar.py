"""What the JSON file beside an image says: where the image comes from, and that it is not a scan.

Keys that BIDS defines stand at the top; ours are in the block "brainldm", which is a `Provenance`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from brainldm._version import __version__
from brainldm.config import ModelConfig
from brainldm.config.base import wrong_fields
from brainldm.dataset.bids import SPACE
from brainldm.errors import DataError
from brainldm.files import read_json

OURS = "brainldm"
"""The key of what BIDS does not define."""
MNI152 = "MNI152, RAS+, mm"
"""What `Provenance.space` says of images in it."""
Number = Annotated[int, Field(ge=-(2**63), lt=2**63)] | FiniteFloat


class _Record(BaseModel):
    # What a later version adds is kept.
    model_config = ConfigDict(frozen=True, extra="allow")


class Origin(_Record):
    """The model that an image was made by."""

    name: str
    hash: str
    licence: str


class Condition(_Record):
    """What an image was asked to show, in its unit and on the model's scale."""

    value: str | Number
    unit: str = ""
    normalised: FiniteFloat | list[FiniteFloat] | None = None


class Checked(_Record):
    """What the quality gate of a cohort found: seeds given up before, faults, measures in mL."""

    redraws: int
    faults: tuple[str, ...]
    measured: dict[str, FiniteFloat]


class Source(_Record):
    """The file that an image was prepared from."""

    name: str
    sha256: str


class Registration(_Record):
    """How a scan was brought to the template: (4, 4) in mm, and how like it it is then."""

    matrix: list[list[FiniteFloat]]
    similarity: FiniteFloat


class Edit(_Record):
    """What a model changed in a head, and how far that can be trusted.

    Args:
        kind: counterfactual, inpainting, super-resolution or interpolation.
        known: conditions of the head as it was, and where each is from.
        like: native (the scan's own voxels) or model (as the model decodes it).
        steps: of the walk up to the noise and down again.
        kept: the share of voxels that are the scan's, bit for bit.
        farthest_mm: that anything moved.
        noise_rms: of the noise that gives the scan back; 1 for a known kind of head.
        floor_psnr: of the autoencoder alone against the scan, or against a super-resolution, dB.
        trip_psnr: of the scan sent up to the noise and down again, dB.
        skipped: noisy steps that were left out, so that the scan says what it is from afar.
        within_skull: nothing was changed outside the skull's inside.
        disagreement: of the result, as a scanner would see it, with the scan (RMS, 0 to 1).
        seed: of what was filled in.
        doubts: why it is not to be trusted.
    """

    kind: str
    known: dict[str, Condition] = {}
    origins: dict[str, str] = {}
    like: str = ""
    steps: int = 0
    kept: FiniteFloat | None = None
    farthest_mm: FiniteFloat | None = None
    noise_rms: FiniteFloat | None = None
    floor_psnr: FiniteFloat | None = None
    trip_psnr: FiniteFloat | None = None
    skipped: int = 0
    within_skull: bool = False
    disagreement: FiniteFloat | None = None
    seed: int | None = None
    doubts: tuple[str, ...] = ()


class Provenance(_Record):
    """Where an image comes from; what does not apply to it is not set, and not written.

    Args:
        version: of brainldm.
        model: that made the image; and so are the next.
        space: that the image lies in.
        conditions: by name.
        drawn: the conditions among them that nobody asked for.
        seed: None where the noise was given.
        sampler: its name, steps, guidance and eta.
        gate: what was found in a cohort.
        prepared: what was done to a scan before the autoencoder.
        source: of a prepared scan; and so are the next.
        companions: the other scans of the person that it was made of.
        settings: of the data set.
        registration: to MNI152 space.
        measured: in mL, and the factor for the size of the head.
        histogram: counts of intensities.
        intensity: the scale, and what was clipped.
        skull_stripped: there is nothing around the brain.
        incomplete: the head is stripped or cropped, and was asked for.
        notes: what a person should know of a prepared scan.
        derived_from: the scans that were edited; and what was changed in them.
    """

    version: str = ""
    model: Origin | None = None
    space: str = ""
    conditions: dict[str, Condition] = {}
    drawn: tuple[str, ...] = ()
    seed: int | None = None
    sampler: dict[str, Any] = {}
    gate: Checked | None = None
    prepared: dict[str, Any] = {}
    source: Source | None = None
    companions: tuple[Source, ...] = ()
    settings: dict[str, Any] = {}
    registration: Registration | None = None
    measured: dict[str, FiniteFloat] = {}
    histogram: list[int] = []
    intensity: dict[str, Any] = {}
    skull_stripped: bool = False
    incomplete: bool = False
    notes: tuple[str, ...] = ()
    derived_from: tuple[Source, ...] = ()
    edit: Edit | None = None

    @property
    def values(self) -> dict[str, str | float]:
        """The conditions in their units, by name."""
        return {name: condition.value for name, condition in self.conditions.items()}

    @classmethod
    def of(cls, metadata: Mapping[str, Any] | None) -> Self:
        """That of an image's metadata; empty where brainldm did not make it.

        Raises:
            DataError: the block is not as brainldm writes it.
        """
        try:
            return cls.model_validate((metadata or {}).get(OURS, {}))
        except ValidationError as error:
            raise DataError(
                f"The block {OURS!r} of the image's JSON file is not as brainldm writes it: "
                f"{'; '.join(wrong_fields(error))}. Restore the file, or remove it."
            ) from None

    def within(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata of an image with this block in place of its own."""
        return {**metadata, OURS: self.model_dump(mode="json", exclude_unset=True)}


def read_provenance(sidecar: Path) -> Provenance:
    """Read the JSON file beside an image; empty where there is none, or brainldm did not write it.

    Raises:
        StorageError: it cannot be read.
        DataError: it is no JSON, or not as brainldm writes it.
    """
    if not os.path.isfile(sidecar):
        return Provenance()
    content = read_json(sidecar, "the JSON file beside an image. Restore it, or remove it")
    try:
        return Provenance.of(content)
    except DataError as error:
        raise DataError(f"{sidecar}: {error}") from None


def synthetic_sidecar(
    config: ModelConfig,
    model_hash: str,
    *,
    conditions: dict[str, dict[str, Any]],
    drawn: tuple[str, ...],
    seed: int | None,
    sampler: Mapping[str, Any],
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
    provenance = _made_by(
        config,
        model_hash,
        conditions=conditions,
        drawn=drawn,
        seed=seed,
        sampler=dict(sampler),
        intensity={"scale": [0, 1], "clipped_fraction": clipped},
    )
    return provenance.within(
        {
            "Description": "Synthetic T1-weighted head from a latent diffusion model; shows no "
            "person",
            "SkullStripped": False,
            "Units": "arbitrary",
            "synthetic": True,
        }
    )


def reconstruction_sidecar(
    config: ModelConfig, model_hash: str, prepared: dict[str, Any]
) -> dict[str, Any]:
    """The sidecar of a scan that went through the autoencoder.

    Args:
        config: the model's.
        model_hash: the model's weights.
        prepared: what was done to the scan before, from `BrainLDM.prepare`.
    """
    scale = {"scale": [0, 1]}
    return _made_by(config, model_hash, prepared=prepared, intensity=scale).within(
        {
            "Description": "A head image encoded and decoded by the autoencoder of a latent "
            "diffusion model; details differ from the original",
            "Units": "arbitrary",
            "synthetic": False,
        }
    )


def edited_sidecar(
    config: ModelConfig, model_hash: str, edit: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """The sidecar of a head that was edited: derived from a scan, and synthetic.

    Args:
        config: the model's.
        model_hash: the model's weights.
        edit: the fields of an `Edit`.
        more: further fields of `Provenance`; `derived_from` among them.
    """
    sources = [source.name for source in more["derived_from"]]
    return _made_by(config, model_hash, edit=edit, **more).within(
        {
            "Description": "T1-weighted head, edited by a latent diffusion model: derived from a "
            "scan, and synthetic; shows what never was",
            "Sources": sources,
            "SkullStripped": False,
            "Units": "arbitrary",
            "synthetic": True,
        }
    )


def prepared_sidecar(provenance: Provenance) -> dict[str, Any]:
    """The sidecar of a scan that `brainldm prepare` brought to a model's grid."""
    return provenance.within(
        {
            "Description": "T1-weighted head prepared for training a generative model",
            "SkullStripped": provenance.skull_stripped,
            "SpatialReference": SPACE,
            "Units": "arbitrary",
        }
    )


def _made_by(config: ModelConfig, model_hash: str, **more: Any) -> Provenance:
    origin = {"name": config.name, "hash": model_hash, "licence": config.provenance["licence"]}
    return Provenance.model_validate(
        {"version": __version__, "model": origin, "space": MNI152, **more}
    )
