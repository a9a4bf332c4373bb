"""Stage 2, from a prepared data set and an autoencoder to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from brainldm.checkpoint import LoadedModel, load_model, save_model
from brainldm.errors import UsageError
from brainldm.models.unet import DiffusionUNet
from brainldm.pipeline.choice import Model
from brainldm.segment.segmenter import check_segmentation
from brainldm.train.accelerated import accelerated
from brainldm.train.card import model_card
from brainldm.train.centre import off_centre
from brainldm.train.diffusion import DiffusionStage, explained_weight
from brainldm.train.estimate import describe, warn_of_length
from brainldm.train.finetune import check_lora, merge_lora
from brainldm.train.first_stage import FirstStage, load_first_stage
from brainldm.train.fit import fit
from brainldm.train.folder import RunFolder
from brainldm.train.latent_samples import LatentSamples
from brainldm.train.latents import Encoded, encode_all
from brainldm.train.material import Material, split
from brainldm.train.model import (
    new_sampler,
    new_teacher,
    new_unet,
    pick_autoencoder,
    taught,
)
from brainldm.train.monitor import Monitor, Progress, Say, quiet
from brainldm.train.phases import Course
from brainldm.train.settings import DiffusionSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


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

    def run(self, progress: Progress | None = None, say: Say = quiet) -> Path:
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
        material = self._gather()
        folder, training = RunFolder(Path(self.out)), material.settings.training
        if material.covariates.left_out:
            say(f"{len(material.covariates.left_out)} subjects lack a condition and are left out.")
        learn, others = split(material.heads, material.covariates, training)
        material.heads.check_images()
        warn_of_length(*_meta(material), self.device)
        models = self._load()
        configuration = self._configuration(material, models)
        tracker = material.settings.run.tracker
        with (
            accelerated(training, self.device, tracker, folder.logs) as accelerator,
            folder.held(accelerator, configuration),
        ):
            if folder.finished:
                return folder.model
            accelerator.init_trackers("run")
            say = say if accelerator.is_main_process else quiet
            say("Encoding heads")
            origin = configuration["data"], material.settings.flip, accelerator.mixed_precision
            place = folder.kept("latents", models.first.hash, *origin)
            encoded = self._encode(material, models.first, learn, place, accelerator)
            say(f"Latent scale {encoded.scale:g}")
            material = material.scaled(encoded.scale)
            shift, number = None, material.settings.centre
            if number and models.base:
                say(f"Generating {number} heads")
                # All that it hangs on: until there is a state settings may be corrected.
                whom = models.base.hash, configuration["context"], learn
                place = folder.kept("centre", number, *whom, *origin)
                model = Model(source=str(self.source), device=self.device)
                with accelerator.main_process_first():
                    shift = off_centre(model, encoded, learn, number, place)
            stage = self._stage(material, models, encoded, learn, others, shift, accelerator.device)
            trained = fit(stage, accelerator, folder.state, Monitor(accelerator, progress))
            if accelerator.is_main_process:
                figures = trained.findings.figures
                settings, config = material.settings, material.config
                card = model_card(
                    material.covariates, len(others), settings, configuration, config, figures
                )
                states = self._finished(material, models, trained.weights)
                save_model(folder.model, config, *states, card=card)
            accelerator.wait_for_everyone()
            return folder.model

    def describe(self) -> str:
        """The settings, and what they take, as text; errors as `run`."""
        material = self._gather()
        config, settings = material.config, material.settings
        course, network, inputs = _meta(material)
        names = ", ".join(
            f"{v.name} ({'/'.join(v.labels) if v.labels else f'{v.low:g} to {v.high:g} {v.unit}'})"
            for v in config.conditions
        )
        lack = len(material.covariates.left_out)
        note = f"\nConditions: {names}; {lack} subjects lack one"
        count = len(material.covariates.index) * (2 if settings.flip else 1)
        return describe(material.heads, course, network, inputs, self.device, count, note)

    def _gather(self) -> Material:
        if self.lora is not None and not self.source:
            raise UsageError(
                "LoRA changes a model: expected one to start from (--from) with --lora."
            )
        if self.lora is not None:
            check_lora(self.lora)
        check_segmentation(self.settings.run.segmenter)
        autoencoder, name = self._autoencoder, Path(self.out).resolve().name
        return Material.gather(
            self.data, self.settings, name, autoencoder, self.source, self.conditions
        )

    @property
    def _autoencoder(self) -> str | Path:
        return pick_autoencoder(self.autoencoder, self.source)

    def _load(self) -> _Models:
        base = load_model(self.source, dtype=torch.float32) if self.source else None
        return _Models(load_first_stage(self._autoencoder), base)

    def _configuration(self, material: Material, models: _Models) -> dict[str, Any]:
        """All that decides what the weights become."""
        settings = material.settings.model_dump(mode="json", exclude={"run", "network", "about"})
        return {
            "stage": "diffusion",
            "settings": settings,
            "network": material.config.unet.model_dump(mode="json"),
            "conditions": [v.model_dump(mode="json") for v in material.config.conditions],
            "context": material.covariates.digest,
            "data": material.heads.digest(),
            "autoencoder": models.first.hash,
            "from": models.base.hash if models.base else None,
            "lora": self.lora,
        }

    def _encode(
        self,
        material: Material,
        first: FirstStage,
        learn: Sequence[int],
        place: Path,
        accelerator: Accelerator,
    ) -> Encoded:
        """All heads as latents, on the scale of the model to start from, or on their own."""
        heads, config = material.heads, material.config
        flip = material.settings.flip
        latents = encode_all(first.network, heads.image, len(heads), flip, place, accelerator)
        same = material.base is not None and self.autoencoder is None
        scale = config.latent.scale if same else 1 / latents.deviation(learn)
        context = torch.full((len(heads), config.unet.context_dim), float("nan"))
        context[list(material.covariates.index)] = material.covariates.context
        return Encoded(latents, scale, context)

    def _stage(
        self,
        material: Material,
        models: _Models,
        encoded: Encoded,
        learn: Sequence[int],
        others: Sequence[int],
        shift: Tensor | None,
        device: torch.device,
    ) -> DiffusionStage:
        settings, course = material.settings, Course(material.settings)
        names = [f"sub-{subject}" for subject in material.heads.subjects]
        return DiffusionStage(
            self._network(material, models),
            LatentSamples(encoded, learn, material.pairs(learn), names, course, device),
            course,
            encoded,
            others,
            weight=explained_weight(encoded, learn) if settings.explained_weight else None,
            look=new_sampler(material.config, models.first, encoded, learn, settings),
            teacher=new_teacher(models.base) if models.base and taught(settings) else None,
            shift=shift,
        )

    def _network(self, material: Material, models: _Models) -> nn.Module:
        """The network that learns, as it begins."""
        weights = models.base.unet if models.base else None
        known = material.base.conditions if material.base else ()
        return new_unet(material.config, weights, known, self.lora, material.settings)

    def _finished(
        self, material: Material, models: _Models, weights: dict[str, Tensor]
    ) -> list[dict[str, Tensor]]:
        """The weights of both networks, as they are saved."""
        if self.lora is not None:
            network = self._network(material, models)
            network.load_state_dict(weights)
            weights = merge_lora(network).state_dict()
        dtype = getattr(torch, material.settings.run.weights)
        return [
            {name: tensor.to("cpu", dtype) for name, tensor in state.items()}
            for state in (models.first.network.state_dict(), weights)
        ]


def _meta(
    material: Material,
) -> tuple[Course[DiffusionSettings], DiffusionUNet, list[tuple[Tensor, ...]]]:
    """The settings, the network and its inputs in each phase, without memory."""
    unet, course = material.config.unet, Course(material.settings)
    inputs: list[tuple[Tensor, ...]] = []
    with torch.device("meta"):
        network = DiffusionUNet(unet)
        for span in course.spans:
            heads = 2 if span.settings.pairs else 1
            z = torch.empty(heads, unet.in_channels, *material.config.latent.shape[1:])
            inputs.append((z, torch.empty(heads), torch.empty(heads, 1, unet.context_dim)))
    return course, network, inputs


@dataclass(frozen=True)
class _Models:
    """The autoencoder, and the model to start from, with their weights."""

    first: FirstStage
    base: LoadedModel | None
