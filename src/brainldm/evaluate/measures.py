"""What is measured on a head or on a pair of heads, kept by the hash of the files.

The functions here run in worker processes, one image or pair at a time, so that memory does not
grow with a set; what they return is small.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.errors import BrainLDMError
from brainldm.evaluate.extractors import Extractor
from brainldm.evaluate.sets import Head
from brainldm.files import write_together
from brainldm.image.grid import Grid
from brainldm.image.volume import Volume
from brainldm.metrics import similarity
from brainldm.segment.segmenter import Segmenter
from brainldm.workers import pool_of

EMBEDDING_MM = 4.0
"""Voxels of the embedding in which copies are looked for."""
BINS = 32
"""Of the histogram of intensities that the brain-age regressor sees."""


@dataclass(frozen=True)
class Plan:
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


@dataclass(frozen=True)
class Measured:
    """What is known of one head.

    Args:
        sha256: of the file.
        file: where it is kept, with the embedding.
        features: (D,).
        histogram: (BINS,).
        volumes: ventricles and brain in mL; None where they were not measured.
    """

    sha256: str
    file: Path
    features: NDArray[np.float32]
    histogram: NDArray[np.float32]
    volumes: tuple[float, float] | None

    def embedding(self) -> NDArray[np.float32]:
        """(E,), mean 0 and norm 1; read anew, for thousands of them need not fit into memory."""
        with np.load(self.file, allow_pickle=False) as kept:
            unit: NDArray[np.float32] = kept["embedding"]
        return unit


def measure_all(
    heads: Sequence[Head], plan: Plan, jobs: int, progress: Callable[[int], None]
) -> list[Measured]:
    """Measure heads, in processes; in the order they came.

    Raises:
        BrainLDMError: a head cannot be read or measured, named; or another extractor's cache.
    """
    return _spread(measure, [(head, plan) for head in heads], jobs, progress)


def compare_all(
    pairs: Sequence[tuple[Head, Head]], plan: Plan, jobs: int, progress: Callable[[int], None]
) -> NDArray[np.float64]:
    """`compare` for pairs, in processes: (N, len(PAIR_FIGURES))."""
    return np.array(_spread(compare, [(*pair, plan) for pair in pairs], jobs, progress))


def _spread(
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    jobs: int,
    tell: Callable[[int], None],
) -> list[Any]:
    results: list[Any] = [None] * len(tasks)
    for done, (index, result) in enumerate(_outcomes(work, tasks, jobs), 1):
        results[index] = result
        tell(done)
    return results


def _outcomes(
    work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[tuple[int, Any]]:
    if jobs == 1:
        for index, task in enumerate(tasks):
            yield index, work(*task)
        return
    with pool_of(jobs) as pool:
        futures = {pool.submit(work, *task): index for index, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def measure(head: Head, plan: Plan) -> Measured:
    """Everything about one head, from the cache or new."""
    sha256 = digest(head.path)
    file = plan.cache / f"head-{sha256}.npz"
    kept = _kept(file, plan)
    if kept is None:
        try:
            kept = _look(head.read(plan.grid), plan)
        except BrainLDMError as error:
            at = "" if str(head.path) in str(error) else f"{head.path}: "
            raise BrainLDMError(f"{at}{error}") from None
        content = io.BytesIO()
        np.savez(content, **kept)
        write_together({file: content.getvalue()})
    volumes = tuple(map(float, kept["volumes"])) if plan.segmenter else None
    return Measured(sha256, file, kept["features"], kept["histogram"], volumes)  # type: ignore


def _look(volume: Volume, plan: Plan) -> dict[str, Any]:
    return _settings(plan) | {
        "features": plan.extractor.features(torch.from_numpy(volume.array)).numpy(),
        "embedding": embedding(volume),
        "histogram": histogram(volume.array),
        "volumes": np.array(plan.segmenter.measure(volume) if plan.segmenter else ()),
    }


def _settings(plan: Plan) -> dict[str, str]:
    """What a head's measures hang on besides its file."""
    return {
        "extractor": plan.extractor.identity,
        "grid": json.dumps([plan.grid.shape, plan.grid.affine]),
        "segmenter": plan.segmenter.identity if plan.segmenter else "none",
    }


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(file: Path, plan: Plan) -> dict[str, Any] | None:
    """What was measured before, if it was on this grid and with this segmentation."""
    if not file.is_file():
        return None
    settings = _settings(plan)
    try:
        with np.load(file, allow_pickle=False) as content:
            kept = {name: content[name] for name in content.files}
        found = {name: str(kept[name]) for name in settings}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None  # as good as none: it is measured again
    if found["extractor"] != settings["extractor"]:
        raise BrainLDMError(
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
    smooth = ndimage.gaussian_filter(volume.array, EMBEDDING_MM / 2.355 / spacing)
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


PAIR_FIGURES = ("MS-SSIM", "4-G-R-SSIM", "4-G-SSIM", "4-G-R-SSIM, single scale")


def compare(a: Head, b: Head, plan: Plan) -> list[float]:
    """`PAIR_FIGURES` of two heads, from the cache or new."""
    grid = hashlib.sha256(str(plan.grid).encode()).hexdigest()
    name = "".join(sorted((digest(a.path), digest(b.path)))) + grid
    file = plan.cache / f"pair-{hashlib.sha256(name.encode()).hexdigest()}.json"
    try:
        kept: list[float] = json.loads(file.read_text())
        return kept
    except (OSError, ValueError):
        pass
    images = [torch.from_numpy(head.read(plan.grid).array)[None].to(plan.device) for head in (a, b)]
    values = similarities(*images)
    write_together({file: json.dumps(values).encode()})
    return values


@torch.inference_mode()
def similarities(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    """`PAIR_FIGURES` of two images (1, X, Y, Z)."""
    x, y = similarity.pyramid(a), similarity.pyramid(b)
    return [
        float(value)
        for value in (
            similarity.ms_ssim(x, y),
            similarity.four_g_r_ssim(x, y),
            similarity.four_g_r_ssim(x, y, r=False),
            similarity.four_g_r_ssim(x, y, multi_scale=False),
        )
    ]
