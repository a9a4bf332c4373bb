"""The same head under other conditions: counterfactuals of a scan.

Under other conditions the first steps down would make another head. They are left out, so that the
scan says what it looks like from afar, and the change that is left is made larger; and a change
that leaves a skull as it is ends at its inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array
from torch import Tensor

from brainldm.conditions import Conditions
from brainldm.dataset.sidecar import MNI152, Registration, Source, edited_sidecar
from brainldm.edit.difference import Difference
from brainldm.edit.inverted import Inverted
from brainldm.image.fit import scaled_from
from brainldm.image.volume import Volume
from brainldm.metrics.similarity import psnr
from brainldm.segment.measures import VOLUMES
from brainldm.segment.segmenter import measured
from brainldm.workers import Progress

Like = Literal["native", "model"]
LIKE: tuple[Like, ...] = ("native", "model")
SKIPPED = 3 / 8
"""Of the steps, at the noisy end. With none left out, the skull of a real scan moved by 2 cm, and
those of simulated heads too; with three of 16, or with five and twice the change, parts of the real
brain were made anew."""
STRENGTH = 2.35
"""By how much larger the change is made: so, of what is asked for, ventricles and brains of
simulated heads change by 1.13 and 0.86, and that scan's ventricles, for 20 mL, by 10.0 mL."""
WITHIN = ("age", *VOLUMES)
"""What may change without the skull."""


def counterfactuals(
    inverted: Inverted,
    people: Sequence[Conditions],
    like: Like = "native",
    *,
    extrapolate: bool = False,
    progress: Progress | None = None,
) -> Iterator[Volume]:
    """The scan as it would be, for each of several conditions.

    Args:
        inverted: the scan.
        people: what is asked for.
        like: "native" is the scan itself, in its own space, with what the model changed; "model"
            is what the model decodes, on its grid.
        extrapolate: accept conditions outside the model's ranges.
        progress: called after each step.

    Raises:
        BrainLDMError: as `Inverted.walk`.
    """
    back, *latents = walk(inverted, people, extrapolate=extrapolate, progress=progress)
    before = inverted.picture(back[None])
    trip = round(psnr(before, inverted.image.array), 2)
    way = {"trip_psnr": trip, "skipped": skipped(inverted)}
    for done, (latent, asked) in enumerate(zip(latents, people, strict=True), 1):
        images = before, inverted.picture(latent[None])
        yield _volume(inverted, images, asked, like, way)
        if progress:
            progress(done, len(people), "decode")


def skipped(inverted: Inverted) -> int:
    """Steps at the noisy end that are left out."""
    return round(SKIPPED * inverted.steps)


def walk(
    inverted: Inverted,
    people: Sequence[Conditions],
    *,
    extrapolate: bool = False,
    progress: Progress | None = None,
) -> Float[Tensor, "b c i j k"]:
    """Latents under the scan's own conditions, and then under others; as `counterfactuals`.

    What the way itself changes is in all of them.
    """
    return inverted.walk(
        [inverted.known.conditions, *people],
        extrapolate=extrapolate,
        skip=skipped(inverted),
        strength=STRENGTH,
        progress=progress,
    )


def change(
    inverted: Inverted,
    images: tuple[Float[Array, "x y z"], Float[Array, "x y z"]],
    asked: Conditions,
) -> tuple[Difference, bool]:
    """What differs between two decoded images, and whether it ends at the skull's inside."""
    difference = Difference.between(*images, inverted.model.grid)
    inside = inverted.within_skull if _keeps_skull(inverted, asked) else None
    if inside is None:
        return difference, False
    return difference.confined(inside), True


def _volume(
    inverted: Inverted,
    images: tuple[Float[Array, "x y z"], Float[Array, "x y z"]],
    asked: Conditions,
    like: Like,
    way: Mapping[str, Any],
) -> Volume:
    space, found = None, {**way, "like": like}
    if like == "model":
        space = MNI152
        volume = Volume(images[1], inverted.model.affine, scaled=True)
    else:
        original = inverted.original
        difference, within_skull = change(inverted, images, asked)
        low, high = scaled_from(inverted.image)
        changed = difference.within(original, high - low)
        found |= {
            "kept": round(changed.kept, 4),
            "farthest_mm": round(changed.farthest, 2),
            "within_skull": within_skull,
        }
        volume = Volume(changed.array, original.volume.affine, scaled=original.volume.scaled)
    volumes = measures(inverted, volume)
    said = metadata(inverted, "counterfactual", asked, found, space, volumes=volumes)
    return replace(volume, metadata=said)


def measures(inverted: Inverted, volume: Volume) -> dict[str, float]:
    """What the network that labels the scan measures in a result, of what the model has, in mL.

    Nothing where the network does not trust itself.
    """
    names = {each.name for each in inverted.model.config.conditions} & set(VOLUMES)
    if not names:
        return {}
    found = measured(inverted.known.segmenter, volume)
    pairs = zip(VOLUMES, found, strict=True)
    return {name: round(ml, 2) for name, ml in pairs if name in names and np.isfinite(ml)}


def _keeps_skull(inverted: Inverted, asked: Conditions) -> bool:
    """Whether nothing changes that may change the skull."""
    known, wanted = inverted.known.conditions.given, asked.given
    return all(known.get(name) == wanted[name] for name in wanted if name not in WITHIN)


def metadata(
    inverted: Inverted,
    kind: str,
    asked: Conditions,
    found: Mapping[str, Any],
    space: str | None = None,
    sources: Sequence[Source] = (),
    volumes: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The sidecar of a result.

    Args:
        inverted: the scan.
        kind: of the edit.
        asked: the conditions of the result.
        found: further fields of `Edit`.
        space: of the result; that of the scan if None.
        sources: all scans that it is derived from, if that is not this one alone.
        volumes: that were measured in the result, in mL.
    """
    original, model = inverted.original, inverted.model
    more: dict[str, Any] = {"measured": dict(volumes)} if volumes else {}
    if original.similarity is not None:
        motion = np.asarray(original.motion).tolist()
        more["registration"] = Registration(matrix=motion, similarity=original.similarity)
    if space is None:
        space = MNI152 if original.in_mni else "that of the scan"
    if space == MNI152 and (original.volume.scaled or found.get("like") == "model"):
        more["intensity"] = {"scale": [0, 1]}
    edit = {
        "kind": kind,
        "known": model.ranges.describe(inverted.known.conditions),
        "origins": dict(inverted.known.origins),
        "steps": inverted.steps,
        "noise_rms": round(inverted.noise_rms, 3),
        "floor_psnr": round(inverted.floor_psnr, 2),
        "doubts": inverted.doubts,
        **found,
    }
    return edited_sidecar(
        model.config,
        model.hash,
        edit,
        conditions=model.ranges.describe(asked),
        space=space,
        derived_from=tuple(sources) or (original.source,),
        notes=original.notes,
        **more,
    )
