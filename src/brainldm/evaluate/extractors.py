"""Networks whose features FID, MMD and coverage are computed on; each is named in the result.

random       3-D convolutions with random weights, 32 features, needs no file. It tells images of
             other sharpness, contrast or noise apart; it knows no anatomy.
medicalnet   MedicalNet's ResNet-50 (Chen et al. 2019, 1904.00625), 2048 features, the paper's.
resnet-2.5d  a 2-D ResNet-50 (ImageNet's or RadImageNet's weights) over slices in three planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from brainldm.checkpoint import read_state_dict
from brainldm.errors import ModelError, StorageError, UsageError, require
from brainldm.files import sha256

NAMES = ("random", "medicalnet", "resnet-2.5d")
MEDICALNET = ("TencentMedicalNet/MedicalNet-Resnet50", "resnet_50_23dataset.pth")
WIDTHS = (8, 16, 32, 32)
SLICES = 16
"""Evenly spaced slices a plane that the 2.5-D extractor sees."""


@dataclass(frozen=True)
class Extractor:
    """Which network, and its weights.

    Args:
        name: one of `NAMES`.
        weights: a state dict as torch saves it; None for `random`.
        sha256: of that file; empty without one.
    """

    name: str = "random"
    weights: Path | None = None
    sha256: str = ""

    @classmethod
    def of(cls, name: str, weights: Path | None) -> Extractor:
        """Check the name and the file.

        Raises:
            UsageError: an unknown name, or weights missing or needless.
            StorageError: the file cannot be read.
        """
        if name not in NAMES:
            raise UsageError(f"No extractor is {name!r}: expected {', '.join(NAMES)}.")
        if (weights is None) != (name == "random"):
            raise UsageError(
                f"The extractor {name} "
                + (
                    "has no weights to read: leave --extractor-weights out."
                    if weights
                    else "needs its weights: expected --extractor-weights FILE, as published "
                    "(MedicalNet: resnet_50_23dataset.pth; 2.5-D: a torchvision-style ResNet-50)."
                )
            )
        return cls(name, weights, sha256(weights) if weights else "")

    @property
    def identity(self) -> str:
        """The name, and which weights."""
        return self.name + (f"-{self.sha256[:12]}" if self.sha256 else "")

    def features(self, image: Tensor) -> Tensor:
        """Features (D,) of a head (X, Y, Z), scaled to mean 0 and deviation 1 before."""
        x = ((image - image.mean()) / image.std().clamp(min=1e-6))[None, None]
        with torch.inference_mode():
            if self.name == "random":
                return _random(x)
            network = _resnet(self)
            if self.name == "medicalnet":
                return torch.as_tensor(network(x)).flatten()
            return torch.stack([network(_slices(x, axis)).mean(0) for axis in (2, 3, 4)]).mean(0)


def download_medicalnet(name: str) -> Path:
    """Fetch MedicalNet's weights from its authors' page on Hugging Face, 185 MB, or find them.

    Raises:
        UsageError: another extractor.
        StorageError: no way to the page.
    """
    if name != "medicalnet":
        raise UsageError(
            f"Only the weights of medicalnet can be downloaded, not those of {name}: give a file."
        )
    require("evaluate", "The download", "huggingface_hub")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(*MEDICALNET))
    except Exception as error:  # of many libraries: no network, no such page, a full disk
        raise StorageError(
            f"Cannot fetch {'/'.join(MEDICALNET)} from Hugging Face: {error}. Fetch it on another "
            "machine and give --extractor-weights FILE."
        ) from error


def _random(x: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    for width in WIDTHS:
        weight = torch.randn(width, x.shape[1], 3, 3, 3, generator=generator)
        x = F.relu(F.conv3d(x, weight * (2 / weight[0].numel()) ** 0.5, stride=2, padding=1))
    return x.mean((2, 3, 4))[0]


def _slices(x: Tensor, axis: int) -> Tensor:
    """(SLICES, 3, A, B), grey as three equal channels, without the empty ends of the field."""
    side = x.shape[axis]
    at = torch.linspace(0.1 * side, 0.9 * side - 1, SLICES).round().long()
    return x.index_select(axis, at).movedim(axis, 0)[:, 0, 0, None].expand(-1, 3, -1, -1)


@cache
def _resnet(extractor: Extractor) -> torch.nn.Module:
    require("evaluate", f"The extractor {extractor.name}", "monai")
    from monai.networks.nets.resnet import resnet50

    flat = extractor.name == "resnet-2.5d"
    network: torch.nn.Module = resnet50(
        spatial_dims=2 if flat else 3,
        n_input_channels=3 if flat else 1,
        conv1_t_stride=2,
        feed_forward=False,
        bias_downsample=False,
    )
    state = read_state_dict(extractor.weights or "")
    # A classifier's last layer is not used.
    state = {n: value for n, value in state.items() if not n.startswith(("fc.", "conv_seg."))}
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    others = [n for n, value in state.items() if n not in own or own[n].shape != value.shape]
    if missing or others:
        raise ModelError(
            f"{extractor.weights} is no {extractor.name}: {len(missing)} weights are missing, "
            f"{len(others)} are unknown or of another shape, such as {(missing + others)[0]}. "
            f"Expected a {'2' if flat else '3'}-D ResNet-50 with bottlenecks."
        )
    network.load_state_dict(state)
    return network.eval()
