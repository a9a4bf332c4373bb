"""What stage 2 works with: heads, models and settings that suit each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from brainldm.checkpoint import load_config
from brainldm.config import LatentConfig, ModelConfig
from brainldm.dataset.prepared import PreparedData, read_prepared
from brainldm.errors import UsageError
from brainldm.train.covariates import Covariates, read_covariates
from brainldm.train.estimate import check_preset
from brainldm.train.first_stage import Description, describe_first_stage
from brainldm.train.groups import groups_of, held_out, pairs
from brainldm.train.model import check_teacher, check_voxels, model_config
from brainldm.train.phases import Course
from brainldm.train.settings import DiffusionSettings, HeadTraining


@dataclass(frozen=True)
class Material:
    """Heads, models and settings, before any weights are read.

    Args:
        heads: to learn from.
        first: the autoencoder.
        base: the model to start from.
        covariates: of the heads.
        config: what the model will be.
        settings: with the noise that `config` has.
    """

    heads: PreparedData
    first: Description
    base: ModelConfig | None
    covariates: Covariates
    config: ModelConfig
    settings: DiffusionSettings

    @classmethod
    def gather(
        cls,
        data: str | Path,
        settings: DiffusionSettings,
        name: str,
        autoencoder: str | Path,
        source: str | Path | None,
        conditions: Sequence[str],
    ) -> Self:
        """Read what there is, and refuse what does not suit.

        Args:
            data: what `brainldm prepare` wrote.
            settings: of the stage.
            name: of the model, if the settings have none.
            autoencoder: a finished run of stage 1, or a model.
            source: a model to start from.
            conditions: columns as in `read_covariates`.

        Raises:
            BrainLDMError: anything wrong with them.
        """
        heads, first = read_prepared(data), describe_first_stage(autoencoder)
        base = load_config(source) if source else None
        check_voxels(heads, first)
        if base is None:
            check_preset(heads, settings.run)
        known = base.conditions if base else ()
        covariates = read_covariates(heads, conditions, known, settings.ranges)
        config = model_config(heads, first, settings, covariates, base, name)
        check_teacher(settings, config, base, autoencoder == source)
        settings = settings.model_copy(update={"schedule": config.schedule})
        return cls(heads, first, base, covariates, config, settings)

    def scaled(self, scale: float) -> Self:
        """The same with the latent's scale, now that it is known."""
        latent = LatentConfig(shape=self.config.latent.shape, scale=scale)
        return replace(self, config=self.config.model_copy(update={"latent": latent}))

    def pairs(self, learn: Sequence[int]) -> list[tuple[int, ...]]:
        """Of the heads to learn from, where any phase asks for pairs.

        Raises:
            UsageError: nobody belongs together.
        """
        if not any(span.settings.pairs for span in Course(self.settings).spans):
            return []
        return pairs(learn, groups_of(self.heads, self.settings.training.group))


def split(
    heads: PreparedData, covariates: Covariates, training: HeadTraining
) -> tuple[list[int], list[int]]:
    """The heads to learn from and those held out, of all that have the conditions.

    Raises:
        UsageError: none is left to learn from, or there is no column of groups.
    """
    groups = groups_of(heads, training.group)
    apart = held_out(groups, training.held_out)
    learn = [i for i in covariates.index if groups[i] not in apart]
    if not learn:
        raise UsageError(
            f"{heads.folder}: all subjects that have the conditions are held out for validation, "
            "and none is left to learn from. Prepare more scans, choose other conditions, or "
            "change training.held_out."
        )
    return learn, [i for i in covariates.index if groups[i] in apart]
