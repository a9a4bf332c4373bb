"""Stage 1, from a prepared data set to an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from brainldm.dataset.prepared import PreparedData, read_prepared
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.train.accelerated import accelerated
from brainldm.train.autoencoder import AutoencoderStage, new_autoencoder
from brainldm.train.card import autoencoder_card
from brainldm.train.checkpointing import checkpoint_blocks
from brainldm.train.estimate import check_preset, describe, warn_of_length
from brainldm.train.first_stage import (
    Description,
    describe_first_stage,
    load_first_stage,
    save_first_stage,
)
from brainldm.train.fit import fit
from brainldm.train.folder import RunFolder
from brainldm.train.groups import groups_of, held_out
from brainldm.train.head_samples import HeadSamples
from brainldm.train.image_stage import check_sizes, left_out
from brainldm.train.monitor import Monitor, Progress
from brainldm.train.phases import Course
from brainldm.train.settings import AutoencoderSettings


@dataclass(frozen=True, kw_only=True)
class TrainAutoencoder:
    """Stage 1: an autoencoder of heads.

    Args:
        data: what `brainldm prepare` wrote.
        settings: of the stage; the architecture is that of `source` if there is one.
        out: the run's folder.
        source: a model, or a run of stage 1, to start from.
        device: "auto", "cpu" or "cuda".
    """

    data: str | Path
    settings: AutoencoderSettings
    out: str | Path
    source: str | Path | None = None
    device: str = "auto"

    def run(self, progress: Progress | None = None) -> Path:
        """Train, or resume the run that is in `out`.

        Args:
            progress: called after each step.

        Returns:
            `out`, which now holds the autoencoder and its card.

        Raises:
            BrainLDMError: anything wrong with the data, the folder or the settings, or a training
                that diverged.
        """
        heads, course = self._given()
        warn_of_length(course, *_meta(heads, course), self.device)
        start = load_first_stage(self.source) if self.source else None
        settings, folder = course.settings, RunFolder(Path(self.out))
        groups = groups_of(heads, settings.training.group)
        heads.check_images()
        configuration = {
            "stage": "autoencoder",
            "settings": settings.model_dump(mode="json", exclude={"run"}),
            "data": heads.digest(),
            "from": start.hash if start else None,
        }
        training, tracker = settings.training, settings.run.tracker
        with (
            accelerated(training, self.device, tracker, folder.logs) as accelerator,
            folder.held(accelerator, configuration),
        ):
            if folder.finished:
                return folder.path
            accelerator.init_trackers("run")
            network = start.network if start else new_autoencoder(settings.network, training.seed)
            if settings.run.checkpointing:
                checkpoint_blocks(network)
            apart = held_out(groups, training.held_out)
            learn = [i for i, group in enumerate(groups) if group not in apart]
            others = [i for i, group in enumerate(groups) if group in apart]
            names = [f"sub-{subject}" for subject in heads.subjects]
            samples = HeadSamples(heads.image, learn, names, course)
            stage = AutoencoderStage(
                network, samples, course, heads.image, others, heads.grid.affine
            )
            trained = fit(stage, accelerator, folder.state, Monitor(accelerator, progress))
            if accelerator.is_main_process:
                figures = trained.findings.figures
                card = autoencoder_card(heads, len(others), settings, configuration, figures)
                description = Description(
                    autoencoder=settings.network, shape=heads.grid.shape, affine=heads.grid.affine
                )
                dtype = getattr(torch, settings.run.weights)
                weights = {name: tensor.to(dtype) for name, tensor in trained.weights.items()}
                save_first_stage(folder.path, weights, description, card)
            accelerator.wait_for_everyone()
            return folder.path

    def describe(self) -> str:
        """The settings, and what they take, as text; errors as `run`."""
        heads, course = self._given()
        network, inputs = _meta(heads, course)
        note = left_out(course)
        return describe(heads, course, network, inputs, self.device, len(heads), note)

    def _given(self) -> tuple[PreparedData, Course[AutoencoderSettings]]:
        """The heads and the settings, if they suit each other."""
        heads, settings = read_prepared(self.data), self.settings
        if self.source:
            network = describe_first_stage(self.source).autoencoder
            settings = settings.model_copy(update={"network": network})
        else:
            check_preset(heads, settings.run)
        course = Course(settings)
        factor = course.settings.network.factor
        check_sizes(heads.grid.shape, factor, course, f"{heads.folder}: each image")
        return heads, course


def _meta(
    heads: PreparedData, course: Course[AutoencoderSettings]
) -> tuple[AutoencoderKL, list[tuple[torch.Tensor]]]:
    """The network and its input in each phase, without memory."""
    with torch.device("meta"):
        network = AutoencoderKL(course.settings.network)
        shapes = [s.settings.crop or heads.grid.shape for s in course.spans]
        return network, [(torch.empty(1, 1, *shape),) for shape in shapes]
