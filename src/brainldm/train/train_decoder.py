"""A finished model whose decoder learns what its own latents mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from brainldm.checkpoint import load_config, load_model, save_model
from brainldm.config import ModelConfig
from brainldm.dataset.prepared import PreparedData, read_prepared
from brainldm.models.autoencoder import AutoencoderKL
from brainldm.models.sizes import check_sides
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model
from brainldm.train.accelerated import accelerated
from brainldm.train.card import decoder_card
from brainldm.train.checkpointing import checkpoint_blocks
from brainldm.train.covariates import Covariates, read_covariates
from brainldm.train.decoder import Decoder, DecoderStage
from brainldm.train.decoder_samples import DecoderSamples, Pairs
from brainldm.train.draws import Draw
from brainldm.train.estimate import check_preset, describe, warn_of_length
from brainldm.train.first_stage import FirstStage, describe_first_stage, load_first_stage
from brainldm.train.fit import fit
from brainldm.train.folder import RunFolder
from brainldm.train.image_stage import check_sizes, left_out
from brainldm.train.latents import encode_all, in_shards
from brainldm.train.material import split
from brainldm.train.model import check_voxels
from brainldm.train.monitor import Monitor, Progress, Say, quiet
from brainldm.train.phases import Course
from brainldm.train.remade import remade
from brainldm.train.settings import DecoderSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, kw_only=True)
class TrainDecoder:
    """The decoder of a model, finished on latents as its diffusion makes them.

    Args:
        data: what `brainldm prepare` wrote, with the model's conditions.
        settings: of the stage.
        source: the model; all but its decoder stays as it is.
        out: the run's folder.
        device: "auto", "cpu" or "cuda".
    """

    data: str | Path
    settings: DecoderSettings
    source: str | Path
    out: str | Path
    device: str = "auto"

    def run(self, progress: Progress | None = None, say: Say = quiet) -> Path:
        """Train, or resume the run that is in `out`.

        Args:
            progress: called after each step.
            say: takes a line now and then.

        Returns:
            The folder of the finished model, `out`/models.

        Raises:
            BrainLDMError: anything wrong with the data, the folder, the settings or the model, or
                a training that diverged.
        """
        given = self._given()
        heads, course, settings = given.heads, given.course, given.course.settings
        learn, others = split(heads, given.covariates, settings.training)
        heads.check_images()
        warn_of_length(course, *_meta(given), self.device)
        first, folder = load_first_stage(self.source), RunFolder(Path(self.out))
        configuration: dict[str, Any] = {
            "stage": "decoder",
            "settings": settings.model_dump(mode="json", exclude={"run"}),
            "context": given.covariates.digest,
            "data": heads.digest(),
            "from": first.hash,
        }
        training, tracker = settings.training, settings.run.tracker
        with (
            accelerated(training, self.device, tracker, folder.logs) as accelerator,
            folder.held(accelerator, configuration),
        ):
            if folder.finished:
                return folder.model
            accelerator.init_trackers("run")
            say = say if accelerator.is_main_process else quiet
            pairs = self._pairs(given, first, folder, configuration, accelerator, say)
            decoder = Decoder(first.network)
            if settings.run.checkpointing:
                checkpoint_blocks(decoder)
            names = [f"sub-{subject}" for subject in heads.subjects]
            samples = DecoderSamples(pairs, learn, names, course)
            stage = DecoderStage(decoder, samples, course, others, heads.grid.affine)
            trained = fit(stage, accelerator, folder.state, Monitor(accelerator, progress))
            if accelerator.is_main_process:
                card = decoder_card(
                    given.covariates, len(others), settings, configuration, trained.findings.figures
                )
                loaded, dtype = load_model(self.source), getattr(torch, settings.run.weights)
                finished = {name: tensor.to(dtype) for name, tensor in trained.weights.items()}
                autoencoder = {**loaded.autoencoder, **finished}
                save_model(folder.model, loaded.config, autoencoder, loaded.unet, card=card)
            accelerator.wait_for_everyone()
            return folder.model

    def describe(self) -> str:
        """The settings, and what they take, as text; errors as `run`."""
        given = self._given()
        settings = given.course.settings
        split(given.heads, given.covariates, settings.training)
        count = len(given.covariates.index) * (2 if settings.flip else 1)
        network, inputs = _meta(given)
        note = left_out(given.course)
        return describe(given.heads, given.course, network, inputs, self.device, count, note)

    def _given(self) -> _Given:
        """Heads, model and settings, if they suit each other."""
        heads, config = read_prepared(self.data), load_config(self.source)
        check_voxels(heads, describe_first_stage(self.source))
        check_preset(heads, self.settings.run)
        course, factor = Course(self.settings), config.autoencoder.factor
        check_sizes(heads.grid.shape, factor, course, f"{heads.folder}: each image")
        latent = tuple(side // factor for side in heads.grid.shape)
        check_sides(latent, config.unet.factor, "The latent of these images")
        return _Given(heads, config, read_covariates(heads, known=config.conditions), course)

    def _pairs(
        self,
        given: _Given,
        first: FirstStage,
        folder: RunFolder,
        configuration: dict[str, Any],
        accelerator: Accelerator,
        say: Say,
    ) -> Pairs:
        """Latents of all heads that have the conditions, as the encoder gives them and anew."""
        heads, flip, index = given.heads, given.course.settings.flip, given.covariates.index
        origin = first.hash, configuration["data"], flip, accelerator.mixed_precision
        say("Encoding heads")
        place = folder.kept("latents", *origin)
        clean = encode_all(first.network, heads.image, len(heads), flip, place, accelerator)
        say("Making them anew")
        seed, scale = given.course.settings.training.seed, given.config.latent.scale
        rows = dict(zip(index, given.covariates.context, strict=True))

        @cache  # not where all is made already
        def model() -> BrainLDM:
            return BrainLDM.load(Model(source=str(self.source), device=self.device))

        def make(head: int) -> torch.Tensor:
            if head not in rows:  # never looked at
                return torch.zeros_like(clean[head])
            draw = Draw(seed, 0, head, len(heads))
            return remade(model(), clean[head] * scale, rows[head], draw) / scale

        place = folder.kept("remade", seed, configuration["context"], *origin)
        anew = in_shards(make, len(heads), place, accelerator)
        return Pairs(heads.image, clean, anew, given.config.autoencoder.factor)


@dataclass(frozen=True)
class _Given:
    """Heads, the model and the settings, before any weights are read."""

    heads: PreparedData
    config: ModelConfig
    covariates: Covariates
    course: Course[DecoderSettings]


def _meta(given: _Given) -> tuple[Decoder, list[tuple[torch.Tensor]]]:
    """The network and its input in each phase, without memory."""
    c = given.config.autoencoder
    with torch.device("meta"):
        network = Decoder(AutoencoderKL(c))
        shapes = [span.settings.crop or given.heads.grid.shape for span in given.course.spans]
        latents = [[side // c.factor for side in shape] for shape in shapes]
        return network, [(torch.empty(1, c.latent_channels, *each),) for each in latents]
