"""The segmenter, from label maps to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brainldm.checkpoint.fetch import cache_dir
from brainldm.dataset.tsv import write_row
from brainldm.errors import StorageError, UsageError
from brainldm.files import make_folder
from brainldm.image.reading import image_sha256
from brainldm.models.segmenter import SegmentationNetwork
from brainldm.segment.weights import DESCRIPTION, Description, save_segmenter
from brainldm.simulate.priors import read_priors
from brainldm.simulate.sources import Source, find_sources
from brainldm.train.accelerated import accelerated
from brainldm.train.card import segmenter_card
from brainldm.train.estimate import describe_run, warn_of_length
from brainldm.train.fit import fit
from brainldm.train.folder import RunFolder
from brainldm.train.label_pool import Head, make_pool
from brainldm.train.monitor import Monitor, Progress
from brainldm.train.phases import Course
from brainldm.train.segmenter import SegmenterStage, architecture, new_segmenter
from brainldm.train.segmenter_samples import SegmenterSamples
from brainldm.train.segmenter_settings import SegmenterSettings

HELD_OUT_SEEDS = 10**6
"""Of the first subject to validate on; those to learn from begin with 0."""
LOG = "validation.tsv"


@dataclass(frozen=True, kw_only=True)
class TrainSegmenter:
    """A network that labels heads, trained on simulated ones.

    Args:
        label_maps: a folder of label maps; None takes the template's anatomy.
        settings: of the stage.
        out: the run's folder.
        leave_out: names of anatomies that are never learned from: validation looks at them.
        jobs: processes that make the subjects.
        device: "auto", "cpu" or "cuda".
        cache: where anatomies are kept; `cache_dir()` if None.
    """

    label_maps: Path | None
    settings: SegmenterSettings
    out: str | Path
    leave_out: Sequence[str] = ()
    jobs: int = 1
    device: str = "auto"
    cache: Path | None = None

    def run(
        self,
        progress: Progress | None = None,
        subjects: Callable[[int, int], None] = lambda done, total: None,
    ) -> Path:
        """Train, or resume the run that is in `out`.

        Args:
            progress: called after each step.
            subjects: called with the number of subjects that are made, and of all.

        Returns:
            `out`, which holds the segmenter, also the one of an unfinished run at its last
            validation.

        Raises:
            BrainLDMError: anything wrong with the label maps, the folder or the settings, or a
                training that diverged.
        """
        learn, apart, course = *self._sources(), Course(self.settings)
        check_crops(course)
        warn_of_length(course, *_meta(course), self.device)
        priors = read_priors(self.label_maps) if self.label_maps else None
        settings, folder = course.settings, RunFolder(Path(self.out))
        configuration = {
            "stage": "segmenter",
            "settings": settings.model_dump(mode="json", exclude={"run"}),
            "anatomies": {each.name: _hash(each) for each in learn},
            "held_out": {each.name: _hash(each) for each in apart},
        }
        training, tracker = settings.training, settings.run.tracker
        with (
            accelerated(training, self.device, tracker, folder.logs) as accelerator,
            folder.held(accelerator, configuration),
        ):
            if _finished(folder.path):
                return folder.path
            with accelerator.main_process_first():
                make = partial(
                    make_pool,
                    cache=(self.cache or cache_dir()) / "anatomies",
                    jobs=self.jobs,
                    progress=subjects,
                )
                pool = make(folder.path / "subjects", learn, range(settings.subjects))
                seeds = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + settings.run.validate_on)
                others = make(folder.path / "subjects", apart, seeds) if apart else []
            accelerator.init_trackers("run")
            device, names = accelerator.device, [each.file.stem for each in pool]

            def load(i: int) -> Head:
                return pool[i].load()

            # A GPU learns a head sooner than it is read.
            kept = load if device.type == "cpu" else cache(load)
            samples = SegmenterSamples(kept, names, priors, course, device)

            def keep(network: nn.Module, step: int, figures: Mapping[str, float]) -> None:
                if accelerator.is_main_process:
                    _keep(folder.path, network, step, figures, settings, configuration)

            stage = SegmenterStage(
                new_segmenter(settings),
                samples,
                course,
                [each.load for each in others],
                priors,
                keep,
            )
            fit(stage, accelerator, folder.state, Monitor(accelerator, progress))
            accelerator.wait_for_everyone()
            return folder.path

    def describe(self) -> str:
        """The settings, and what they take, as text; errors as `run`."""
        learn, _ = self._sources()
        course = Course(self.settings)
        check_crops(course)
        count = course.settings.subjects
        data = f"{count} subjects of {len(learn)} anatomies"
        return describe_run(data, course, *_meta(course), self.device, count)

    def _sources(self) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
        """The anatomies to learn from, and those held out."""
        learn = find_sources(self.label_maps, leave_out=self.leave_out)
        if not self.leave_out:
            return learn, ()
        return learn, find_sources(self.label_maps, only=self.leave_out)


def check_crops(course: Course[SegmenterSettings]) -> None:
    """Refuse parts of heads that the network cannot take.

    Raises:
        UsageError: a side that is no multiple of the network's factor.
    """
    factor = architecture(course.settings).factor
    for span in course.spans:
        crop = span.settings.crop
        if any(side % factor for side in crop):
            raise UsageError(
                f"crop is {crop}: expected sides that are multiples of {factor}, the network's "
                "factor. Choose others, or fewer levels (network.channels)."
            )


def _meta(
    course: Course[SegmenterSettings],
) -> tuple[SegmentationNetwork, list[tuple[torch.Tensor]]]:
    """The network and its input in each phase, without memory."""
    with torch.device("meta"):
        network = SegmentationNetwork(architecture(course.settings))
        return network, [(torch.empty(1, 1, *span.settings.crop),) for span in course.spans]


def _hash(source: Source) -> str:
    return image_sha256(source.label_map) if source.label_map else source.name


def _finished(folder: Path) -> bool:
    if not (folder / DESCRIPTION).is_file():
        return False
    description = Description.read(folder)
    return description.steps >= description.of


def _keep(
    folder: Path,
    network: nn.Module,
    step: int,
    figures: Mapping[str, float],
    settings: SegmenterSettings,
    configuration: Mapping[str, Any],
) -> None:
    """Write the averaged network of a step, and a line of what it reaches."""
    dtype = getattr(torch, settings.run.weights)
    weights = {name: tensor.to("cpu", dtype) for name, tensor in network.state_dict().items()}
    description = Description(
        network=architecture(settings),
        steps=step,
        of=settings.training.steps,
        figures=dict(figures),
    )
    save_segmenter(folder, weights, description, segmenter_card(settings, configuration, figures))
    log = folder / LOG
    make_folder(folder)
    try:
        with log.open("ab") as file:
            if not log.stat().st_size:
                file.write(write_row(("step", *figures)))
            file.write(write_row((str(step), *figures.values())))
    except OSError as error:
        raise StorageError(f"Cannot write {log}: {error.strerror}. Free some space.") from error
