"""Memory for time: activations inside blocks are computed again when gradients need them."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from brainldm.models import autoencoder, unet
from brainldm.models.attention import SpatialTransformer

BLOCKS = (
    autoencoder.ResBlock,
    autoencoder.Downsample,
    autoencoder.Upsample,
    unet.ResBlock,
    SpatialTransformer,
)


def checkpoint_blocks(network: nn.Module) -> None:
    """Let every block of either network keep its input alone (Chen et al. 2016, 1604.06174)."""
    for module in network.modules():
        if isinstance(module, BLOCKS):
            # No block draws random numbers.
            module.forward = partial(  # type: ignore[method-assign]
                checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False
            )
