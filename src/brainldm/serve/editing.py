"""A head of the library under other conditions, as `brainldm edit` changes it."""

from __future__ import annotations

import time
from dataclasses import replace

from brainldm.conditions import ConditionRanges, Conditions
from brainldm.config import ModelConfig
from brainldm.dataset.sidecar import Provenance, Source
from brainldm.edit.changes import people
from brainldm.edit.counterfactual import counterfactuals
from brainldm.edit.inverted import STEPS, Inverted
from brainldm.edit.known import Known, complete
from brainldm.edit.original import Original
from brainldm.errors import DataError
from brainldm.image.page import words
from brainldm.image.reading import image_sha256
from brainldm.image.volume import Volume
from brainldm.pipeline.brain import BrainLDM
from brainldm.segment.network import Network
from brainldm.serve.heads import Library
from brainldm.serve.schema import Edit, Head, Job
from brainldm.workers import Progress


def conditions_of(asked: Edit, head: Head, config: ModelConfig) -> tuple[Known, Conditions]:
    """What the person is, and what the edited head is to show.

    Args:
        asked: the edit.
        head: that is edited.
        config: the model's.

    Raises:
        UsageError: a change of what the model does not have, or out of its ranges; or something
            of the person that neither the request nor the head's record nor its labels say.
    """

    def unlabelled() -> Volume:
        raise DataError("label the head before, or say them")

    record = {name: each["value"] for name, each in head.conditions.items()}
    said = {"given": asked.known, "its record": record, "measured": head.measured}
    known = complete(config, said, unlabelled, None, option="known")
    [after] = people(known.conditions, asked.changes, config)
    ranges = ConditionRanges(config.conditions)
    ranges.normalise([known.conditions, after], asked.extrapolate)
    return known, after


def edited(
    job: Job,
    asked: Edit,
    head: Head,
    model: BrainLDM,
    library: Library,
    network: Network,
    progress: Progress,
) -> Head:
    """Make the edited head; errors as `conditions_of`, and as `Inverted.of`."""
    known, after = conditions_of(asked, head, model.config)
    known = replace(known, network=network)
    path = library.file(head, "volume")
    source = Source(name=path.name, sha256=image_sha256(path))
    inverted = Inverted.of(
        model,
        Original(Volume.load(path, scaled=True), source),
        known,
        steps=asked.steps or STEPS,
        extrapolate=asked.extrapolate,
        progress=progress,
        samples=2,
    )
    [volume] = counterfactuals(inverted, [after], extrapolate=asked.extrapolate, progress=progress)
    said = Provenance.of(volume.metadata)
    changed = (f"{words(name)} {said.conditions[name].value:.4g}" for name in asked.changes)
    kept = said.edit.kept if said.edit else None
    result = Head(
        id=f"{job.id}-0",
        job=job.id,
        kind="edited",
        name=(asked.name or f"{head.name}, {', '.join(changed)}")[:80],
        created=time.time(),
        conditions={n: each.model_dump() for n, each in said.conditions.items()},
        notes=[f"{kept or 0:.0%} of the voxels are those of {head.name!r}", *inverted.doubts],
        file="edited_T1w.nii.gz",
        of=head.id,
    )
    library.write(result, volume)
    return result
