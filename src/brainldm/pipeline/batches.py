"""Samples in batches: which are denoised together, in which order they come, how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from torch import Tensor

from brainldm.pipeline.loading import Networks

T = TypeVar("T")
Progress = Callable[[int, int, str], None]
"""progress(done, total, phase), counting samples times steps in the phase "denoise" and samples in
the phase "decode"."""


def batches(items: Sequence[T], size: int) -> Iterator[tuple[int, Sequence[T]]]:
    """Parts of a sequence, each with the place where it begins."""
    for start in range(0, len(items), size):
        yield start, items[start : start + size]


def after_unet(denoised: Iterable[T], networks: Networks) -> Iterator[T]:
    """Latents as they are denoised; in the mode low, all of them once the U-Net is let go.

    So the U-Net and the decoder are not in memory together, and the U-Net is read once for all.
    """
    held: list[T] = []
    for each in denoised:
        held.append(each)
        if networks.memory == "normal":
            yield from held
            held.clear()
    if networks.memory == "low":
        networks.let_unet_go()
    yield from held


def steps_of(
    progress: Progress | None, before: int, batch: int, count: int
) -> Callable[[int, int, Tensor], None] | None:
    """Translate steps of a batch into samples times steps of the whole.

    Args:
        progress: to call; None for nobody.
        before: samples that were denoised before the batch.
        batch: samples in it.
        count: samples in all.
    """
    if progress is None:
        return None

    def on_step(done: int, total: int, z: Tensor) -> None:
        progress(before * total + done * batch, count * total, "denoise")

    return on_step
