"""`brainldm evaluate`: measure the sets, then make the figures of what was measured."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainldm._version import __version__
from brainldm.dataset.bids import names_of
from brainldm.errors import BrainLDMError
from brainldm.evaluate import copies, figures
from brainldm.evaluate.extractors import Extractor
from brainldm.evaluate.figures import Figure
from brainldm.evaluate.measures import Measured, Plan, compare_all, measure_all
from brainldm.evaluate.recovery import recover
from brainldm.evaluate.regression import FEWEST, Regressor
from brainldm.evaluate.sets import Head, common_grid, find_heads
from brainldm.files import make_folder
from brainldm.metrics.distances import NEIGHBOURS, squared_distances
from brainldm.register.template import load_template
from brainldm.segment.segmenter import segmenter
from brainldm.segment.tables import read_volumes

Array = NDArray[np.float64]
Progress = Callable[[int, int, str], None]
VOLUMES = ("ventricular_volume_ml", "brain_volume_ml")
PACKAGES = ("torch", "numpy", "scipy", "monai", "antspyx", "nibabel")
SHOWN_COPIES = 6


@dataclass(frozen=True)
class Question:
    """What is asked of an evaluation.

    Args:
        generated: folder of generated heads.
        real: folder of real scans that the model was not trained on.
        training: folder of its training scans, to look for copies; or None.
        model: whose autoencoder reconstructs real scans; or None.
        extractor: of features, one of `extractors.NAMES`.
        extractor_weights: its file.
        shrinkage: of covariances, for FID of fewer scans than features.
        segmentation: one of `segmentation.NAMES`.
        volumes: tables of volumes that another program measured, instead of a segmentation.
        pairs: of scans, drawn at random from each set.
        most: scans of each set, evenly spread; None takes all.
        resample: bring scans on other grids to the first real one's.
        seed: of the pairs and of the samples shown.
    """

    generated: Path
    real: Path
    training: Path | None = None
    model: str | None = None
    extractor: str = "random"
    extractor_weights: Path | None = None
    shrinkage: float = 0.0
    segmentation: str = "ants"
    volumes: tuple[Path, ...] = ()
    pairs: int = 1000
    most: int | None = None
    resample: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Sheet:
    """Scans to look at: the title, and for each its file and a line below it."""

    title: str
    scans: tuple[tuple[Path, str], ...]


@dataclass
class Evaluation:
    """The result.

    Args:
        protocol: what two evaluations must share to be compared.
        sets: where the scans were, how many there are, the hash of all of them.
        versions: of the software.
        figures: in the order of the report.
        warnings: what a reader must know first.
        scatters: condition to pairs of what was asked for and measured.
        volumes: set to name to mL of each head.
        distances: set to distances to the nearest training scan.
        sheets: scans to look at.
    """

    protocol: dict[str, Any]
    sets: dict[str, Any]
    versions: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    scatters: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    volumes: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    distances: dict[str, list[float]] = field(default_factory=dict)
    sheets: list[Sheet] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """All but the sheets."""
        content = asdict(self)
        del content["sheets"]
        return content


def evaluate(
    question: Question, cache: Path, jobs: int, device: str, progress: Progress
) -> tuple[Evaluation, Plan]:
    """Evaluate a generated set.

    Args:
        question: what to do.
        cache: folder of what was measured before; an interrupted evaluation goes on from it.
        jobs: processes, one scan or pair each at a time.
        device: where pairs are compared and scans reconstructed, such as cpu or cuda.
        progress: called with what is done, of how much, and the name of the phase.

    Raises:
        BrainLDMError: scans that cannot be compared, or an extractor or segmentation that cannot
            work on them, as the functions called here say.
    """
    if question.pairs < 1 or not 0 <= question.shrinkage < 1:
        raise BrainLDMError(
            f"Expected at least one pair and a shrinkage from 0 to below 1, got {question.pairs} "
            f"and {question.shrinkage:g}."
        )
    extractor = Extractor.of(question.extractor, question.extractor_weights)
    heads = {
        "generated": find_heads(question.generated, "generated", question.most),
        "real": find_heads(question.real, "real", question.most),
    }
    if question.training:
        heads["training"] = find_heads(question.training, "training")
    grid = common_grid(heads, question.resample)
    tables = _tables(question.volumes, heads)
    make_folder(cache)
    how = "none" if tables else question.segmentation
    measures_volumes = segmenter(how, grid, cache, lambda i, n: progress(i, n, "learn to segment"))
    plan = Plan(grid, extractor, cache, measures_volumes, device)
    measured = {what: _measure(what, scans, plan, jobs, progress) for what, scans in heads.items()}
    result = Evaluation(
        {
            "extractor": extractor.identity,
            "shrinkage": question.shrinkage,
            "volumes": "tables" if tables else how,
            "pairs": question.pairs,
            "most_scans_a_set": question.most,
            "grid": str(grid),
            "resampled": question.resample,
            "seed": question.seed,
            "real_sha256": _hash_of(measured["real"]),
        },
        {
            what: {"scans": len(scans), "sha256": _hash_of(measured[what])}
            for what, scans in heads.items()
        },
        _versions(),
    )
    result.warnings += _leaks(heads, measured)
    volumes = {what: tables.get(what) or _volumes(measured[what]) for what in ("generated", "real")}
    _features(result, question, heads, measured, plan, jobs, progress)
    if question.model:
        result.protocol["model"] = question.model
        result.figures += recover(question.model, heads["real"], plan, progress)
    _conditions(result, heads, measured, volumes)
    if "training" in heads:
        _copies(result, heads, measured)
    if volumes["generated"] and volumes["real"]:
        result.figures += figures.anatomy(volumes["generated"], volumes["real"])
        result.volumes = {
            what: {name: values.tolist() for name, values in found.items()}
            for what, found in volumes.items()
        }
    return result, plan


def _tables(
    files: Sequence[Path], heads: Mapping[str, Sequence[Head]]
) -> dict[str, dict[str, Array]]:
    """Volumes of each scan of the two sets, in mL, from tables."""
    if not files:
        return {}
    tables = [read_volumes(file, load_template().intracranial_ml) for file in files]
    found: dict[str, dict[str, Array]] = {}
    for what in ("generated", "real"):
        people = [
            next(filter(None, (table.find(names_of(head.path)) for table in tables)), None)
            for head in heads[what]
        ]
        missing = [head.path.name for head, row in zip(heads[what], people, strict=True) if not row]
        if missing:
            raise BrainLDMError(
                f"The tables of volumes have no row for {len(missing)} {what} scans, such as "
                f"{missing[0]}: expected its name, or its sub-LABEL, in the first column."
            )
        found[what] = {n: np.array([float(row.known[n]) for row in people if row]) for n in VOLUMES}
    return found


def _volumes(measured: Sequence[Measured]) -> dict[str, Array]:
    if any(head.volumes is None for head in measured):
        return {}
    return dict(zip(VOLUMES, np.array([head.volumes for head in measured]).T, strict=True))


def _measure(
    what: str, heads: Sequence[Head], plan: Plan, jobs: int, progress: Progress
) -> list[Measured]:
    """Measure a set, and refuse a scan that is in it twice, under whatever name and compression."""
    found = measure_all(heads, plan, jobs, lambda done: progress(done, len(heads), f"{what} scans"))
    seen: dict[bytes, Head] = {}
    for head, of_head in zip(heads, found, strict=True):
        twin = seen.setdefault(_voxels(of_head), head)
        if twin is not head:
            raise BrainLDMError(
                f"The {what} set has the same image twice: {twin.path} and {head.path}. Every "
                "figure would count it double; take one out."
            )
    return found


def _voxels(head: Measured) -> bytes:
    """Equal for equal images, however they are compressed."""
    return head.features.tobytes() + head.histogram.tobytes()


def _leaks(
    heads: Mapping[str, Sequence[Head]], measured: Mapping[str, Sequence[Measured]]
) -> list[str]:
    """Warnings of images that are in two sets."""
    warnings = []
    sets = list(heads)
    for first, second in ((a, b) for i, a in enumerate(sets) for b in sets[i + 1 :]):
        known = {_voxels(head) for head in measured[first]}
        pairs = zip(heads[second], measured[second], strict=True)
        same = [head.path.name for head, of_head in pairs if _voxels(of_head) in known]
        if same:
            warnings.append(
                f"Leakage: {len(same)} images are both in the {first} and in the {second} set, "
                f"such as {same[0]}. The figures flatter; take them out of one."
            )
    return warnings


def _features(
    result: Evaluation,
    question: Question,
    heads: Mapping[str, Sequence[Head]],
    measured: Mapping[str, Sequence[Measured]],
    plan: Plan,
    jobs: int,
    progress: Progress,
) -> None:
    """Realism, diversity, and which samples are typical."""
    generated, real = (
        np.array([head.features for head in measured[what]], np.float64)
        for what in ("generated", "real")
    )
    result.figures += figures.realism(generated, real, question.shrinkage)
    similar = []
    for what in ("generated", "real"):
        pairs = _pairs(heads[what], question.pairs, question.seed)
        count = len(pairs)
        similar.append(
            compare_all(
                pairs,
                plan,
                jobs,
                lambda done, n=count, what=what: progress(done, n, f"{what} pairs"),  # type: ignore
            )
        )
    result.figures += figures.spread(generated, real, *similar)

    rng = np.random.default_rng(question.seed)
    far = np.sqrt(np.sort(squared_distances(generated, real), 1)[:, :NEIGHBOURS].mean(1))
    order = far.argsort()
    some = rng.permutation(len(far))[:12]
    titles = {
        "Random samples": some,
        "Best samples: nearest to real scans in features": order[:4],
        "Worst samples: farthest from real scans in features": order[::-1][:4],
    }
    for title, chosen in titles.items():
        paths = [heads["generated"][i].path for i in chosen]
        result.sheets.append(Sheet(title, tuple((path, path.name) for path in paths)))


def _pairs(heads: Sequence[Head], most: int, seed: int) -> list[tuple[Head, Head]]:
    """Different pairs, drawn at random; all of them where there are no more."""
    n = len(heads)
    total = n * (n - 1) // 2
    drawn = np.random.default_rng(seed).choice(total, min(most, total), replace=False)
    # Pairs (i, j), i < j, are numbered by j, then i.
    second = ((1 + np.sqrt(1 + 8 * drawn.astype(np.float64))) // 2).astype(int)
    first = drawn - second * (second - 1) // 2
    return [(heads[i], heads[j]) for i, j in zip(first, second, strict=True)]


def _conditions(
    result: Evaluation,
    heads: Mapping[str, Sequence[Head]],
    measured: Mapping[str, Sequence[Measured]],
    volumes: Mapping[str, Mapping[str, Array]],
) -> None:
    """Every condition that the generated heads name: measured, or estimated from the real set."""
    for name in dict.fromkeys(name for head in heads["generated"] for name in head.known):
        asked, known = (_column(heads[what], name) for what in ("generated", "real"))
        if name in volumes["generated"]:
            seen, truth = volumes["generated"][name], volumes["real"][name]
        else:
            there = np.isfinite(known)
            if there.sum() < FEWEST or np.ptp(known[there]) == 0:
                note = f"refused: needs {name} of at least {FEWEST} real scans, not all alike"
                if name in VOLUMES:
                    note = "refused: no volumes were measured"
                result.figures.append(Figure("conditioning", f"{name}: r", None, note=note))
                continue
            scans = [head for head, ok in zip(measured["real"], there, strict=True) if ok]
            regressor = Regressor(scans, known[there])
            seen = regressor.predict(measured["generated"])
            truth = np.full(len(known), np.nan)
            truth[there] = regressor.left_out
        pairs = np.stack([asked, seen], 1)
        result.figures += figures.conditioning(name, pairs, np.stack([known, truth], 1))
        result.scatters[name] = [(x, y) for x, y in pairs.tolist() if np.isfinite(x + y)]


def _column(heads: Sequence[Head], name: str) -> Array:
    """A covariate as numbers: F is 0, M is 1, other words and what is unknown NaN."""
    codes = {"F": 0.0, "M": 1.0}
    cells = (head.known.get(name, np.nan) for head in heads)
    return np.array([codes.get(x, np.nan) if isinstance(x, str) else x for x in cells])


def _copies(
    result: Evaluation,
    heads: Mapping[str, Sequence[Head]],
    measured: Mapping[str, Sequence[Measured]],
) -> None:
    found = copies.find_copies(measured["generated"], measured["real"], measured["training"])
    result.figures += copies.figures(found)
    result.distances = {
        "generated": found.generated.tolist(),
        "held-out": found.held_out.tolist(),
        "threshold": [found.threshold],
    }
    scans: list[tuple[Path, str]] = []
    for i in found.generated.argsort()[:SHOWN_COPIES]:
        ours, other = heads["generated"][i].path, heads["training"][found.nearest[i]].path
        verdict = "counts as a copy" if found.generated[i] < found.threshold else "no copy"
        scans.append((ours, f"{ours.name}: {found.generated[i]:.4f}, {verdict}"))
        scans.append((other, f"its nearest training scan, {other.name}"))
    result.sheets.append(Sheet("Closest pairs", tuple(scans)))


def _hash_of(heads: Sequence[Measured]) -> str:
    """Of a set, in whatever order."""
    return hashlib.sha256("".join(sorted(head.sha256 for head in heads)).encode()).hexdigest()


def _versions() -> dict[str, str]:
    found = {"brainldm": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
