"""Latents of all heads, computed once and kept in files beside a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brainldm.errors import ModelError, StorageError
from brainldm.files import write_together
from brainldm.models.autoencoder import AutoencoderKL

if TYPE_CHECKING:
    from accelerate import Accelerator

SHARD = 64
"""Heads in a file: what an interruption costs at most."""


class Latents:
    """The means of the posteriors, not scaled, read from files when they are asked for.

    Args:
        shards: (n, O, C, x, y, z) each, O = 2 with the mirror image of each head, else 1.
    """

    def __init__(self, shards: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    @property
    def orientations(self) -> int:
        """O."""
        return int(self.shards[0].shape[1])

    def __getitem__(self, index: int) -> Float[Tensor, "o c x y z"]:
        """Head `index`, (O, C, x, y, z), float32."""
        shard, place = divmod(index, SHARD)
        return torch.from_numpy(np.array(self.shards[shard][place]))

    def deviation(self, subset: Sequence[int]) -> float:
        """The standard deviation over all numbers of these heads; 1 / it is the latent's scale."""
        count, total, squares = 0, 0.0, 0.0
        for index in subset:
            z = self[index].double()
            count, total = count + z.numel(), total + z.sum().item()
            squares += z.square().sum().item()
        mean = total / count
        return float((squares / count - mean**2) ** 0.5)


@dataclass(frozen=True, eq=False)
class Encoded:
    """Heads as the U-Net sees them.

    Args:
        latents: of all.
        scale: what they are multiplied by, to about unit variance.
        context: the conditions of each in [0, 1], (N, V).
    """

    latents: Latents
    scale: float
    context: Float[Tensor, "n v"]

    def z0(self, head: int, orientation: int = 0) -> Float[Tensor, "c x y z"]:
        """The latent of a head, or of its mirror image, without noise."""
        return self.latents[head][orientation] * self.scale


def encode_all(
    model: AutoencoderKL,
    load: Callable[[int], Tensor],
    count: int,
    flip: bool,
    folder: Path,
    accelerator: Accelerator,
    on_head: Callable[[int, int], None] = lambda done, total: None,
) -> Latents:
    """Encode heads that the folder does not have yet; processes share the work.

    Args:
        model: trained.
        load: of the n-th head, (1, X, Y, Z) in [0, 1].
        count: of heads.
        flip: also the mirror image of each.
        folder: of nothing but the latents of this model and these heads; its name tells which.
        accelerator: says where to compute and in what precision.
        on_head: called with the number of heads that are done and of all.

    Raises:
        DataError: a head that cannot be read.
        ModelError: latents that are not finite.
        StorageError: a file that cannot be written or read again.
    """
    model = model.to(accelerator.device).eval()
    return in_shards(
        lambda head: _encode(model, load(head), flip, accelerator),
        count,
        folder,
        accelerator,
        on_head,
    )


def in_shards(
    make: Callable[[int], Float[Tensor, "o c x y z"]],
    count: int,
    folder: Path,
    accelerator: Accelerator,
    on_head: Callable[[int, int], None] = lambda done, total: None,
) -> Latents:
    """Latents of heads, made where the folder does not have them yet; processes share the work.

    Args:
        make: those of the n-th head.
        count: of heads.
        folder: of nothing else.
        accelerator: tells which process this is.
        on_head: called with the number of heads that are done and of all.

    Raises:
        ModelError: latents that are not finite.
        StorageError: a file that cannot be written or read again.
    """
    starts = range(0, count, SHARD)
    for number in range(accelerator.process_index, len(starts), accelerator.num_processes):
        path = _path(folder, number)
        heads = range(starts[number], min(starts[number] + SHARD, count))
        if path.exists():
            continue
        made = []
        for head in heads:
            made.append(make(head))
            if not made[-1].isfinite().all():
                raise ModelError(
                    f"The model gives latents of head {head + 1} that are NaN or infinite: "
                    "expected finite ones. Train it again, or choose training.precision=float32."
                )
            on_head(head + 1, count)
        write_array(path, torch.stack(made).numpy())
    accelerator.wait_for_everyone()
    return Latents([open_array(_path(folder, number)) for number in range(len(starts))])


@torch.no_grad()
def _encode(
    model: AutoencoderKL, image: Float[Tensor, "1 x y z"], flip: bool, accelerator: Accelerator
) -> Float[Tensor, "o c u v w"]:
    orientations = [image, image.flip(1)] if flip else [image]
    means = []
    for each in orientations:
        with accelerator.autocast():
            mean, _ = model.encode(each[None].to(accelerator.device))
        means.append(mean[0].float().cpu())
    return torch.stack(means)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npy"


def write_array(path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """Keep latents, or what was made of them, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    content = io.BytesIO()
    np.save(content, array)
    write_together({path: content.getvalue()})


def open_array(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """What was kept, read from the file when it is asked for.

    Raises:
        StorageError: the file cannot be read, or holds something else.
    """
    try:
        array: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise StorageError(
            f"Cannot read the latents {path}: {error}. Remove the file, and start again: it is "
            "made anew."
        ) from error
    return array
