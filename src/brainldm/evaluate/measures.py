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

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from brainldm.errors import BrainLDMError
from brainldm.evaluate import similarity
from brainldm.evaluate.extractors import Extractor
from brainldm.evaluate.sets import Head, Space
from brainldm.evaluate.volumes import VolumeRule
from brainldm.files import write_together
from brainldm.volume import Volume
from brainldm.workers import pool_of

EMBEDDING_MM = 4.0
"""Voxels of the embedding in which copies are looked for."""
BINS = 32
"""Of the histogram of intensities that the brain-age regressor sees."""
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Plan:
    """How heads are measured.

    Args:
        space: the grid they are brought to.
        extractor: of features.
        cache: folder of what was measured before.
        segmentation: a rule for simulated heads, a folder with the template for ANTsPy, or None.
        device: where pairs are compared.
    """

    space: Space
    extractor: Extractor
    cache: Path
    segmentation: VolumeRule | Path | None
    device: str


@dataclass(frozen=True)
class Measured:
    """What is known of one head.

    Args:
        sha256: of the file.
        features: (D,).
        embedding: (E,), mean 0 and norm 1.
        histogram: (BINS,).
        volumes: ventricles and brain in mL; None where they were not measured.
    """

    sha256: str
    features: NDArray[np.float32]
    embedding: NDArray[np.float32]
    histogram: NDArray[np.float32]
    volumes: tuple[float, float] | None


def measure_all(
    heads: Sequence[Head], plan: Plan, jobs: int, progress: Callable[[int], None]
) -> list[Measured]:
    """Measure heads, in processes; in the order they came.

    Raises:
        BrainLDMError: a head cannot be read or measured, named; or the cache is of another extractor.
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
    wanted = plan.segmentation is not None
    grid = json.dumps([plan.space.shape, plan.space.affine])
    if kept and kept["grid"] == grid and ("volumes" in kept or not wanted):
        volumes = tuple(map(float, kept["volumes"])) if wanted else None
        return Measured(
            sha256,
            kept["features"],
            kept["embedding"],
            kept["histogram"],
            volumes,  # type: ignore
        )
    try:
        volume = head.read(plan.space)
        features = plan.extractor.features(torch.from_numpy(volume.array)).numpy()
        volumes = _volumes(volume, plan) if wanted else None
    except BrainLDMError as error:
        at = "" if str(head.path) in str(error) else f"{head.path}: "
        raise BrainLDMError(f"{at}{error}") from None
    found = Measured(sha256, features, embedding(volume), histogram(volume.array), volumes)
    content = io.BytesIO()
    more = {} if volumes is None else {"volumes": np.array(volumes)}
    np.savez(
        content,
        extractor=plan.extractor.identity,
        grid=grid,
        features=found.features,
        embedding=found.embedding,
        histogram=found.histogram,
        **more,  # type: ignore[arg-type]
    )
    write_together({file: content.getvalue()})
    return found


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kept(file: Path, plan: Plan) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            kept = {name: content[name] for name in content.files}
        kept |= {name: str(kept[name]) for name in ("extractor", "grid")}
    except (OSError, ValueError, KeyError, EOFError):
        return None  # as good as none: it is measured again
    if kept["extractor"] != plan.extractor.identity:
        raise BrainLDMError(
            f"{file} holds features of the extractor {kept['extractor']}: expected "
            f"{plan.extractor.identity}. Features of two extractors do not compare: choose another "
            "--out or --cache, or the extractor of before."
        )
    return kept


def _volumes(volume: Volume, plan: Plan) -> tuple[float, float]:
    if isinstance(plan.segmentation, VolumeRule):
        return plan.segmentation.measure(volume.array)
    from brainldm.prepare.covariates import measure as segment
    from brainldm.prepare.reference import Reference

    if plan.segmentation is None:
        raise TypeError("a plan without segmentation measures no volumes")
    found = segment(volume, np.eye(4), Reference.load(plan.segmentation))
    return found.ventricular_volume_ml, found.brain_volume_ml


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
    grid = hashlib.sha256(str(plan.space).encode()).hexdigest()
    name = "".join(sorted((digest(a.path), digest(b.path)))) + grid
    file = plan.cache / f"pair-{hashlib.sha256(name.encode()).hexdigest()}.json"
    try:
        kept: list[float] = json.loads(file.read_text())
        return kept
    except (OSError, ValueError):
        pass
    images = [
        torch.from_numpy(head.read(plan.space).array)[None].to(plan.device) for head in (a, b)
    ]
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
