"""Stage 2, from a prepared data set and an autoencoder to a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from brainldm.checkpoint import LoadedModel, load_model, save_model
from brainldm.config import LatentConfig, ModelConfig
from brainldm.dataset.prepared import PreparedData, read_prepared
from brainldm.errors import UsageError
from brainldm.models.unet import DiffusionUNet
from brainldm.train.accelerated import accelerated
from brainldm.train.card import model_card
from brainldm.train.covariates import Covariates, read_covariates
from brainldm.train.diffusion import DiffusionStage, explained_weight
from brainldm.train.estimate import describe
from brainldm.train.finetune import merge_lora
from brainldm.train.first_stage import FirstStage
from brainldm.train.fit import Trained, fit
from brainldm.train.folder import RunFolder
from brainldm.train.groups import groups_of, held_out, pairs
from brainldm.train.latent_samples import LatentSamples
from brainldm.train.latents import Encoded, encode_all
from brainldm.train.model import (
    check_guidance,
    check_voxels,
    first_stage,
    guided,
    model_config,
    new_sampler,
    new_teacher,
    new_unet,
)
from brainldm.train.monitor import Monitor, Progress
from brainldm.train.phases import Course
from brainldm.train.settings import DiffusionSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

Say = Callable[[str], None]


def _quiet(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainDiffusion:
    """Stage 2: a diffusion model of latents under conditions.

    Args:
        data: what `brainldm prepare` wrote.
        settings: of the stage; architecture and noise are those of `source` if there is one.
        out: the run's folder.
        autoencoder: a finished run of stage 1, or a model; that of `source` if None.
        source: a model to start from.
        conditions: columns as in `read_covariates`; those of `source`, or the standard four, if
            empty.
        lora: the rank of low-rank changes to learn in place of all weights (Hu et al. 2021,
            2106.09685); None learns them all.
        device: "auto", "cpu" or "cuda".
    """

    data: str | Path
    settings: DiffusionSettings
    out: str | Path
    autoencoder: str | Path | None = None
    source: str | Path | None = None
    conditions: Sequence[str] = ()
    lora: int | None = None
    device: str = "auto"

    def run(self, progress: Progress | None = None, say: Say = _quiet) -> Path:
        """Train, or resume the run that is in `out`.

        Args:
            progress: called after each step.
            say: takes a line now and then.

        Returns:
            The folder of the finished model, `out`/models.

        Raises:
            BrainLDMError: anything wrong with the data, the folder, the settings or the models, or
                a training that diverged.
        """
        given = self._given()
        folder, training = RunFolder(Path(self.out)), given.settings.training
        if given.covariates.left_out:
            say(f"{len(given.covariates.left_out)} subjects lack a condition and are left out.")
        learn, others = given.split()
        given.heads.check_images()
        configuration = self._configuration(given)
        tracker = given.settings.run.tracker
        with accelerated(training, self.device, tracker, folder.logs) as accelerator:
            with accelerator.main_process_first():
                folder.open(configuration)
            if folder.finished:
                return folder.model
            accelerator.init_trackers("run")
            say = say if accelerator.is_main_process else _quiet
            say("Encoding heads")
            encoded = self._encode(given, learn, folder, configuration["data"], accelerator)
            say(f"Latent scale {encoded.scale:g}")
            given = given.scaled(encoded.scale)
            stage = self._stage(given, encoded, learn, others)
            trained = fit(stage, accelerator, folder.state, Monitor(accelerator, progress))
            if accelerator.is_main_process:
                self._save(given, trained, len(others), configuration, folder)
            accelerator.wait_for_everyone()
            return folder.model

    def describe(self) -> str:
        """The settings, and what they take, as text; errors as `run`."""
        given = self._given()
        config, settings = given.config, given.settings
        together = 2 if settings.pairs else 1
        with torch.device("meta"):
            network = DiffusionUNet(config.unet)
            z = torch.empty(together, config.unet.in_channels, *config.latent.shape[1:])
            token = torch.empty(together, 1, config.unet.context_dim)
            inputs = (z, torch.empty(together), token)
        names = ", ".join(
            f"{v.name} ({'/'.join(v.labels) if v.labels else f'{v.low:g} to {v.high:g} {v.unit}'})"
            for v in config.conditions
        )
        lack = len(given.covariates.left_out)
        note = f"\nConditions: {names}; {lack} subjects lack one"
        count = len(given.covariates.index) * (2 if settings.flip else 1) // together
        course = Course(settings)
        every = [inputs] * len(course.spans)
        return describe(given.heads, course, network, every, self.device, count, note)

    def _given(self) -> _Given:
        """Data, models and settings, if they suit each other."""
        heads = read_prepared(self.data)
        if self.lora is not None and not self.source:
            raise UsageError(
                "LoRA changes a model: expected one to start from (--from) with --lora."
            )
        first = first_stage(self.autoencoder, self.source)
        base = load_model(self.source, dtype=torch.float32) if self.source else None
        check_voxels(heads, first)
        known = base.config.conditions if base else ()
        covariates = read_covariates(heads, self.conditions, known, self.settings.ranges)
        name = Path(self.out).resolve().name
        config = model_config(
            heads, first, self.settings, covariates, base.config if base else None, name
        )
        check_guidance(self.settings, config, base.config if base else None, self.autoencoder)
        settings = self.settings.model_copy(update={"schedule": config.schedule})
        return _Given(heads, first, base, covariates, config, settings)

    def _configuration(self, given: _Given) -> dict[str, Any]:
        """All that decides what the weights become."""
        settings = given.settings.model_dump(mode="json", exclude={"run", "network", "about"})
        return {
            "stage": "diffusion",
            "settings": settings,
            "network": given.config.unet.model_dump(mode="json"),
            "conditions": [v.model_dump(mode="json") for v in given.config.conditions],
            "context": hashlib.sha256(given.covariates.context.numpy().tobytes()).hexdigest(),
            "data": given.heads.digest(),
            "autoencoder": given.first.hash,
            "from": given.base.hash if given.base else None,
            "lora": self.lora,
        }

    def _encode(
        self,
        given: _Given,
        learn: Sequence[int],
        folder: RunFolder,
        digest: str,
        accelerator: Accelerator,
    ) -> Encoded:
        """All heads as latents, on the scale of the model to start from, or on their own."""
        heads, flip = given.heads, given.settings.flip
        place = folder.latents(given.first.hash, digest, flip, accelerator.mixed_precision)
        network = given.first.network
        latents = encode_all(network, heads.image, len(heads), flip, place, accelerator)
        same = given.base is not None and self.autoencoder is None
        scale = given.config.latent.scale if same else 1 / latents.deviation(learn)
        context = torch.full((len(heads), given.config.unet.context_dim), float("nan"))
        context[list(given.covariates.index)] = given.covariates.context
        return Encoded(latents, scale, context)

    def _stage(
        self, given: _Given, encoded: Encoded, learn: Sequence[int], others: Sequence[int]
    ) -> DiffusionStage:
        settings, course = given.settings, Course(given.settings)
        together: list[tuple[int, ...]] = [(head,) for head in learn]
        if settings.pairs:
            together = pairs(learn, groups_of(given.heads, settings.training.group))
        names = [f"sub-{subject}" for subject in given.heads.subjects]
        return DiffusionStage(
            given.network(self.lora),
            LatentSamples(encoded, together, names, course),
            course,
            encoded,
            others,
            weight=explained_weight(encoded, learn) if settings.explained_weight else None,
            look=new_sampler(given.config, given.first, encoded, learn, settings),
            teacher=new_teacher(given.base) if guided(settings) and given.base else None,
        )

    def _save(
        self,
        given: _Given,
        trained: Trained,
        held_out: int,
        configuration: Mapping[str, Any],
        folder: RunFolder,
    ) -> None:
        weights = trained.weights
        if self.lora is not None:
            network = given.network(self.lora)
            network.load_state_dict(weights)
            weights = merge_lora(network).state_dict()
        figures = trained.findings.figures
        card = model_card(
            given.covariates, held_out, given.settings, configuration, given.config, figures
        )
        dtype = getattr(torch, given.settings.run.weights)
        states = [
            {name: tensor.to(dtype) for name, tensor in state.items()}
            for state in (given.first.network.state_dict(), weights)
        ]
        save_model(folder.model, given.config, *states, card=card)


@dataclass(frozen=True)
class _Given:
    """What stage 2 works with.

    Args:
        heads: to learn from.
        first: the autoencoder.
        base: the model to start from.
        covariates: of the heads.
        config: what the model will be.
        settings: with the noise that `config` has.
    """

    heads: PreparedData
    first: FirstStage
    base: LoadedModel | None
    covariates: Covariates
    config: ModelConfig
    settings: DiffusionSettings

    def split(self) -> tuple[list[int], list[int]]:
        """The heads to learn from and those held out, of all that have the conditions.

        Raises:
            UsageError: none is left to learn from, or there is no column of groups.
        """
        groups = groups_of(self.heads, self.settings.training.group)
        apart = held_out(groups, self.settings.training.held_out)
        learn = [i for i in self.covariates.index if groups[i] not in apart]
        if not learn:
            raise UsageError(
                f"{self.heads.folder}: all subjects that have the conditions are held out for "
                "validation, and none is left to learn from. Prepare more scans, choose other "
                "conditions, or change training.held_out."
            )
        return learn, [i for i in self.covariates.index if groups[i] in apart]

    def scaled(self, scale: float) -> _Given:
        """The same with the latent's scale, now that it is known."""
        latent = LatentConfig(shape=self.config.latent.shape, scale=scale)
        return replace(self, config=self.config.model_copy(update={"latent": latent}))

    def network(self, lora: int | None) -> torch.nn.Module:
        """The network that learns, as it begins."""
        weights: dict[str, Tensor] | None = self.base.unet if self.base else None
        known = self.base.config.conditions if self.base else ()
        return new_unet(self.config, weights, known, lora, self.settings)
