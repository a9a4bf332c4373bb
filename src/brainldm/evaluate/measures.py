"""What is measured on a head, kept by the hash of its file.

`measure` runs in worker processes, one image at a time, so that memory does not grow with a set;
what it returns is small.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.errors import BrainLDMError, DataError
from brainldm.evaluate.extractors import Extractor
from brainldm.evaluate.sets import Head
from brainldm.files import write_together
from brainldm.image.grid import Grid
from brainldm.image.reading import image_sha256
from brainldm.image.volume import FWHM, Volume
from brainldm.segment.segmenter import Segmenter, measured

EMBEDDING_MM = 4.0
"""Voxels of the embedding in which copies are looked for."""
BINS = 32
"""Of the histogram of intensities that the brain-age regressor sees."""


@dataclass(frozen=True)
class Measuring:
    """How heads are measured.

    Args:
        grid: what they are brought to.
        extractor: of features.
        cache: folder of what was measured before.
        segmenter: of volumes; None measures none.
        device: where pairs are compared.
    """

    grid: Grid
    extractor: Extractor
    cache: Path
    segmenter: Segmenter | None
    device: str

    @property
    def segmentation(self) -> str:
        """What measures volumes, for the record."""
        return self.segmenter.identity if self.segmenter else "none"


@dataclass(frozen=True)
class Measured:
    """What is known of one head.

    Args:
        sha256: of the file.
        file: where it is kept, with the embedding.
        features: (D,).
        histogram: (BINS,).
        volumes: ventricles and brain in mL, NaN where the segmenter does not trust itself; None
            where nothing measured them.
    """

    sha256: str
    file: Path
    features: NDArray[np.float32]
    histogram: NDArray[np.float32]
    volumes: tuple[float, float] | None

    @property
    def voxels(self) -> bytes:
        """Equal for equal images, however they are compressed."""
        return self.features.tobytes() + self.histogram.tobytes()

    def embedding(self) -> NDArray[np.float32]:
        """(E,), mean 0 and norm 1; read anew, for thousands of them need not fit into memory."""
        with np.load(self.file, allow_pickle=False) as kept:
            unit: NDArray[np.float32] = kept["embedding"]
        return unit


def measure(head: Head, how: Measuring) -> Measured:
    """Everything about one head, from the cache or new.

    Raises:
        StorageError: its file or the cache cannot be read or written.
        DataError: it cannot be measured; or the cache is of another extractor.
    """
    sha256 = image_sha256(head.path)
    file = how.cache / f"head-{sha256}.npz"
    settings = _settings(how) | {"intensities": intensities(head)}
    kept = _kept(file, settings)
    if kept is None:
        try:
            kept = _look(head.read(how.grid), how) | settings
        except BrainLDMError as error:
            at = "" if str(head.path) in str(error) else f"{head.path}: "
            raise type(error)(f"{at}{error}") from None
        content = io.BytesIO()
        np.savez(content, **kept)
        write_together({file: content.getvalue()})
    volumes = tuple(map(float, kept["volumes"])) if how.segmenter else None
    return Measured(sha256, file, kept["features"], kept["histogram"], volumes)  # type: ignore


def _look(volume: Volume, how: Measuring) -> dict[str, Any]:
    return {
        "features": how.extractor.features(torch.from_numpy(volume.array)).numpy(),
        "embedding": embedding(volume),
        "histogram": histogram(volume.array),
        "volumes": np.array(measured(how.segmenter, volume) if how.segmenter else ()),
    }


def _settings(how: Measuring) -> dict[str, str]:
    """What a head's measures hang on besides its file."""
    return {
        "extractor": how.extractor.identity,
        "grid": json.dumps([how.grid.shape, how.grid.affine]),
        "segmenter": how.segmentation,
    }


def intensities(head: Head) -> str:
    """How a head's intensities come to be in [0, 1]."""
    return "as they are" if head.scaled else "scaled"


def _kept(file: Path, settings: Mapping[str, str]) -> dict[str, Any] | None:
    """What was measured before, if it was on this grid and with this segmentation."""
    if not os.path.isfile(file):
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            kept = {name: content[name] for name in content.files}
        found = {name: str(kept[name]) for name in settings}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None  # as good as none: it is measured again
    if found["extractor"] != settings["extractor"]:
        raise DataError(
            f"{file} holds features of the extractor {found['extractor']}: expected "
            f"{settings['extractor']}. Features of two extractors do not compare: choose another "
            "--cache, or the extractor of before."
        )
    return kept if found == settings else None


def histogram(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shares of intensities from 0.12 to 1.2 times the 99.5th percentile, (BINS,)."""
    top = 1.2 * float(np.percentile(array, 99.5))
    counts, _ = np.histogram(array, BINS, (0.1 * top, top))
    shares: NDArray[np.float32] = (counts / max(counts.sum(), 1)).astype(np.float32)
    return shares


def embedding(volume: Volume) -> NDArray[np.float32]:
    """A head at 4 mm about its own centre of mass: a shift changes little, noise averages out."""
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(volume.array, EMBEDDING_MM / FWHM / spacing)
    mass = np.clip(smooth - 0.15 * smooth.max(), 0, None)
    centre = np.array(ndimage.center_of_mass(mass))
    step = EMBEDDING_MM / spacing
    shape = np.floor(np.array(volume.array.shape) / step).astype(int) - 4
    offset = centre - step * (shape - 1) / 2
    small = ndimage.affine_transform(
        smooth, np.diag(step), offset, output_shape=tuple(shape), order=1
    )
    flat = (small - small.mean()).ravel()
    unit: NDArray[np.float32] = (flat / max(float(np.linalg.norm(flat)), 1e-12)).astype(np.float32)
    return unit
