"""What a model is: architecture, noise schedule, latent space, conditions, geometry, provenance.

A `ModelConfig` is saved as `config.json` beside the weights; a model without it does not load. The
published model's (Pinaya et al. 2022, arXiv 2209.07162) ships. Nothing here imports torch.
"""

from brainldm.config.model import USUAL_SAMPLER, ModelConfig, SamplerName, published_config
from brainldm.config.networks import (
    AutoencoderConfig,
    LatentConfig,
    ScheduleConfig,
    SegmenterConfig,
    UNetConfig,
)
from brainldm.config.variables import (
    Bernoulli,
    Categorical,
    LogNormal,
    Normal,
    Uniform,
    Variable,
)

__all__ = [
    "USUAL_SAMPLER",
    "AutoencoderConfig",
    "Bernoulli",
    "Categorical",
    "LatentConfig",
    "LogNormal",
    "ModelConfig",
    "Normal",
    "SamplerName",
    "ScheduleConfig",
    "SegmenterConfig",
    "UNetConfig",
    "Uniform",
    "Variable",
    "published_config",
]
