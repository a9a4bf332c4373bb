"""Two names of one parameter: GenerativeModels' and those of MONAI >= 1.4, which are ours.

MONAI renamed some layers when it took over the networks of GenerativeModels. The shapes stayed,
so renaming is all there is to a conversion. Found by building both networks; the parity tests
compare all their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# For each network, (before, old, new, after): only the middle of a name differs.
_RENAMED = {
    # The convolution after an upsampling. The encoder's downsampling kept `conv.conv`.
    "autoencoder": (r"^decoder\.blocks\.\d+\.", "conv.conv.", "postconv.conv.", r"\w+$"),
    # The output projection of an attention. Its old sibling `to_out.1`, a dropout, has no weights.
    "unet": (r"\.transformer_blocks\.\d+\.attn\d\.", "to_out.0.", "out_proj.", r"\w+$"),
}


def to_current_names(state: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    """Rename GenerativeModels' parameters to MONAI's; names that are MONAI's already stay.

    Args:
        state: a state dict; the tensors are shared with the result.
        network: "autoencoder" or "unet".
    """
    before, old, new, after = _RENAMED[network]
    return _rename(state, rf"({before}){re.escape(old)}({after})", new)


def to_old_names(state: Mapping[str, Tensor], network: str) -> dict[str, Tensor]:
    """Rename MONAI's parameters to GenerativeModels': the inverse of `to_current_names`."""
    before, old, new, after = _RENAMED[network]
    return _rename(state, rf"({before}){re.escape(new)}({after})", old)


def _rename(state: Mapping[str, Tensor], pattern: str, middle: str) -> dict[str, Tensor]:
    return {re.sub(pattern, rf"\g<1>{middle}\g<2>", key): value for key, value in state.items()}
