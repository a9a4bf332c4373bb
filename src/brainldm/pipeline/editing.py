"""Methods of a model that change real heads; the room that does it lies above, and is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

from jaxtyping import Float
from numpy import ndarray as Array

from brainldm.image.volume import Volume
from brainldm.pipeline.request import Person
from brainldm.workers import Progress


class Editing:
    """What a `BrainLDM` does with a scan, beside reconstructing it.

    The arguments that all methods have in common:

    - volume: a T1-weighted head, whole, in any resolution.
    - conditions: of the person, by name; what its metadata say may be left out, volumes are
      measured; sex and age are never guessed.
    - motion: from the scan's world to MNI152 space in mm, (4, 4), as `brainldm.register.rigid`
      finds it; None if it lies there.
    - steps: of the walk up to the noise, and of the walk down; 16 if None.
    - extrapolate: accept conditions outside the model's ranges.
    - progress: as in `BrainLDM.generate`.

    All raise a BrainLDMError: for what is not known or not in the model's ranges, and a scan that
    the model cannot represent. `metadata` of a result names the hash of the scan, what was asked
    for, and how far it is to be trusted.
    """

    def invert(
        self,
        volume: Volume,
        conditions: Person | None = None,
        *,
        motion: Float[Array, "4 4"] | None = None,
        steps: int | None = None,
        extrapolate: bool = False,
        progress: Progress | bool | None = None,
    ) -> Any:
        """The noise that gives a scan back: a `brainldm.edit.inverted.Inverted`."""
        return _run().invert(
            self,
            volume,
            conditions,
            motion=motion,
            steps=steps,
            extrapolate=extrapolate,
            progress=progress,
        )

    def edit(
        self,
        volume: Volume,
        changes: Mapping[str, str | float] | Sequence[Mapping[str, str | float]],
        conditions: Person | None = None,
        *,
        motion: Float[Array, "4 4"] | None = None,
        like: Literal["native", "model"] = "native",
        steps: int | None = None,
        extrapolate: bool = False,
        progress: Progress | bool | None = None,
    ) -> list[Volume]:
        """The same head under other conditions, as in `model.edit(volume, {"age": "+10"})`.

        Args:
            volume: the scan.
            changes: by the name of the condition what it is to be, 75 or "75", or the difference,
                "+10" or "-5"; or a series of them.
            conditions: of the person.
            motion: to MNI152 space.
            like: "native" is the scan in its own space, changed where the model changed it and
                else the same bit for bit; "model" is what the model decodes.
            steps: of the walk.
            extrapolate: accept conditions outside the model's ranges.
            progress: shows how far it is.

        Returns:
            A volume for each of the changes.
        """
        volumes: list[Volume] = _run().edit(
            self,
            volume,
            changes,
            conditions,
            motion=motion,
            like=like,
            steps=steps,
            extrapolate=extrapolate,
            progress=progress,
        )
        return volumes

    def inpaint(
        self,
        volume: Volume,
        mask: Volume | Array,
        conditions: Person | None = None,
        *,
        seeds: Sequence[int] | None = None,
        motion: Float[Array, "4 4"] | None = None,
        steps: int | None = None,
        extrapolate: bool = False,
        progress: Progress | bool | None = None,
    ) -> list[Volume]:
        """A scan with a part made anew: a lesion filled, for instance.

        Args:
            volume: the scan.
            mask: not 0 where it is to be made anew, on the scan's grid; enlarged by 2 mm. All
                other voxels stay, bit for bit.
            conditions: of the person.
            seeds: one for each result; a random one if None.
            motion: to MNI152 space.
            steps: of the walk.
            extrapolate: accept conditions outside the model's ranges.
            progress: shows how far it is.

        Returns:
            A volume for each seed.

        Raises:
            DataError: a mask on another grid, empty, or of more than half of the scan.
        """
        volumes: list[Volume] = _run().inpaint(
            self,
            volume,
            mask,
            conditions,
            seeds=seeds,
            motion=motion,
            steps=steps,
            extrapolate=extrapolate,
            progress=progress,
        )
        return volumes

    def super_resolve(
        self,
        volume: Volume,
        conditions: Person | None = None,
        *,
        seeds: Sequence[int] | None = None,
        motion: Float[Array, "4 4"] | None = None,
        steps: int | None = None,
        extrapolate: bool = False,
        progress: Progress | bool | None = None,
    ) -> list[Volume]:
        """A scan of thick slices, or of a part of the head, as fine and as whole as the model.

        Args:
            volume: the scan; its slices touch.
            conditions: of the person.
            seeds: one for each result; a random one if None.
            motion: to MNI152 space.
            steps: of the walk.
            extrapolate: accept conditions outside the model's ranges.
            progress: shows how far it is.

        Returns:
            A volume on the model's grid for each seed, of which a scanner would see the scan.

        Raises:
            UsageError: a scan that is as fine as the model's grid, and sees nearly all of it.
        """
        volumes: list[Volume] = _run().super_resolve(
            self,
            volume,
            conditions,
            seeds=seeds,
            motion=motion,
            steps=steps,
            extrapolate=extrapolate,
            progress=progress,
        )
        return volumes

    def interpolate(
        self,
        first: Any,
        second: Any,
        number: int,
        *,
        steps: int | None = None,
        extrapolate: bool = False,
        progress: Progress | bool | None = None,
    ) -> list[Volume]:
        """Heads on the model's grid from one to another, spherically in noise.

        Args:
            first: where it starts: what `invert` gave, or a volume whose metadata say the
                conditions.
            second: where it ends.
            number: of heads, 2 or more, with both ends as the model has them.
            steps: of the walk; of what is inverted already, its own.
            extrapolate: accept conditions outside the model's ranges.
            progress: shows how far it is.
        """
        volumes: list[Volume] = _run().interpolate(
            self,
            first,
            second,
            number,
            steps=steps,
            extrapolate=extrapolate,
            progress=progress,
        )
        return volumes


def _run() -> Any:
    return import_module("brainldm.edit.run")
